//! Which services are there: one owner, one snapshot that everybody else watches.

use std::{
    panic::catch_unwind,
    sync::{Arc, Mutex, PoisonError},
};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    service::{ServiceName, ServiceState, ServiceTable},
};
use agent_plugin_protocol::Code;
use tokio::sync::watch;

/// Publishes the state of every service.
///
/// What the services report is kept apart from what is published, so that an injected fault, once it is taken
/// back, leaves the reported state behind it.
#[derive(Debug)]
pub struct ServiceBoard {
    reported: Mutex<ServiceTable>,
    /// Watchers see the newest table only; a change that nobody saw is no loss.
    published: watch::Sender<Arc<ServiceTable>>,
}

impl ServiceBoard {
    /// A board with what is known at start.
    pub fn new(reported: ServiceTable) -> Self {
        let published = watch::Sender::new(Arc::new(with_faults(&reported)));
        Self { reported: Mutex::new(reported), published }
    }

    /// The table, now and at each change.
    pub fn watch(&self) -> watch::Receiver<Arc<ServiceTable>> {
        self.published.subscribe()
    }

    /// The table now.
    pub fn table(&self) -> Arc<ServiceTable> {
        self.published.borrow().clone()
    }

    /// A service's state changed.
    pub fn report(&self, name: ServiceName, state: ServiceState) {
        // A panic inside leaves a whole table: the new one is made before it is put in place.
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let table = reported.iter().map(|(name, state)| (name, state.clone())).chain([(name, state)]);
        *reported = ServiceTable::new(table.collect::<Vec<_>>());
        self.publish(&reported);
    }

    /// Looks at the injected faults again. To be called on an interval; cheap, and silent if nothing changed.
    pub fn recheck(&self) {
        self.publish(&self.reported.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn publish(&self, reported: &ServiceTable) {
        let table = with_faults(reported);
        self.published.send_if_modified(|published| {
            let changed = **published != table;
            if changed {
                *published = Arc::new(table);
            }
            changed
        });
    }
}

/// A service that is reported as there may be made absent by a test.
fn with_faults(reported: &ServiceTable) -> ServiceTable {
    ServiceTable::new(reported.iter().map(|(name, state)| {
        // A check that panics has not found its service there.
        let found = catch_unwind(|| injected(name)).unwrap_or(Some(Action::Error));
        match found {
            Some(Action::Error) => (name, injected_absence(name)),
            Some(Action::Panic | Action::Delay(_) | Action::Hang | Action::Off) | None => {
                (name, state.clone())
            }
        }
    }))
}

fn injected_absence(name: ServiceName) -> ServiceState {
    let code = match name {
        ServiceName::Llm => Code::LlmUnavailable,
        ServiceName::Threads | ServiceName::Tools | ServiceName::Delegate | ServiceName::Events => {
            Code::ServiceUnavailable
        }
    };
    ServiceState::Unavailable { code, reason: "injected by a failpoint".to_owned() }
}

fn injected(name: ServiceName) -> Option<Action> {
    match name {
        ServiceName::Llm => failpoint!("services.llm"),
        ServiceName::Threads => failpoint!("services.threads"),
        ServiceName::Tools => failpoint!("services.tools"),
        ServiceName::Delegate => failpoint!("services.delegate"),
        ServiceName::Events => failpoint!("services.events"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> ServiceState {
        ServiceState::Unavailable { code: Code::LlmUnavailable, reason: "refused".into() }
    }

    #[test]
    fn watchers_see_a_change_once_and_no_change_never() {
        let board = ServiceBoard::new(ServiceTable::new([(ServiceName::Llm, ServiceState::Available)]));
        let mut watch = board.watch();
        watch.mark_unchanged();
        board.recheck();
        assert!(!watch.has_changed().unwrap());
        board.report(ServiceName::Llm, down());
        assert!(watch.has_changed().unwrap());
        assert_eq!(*watch.borrow_and_update().state(ServiceName::Llm), down());
        board.report(ServiceName::Llm, down());
        assert!(!watch.has_changed().unwrap());
    }

    #[test]
    fn a_service_that_heals_is_there_again_and_the_others_never_went() {
        let all = ServiceName::ALL.map(|name| (name, ServiceState::Available));
        let board = ServiceBoard::new(ServiceTable::new(all));
        board.report(ServiceName::Llm, down());
        assert_eq!(board.table().available(), ["threads", "tools", "delegate", "events"]);
        board.report(ServiceName::Llm, ServiceState::Available);
        assert_eq!(board.table().available().len(), ServiceName::ALL.len());
    }
}
