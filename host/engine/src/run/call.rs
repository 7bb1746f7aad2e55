//! One open call into an instance, and what comes back of it.

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    breaker::CallResult,
    failpoint,
    failpoint::Action,
    outcome::{Clock, Outcome},
    ports::instance::{CallOutput, Desk, InstanceCommand, Invocation, KillReason},
    routing::Target,
    run_machine::RunInput,
    service::ServiceName,
};
use agent_plugin_protocol::{
    CallId, Code, EventKind, RunId,
    call::{CREDIT_WINDOW, Completion, InvokeStatus, Reply},
};
use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Phase, Run, Stop, connections::Connections, routing::Move};
use crate::routes::{Admitted, Instance};

/// An open call.
pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) instance: Arc<Instance>,
    /// The tools of delegated work; `None`: all that its plugin was granted.
    pub(super) lent: Option<Vec<String>>,
    /// Its connections to peers; they end with it.
    pub(super) connections: Connections,
    /// Its requests under way. While the host works for a plugin, the plugin is not idle.
    pub(super) requests: usize,
    /// Events consumed and not yet given back as credit.
    consumed: u32,
    /// Ends what the host does for it; made when there is something.
    over: Option<(CancellationToken, DropGuard)>,
    admitted: Admitted,
}

impl Call {
    pub(super) fn new(id: CallId, instance: Arc<Instance>, admitted: Admitted) -> Self {
        Self {
            id,
            instance,
            lent: None,
            connections: Connections::default(),
            requests: 0,
            consumed: 0,
            over: None,
            admitted,
        }
    }

    /// The tools that it may use.
    pub(super) fn granted(&self) -> &[String] {
        self.lent.as_ref().unwrap_or(&self.instance.spec.tools)
    }

    /// Which of its clocks runs out next, and when.
    pub(super) fn clock(&self, ends: Instant, idle: Instant) -> (Instant, Clock) {
        // For broken twins: a host without one of its clocks.
        let off = |action| action == Some(Action::Off);
        let idles = self.requests == 0 && idle < ends && !off(failpoint!("engine.clock.idle"));
        let ends = if off(failpoint!("engine.clock.run")) { ends + NEVER } else { ends };
        if idles { (idle, Clock::Idle) } else { (ends, Clock::Run) }
    }

    /// Ends with the call.
    pub(super) fn over(&mut self) -> CancellationToken {
        let new = || {
            let token = CancellationToken::new();
            (token.clone(), token.drop_guard())
        };
        self.over.get_or_insert_with(new).0.clone()
    }

    pub(super) fn invocation(
        &self,
        method: &'static str,
        run: RunId,
        payload: Bytes,
        deadline: Duration,
        desk: Option<Arc<dyn Desk>>,
        outputs: mpsc::Sender<(CallId, CallOutput)>,
    ) -> Invocation {
        Invocation { call: self.id, method, run: Some(run), payload, deadline, desk, outputs }
    }

    pub(super) fn target(&self) -> Target {
        self.instance.target()
    }

    /// Sends an order; an instance that takes none is ending, and its `Lost` follows.
    pub(super) async fn order(&self, order: InstanceCommand) {
        let _ = self.instance.order(order).await;
    }

    /// Lets the plugin emit as many events as were consumed, once they are worth an order.
    async fn give_credit(&mut self) {
        if self.consumed >= CREDIT_STEP {
            let events = std::mem::take(&mut self.consumed);
            self.order(InstanceCommand::Credit { call: self.id, events }).await;
        }
    }

    /// Asks it to stop and forgets it.
    pub(super) async fn give_up(&self) {
        self.order(InstanceCommand::Cancel { call: self.id }).await;
        self.order(InstanceCommand::Abandon { call: self.id }).await;
    }
}

/// A clock that is switched off. An hour: a test has long been over.
const NEVER: Duration = Duration::from_secs(3600);

/// The plugin gets its credit back in pieces of this size. What is kept back leaves it three quarters of its window.
const CREDIT_STEP: u32 = CREDIT_WINDOW / 4;

