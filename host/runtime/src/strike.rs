//! Injected faults of a worker's process: a signal to the process that runs the plugin, and to no other.
//!
//! The process that the host started is not that one where there is a namespace: it waits outside of it, its child is
//! the namespace's init, and init's first child is the worker.

use std::{fs, io};

use agent_host_core::ports::instance::Strike;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Sends the signal of a strike. `bare`: the process that was started runs the plugin itself.
///
/// # Errors
/// If the worker is not there any more, or not yet.
pub(crate) fn strike(started: Pid, bare: bool, strike: Strike) -> io::Result<()> {
    let signal = match strike {
        Strike::Kill => Signal::KILL,
        Strike::Crash => Signal::SEGV,
        Strike::Stop => Signal::STOP,
        Strike::Continue => Signal::CONT,
    };
    if bare {
        // Not reaped while this is asked: the id is its own.
        return Ok(pidfd_send_signal(pidfd_open(started, PidfdFlags::empty())?, signal)?);
    }
    let init = child_of(started)?;
    let worker = child_of(init)?;
    let process = pidfd_open(worker, PidfdFlags::empty())?;
    // An id that was given to another process in between is not init's child.
    if child_of(init)? != worker {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(pidfd_send_signal(process, signal)?)
}

/// The oldest child of a process.
fn child_of(parent: Pid) -> io::Result<Pid> {
    let id = parent.as_raw_pid();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
    let first = children.split_ascii_whitespace().next().and_then(|word| word.parse().ok());
    first.and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::NotFound.into())
}
