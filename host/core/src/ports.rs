//! What the engine needs from outside: instances of plugins, the log, tools, the time; and what the doors need: keys.
//!
//! An instance is met through channels, so that a worker process, a library in this process and the linked
//! fallback look the same. The other ports are traits with boxed futures.

pub mod chaos;
pub mod clock;
pub mod instance;
pub mod keys;
pub mod library;
pub mod network;
pub mod progress;
pub mod store;
pub mod tools;

use std::{future::Future, pin::Pin};

/// The future of a port's method.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
