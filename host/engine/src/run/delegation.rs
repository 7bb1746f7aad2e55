//! Work that one plugin hands to another within a run: who may, who gets it, and what comes back of it.
//!
//! ```text
//! request ─▶ Working ──▶ came back: the answer, or a failure as a value
//!               │  its own clock                ▲
//!               ▼                               │
//!            Stopping ── after its grace ───────┘
//! ```
//! Work lives no longer than the call that waits for it: when that ends, in whatever way, its work is given up. A
//! person's answer to a question cannot reach delegated work, so that an agent which asks one has failed, with
//! `input_required`.

use agent_host_core::{
    breaker::CallResult,
    outcome::{Clock, Exit, Outcome},
    ports::instance::InstanceCommand,
    routing::{Choice, RouteRequest, Target, choose},
    run_machine::{RunInput, failure_of},
};
use agent_host_telemetry::happening::RunFailed;
use agent_plugin_protocol::{
    CallId, Code, MessageId, PluginId, RunId,
    call::{Answer, DelegateParams, DelegateResult, HandleParams, IncomingMessage, method},
};
use tokio::time::Instant;

use super::{
    Phase, Run, Stop,
    call::{Call, force},
    requests::{of_code, ok_of, refused},
    routing::Beside,
};
use crate::routes::Routes;

/// Work of one run that may be under way at once; a plugin that hands on more is told to wait.
pub(crate) const AT_ONCE: usize = 8;
/// How often work may be handed on: to an agent, by that to another, and by that to a third.
const DEPTH: usize = 3;
/// Processes that may end over one run before nobody is given work of it any more.
const CRASHES: u32 = 2;

/// One piece of delegated work.
pub(super) struct Work {
    pub(super) call: Call,
    sub_run: RunId,
    /// The call that waits for it, and which of its requests this is.
    by: CallId,
    request: u64,
    /// Everybody from the run's responder down to who has it.
    chain: Vec<PluginId>,
    state: State,
}

enum State {
    Working {
        ends: Instant,
        idle: Instant,
    },
    /// It was asked to stop.
    Stopping {
        until: Instant,
        clock: Clock,
    },
}

/// Who gets the work.
struct Assigned {
    to: Target,
    chain: Vec<PluginId>,
    /// The tools that both it and who asks were granted.
    tools: Vec<String>,
    /// When who asks must be done.
    ends: Instant,
}

/// Why nobody does it.
enum Refusal {
    /// It may not, or cannot, be asked for.
    Denied(Answer),
    /// The agent is not to be had: a failure like any other.
    Failed(Code),
}

impl Work {
    /// When its next clock runs out.
    pub(super) fn deadline(&self) -> Instant {
        match self.state {
            State::Working { ends, idle } => self.call.clock(ends, idle).0,
            State::Stopping { until, .. } => until,
        }
    }
}

impl Run {
    pub(super) async fn delegate(&mut self, by: CallId, request: u64, params: DelegateParams) {
        let routes = self.shared.routes.load_full();
        let sub_run = RunId::random();
        let within = self.within(by);
        let assigned = match self.assign(&routes, by, &params.agent) {
            Ok(assigned) => assigned,
            Err(Refusal::Denied(answer)) => return self.respond(by, request, &answer).await,
            Err(Refusal::Failed(code)) => {
                self.push(RunInput::Delegated { within, agent: params.agent, sub_run: sub_run.clone() });
                return self.came_back(by, request, sub_run, failed(code)).await;
            }
        };
        // The person sees whom it was given to: a substitute, perhaps.
        let agent = assigned.to.plugin.clone();
        self.push(RunInput::Delegated { within, agent, sub_run: sub_run.clone() });
        match self.begin_work(&routes, by, params.input, &sub_run, assigned).await {
            Ok(work) => {
                if let Some(call) = self.open_call(by) {
                    call.requests += 1;
                }
                self.work.push(Work { request, ..work });
            }
            Err(code) => self.came_back(by, request, sub_run, failed(code)).await,
        }
    }

