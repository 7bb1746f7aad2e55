//! The doors of the host: the WebSocket, its authentication, and the health pages.
//!
//! * [`Gateway`] owns the two listeners and every connection; [`Settings`] is all it is told.
//! * `upgrade` answers `GET /ws` in ordered steps, none of which can end in a 500 (law 1); `refusal` is why.
//! * `asyncapi` publishes the protocol as it is written in the types.
//! * `native` speaks `agent-host.v1`: one task for each connection, between its socket and its [`host::Conversation`].
//! * `netra` speaks the wire of the platform that this host replaces, through the same task and loop.
//! * [`auth`] turns a token into a principal; nothing else of the host sees a token.
//! * [`admin`] is the operators' API: what it shows, whom it obeys, what it notes.
//! * [`outside`] is a connection as its client reads it, for those who look at a host.
//! * [`revoked`] keeps which good tokens are refused all the same.
//! * `self_check` connects to this host as a client does, so that a host that fails its users does not call itself well.
//! * [`host`] is the narrow seam to the engine.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unreachable,
    clippy::todo
)]

mod accept;
pub mod admin;
mod asyncapi;
pub mod auth;
mod client_address;
mod descriptors;
mod document;
mod guesses;
mod health;
pub mod host;
mod jitter;
mod limits;
mod native;
mod netra;
mod open;
pub mod outside;
mod problem;
mod refusal;
mod rest;
pub mod revoked;
mod rotation;
mod routes;
mod self_check;
mod server;
pub mod settings;
pub mod surface;
mod tickets;
mod upgrade;

pub use server::{Gateway, MetricsPage};
pub use settings::Settings;

#[cfg(test)]
mod tests;
