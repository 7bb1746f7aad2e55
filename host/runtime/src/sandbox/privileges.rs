//! What a worker is: a user of its own, without privileges, and closed to others of that user.

use agent_host_core::isolation::LayerState;
use rustix::{
    io::Errno,
    process::{DumpableBehavior, Gid, Uid},
    thread::{CapabilitySet, CapabilitySets},
};

/// Becomes the user that the host has for it, with a group of the same number and no others.
pub(super) fn own_user(user: Option<u32>) -> LayerState {
    if !rustix::process::geteuid().is_root() {
        return LayerState::off("the host is not root, so its plugins share its user");
    }
    let Some(user) = user else {
        return LayerState::unavailable(
            "the host runs as root and `[isolation] uid_range` is not set: so does the plugin",
        );
    };
    LayerState::of(become_user(Uid::from_raw(user), Gid::from_raw(user)))
}

fn become_user(user: Uid, group: Gid) -> Result<(), Errno> {
    // The calls for one thread are those for the process: it has one.
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    // The kernel closes a process's own /proc to it when its user changes; the namespace is set up through it.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
}

/// Gives up every capability, and with them every way to come by one.
pub(super) fn drop_all() -> LayerState {
    // Without the right to do so a bounding set stays: no privilege comes of it where programs give none.
    for capability in CapabilitySet::all().iter() {
        let _ = rustix::thread::remove_capability_from_bounding_set(capability);
    }
    let _ = rustix::thread::clear_ambient_capability_set();
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    LayerState::of(rustix::thread::set_capabilities(None, none))
}

/// Keeps other processes of the same user from tracing this one, and from its memory and descriptors.
pub(super) fn hide() -> LayerState {
    LayerState::of(rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable))
}
