//! The injected faults of a store: the same three points in every implementation.

use agent_host_core::{failpoint, failpoint::Action, ports::store::StoreError};
use agent_plugin_protocol::Code;

/// `store.begin`
pub(crate) async fn begin() -> Result<(), StoreError> {
    act(failpoint!("store.begin")).await
}

/// `store.begin=off`, for a broken twin: a store that says "durable" of what it never kept.
pub(crate) fn forgets() -> bool {
    failpoint!("store.begin") == Some(Action::Off)
}

/// `store.scope=off`, for a broken twin: a store that does not ask whose thread it is.
pub(crate) fn is_open_to_all() -> bool {
    failpoint!("store.scope") == Some(Action::Off)
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
