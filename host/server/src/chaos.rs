//! Puts the faults that an operator may inject where real ones come from: before each port. Only where `chaos.enabled`
//! is set; otherwise nothing of it is built.

use std::sync::Arc;

use agent_host_chaos::{Board, FaultyNetwork, FaultyRuntime, FaultyStore, FaultyTools, services};
use agent_host_core::ports::chaos::Chaos;
use agent_host_engine::Parts;
use agent_host_telemetry::happening::ChaosEnabled;

/// Stands before all of the engine's parts; answers what injects the faults.
pub(crate) fn before(parts: &mut Parts) -> Arc<dyn Chaos> {
    ChaosEnabled { reason: "chaos.enabled is set" }.emit();
    let board = Board::new(Arc::clone(&parts.clock));
    parts.process = Arc::new(FaultyRuntime::new(Arc::clone(&board), Arc::clone(&parts.process)));
    if let Some(runtime) = &mut parts.in_process {
        *runtime = Arc::new(FaultyRuntime::new(Arc::clone(&board), Arc::clone(runtime)));
    }
    parts.store = Arc::new(FaultyStore::new(Arc::clone(&board), Arc::clone(&parts.store)));
    parts.tools = Arc::new(FaultyTools::new(Arc::clone(&board), Arc::clone(&parts.tools)));
    parts.network = Arc::new(FaultyNetwork::new(Arc::clone(&board), Arc::clone(&parts.network)));
    parts.services = services(&board, parts.services.clone());
    board.handle()
}