impl Run {
    pub(super) async fn output(&mut self, call: CallId, output: CallOutput) {
        let delegated = self.work.iter().any(|work| work.call.id == call);
        if !delegated && self.call().is_none_or(|open| open.id != call) {
            // Of a call that is over: nobody waits for its answer.
            self.dropped(None, "late");
            return;
        }
        let word = match output {
            CallOutput::Emitted { kind, payload } => return self.emitted(call, kind, payload).await,
            CallOutput::Request { request, method, payload } => {
                return self.request(call, request, &method, &payload).await;
            }
            CallOutput::Served(served, _place) => return self.was_served(call, *served),
            CallOutput::Completed(bytes) => LastWord::Completed(bytes),
            CallOutput::Rejected(status) => LastWord::Ended(rejected(status)),
            CallOutput::Lost(report) => {
                if let Some(open) = self.open_call(call) {
                    open.admitted.lost();
                }
                LastWord::Ended(Outcome::Lost((*report).clone()))
            }
        };
        if delegated {
            self.work_over(call, word.outcome()).await;
        } else {
            self.last_word(word).await;
        }
    }

    async fn emitted(&mut self, call: CallId, kind: u32, payload: Bytes) {
        // Somebody who chooses says nothing to the person; who was asked to stop has stopped.
        if self.heard(call) {
            let within = self.within(call);
            self.push(RunInput::Emitted { within, kind, payload });
            if !self.shared.parts.services.borrow().is_available(ServiceName::Events) {
                // The answer is complete all the same: the machine has joined it.
                self.events.retain(|event| !is_commentary(event.kind));
                self.dropped(Some(call), "events_unavailable");
            }
        } else {
            self.dropped(Some(call), "out_of_turn");
        }
        if let Some(open) = self.open_call(call) {
            open.consumed += 1;
            // Within one long batch: the events are bounded by the batch, so that this may go ahead of the append.
            open.give_credit().await;
        }
    }

    /// Lets the plugins emit as many events as were consumed, once they are worth an order.
    pub(crate) async fn give_credit(&mut self) {
        for work in &mut self.work {
            work.call.give_credit().await;
        }
        if let Some(call) = self.call_mut() {
            call.give_credit().await;
        }
    }

    async fn last_word(&mut self, word: LastWord) {
        let next = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Choosing { call, .. } => match word {
                LastWord::Completed(bytes) => self.chosen(call.target(), call.id, &bytes),
                LastWord::Ended(outcome) => {
                    if matches!(outcome, Outcome::Lost(_)) {
                        self.crashes += 1;
                    }
                    self.past_supervisor(call.target())
                }
            },
            Phase::Calling { call, .. } => {
                self.give_up_work().await;
                self.judged(&call, word)
            }
            Phase::Stopping { call, why, .. } => self.stopped(&call, why),
            phase @ (Phase::Waiting { .. } | Phase::Queued { .. } | Phase::Over) => {
                self.phase = phase;
                return;
            }
        };
        self.jobs.clear();
        self.go(next).await;
    }

    fn judged(&mut self, call: &Call, word: LastWord) -> Move {
        match word.outcome() {
            Outcome::Ok(reply) => {
                self.shared.call_ended(call.target(), call.id, CallResult::Success);
                self.responder = Some(call.target());
                Move::Finish(Outcome::Ok(reply))
            }
            failed => self.failed(call, failed),
        }
    }

    fn failed(&mut self, call: &Call, outcome: Outcome) -> Move {
        self.shared.call_ended(call.target(), call.id, CallResult::of(&outcome));
        self.responder = Some(call.target());
        self.after(call.target(), outcome)
    }

    fn stopped(&mut self, call: &Call, why: Stop) -> Move {
        match why {
            Stop::Cancelled(by) => {
                self.responder = Some(call.target());
                Move::Finish(by.outcome())
            }
            Stop::TimedOut(clock) => self.failed(call, Outcome::TimedOut(clock)),
        }
    }

    /// Looks whether a clock ran out, and acts.
    pub(crate) async fn check_clock(&mut self) {
        if Instant::now() < self.deadline() {
            return;
        }
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Waiting { until } => {
                self.phase = Phase::Waiting { until };
                self.begin().await;
            }
            Phase::Queued { target, .. } => {
                let next = self.after(target, Outcome::Refused(Code::PluginOverloaded));
                self.go(next).await;
            }
            Phase::Choosing { call, .. } => {
                call.give_up().await;
                self.shared.call_ended(call.target(), call.id, CallResult::Failure);
                let next = self.past_supervisor(call.target());
                self.jobs.clear();
                self.go(next).await;
            }
            Phase::Calling { call, ends, idle } => match call.clock(ends, idle) {
                (at, clock) if at <= Instant::now() => self.stop(call, Stop::TimedOut(clock)).await,
                _ => {
                    self.phase = Phase::Calling { call, ends, idle };
                    self.check_work().await;
                }
            },
            Phase::Stopping { call, why, .. } => {
                force(&call, why).await;
                let next = self.stopped(&call, why);
                drop(call);
                self.go(next).await;
            }
            Phase::Over => {}
        }
    }

    /// Asks a call to stop, and gives it its grace.
    pub(super) async fn stop(&mut self, call: Call, why: Stop) {
        self.jobs.clear();
        self.give_up_work().await;
        call.order(InstanceCommand::Cancel { call: call.id }).await;
        let until = Instant::now() + call.instance.spec.timeouts.grace;
        self.phase = Phase::Stopping { call, until, why };
    }
}

