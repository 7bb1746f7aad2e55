//! One message handled to completion: who is asked, what comes back, which clocks run, and what follows a failure.
//!
//! ```text
//! route ──▶ Waiting ──▶ Choosing ──▶ Queued ──▶ Calling ──▶ Over
//!              (host      (supervisor   (all     │  ▲        ▲
//!               starts)    plugin)      full)    ▼  │ retry  │
//!                                             Stopping ──────┘     the fallback answers at once, from anywhere
//! ```
//! The thread's task drives it: [`Run::next`] waits, [`Run::on`] acts, and what it gave is taken to the log. Every
//! event goes through `core`'s `RunMachine`, so that whatever a plugin does, the run is well-formed (law 3).

mod call;
mod connections;
mod delegation;
mod desk;
mod ending;
mod queueing;
mod requests;
mod routing;

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    identity::Scope,
    level::ServiceLevel,
    outcome::{Clock, Outcome},
    ports::{
        instance::CallOutput,
        store::{NewEvent, NewQuestion},
    },
    routing::{FallbackReason, Target},
    run_machine::{RunHead, RunInput, RunMachine},
};
use agent_host_telemetry::{
    happening::{EventDropped, RunAbandoned},
    series,
};
use agent_plugin_protocol::{
    CallId, PluginId, RunId,
    call::{IncomingMessage, InputAnswer},
};
use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Sleep},
};

pub(crate) use self::delegation::AT_ONCE as DELEGATED_AT_ONCE;
use self::{call::Call, delegation::Work, requests::JobDone, routing::Left};
use crate::{
    directory::{RunTicket, ThreadKey},
    routes::{Place, Slot},
    session::Problem,
    shared::Shared,
    view::Status,
};

/// A message that is accepted and waits for its turn.
pub(crate) struct Queued {
    pub(crate) run: RunId,
    /// The agent that it names.
    pub(crate) agent: Option<PluginId>,
    pub(crate) message: IncomingMessage,
    /// The question it answers.
    pub(crate) answers: Option<InputAnswer>,
    pub(crate) accepted: Instant,
    /// Keeps the run in the directory until it is over.
    pub(crate) _ticket: RunTicket,
}

/// What can happen to a run, beside being cancelled or interrupted.
pub(crate) enum Input {
    /// A call said something.
    Output(CallId, CallOutput),
    /// What a plugin requested is done.
    Job(Option<JobDone>),
    /// The service changed while the run waited for its agent.
    Status,
    /// A place was free; `None`: the agent takes nobody any more.
    Turn(Option<Slot>),
    /// A clock may have run out.
    Clock,
}

/// Where a run is.
enum Phase {
    /// The host is starting, or a plugin restarts: an agent may come.
    Waiting { until: Instant },
    /// Whoever would answer is full: it waits for its turn there.
    Queued { target: Target, place: Place, until: Instant },
    /// The supervisor plugin chooses.
    Choosing { call: Call, until: Instant },
    /// A plugin answers.
    Calling { call: Call, ends: Instant, idle: Instant },
    /// It was asked to stop.
    Stopping { call: Call, until: Instant, why: Stop },
    /// `agent_completed` came out.
    Over,
}

/// Why a call is asked to stop.
#[derive(Debug, Clone, Copy)]
enum Stop {
    TimedOut(Clock),
    Cancelled(By),
}

/// Who wants a run stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// The person, or a newer message of theirs.
    Person,
    /// Nobody: whoever followed it was lost.
    Loss,
}

impl By {
    fn outcome(self) -> Outcome {
        match self {
            Self::Person => Outcome::Cancelled,
            Self::Loss => Outcome::Deserted,
        }
    }
}

