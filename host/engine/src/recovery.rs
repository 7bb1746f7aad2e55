//! Finds the runs that were cut off and has their threads complete each, once.
//!
//! Asked at the start and whenever the store is back; whoever goes on with its run ignores it (see `thread::recover`).

use std::sync::Arc;

use agent_host_core::ports::store::Unfinished;

use crate::{
    directory::ThreadKey,
    shared::Shared,
    task,
    thread::{self, Command},
};

/// Looks for cut-off runs, in a task of its own: neither the plugins nor the sessions wait for it.
pub(crate) fn begin(shared: &Arc<Shared>) {
    let own = Arc::clone(shared);
    task::spawn(&shared.tasks, "recovery", async move {
        let unfinished = own.parts.store.unfinished().await;
        own.store_result("unfinished", &unfinished);
        for cut_off in unfinished.unwrap_or_default() {
            if own.directory.thread_of(&cut_off.scope, &cut_off.run).is_none() {
                complete(&own, cut_off).await;
            }
        }
    });
}

/// Has one run completed, in a task of its own: its thread may be the one that asks.
pub(crate) fn recover(shared: &Arc<Shared>, cut_off: Unfinished) {
    let own = Arc::clone(shared);
    task::spawn(&shared.tasks, "recovery", async move { complete(&own, cut_off).await });
}

async fn complete(shared: &Arc<Shared>, cut_off: Unfinished) {
    let key = ThreadKey { scope: cut_off.scope.clone(), thread: cut_off.thread.clone() };
    thread::send(shared, key, Command::Recover(cut_off)).await;
}
