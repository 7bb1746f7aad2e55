//! What `#[export_root_module]` of abi_stable would write, by hand, so that a plugin does not need abi_stable.

// `LibHeader::from_constructor` is unsafe; this is its one call.
#![allow(unsafe_code)]

use abi_stable::library::{__call_root_module_loader, CheckTypeLayout, LibHeader, RootModuleResult};

use super::{entry, v1::PluginModuleRef};
use crate::served::Kind;

/// The value of the exported symbol: how a host finds, checks and makes the root module of a plugin.
pub const fn lib_header<K: Kind>() -> LibHeader {
    // SAFETY: the constructor must return a `PluginModuleRef`, erased. `root_module` returns what abi_stable itself
    // erased of the `PluginModuleRef` that `entry::module` made.
    unsafe { LibHeader::from_constructor::<PluginModuleRef>(root_module::<K>, CheckTypeLayout::Yes) }
}

extern "C" fn root_module<K: Kind>() -> RootModuleResult {
    // It catches panics itself.
    __call_root_module_loader(entry::module::<K>)
}
