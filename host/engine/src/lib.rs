//! The tasks that own the host's state: the supervisor of plugins, the threads with their runs, the sessions.
//!
//! * [`Engine`] is the handle that the doors (the gateway) hold; [`Session`] is one client connection.
//! * the *supervisor task* owns the registry of plugins and publishes the route table and the [`view::Status`];
//! * a *thread task* owns one conversation while it is in use: its run queue, its running run, its subscribers;
//! * the fallback is an instance like any other, linked in.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unreachable,
    clippy::todo
)]

mod engine;
pub mod session;
pub mod settings;
pub mod view;

pub use engine::Engine;
pub use session::{Incoming, Outgoing, Session};
pub use settings::{Parts, Settings};