/// It did not stop, so its generation is ended: at once for a hang. For a person's own cancel only when no other run is
/// in it, or one person could end the runs of others; the next one that finds itself alone with it ends it.
pub(super) async fn force(call: &Call, why: Stop) {
    call.order(InstanceCommand::Abandon { call: call.id }).await;
    // For a broken twin: a host that asks and never insists.
    if failpoint!("engine.kill") == Some(Action::Off) {
        return;
    }
    match why {
        Stop::TimedOut(_) => call.order(InstanceCommand::Kill(KillReason::Hung)).await,
        Stop::Cancelled(_) => call.instance.deaf(),
    }
}

/// What an agent emits while it works; the rest of a run is the host's own.
fn is_commentary(kind: EventKind) -> bool {
    matches!(kind, EventKind::AgentThinking | EventKind::AgentMessageDelta)
}

/// How a call ended.
enum LastWord {
    Completed(Bytes),
    Ended(Outcome),
}

impl LastWord {
    fn outcome(self) -> Outcome {
        match self {
            Self::Completed(bytes) => judge(&bytes),
            Self::Ended(outcome) => outcome,
        }
    }
}

/// What an agent's last word is.
fn judge(bytes: &[u8]) -> Outcome {
    match serde_json::from_slice(bytes) {
        Ok(Completion::Ok { value }) => match serde_json::from_value::<Reply>(value) {
            Ok(reply) => Outcome::Ok(reply),
            Err(_) => Outcome::Violation("its answer is not a reply".to_owned()),
        },
        Ok(Completion::Error { code, message, retryable }) => {
            Outcome::PluginError { code, message, retryable }
        }
        Ok(Completion::Panicked { message }) => Outcome::Panicked { message },
        Ok(Completion::Cancelled) => Outcome::Violation("it stopped without being asked to".to_owned()),
        Err(_) => Outcome::Violation("its last word is not one".to_owned()),
    }
}

fn rejected(status: InvokeStatus) -> Outcome {
    match status {
        InvokeStatus::Unimplemented => Outcome::Violation("it does not know the method".to_owned()),
        // It said so itself when asked to begin.
        InvokeStatus::Accepted => Outcome::Violation("it rejected what it accepted".to_owned()),
        InvokeStatus::Refused => Outcome::Refused(Code::PluginOverloaded),
    }
}
