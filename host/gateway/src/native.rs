//! The native protocol, `agent-host.v1`: one JSON object for each text frame.
//!
//! `frames` decodes what clients say, `schema` describes both, `encode` writes what they are told, `socket` is the
//! transport, `connection` the loop between it and the engine, `liveness` and `expiry` its two clocks; `burst`
//! is what the next write holds, `pace` tells when it may wait for more, and `speech` in which protocol the loop speaks: the older wire has this one too.

mod burst;
mod close;
mod connection;
#[cfg(feature = "failpoints")]
mod echo;
mod encode;
mod expiry;
mod frames;
mod liveness;
mod pace;
mod schema;
mod socket;
mod speech;
mod task;

#[cfg(feature = "failpoints")]
pub(crate) use echo::echo;
pub(crate) use encode::{event, welcome};
pub(crate) use schema::{Frame, Frames};
pub(crate) use speech::Speech;
pub(crate) use task::{DeliveredNetra, Shared, Upgraded, serve};
