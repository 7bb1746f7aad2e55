//! The injected faults of a store: the same three points in every implementation.

use agent_host_core::{failpoint, failpoint::Action, ports::store::StoreError};
use agent_plugin_protocol::Code;

/// `store.begin`
pub(crate) async fn begin() -> Result<(), StoreError> {
    act(failpoint!("store.begin")).await
}

/// `store.append`: everything else that writes.
pub(crate) async fn append() -> Result<(), StoreError> {
    act(failpoint!("store.append")).await
}

/// `store.read`
pub(crate) async fn read() -> Result<(), StoreError> {
    act(failpoint!("store.read")).await
}

async fn act(action: Option<Action>) -> Result<(), StoreError> {
    match action {
        None | Some(Action::Off | Action::Panic) => Ok(()),
        Some(Action::Error) => {
            Err(StoreError { code: Code::StoreUnavailable, reason: "injected by a failpoint".to_owned() })
        }
        Some(pause @ (Action::Delay(_) | Action::Hang)) => {
            tokio::time::sleep(pause.pause().unwrap_or_default()).await;
            Ok(())
        }
    }
}
