//! Services that are not there though they are.

use std::sync::Arc;

use agent_host_core::{
    chaos::Kind,
    service::{ServiceName, ServiceState, ServiceTable},
};
use agent_plugin_protocol::Code;
use tokio::sync::watch;

use crate::board::{Board, InForce};

/// The table as it is reported, without the services that a fault takes away; now and at each change.
///
/// To be called inside of a runtime; it goes on until what is reported ends or nobody looks any more.
pub fn services(
    board: &Board,
    mut reported: watch::Receiver<Arc<ServiceTable>>,
) -> watch::Receiver<Arc<ServiceTable>> {
    let mut faults = board.watch();
    // Watchers see the newest table only; a change that nobody saw is no loss.
    let (published, seen) = watch::channel(Arc::clone(&reported.borrow_and_update()));
    tokio::spawn(async move {
        loop {
            let changed = tokio::select! {
                changed = faults.changed() => changed.is_ok(),
                changed = reported.changed() => changed.is_ok(),
                () = published.closed() => false,
            };
            if !changed {
                return;
            }
            let table = without(&reported.borrow_and_update(), &faults.borrow_and_update());
            published.send_if_modified(|shown| {
                let other = **shown != table;
                if other {
                    *shown = Arc::new(table);
                }
                other
            });
        }
    });
    seen
}

fn without(reported: &ServiceTable, faults: &InForce) -> ServiceTable {
    let fault_of = |name: ServiceName| {
        let mut down = faults.iter().filter(|active| active.fault.kind == Kind::ServiceDown);
        down.find(|active| active.fault.service == Some(name))
    };
    ServiceTable::new(reported.iter().map(|(name, state)| match fault_of(name) {
        Some(fault) => {
            // One that is not there anyway is not taken away.
            if *state == ServiceState::Available {
                fault.has_hit();
            }
            (name, absent(name))
        }
        None => (name, state.clone()),
    }))
}

fn absent(name: ServiceName) -> ServiceState {
    let code = match name {
        ServiceName::Llm => Code::LlmUnavailable,
        ServiceName::Threads | ServiceName::Tools | ServiceName::Delegate | ServiceName::Events => {
            Code::ServiceUnavailable
        }
    };
    ServiceState::Unavailable { code, reason: "an injected fault (service-down)".to_owned() }
}
