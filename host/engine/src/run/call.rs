//! One open call into an instance, and what comes back of it.

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    outcome::{Clock, Outcome},
    ports::instance::{CallOutput, InstanceCommand, Invocation, KillReason},
    routing::Target,
    run_machine::RunInput,
    service::ServiceName,
};
use agent_plugin_protocol::{
    CallId, Code, EventKind,
    call::{CREDIT_WINDOW, Completion, InvokeStatus, Reply},
};
use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};

use super::{Phase, Run, Stop, routing::Move};
use crate::{
    random,
    routes::{Admitted, Instance},
};

/// An open call.
pub(super) struct Call {
    pub(super) id: CallId,
    pub(super) instance: Arc<Instance>,
    /// Events consumed and not yet given back as credit.
    consumed: u32,
    _admitted: Admitted,
}

impl Call {
    pub(super) fn new(instance: Arc<Instance>, admitted: Admitted) -> Self {
        Self { id: random::call_id(), instance, consumed: 0, _admitted: admitted }
    }

    pub(super) fn invocation(
        &self,
        method: &'static str,
        payload: Bytes,
        deadline: Duration,
        outputs: mpsc::Sender<(CallId, CallOutput)>,
    ) -> Invocation {
        Invocation { call: self.id, method, payload, deadline, outputs }
    }

    pub(super) fn target(&self) -> Target {
        self.instance.target()
    }

    /// Sends an order; an instance that takes none is ending, and its `Lost` follows.
    pub(super) async fn order(&self, order: InstanceCommand) {
        let _ = self.instance.order(order).await;
    }

    /// Asks it to stop and forgets it.
    pub(super) async fn give_up(&self) {
        self.order(InstanceCommand::Cancel { call: self.id }).await;
        self.order(InstanceCommand::Abandon { call: self.id }).await;
    }
}

/// The plugin gets its credit back in pieces of this size. What is kept back leaves it three quarters of its window.
const CREDIT_STEP: u32 = CREDIT_WINDOW / 4;

impl Run {
    pub(super) async fn output(&mut self, call: CallId, output: CallOutput) {
        if self.call().is_none_or(|open| open.id != call) {
            // Of a call that is over: nobody waits for its answer.
            self.dropped("late");
            return;
        }
        match output {
            CallOutput::Emitted { kind, payload } => self.emitted(kind, payload).await,
            CallOutput::Request { request, method, payload } => {
                self.request(request, &method, &payload).await
            }
            CallOutput::Completed(bytes) => self.last_word(LastWord::Completed(bytes)).await,
            CallOutput::Rejected(status) => self.last_word(LastWord::Ended(rejected(status))).await,
            CallOutput::Lost(report) => {
                self.last_word(LastWord::Ended(Outcome::Lost((*report).clone()))).await;
            }
        }
    }

    async fn emitted(&mut self, kind: u32, payload: Bytes) {
        if let Some(call) = self.call_mut() {
            call.consumed += 1;
        }
        match &mut self.phase {
            Phase::Calling { call, idle, .. } => {
                *idle = Instant::now() + call.instance.spec.timeouts.idle;
                self.push(RunInput::Emitted { kind, payload });
                if !self.shared.parts.services.borrow().is_available(ServiceName::Events) {
                    // The answer is complete all the same: the machine has joined it.
                    self.events.retain(|event| !is_commentary(event.kind));
                    self.dropped("events_unavailable");
                }
            }
            // Somebody who chooses says nothing to the person; who was asked to stop has stopped.
            Phase::Choosing { .. } | Phase::Stopping { .. } | Phase::Waiting { .. } | Phase::Over => {
                self.dropped("out_of_turn");
            }
        }
        // Within one long batch: the events are bounded by the batch, so that this may go ahead of the append.
        self.give_credit().await;
    }

    /// Lets the plugin emit as many events as were consumed, once they are worth an order.
    pub(crate) async fn give_credit(&mut self) {
        let Some(call) = self.call_mut().filter(|call| call.consumed >= CREDIT_STEP) else { return };
        let events = std::mem::take(&mut call.consumed);
        call.order(InstanceCommand::Credit { call: call.id, events }).await;
    }

    async fn last_word(&mut self, word: LastWord) {
        let next = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Choosing { call, .. } => match word {
                LastWord::Completed(bytes) => self.chosen(call.target(), &bytes),
                LastWord::Ended(outcome) => {
                    if matches!(outcome, Outcome::Lost(_)) {
                        self.crashes += 1;
                    }
                    self.past_supervisor(call.target())
                }
            },
            Phase::Calling { call, .. } => self.judged(&call, word),
            Phase::Stopping { call, why, .. } => self.stopped(&call, why),
            phase @ (Phase::Waiting { .. } | Phase::Over) => {
                self.phase = phase;
                return;
            }
        };
        self.jobs.clear();
        self.go(next).await;
    }

    fn judged(&mut self, call: &Call, word: LastWord) -> Move {
        let outcome = match word {
            LastWord::Completed(bytes) => judge(&bytes),
            LastWord::Ended(outcome) => outcome,
        };
        match outcome {
            Outcome::Ok(reply) => {
                self.shared.call_ended(call.target(), agent_host_core::breaker::CallResult::Success);
                self.responder = Some(call.target());
                Move::Finish(Outcome::Ok(reply))
            }
            failed => {
                self.responder = Some(call.target());
                self.after(call.target(), failed)
            }
        }
    }

    fn stopped(&mut self, call: &Call, why: Stop) -> Move {
        self.responder = Some(call.target());
        match why {
            Stop::Cancelled => Move::Finish(Outcome::Cancelled),
            Stop::TimedOut(clock) => self.after(call.target(), Outcome::TimedOut(clock)),
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
            Phase::Choosing { call, .. } => {
                call.give_up().await;
                self.shared.call_ended(call.target(), agent_host_core::breaker::CallResult::Failure);
                let next = self.past_supervisor(call.target());
                self.jobs.clear();
                self.go(next).await;
            }
            Phase::Calling { call, ends, .. } => {
                let clock = if Instant::now() >= ends { Clock::Run } else { Clock::Idle };
                self.stop(call, Stop::TimedOut(clock)).await;
            }
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
        call.order(InstanceCommand::Cancel { call: call.id }).await;
        let until = Instant::now() + call.instance.spec.timeouts.grace;
        self.phase = Phase::Stopping { call, until, why };
    }
}

/// It did not stop, so its generation is ended: at once for a hang. For a person's own cancel only when no other run is
/// in it, or one person could end the runs of others; the next one that finds itself alone with it ends it.
async fn force(call: &Call, why: Stop) {
    call.order(InstanceCommand::Abandon { call: call.id }).await;
    match why {
        Stop::TimedOut(_) => call.order(InstanceCommand::Kill(KillReason::Hung)).await,
        Stop::Cancelled => call.instance.deaf(),
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
