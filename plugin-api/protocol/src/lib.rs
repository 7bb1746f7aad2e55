//! What a plugin and its host say to each other, and the words both use: ids, codes, events, outcomes.
//!
//! Serde types only: no I/O, no clock, no runtime. Every payload that crosses the plugin border is the JSON
//! of a type of this crate; [`section`] is the one binary layout.
#![forbid(unsafe_code)]

pub mod call;
pub mod chat;
pub mod code;
pub mod descriptor;
pub mod event;
pub mod id;
pub mod net;
pub mod secret;
pub mod section;

pub use code::Code;
pub use descriptor::{PanicStrategy, PluginDescriptor, PluginKind};
pub use event::EventKind;
pub use id::{CallId, Epoch, Generation, MessageId, PluginId, RunId, Seq, ThreadId, ToolCallId};
pub use secret::Secret;