    fn assign(&self, routes: &Routes, by: CallId, agent: &PluginId) -> Result<Assigned, Refusal> {
        let denied = |why| Refusal::Denied(refused(Code::DelegateDenied.as_str(), why, false));
        let (call, chain, ends) = match (&self.phase, self.work.iter().find(|work| work.call.id == by)) {
            (_, Some(Work { call, chain, state: State::Working { ends, .. }, .. })) => {
                (call, chain.clone(), *ends)
            }
            (Phase::Calling { call, ends, .. }, None) => (call, vec![call.target().plugin], *ends),
            (
                Phase::Waiting { .. }
                | Phase::Queued { .. }
                | Phase::Choosing { .. }
                | Phase::Stopping { .. }
                | Phase::Over,
                _,
            )
            | (Phase::Calling { .. }, Some(_)) => return Err(denied("its call is over")),
        };
        if !call.instance.is_supervisor() {
            return Err(denied("only a supervisor may hand work on"));
        }
        if chain.len() > DEPTH {
            return Err(denied("the work was handed on three times already"));
        }
        if self.work.len() >= AT_ONCE {
            let answer = refused(Code::PluginOverloaded.as_str(), "too much work handed on at once", true);
            return Err(Refusal::Denied(answer));
        }
        let to = whom(routes, agent)?;
        if chain.contains(&to.plugin) {
            return Err(denied("the work would go in a circle"));
        }
        if self.crashes >= CRASHES {
            return Err(Refusal::Failed(Code::AgentFailed));
        }
        let instance = routes.instances.get(&to).ok_or(Refusal::Failed(Code::PluginStarting))?;
        let lends = |tool: &&String| instance.spec.tools.contains(tool);
        let tools = call.granted().iter().filter(lends).cloned().collect();
        let chain = chain.into_iter().chain([to.plugin.clone()]).collect();
        Ok(Assigned { to, chain, tools, ends })
    }

    async fn begin_work(
        &mut self,
        routes: &Routes,
        by: CallId,
        input: String,
        sub_run: &RunId,
        Assigned { to, chain, tools, ends }: Assigned,
    ) -> Result<Work, Code> {
        let instance = routes.instances.get(&to).ok_or(Code::PluginStarting)?;
        let params = HandleParams {
            run_id: self.queued.run.clone(),
            thread_id: self.key.thread.clone(),
            message_id: sub_run.to_string(),
            message: IncomingMessage {
                id: MessageId::random(),
                content: input,
                metadata: self.queued.message.metadata.clone(),
            },
            retry: false,
            answer: None,
            roster: if instance.is_supervisor() { routes.roster() } else { Vec::new() },
        };
        let payload = serde_json::to_vec(&params).map_err(|_| Code::HostInternal)?;
        let now = Instant::now();
        let timeouts = instance.spec.timeouts;
        let ends = ends.min(now + timeouts.run);
        let mut call = self.open(routes, &to, method::HANDLE, payload, ends - now, Beside::default()).await?;
        call.lent = Some(tools);
        let state = State::Working { ends, idle: now + timeouts.idle };
        Ok(Work { call, sub_run: sub_run.clone(), by, request: 0, chain, state })
    }

    /// The last word of delegated work, or the end of who had it.
    pub(super) async fn work_over(&mut self, call: CallId, outcome: Outcome) {
        let Some(at) = self.work.iter().position(|work| work.call.id == call) else { return };
        let work = self.work.remove(at);
        let outcome = match (&work.state, outcome) {
            // Whatever it says at the end of its grace, it was too late; that its process ended is worse.
            (State::Stopping { .. }, lost @ Outcome::Lost(_)) => lost,
            (State::Stopping { clock, .. }, _) => Outcome::TimedOut(*clock),
            (State::Working { .. }, outcome) => outcome,
        };
        self.end_work(work, outcome).await;
    }

    async fn end_work(&mut self, work: Work, outcome: Outcome) {
        self.give_up_work_of(work.call.id).await;
        let target = work.call.target();
        self.shared.call_ended(target.clone(), work.call.id, CallResult::of(&outcome));
        if matches!(&outcome, Outcome::Lost(report) if report.exit != Exit::Stopped) {
            self.crashes += 1;
        }
        let result = match &outcome {
            Outcome::Ok(reply) => match &reply.ask {
                Some(question) => DelegateResult::Failed {
                    code: INPUT_REQUIRED.to_owned(),
                    message: format!("it asks the person: {}", question.prompt),
                },
                None => {
                    DelegateResult::Ok { text: self.machine.answer_to(&work.sub_run, reply.text.as_deref()) }
                }
            },
            unanswered => self.unanswered(&work, &target, unanswered),
        };
        let (by, request, sub_run) = (work.by, work.request, work.sub_run.clone());
        drop(work);
        self.served(by);
        self.came_back(by, request, sub_run, result).await;
    }

    fn unanswered(&self, work: &Work, target: &Target, outcome: &Outcome) -> DelegateResult {
        let Some(error) = failure_of(outcome) else { return failed(Code::Interrupted) };
        let from = work.chain.iter().rev().nth(1);
        RunFailed {
            plugin: target.plugin.to_string(),
            generation: target.generation.0,
            run: self.queued.run.to_string(),
            code: error.code.clone(),
            reason: error.message.clone(),
            next: from.map(PluginId::to_string).unwrap_or_default(),
        }
        .emit();
        DelegateResult::Failed { code: error.code, message: error.message }
    }

