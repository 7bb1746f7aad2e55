//! Threads, their logs and idempotency keys behind the store port.
#![forbid(unsafe_code)]

#[doc(hidden)]
pub mod conformance;
mod fault;
mod memory;

pub use memory::MemoryStore;
