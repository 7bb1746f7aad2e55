//! Who is asked, and what follows when that one fails: `core::routing`'s decisions, carried out.

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    breaker::CallResult,
    outcome::{Exit, Outcome},
    ports::instance::{Desk, InstanceCommand},
    routing::{
        Choice, FailedTry, FallbackReason, NextMove, RouteRequest, Target, after_failure, choose,
        choose_in_order, level_of_run,
    },
    run_machine::RunInput,
};
use agent_host_telemetry::happening::RunFailed;
use agent_plugin_protocol::{
    CallId, Code, PluginId,
    call::{Completion, HandleParams, RouteChoice, RouteParams, method},
    event::Responder,
};
use tokio::time::Instant;

use super::{Phase, Run, call::Call, desk};
use crate::{
    random,
    routes::{Instance, Routes, Slot},
    view::OpenCall,
};

/// How long a message whose plugin crashed waits for the next generation, which is started at once: a worker is back
/// within 100 ms, and its people within 1 s.
const REVIVE_WITHIN: Duration = Duration::from_millis(500);

/// The next thing to do with a run.
pub(super) enum Move {
    /// Ask the supervisor plugin.
    Ask(Target),
    /// Call that one.
    Call(Target),
    /// Call that one, in the place that was waited for.
    Take(Target, Slot),
    /// Its process ended before it said anything: its next generation, if that is there in time, else the fallback.
    Revive(FallbackReason),
    /// The fallback answers.
    Fallback(FallbackReason),
    /// It ends so.
    Finish(Outcome),
}

/// What a call may have beside what is asked.
#[derive(Default)]
pub(super) struct Beside {
    /// Who answers its requests without the run's task.
    desk: Option<Arc<dyn Desk>>,
    /// Its place, where that was waited for.
    slot: Option<Slot>,
}

/// Why the run is not where it was: for `run_degraded`.
pub(super) struct Left {
    pub(super) from: String,
    pub(super) code: Code,
    pub(super) reason: String,
    pub(super) retryable: bool,
}

impl Run {
    /// Routes the message; also again, while it waits for its agent.
    pub(crate) async fn begin(&mut self) {
        if self.scope().is_self_check() {
            return self.fall_back(&FallbackReason::SelfCheck);
        }
        let routes = self.shared.routes.load_full();
        let choice = choose(&routes.table, self.routing());
        if let Some(next) = self.follow(choice) {
            self.go(next).await;
        }
    }

