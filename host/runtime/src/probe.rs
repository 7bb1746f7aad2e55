//! The self-test of an instance: one round trip through the plugin's own runtime. The same for every tier.

use std::time::Duration;

use agent_host_core::{
    ports::instance::{
        CALL_OUTPUTS, CallOutput, Fault, InstanceCommand, InstanceHandle, Invocation, KillReason, Stage,
    },
    sanitise,
};
use agent_plugin_protocol::{
    CallId, Code,
    call::{Completion, method},
};
use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};

use crate::link::describe;

/// Stage `probe`: one round trip through the plugin's own runtime; an instance that fails it is ended. If the start is
/// given up here, the last sender of orders goes with the handle, and the instance ends.
pub(crate) async fn prove(handle: &InstanceHandle, within: Duration) -> Result<(), Fault> {
    let reason = match timeout(within, round_trip(handle, within)).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(reason)) => reason,
        Err(_) => format!("no answer within {within:?}"),
    };
    // An instance that is gone already takes no order.
    let _ = handle.commands.send(InstanceCommand::Kill(KillReason::Stopped)).await;
    let _ = handle.exit.clone().wait_for(Option::is_some).await;
    Err(Fault::new(Stage::Probe, Code::PluginProbeFailed, reason))
}

async fn round_trip(handle: &InstanceHandle, deadline: Duration) -> Result<(), String> {
    let (outputs, mut inbox) = mpsc::channel(CALL_OUTPUTS);
    let call = CallId(getrandom::u64().map_err(|error| format!("no randomness: {error}"))?);
    let payload = Bytes::from_static(b"{}");
    let invocation =
        Invocation { call, method: method::PROBE, run: None, payload, deadline, desk: None, outputs };
    let gone = || "the instance is gone".to_owned();
    handle.commands.send(InstanceCommand::Invoke(invocation)).await.map_err(|_| gone())?;
    loop {
        match inbox.recv().await.ok_or_else(gone)?.1 {
            // A self-test has no listener for events, and no services.
            CallOutput::Emitted { .. } | CallOutput::Request { .. } | CallOutput::Served(..) => {}
            CallOutput::Rejected(status) => return Err(format!("the self-test was not taken: {status:?}")),
            CallOutput::Lost(report) => return Err(format!("it died: {}", describe(&report))),
            CallOutput::Completed(body) => {
                return match serde_json::from_slice::<Completion>(&body).ok() {
                    Some(Completion::Ok { .. }) => Ok(()),
                    Some(Completion::Error { message, .. }) => Err(sanitise::line(&message, 600)),
                    Some(Completion::Panicked { message }) => {
                        Err(format!("panicked: {}", sanitise::line(&message, 600)))
                    }
                    Some(Completion::Cancelled) => Err("the self-test was cancelled".to_owned()),
                    None => Err("the answer to the self-test is unreadable".to_owned()),
                };
            }
        }
    }
}