/// One message being handled.
pub(crate) struct Run {
    shared: Arc<Shared>,
    key: ThreadKey,
    queued: Queued,
    outputs: mpsc::Sender<(CallId, CallOutput)>,
    machine: RunMachine,
    began: Instant,
    phase: Phase,
    /// Who was tried, or would not take it.
    tried: Vec<Target>,
    tries: u32,
    crashes: u32,
    /// Work that was handed to other agents and is under way, in the order in which it was handed on.
    work: Vec<Work>,
    /// Requests of the plugins under way. Each ends with its call; `None`: it ended so.
    jobs: FuturesUnordered<BoxFuture<'static, Option<JobDone>>>,
    /// Armed for a deadline at or before the phase's own: events move the idle clock, not the timer.
    timer: std::pin::Pin<Box<Sleep>>,
    status: watch::Receiver<Arc<Status>>,
    events: Vec<NewEvent>,
    problems: Vec<Problem>,
    question: Option<NewQuestion>,
    /// Who had it last and failed, until another has taken over.
    left: Option<Left>,
    /// The plugin that spoke last.
    responder: Option<Target>,
    /// Until when it waits for the next generation of a plugin that crashed, and what the fallback says otherwise.
    reviving: Option<(Instant, FallbackReason)>,
    /// Until when it waits for places, once it had to.
    queues_until: Option<Instant>,
    /// The built-in has it.
    fell_back: bool,
}

impl Run {
    pub(crate) fn new(
        shared: Arc<Shared>,
        key: ThreadKey,
        queued: Queued,
        outputs: mpsc::Sender<(CallId, CallOutput)>,
    ) -> Self {
        let head = RunHead {
            run: queued.run.clone(),
            thread: key.thread.clone(),
            message_id: format!("{}.answer", queued.run),
            level: shared.status().level,
        };
        let now = Instant::now();
        Self {
            status: shared.status.clone(),
            shared,
            key,
            queued,
            outputs,
            machine: RunMachine::new(head),
            began: now,
            phase: Phase::Waiting { until: now },
            tried: Vec::new(),
            tries: 0,
            crashes: 0,
            work: Vec::new(),
            jobs: FuturesUnordered::new(),
            timer: Box::pin(tokio::time::sleep_until(now)),
            events: Vec::new(),
            problems: Vec::new(),
            question: None,
            left: None,
            responder: None,
            reviving: None,
            queues_until: None,
            fell_back: false,
        }
    }

    pub(crate) fn id(&self) -> &RunId {
        &self.queued.run
    }

    /// The plugin that has it now, if one has.
    pub(crate) fn responder(&self) -> Option<&PluginId> {
        self.call().map(|call| &call.instance.handle.plugin)
    }