    async fn came_back(&mut self, by: CallId, request: u64, sub_run: RunId, result: DelegateResult) {
        let answer = ok_of(&result);
        self.push(RunInput::Returned { sub_run, result });
        self.respond(by, request, &answer).await;
    }

    /// Looks whether a clock of delegated work ran out, and acts.
    pub(super) async fn check_work(&mut self) {
        let now = Instant::now();
        while let Some(at) = self.work.iter().position(|work| work.deadline() <= now) {
            let mut work = self.work.remove(at);
            match work.state {
                State::Working { ends, idle } => {
                    let (_, clock) = work.call.clock(ends, idle);
                    let until = now + work.call.instance.spec.timeouts.grace;
                    work.call.order(InstanceCommand::Cancel { call: work.call.id }).await;
                    let call = work.call.id;
                    work.state = State::Stopping { until, clock };
                    self.work.insert(at, work);
                    self.give_up_work_of(call).await;
                }
                State::Stopping { clock, .. } => {
                    force(&work.call, Stop::TimedOut(clock)).await;
                    self.end_work(work, Outcome::TimedOut(clock)).await;
                }
            }
        }
    }

    /// Nobody waits for any of it.
    pub(super) async fn give_up_work(&mut self) {
        for work in std::mem::take(&mut self.work) {
            work.call.give_up().await;
        }
    }

    /// Nobody waits for what that call handed on, nor for what was handed on from there.
    async fn give_up_work_of(&mut self, call: CallId) {
        let mut over = vec![call];
        // Who hands on stands before those who got it from them.
        for work in std::mem::take(&mut self.work) {
            if over.contains(&work.by) {
                over.push(work.call.id);
                work.call.give_up().await;
            } else {
                self.work.push(work);
            }
        }
    }

    /// The delegated work that a call does; `None`: it is the run's own.
    pub(super) fn within(&self, call: CallId) -> Option<RunId> {
        self.work.iter().find(|work| work.call.id == call).map(|work| work.sub_run.clone())
    }

    /// A call that is not over, in whatever state.
    pub(super) fn open_call(&mut self, id: CallId) -> Option<&mut Call> {
        match self.work.iter().position(|work| work.call.id == id) {
            Some(at) => self.work.get_mut(at).map(|work| &mut work.call),
            None => self.call_mut().filter(|call| call.id == id),
        }
    }

    /// A call that answers somebody and was not asked to stop: it may speak, and ask for things.
    pub(super) fn asking(&mut self, id: CallId) -> Option<&mut Call> {
        self.answering(id).map(|(call, _)| call)
    }

    /// A call gave a sign of life; false if it has nothing to say now.
    pub(super) fn heard(&mut self, id: CallId) -> bool {
        let Some((call, idle)) = self.answering(id) else { return false };
        *idle = Instant::now() + call.instance.spec.timeouts.idle;
        true
    }

    fn answering(&mut self, id: CallId) -> Option<(&mut Call, &mut Instant)> {
        if let Some(work) = self.work.iter_mut().find(|work| work.call.id == id) {
            return match &mut work.state {
                State::Working { idle, .. } => Some((&mut work.call, idle)),
                State::Stopping { .. } => None,
            };
        }
        match &mut self.phase {
            Phase::Calling { call, idle, .. } if call.id == id => Some((call, idle)),
            Phase::Calling { .. }
            | Phase::Waiting { .. }
            | Phase::Queued { .. }
            | Phase::Choosing { .. }
            | Phase::Stopping { .. }
            | Phase::Over => None,
        }
    }
}

/// The status that a run has which ends by a question, as a code.
const INPUT_REQUIRED: &str = "input_required";

/// The healthy plugin that gets work for a name: that agent or its substitute, or another supervisor.
fn whom(routes: &Routes, agent: &PluginId) -> Result<Target, Refusal> {
    match choose(&routes.table, RouteRequest { named: Some(agent), tried: &[] }) {
        Choice::Agent(target) => Ok(target),
        Choice::Fallback(reason) => Err(Refusal::Failed(reason.code())),
        Choice::Supervisor(_) | Choice::Unknown => {
            let healthy = routes.instances.keys().find(|target| target.plugin == *agent).cloned();
            healthy.ok_or_else(|| Refusal::Denied(of_code(Code::AgentUnknown)))
        }
    }
}

fn failed(code: Code) -> DelegateResult {
    DelegateResult::Failed { code: code.to_string(), message: code.meaning().to_owned() }
}
