//! What is remembered of a slot: its last changes of state, and how its last generation died.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use agent_host_core::{
    lifecycle::{PluginState, Verdict},
    outcome::ExitReport,
    ports::instance::Fault,
};
use agent_plugin_protocol::Generation;

use crate::{
    routes::Instance,
    view::{Crash, StateChange},
};

/// Changes of state that are kept.
const CHANGES: usize = 20;
/// Open calls of a crash that are kept.
const CALLS: usize = 32;

#[derive(Default)]
pub(super) struct Record {
    changes: VecDeque<StateChange>,
    pub(super) last_crash: Option<Crash>,
}

impl Record {
    pub(super) fn moved(
        &mut self,
        generation: Generation,
        from: PluginState,
        to: PluginState,
        fault: Option<&Fault>,
        at: SystemTime,
    ) {
        // A fault explains why it does not serve, and nothing else.
        let fault = fault.filter(|_| to.verdict() == Verdict::Failed && !to.is_starting());
        if self.changes.len() == CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(StateChange {
            at,
            generation,
            from: from.as_str(),
            to: to.as_str(),
            code: fault.map(|fault| fault.code),
            reason: fault.map(|fault| fault.reason.clone()),
        });
    }

    pub(super) fn crashed(
        &mut self,
        generation: Generation,
        instance: Option<&Instance>,
        report: Option<Arc<ExitReport>>,
        at: SystemTime,
    ) {
        // Without a report there is nothing to show beyond the fault.
        let Some(report) = report else { return };
        let calls = instance.map(|instance| instance.lost_calls(CALLS)).unwrap_or_default();
        self.last_crash = Some(Crash { at, generation, uptime: report.uptime, calls, report });
    }

    pub(super) fn changes(&self) -> Vec<StateChange> {
        self.changes.iter().cloned().collect()
    }
}
