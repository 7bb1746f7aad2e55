//! The tasks that own the host's state: the supervisor of plugins, the threads with their runs, the sessions.
//!
//! * [`Engine`] is the handle that the doors (the gateway) hold; [`Session`] is one client connection.
//! * the *supervisor task* owns the registry of plugins and publishes the route table and the [`view::Status`];
//! * a *thread task* owns one conversation while it is in use: its run queue, its running run;
//! * who follows a thread is known beside its task (`followers`), which ends when it is not used;
//! * a *run* lives in its thread's task: it asks a plugin, keeps the clocks, and ends well whatever the plugin does;
//! * the fallback is a function, linked in: it cannot fail to load, and nothing in it waits.
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::unreachable,
    clippy::todo
)]

mod change;
mod control;
mod details;
mod directory;
mod drain;
mod engine;
mod fallback;
mod files;
mod followers;
mod outbox;
mod random;
mod recovery;
mod routes;
mod run;
#[cfg(feature = "schema")]
pub mod schema;
pub mod session;
pub mod settings;
mod shared;
mod supervisor;
mod task;
mod thread;
pub mod view;

pub use change::{ChangeError, Refusal};
pub use control::{ControlError, PluginOrder};
pub use engine::Engine;
pub use files::ChangedFile;
pub use session::{Incoming, Outgoing, Session};
pub use settings::{Parts, Settings};

#[cfg(test)]
mod tests;
