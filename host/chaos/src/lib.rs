//! Faults that an operator has the host suffer on purpose, to see that it holds: `[chaos]`, `agent-host chaos`.
//!
//! * [`Board`] owns what is injected: it begins, ends and expires faults, and answers what stands in the way.
//! * What stands in the way are decorators of the ports, which put the faults where real ones come from: [`FaultyStore`],
//!   [`FaultyRuntime`], [`FaultyTools`], [`FaultyNetwork`], and [`services`] for the board of services.
//!
//! Only a host with `chaos.enabled` has them; without it they are not built, and cost nothing. Nothing is kept: with the
//! host's end every fault has ended.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unreachable,
    clippy::todo
)]

mod board;
mod network;
mod relay;
mod runtime;
mod services;
mod store;
mod targets;
mod tools;

pub use board::Board;
pub use network::FaultyNetwork;
pub use runtime::FaultyRuntime;
pub use services::services;
pub use store::FaultyStore;
pub use tools::FaultyTools;

#[cfg(test)]
mod tests;
