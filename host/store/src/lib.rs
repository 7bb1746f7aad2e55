//! Threads, their logs and idempotency keys behind the store port: in a file, or in memory.
#![forbid(unsafe_code)]

#[doc(hidden)]
pub mod conformance;
mod contained;
mod fault;
mod keys;
mod memory;
mod sqlite;

pub use contained::Contained;
pub use memory::MemoryStore;
pub use sqlite::{Archive, OwnedThread, Place, SqliteStore, restore};
