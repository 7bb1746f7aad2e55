//! Placeholder until its slice lands.
pub mod abi;
pub use agent_plugin_protocol as protocol;