    pub(super) fn routing(&self) -> RouteRequest<'_> {
        RouteRequest { named: self.queued.agent.as_ref(), tried: &self.tried, thread: &self.key.thread }
    }

    /// Carries out moves until one is under way or the run is over.
    pub(super) async fn go(&mut self, mut next: Move) {
        loop {
            let failed = match next {
                Move::Ask(target) => match self.ask(&target).await {
                    Ok(()) => return,
                    Err(_) => {
                        next = self.past_supervisor(target);
                        continue;
                    }
                },
                Move::Call(target) => match self.invoke(&target, None).await {
                    Ok(()) => return,
                    Err(Code::PluginOverloaded) if self.queue(&target) => return,
                    Err(code) => (target, Outcome::Refused(code)),
                },
                Move::Take(target, slot) => match self.invoke(&target, Some(slot)).await {
                    Ok(()) => return,
                    // Its turn came as the process ended, with the calls in it: it was never there.
                    Err(code) if self.is_gone(&target) => {
                        next = Move::Revive(FallbackReason::AgentFailed {
                            agent: target.plugin,
                            code,
                            retryable: code.retryable(),
                        });
                        continue;
                    }
                    Err(code) => (target, Outcome::Refused(code)),
                },
                Move::Revive(reason) => {
                    let until = Instant::now() + REVIVE_WITHIN;
                    self.reviving = Some((until, reason));
                    self.phase = Phase::Waiting { until };
                    return;
                }
                Move::Fallback(reason) => return self.fall_back(&reason),
                Move::Finish(outcome) => return self.finish(&outcome),
            };
            next = self.after(failed.0, failed.1);
        }
    }

    /// `None`: the run waits.
    fn follow(&mut self, choice: Choice) -> Option<Move> {
        match choice {
            Choice::Agent(target) => Some(Move::Call(target)),
            // It chooses for new messages; this one has waited enough.
            Choice::Supervisor(target) if self.tries > 0 => Some(self.past_supervisor(target)),
            Choice::Supervisor(target) => Some(Move::Ask(target)),
            Choice::Fallback(reason) if self.reviving.is_some() => self.still_reviving(reason),
            Choice::Fallback(FallbackReason::Starting) => {
                let until = self.queued.accepted + self.shared.settings().wait;
                if Instant::now() < until {
                    self.phase = Phase::Waiting { until };
                    return None;
                }
                Some(Move::Fallback(FallbackReason::Starting))
            }
            Choice::Fallback(reason) => Some(Move::Fallback(reason)),
            // It was there when the message was accepted.
            Choice::Unknown => Some(Move::Fallback(match &self.queued.agent {
                Some(agent) => FallbackReason::NamedUnhealthy {
                    agent: agent.clone(),
                    code: Code::AgentUnknown,
                    reason: Code::AgentUnknown.meaning().to_owned(),
                    retry_after: None,
                },
                None => FallbackReason::NoneHealthy,
            })),
        }
    }

    fn still_reviving(&mut self, now: FallbackReason) -> Option<Move> {
        match self.reviving.take() {
            Some((until, why)) if Instant::now() < until => {
                self.reviving = Some((until, why));
                self.phase = Phase::Waiting { until };
                None
            }
            why => Some(Move::Fallback(why.map_or(now, |(_, why)| why))),
        }
    }

    /// A try did not end well: what follows.
    pub(super) fn after(&mut self, target: Target, outcome: Outcome) -> Move {
        if !self.tried.contains(&target) {
            self.tried.push(target.clone());
        }
        let routes = self.shared.routes.load();
        let request = self.routing();
        let failed = FailedTry {
            target: &target,
            outcome: &outcome,
            before_first_event: self.machine.is_before_first_event(),
            earlier_tries: self.tries,
            retries: self.shared.settings().retry,
            earlier_crashes: self.crashes,
        };
        let next = after_failure(&routes.table, request, failed);
        let first = self.tries == 0 && self.machine.is_before_first_event();
        let revives = first
            && self.shared.settings().retry
            && matches!(&outcome, Outcome::Lost(report) if report.exit != Exit::Hung);
        if !matches!(outcome, Outcome::Refused(_)) {
            self.tries += 1;
        }
        if matches!(outcome, Outcome::Lost(_)) {
            self.crashes += 1;
        }
        let Some(code) = outcome.code() else { return Move::Finish(outcome) };
        let to = match &next {
            NextMove::Finish => "failed".to_owned(),
            NextMove::Retry(target) => target.plugin.to_string(),
            NextMove::Fallback(_) => crate::fallback::NAME.to_owned(),
        };
        RunFailed {
            plugin: target.plugin.to_string(),
            generation: target.generation.0,
            run: self.queued.run.to_string(),
            code: code.to_string(),
            reason: reason_of(&outcome),
            next: to,
        }
        .emit();
        self.left = Some(Left {
            from: target.plugin.to_string(),
            code,
            reason: code.meaning().to_owned(),
            retryable: outcome.retryable(),
        });
        match next {
            NextMove::Finish => Move::Finish(outcome),
            NextMove::Retry(target) => Move::Call(target),
            NextMove::Fallback(reason) if revives => Move::Revive(reason),
            NextMove::Fallback(reason) => Move::Fallback(reason),
        }
    }

    /// The supervisor did not choose: the configured order does.
    pub(super) fn past_supervisor(&mut self, supervisor: Target) -> Move {
        if !self.tried.contains(&supervisor) {
            self.tried.push(supervisor);
        }
        let routes = self.shared.routes.load();
        let choice = choose_in_order(&routes.table, self.routing());
        drop(routes);
        match choice {
            Choice::Agent(target) => Move::Call(target),
            Choice::Fallback(reason) => Move::Fallback(reason),
            Choice::Supervisor(_) | Choice::Unknown => Move::Fallback(FallbackReason::NoneHealthy),
        }
    }

    /// What the supervisor's last word means.
    pub(super) fn chosen(&mut self, supervisor: Target, call: CallId, bytes: &[u8]) -> Move {
        let choice = match serde_json::from_slice(bytes) {
            Ok(Completion::Ok { value }) => serde_json::from_value::<RouteChoice>(value).ok(),
            Ok(Completion::Error { .. } | Completion::Panicked { .. } | Completion::Cancelled) | Err(_) => {
                None
            }
        };
        let result = if choice.is_some() { CallResult::Success } else { CallResult::Failure };
        self.shared.call_ended(supervisor.clone(), call, result);
        match choice {
            Some(RouteChoice::To(agent)) => match self.healthy(&agent) {
                Some(target) => Move::Call(target),
                None => self.past_supervisor(supervisor),
            },
            Some(RouteChoice::Handle) => Move::Call(supervisor),
            None => self.past_supervisor(supervisor),
        }
    }

    fn healthy(&self, agent: &PluginId) -> Option<Target> {
        let routes = self.shared.routes.load();
        let target = routes.table.agent(agent)?.target(&self.key.thread);
        routes.instances.contains_key(&target).then_some(target)
    }

    /// Whether that generation ended.
    fn is_gone(&self, target: &Target) -> bool {
        let routes = self.shared.routes.load();
        routes.instances.get(target).is_none_or(|instance| instance.handle.exit.borrow().is_some())
    }

    async fn ask(&mut self, target: &Target) -> Result<(), Code> {
        let routes = self.shared.routes.load_full();
        let params = RouteParams {
            run_id: self.queued.run.clone(),
            thread_id: self.key.thread.clone(),
            message: self.queued.message.clone(),
            roster: routes.roster(),
        };
        let payload = serde_json::to_vec(&params).map_err(|_| Code::HostInternal)?;
        let within = self.shared.settings().route_within;
        let call = self.open(&routes, target, method::ROUTE, payload, within, Beside::default()).await?;
        self.phase = Phase::Choosing { call, until: Instant::now() + within };
        Ok(())
    }

    async fn invoke(&mut self, target: &Target, slot: Option<Slot>) -> Result<(), Code> {
        let routes = self.shared.routes.load_full();
        let instance = routes.instances.get(target).ok_or(Code::PluginStarting)?;
        let coordinates = instance.is_supervisor();
        let params = HandleParams {
            run_id: self.queued.run.clone(),
            thread_id: self.key.thread.clone(),
            message_id: self.machine.head().message_id.clone(),
            message: self.queued.message.clone(),
            retry: self.tries > 0,
            answer: self.queued.answers.clone(),
            roster: if coordinates { routes.roster() } else { Vec::new() },
        };
        let payload = serde_json::to_vec(&params).map_err(|_| Code::HostInternal)?;
        let (within, idle) = (instance.spec.timeouts.run, instance.spec.timeouts.idle);
        let desk = desk::of(&self.shared, instance);
        let call = self.open(&routes, target, method::HANDLE, payload, within, Beside { desk, slot }).await?;
        let responder = instance.responder();
        let doing = if coordinates { "is coordinating the answer" } else { "is on it" };
        self.take_over(responder, format!("{} {doing}", target.plugin));
        let now = Instant::now();
        self.phase = Phase::Calling { call, ends: now + within, idle: now + idle };
        Ok(())
    }

    /// A responder takes the run: it starts it, or takes it over from one that failed.
    pub(super) fn take_over(&mut self, responder: Responder, message: String) {
        match self.left.take() {
            Some(left) => {
                self.push(RunInput::Degraded {
                    from: left.from,
                    to: responder,
                    code: left.code,
                    reason: left.reason,
                    retryable: left.retryable,
                });
            }
            None => {
                let level = level_of_run(responder.built_in, self.level());
                self.push(RunInput::Started { responder, level, message });
            }
        }
    }

    pub(super) async fn open(
        &mut self,
        routes: &Routes,
        target: &Target,
        method: &'static str,
        payload: Vec<u8>,
        deadline: Duration,
        beside: Beside,
    ) -> Result<Call, Code> {
        let instance = routes.instances.get(target).ok_or(Code::PluginStarting)?;
        let id = random::call_id();
        let run = self.queued.run.clone();
        let Beside { desk, slot } = beside;
        let admitted = instance.admit(id, OpenCall { method, run: run.clone() }, slot)?;
        let call = Call::new(id, instance.clone(), admitted);
        let invocation = call.invocation(method, run, payload.into(), deadline, desk, self.outputs.clone());
        call.instance.order(InstanceCommand::Invoke(invocation)).await.map_err(|_| gone(instance))?;
        Ok(call)
    }
}

/// Why an instance takes no orders.
fn gone(instance: &Instance) -> Code {
    instance.handle.exit.borrow().as_ref().map_or(Code::PluginOverloaded, |report| report.exit.code())
}

fn reason_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::PluginError { code, message, .. } => {
            agent_host_core::sanitise::line(&format!("{code}: {message}"), 300)
        }
        Outcome::Panicked { message } | Outcome::Violation(message) => {
            agent_host_core::sanitise::line(message, 300)
        }
        Outcome::Lost(report) => format!("{:?}", report.exit),
        Outcome::TimedOut(clock) => format!("the {clock:?} clock ran out"),
        Outcome::Ok(_)
        | Outcome::Refused(_)
        | Outcome::Cancelled
        | Outcome::Deserted
        | Outcome::Interrupted => String::new(),
    }
}
