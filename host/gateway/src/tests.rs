//! The doors over real sockets, against a scripted host.

mod admin;
mod engine;
#[cfg(feature = "failpoints")]
mod failpoints;
mod health;
mod shutdown;
mod sockets;
pub(crate) mod support;
mod upgrades;
