//! The border itself: one file per ABI version. Nothing here is for authors.
//!
//! abi_stable gives the root module and the layout check, and only that; outside this module and the host's
//! loader nothing knows of it, so that it can be replaced without touching a plugin's source.

pub(crate) mod altstack;
pub(crate) mod entry;
pub(crate) mod header;
pub(crate) mod link;
pub mod v1;
