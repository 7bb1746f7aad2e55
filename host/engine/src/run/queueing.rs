//! Waiting for a place in an agent that is full, where nobody else would answer but the fallback.

use agent_host_core::{
    outcome::Outcome,
    routing::{FailedTry, NextMove, RouteRequest, Target, after_failure},
};
use agent_plugin_protocol::Code;
use tokio::time::Instant;

use super::{Phase, Run, routing::Move};
use crate::routes::Slot;

impl Run {
    /// Waits there, if it may: the agent is full, no other takes the message, and neither the queue nor the time that a
    /// message may wait is used up. Otherwise what follows a refusal follows.
    pub(super) fn queue(&mut self, target: &Target) -> bool {
        let routes = self.shared.routes.load();
        // One that takes no orders refuses in the same words.
        let full = routes.instances.get(target).filter(|instance| instance.is_full());
        let Some(instance) = full else { return false };
        let mut tried = self.tried.clone();
        tried.push(target.clone());
        let outcome = Outcome::Refused(Code::PluginOverloaded);
        let failed = FailedTry {
            target,
            outcome: &outcome,
            before_first_event: self.machine.is_before_first_event(),
            earlier_tries: self.tries,
            retries: self.shared.settings().retry,
            earlier_crashes: self.crashes,
        };
        let request = RouteRequest { named: self.queued.agent.as_ref(), tried: &tried };
        if matches!(after_failure(&routes.table, request, failed), NextMove::Retry(_)) {
            return false;
        }
        let until = *self.queues_until.get_or_insert_with(|| Instant::now() + instance.spec.timeouts.queue);
        if Instant::now() >= until {
            return false;
        }
        let Some(place) = instance.wait(&self.key.scope) else { return false };
        self.phase = Phase::Queued { target: target.clone(), place, until };
        true
    }

    /// Its turn has come, or the agent takes nobody any more: then it is routed anew, and waits no longer than it would
    /// have here.
    pub(super) async fn had_its_turn(&mut self, slot: Option<Slot>) {
        match (std::mem::replace(&mut self.phase, Phase::Over), slot) {
            (Phase::Queued { target, .. }, Some(slot)) => self.go(Move::Take(target, slot)).await,
            (Phase::Queued { until, .. }, None) => {
                self.phase = Phase::Waiting { until };
                self.begin().await;
            }
            (phase, _) => self.phase = phase,
        }
    }
}