    /// The agent that has it, or that it waits for, as far as that is known.
    pub(crate) fn agent(&self) -> Option<&PluginId> {
        match &self.phase {
            Phase::Queued { target, .. } => Some(&target.plugin),
            Phase::Waiting { .. }
            | Phase::Choosing { .. }
            | Phase::Calling { .. }
            | Phase::Stopping { .. }
            | Phase::Over => self.responder().or(self.queued.agent.as_ref()),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Events to append, in order.
    pub(crate) fn take_events(&mut self) -> Vec<NewEvent> {
        std::mem::take(&mut self.events)
    }

    /// What the thread's clients are to be told beside the events.
    pub(crate) fn take_problems(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.problems)
    }

    /// The question that it ended with, to be kept with its last event.
    pub(crate) fn take_question(&mut self) -> Option<NewQuestion> {
        self.question.take()
    }

    /// Waits for the next thing to happen. Cancel safe.
    pub(crate) async fn next(&mut self, outputs: &mut mpsc::Receiver<(CallId, CallOutput)>) -> Input {
        if self.timer.deadline() > self.deadline() || self.timer.is_elapsed() {
            let deadline = self.deadline();
            self.timer.as_mut().reset(deadline);
        }
        let waiting = matches!(self.phase, Phase::Waiting { .. });
        tokio::select! {
            // Outputs first: what a plugin said in time counts, even if the host was slow to look.
            biased;
            Some((call, output)) = outputs.recv() => Input::Output(call, output),
            Some(done) = self.jobs.next(), if !self.jobs.is_empty() => Input::Job(done),
            Ok(()) = self.status.changed(), if waiting => Input::Status,
            slot = turn(&mut self.phase) => Input::Turn(slot),
            () = self.timer.as_mut() => Input::Clock,
        }
    }

    /// Acts on what happened.
    pub(crate) async fn on(&mut self, input: Input) {
        match input {
            Input::Output(call, output) => self.output(call, output).await,
            Input::Job(Some(done)) => self.job_done(done).await,
            Input::Job(None) => {}
            Input::Status => self.begin().await,
            Input::Turn(slot) => self.had_its_turn(slot).await,
            Input::Clock => self.check_clock().await,
        }
    }

    /// When the phase's next clock runs out.
    fn deadline(&self) -> Instant {
        match &self.phase {
            Phase::Waiting { until }
            | Phase::Queued { until, .. }
            | Phase::Choosing { until, .. }
            | Phase::Stopping { until, .. } => *until,
            Phase::Calling { call, ends, idle } => {
                let work = self.work.iter().map(Work::deadline);
                work.fold(call.clock(*ends, *idle).0, Instant::min)
            }
            Phase::Over => Instant::now() + Duration::from_secs(3600),
        }
    }

    /// Gives the machine an input; keeps the events, counts what was refused.
    fn push(&mut self, input: RunInput) {
        let untouched = self.machine.is_before_first_event();
        let out = self.machine.push(input, self.began.elapsed());
        if let Some(fault) = out.fault {
            self.dropped(None, fault.as_str());
        }
        if out.events.is_empty() {
            return;
        }
        // The fallback speaks without a call.
        if let (true, false, Some(call)) = (untouched, self.machine.is_before_first_event(), self.call()) {
            series::first_event(call.instance.handle.plugin.as_str(), self.queued.accepted.elapsed());
        }
        let time = self.shared.parts.clock.now();
        let run = &self.queued.run;
        self.events.extend(out.events.into_iter().map(|event| NewEvent {
            run: run.clone(),
            kind: event.kind,
            agent: event.agent,
            time,
            payload: event.payload,
        }));
    }

    /// Counts what was not passed on; without a call, it is put down to the responder.
    fn dropped(&self, of: Option<CallId>, reason: &'static str) {
        let work = self.work.iter().map(|work| &work.call).find(|call| Some(call.id) == of);
        let plugin = work.or(self.call()).map_or("", |call| call.instance.handle.plugin.as_str());
        EventDropped { plugin, run: &self.queued.run, reason }.emit();
    }

    fn call(&self) -> Option<&Call> {
        match &self.phase {
            Phase::Choosing { call, .. } | Phase::Calling { call, .. } | Phase::Stopping { call, .. } => {
                Some(call)
            }
            Phase::Waiting { .. } | Phase::Queued { .. } | Phase::Over => None,
        }
    }

    fn call_mut(&mut self) -> Option<&mut Call> {
        match &mut self.phase {
            Phase::Choosing { call, .. } | Phase::Calling { call, .. } | Phase::Stopping { call, .. } => {
                Some(call)
            }
            Phase::Waiting { .. } | Phase::Queued { .. } | Phase::Over => None,
        }
    }

    fn scope(&self) -> &Scope {
        &self.key.scope
    }

    fn level(&self) -> ServiceLevel {
        self.shared.status().level
    }
}

/// Waits for the run's turn; for ever where it is not queued. Cancel safe.
async fn turn(phase: &mut Phase) -> Option<Slot> {
    match phase {
        Phase::Queued { place, .. } => place.turn().await,
        Phase::Waiting { .. }
        | Phase::Choosing { .. }
        | Phase::Calling { .. }
        | Phase::Stopping { .. }
        | Phase::Over => std::future::pending().await,
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.is_over() {
            RunAbandoned { run: &self.queued.run, thread: &self.key.thread }.emit();
        }
    }
}

/// How a run ended, in the words of telemetry.
fn status_word(outcome: &Outcome, built_in: bool) -> &'static str {
    match outcome {
        Outcome::Ok(reply) if reply.ask.is_some() => "input_required",
        Outcome::Ok(_) if built_in => "degraded",
        Outcome::Ok(_) => "ok",
        Outcome::Cancelled | Outcome::Deserted => "cancelled",
        Outcome::Interrupted => "interrupted",
        Outcome::PluginError { .. }
        | Outcome::Panicked { .. }
        | Outcome::TimedOut(_)
        | Outcome::Lost(_)
        | Outcome::Refused(_)
        | Outcome::Violation(_) => "failed",
    }
}
