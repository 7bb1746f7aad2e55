//! Asks running generations whether they still answer: when, and how.

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    lifecycle::PluginState,
    ports::instance::{CALL_OUTPUTS, CallOutput, InstanceCommand, Invocation},
};
use agent_plugin_protocol::{
    Generation,
    call::{Completion, method},
};
use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::{sync::mpsc, time::sleep};

use super::{Event, Supervisor};
use crate::{random, routes::Instance};

/// A probe does no work: a plugin that needs longer has no thread left for people either.
const WITHIN: Duration = Duration::from_secs(5);

/// Who wants a self-test.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    ByInterval,
    ByOperator,
}

impl Supervisor {
    pub(super) fn schedule_probe(&mut self, slot: usize, generation: Generation) {
        let Some(state) = self.registry.serving_state(slot, generation) else { return };
        // A degraded plugin is asked sooner: it gets no runs until it answers.
        let every = match state {
            PluginState::Degraded => self.shared.settings().probe_every.min(Duration::from_secs(2)),
            _ => self.shared.settings().probe_every,
        };
        self.pending.push(
            async move {
                sleep(every).await;
                Event::ProbeDue { slot, generation }
            }
            .boxed(),
        );
    }

    pub(super) fn probe(&mut self, slot: usize, generation: Generation) {
        if let Some(instance) = self.registry.instance(slot, generation) {
            self.ask(slot, generation, instance, Asked::ByInterval);
        }
    }

    pub(super) fn ask(&mut self, slot: usize, generation: Generation, instance: Arc<Instance>, asked: Asked) {
        self.pending.push(
            async move {
                let result = round_trip(&instance).await;
                Event::ProbeFinished { slot, generation, result, asked }
            }
            .boxed(),
        );
    }
}

/// One self-test round trip.
///
/// # Errors
/// Why it was not answered, for people.
async fn round_trip(instance: &Instance) -> Result<(), String> {
    let call = random::call_id();
    let (outputs, answers) = mpsc::channel(CALL_OUTPUTS);
    let invocation = Invocation {
        call,
        method: method::PROBE,
        run: None,
        payload: Bytes::from_static(b"{}"),
        deadline: WITHIN,
        desk: None,
        outputs,
    };
    instance.order(InstanceCommand::Invoke(invocation)).await.map_err(|_| "it takes no orders".to_owned())?;
    match tokio::time::timeout(WITHIN, last_word(answers)).await {
        Ok(result) => result,
        Err(_) => {
            // Its exit or the next probe tells the rest.
            let _ = instance.order(InstanceCommand::Abandon { call }).await;
            Err(format!("no answer to the self-test within {} s", WITHIN.as_secs()))
        }
    }
}

async fn last_word(
    mut answers: mpsc::Receiver<(agent_plugin_protocol::CallId, CallOutput)>,
) -> Result<(), String> {
    while let Some((_, output)) = answers.recv().await {
        match output {
            CallOutput::Emitted { .. } | CallOutput::Request { .. } | CallOutput::Served(..) => {}
            CallOutput::Completed(bytes) => return judge(&bytes),
            CallOutput::Rejected(status) => return Err(format!("it refused the self-test ({status:?})")),
            CallOutput::Lost(_) => return Err("it ended during the self-test".to_owned()),
        }
    }
    Err("it dropped the self-test".to_owned())
}

fn judge(bytes: &[u8]) -> Result<(), String> {
    match serde_json::from_slice(bytes) {
        Ok(Completion::Ok { .. }) => Ok(()),
        Ok(Completion::Error { message, .. }) => Err(message),
        Ok(Completion::Panicked { message }) => Err(format!("the self-test panicked: {message}")),
        Ok(Completion::Cancelled) => Err("the self-test was cancelled".to_owned()),
        Err(_) => Err("its answer to the self-test is not one".to_owned()),
    }
}
