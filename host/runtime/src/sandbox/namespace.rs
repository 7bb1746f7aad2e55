//! The worker's own user and process namespace, under a tiny init, with an outer process that ends as the worker did.
//!
//! ```text
//! host ─▶ outer (the process that the host started) ─▶ init (1 in the namespace) ─▶ worker (2 in it)
//! ```
//! A process 1 ignores the signals that it raises itself, so the worker is not that. Init reaps what the worker leaves,
//! tells the worker's end through a pipe and ends: the kernel then ends whatever is left in the namespace. The outer
//! process is what the host sees: it ends by the same signal or status. Each dies with its parent, whatever happens.
//! On SIGTERM, which only the host sends, the outer process has the whole namespace killed and waits for that.

use std::{
    fs::File,
    io::{self, PipeWriter, Read, Write},
    os::fd::{AsRawFd, OwnedFd, RawFd},
    time::Duration,
};

use agent_host_core::isolation::LayerState;
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{PidfdFlags, Resource, Rlimit, Signal},
};

use super::privileges;

/// Enters the namespace: returns in its worker. Where none is to be had it returns in the process that called it.
///
/// # Errors
/// If it was begun and could not be finished; this process is then neither here nor there.
pub(super) fn enter() -> io::Result<LayerState> {
    let ids = (rustix::process::getuid(), rustix::process::getgid());
    let outer = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    let (told, tell) = io::pipe()?;
    if let Err(error) = unshare() {
        let reason = format!("this system gives no user and process namespaces to this user: {error}");
        return Ok(LayerState::unavailable(reason));
    }
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{0} {0} 1", ids.0.as_raw()))?;
    std::fs::write("/proc/self/gid_map", format!("{0} {0} 1", ids.1.as_raw()))?;
    // Before the fork, so that no end of the child is missed.
    let mask = Mask::block()?;
    let init = fork()?;
    if init != 0 {
        drop(tell);
        mirror(init, File::from(OwnedFd::from(told)))
    }
    drop(told);
    mask.restore();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The outer process may have died before the line above.
    let mut dead = [PollFd::new(&outer, PollFlags::IN)];
    if poll(&mut dead, Some(&Duration::ZERO.try_into().map_err(io::Error::other)?))? > 0 {
        quit(1);
    }
    drop(outer);
    // Away from any terminal.
    let _ = rustix::process::setsid();
    let worker = fork()?;
    if worker != 0 {
        reap(worker, tell)
    }
    Ok(LayerState::enforced())
}

/// Init: reaps what is left to it until the worker ends, then tells how that was and ends, with all that still lives.
fn reap(worker: libc::pid_t, mut tell: PipeWriter) -> ! {
    retire(tell.as_raw_fd());
    loop {
        match wait(-1, 0) {
            Ok((pid, status)) if pid == worker => {
                // Nobody to hear it means that the outer process is dead, and so is this one at once.
                let _ = tell.write_all(&status.to_ne_bytes());
                quit(0);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => quit(1),
        }
    }
}

/// The outer process: waits for init's end, and ends as the worker did.
fn mirror(init: libc::pid_t, mut told: File) -> ! {
    retire(told.as_raw_fd());
    let status = loop {
        match wait(init, libc::WNOHANG) {
            Ok((0, _)) => {}
            Ok((_, status)) => break status,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => quit(1),
        }
        if next_signal() == libc::SIGTERM {
            kill(init);
        }
    };
    let mut told_status = [0; 4];
    // Without a word of it, it was killed, and the worker with it.
    let status = told.read_exact(&mut told_status).map_or(status, |()| i32::from_ne_bytes(told_status));
    end_as(status)
}

/// Ends with this status of a process that was waited for.
fn end_as(status: i32) -> ! {
    if libc::WIFSIGNALED(status) {
        let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
        raise(libc::WTERMSIG(status));
        quit(128 + libc::WTERMSIG(status));
    }
    quit(libc::WEXITSTATUS(status))
}

/// For the two that only wait: keeps one descriptor besides the standard ones, and no privilege.
fn retire(keep: RawFd) {
    let keep = keep.unsigned_abs();
    close(3, keep.saturating_sub(1));
    close(keep.saturating_add(1), u32::MAX);
    let _ = rustix::thread::set_no_new_privs(true);
    privileges::drop_all();
    privileges::hide();
}

/// The signals that the outer process waits for.
#[allow(unsafe_code, reason = "signal sets have no safe wrapper")]
fn signals() -> libc::sigset_t {
    // SAFETY: a set of plain integers, for which zero is a value.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in [libc::SIGCHLD, libc::SIGTERM] {
        // SAFETY: the set is a valid one, the signal exists.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    set
}

/// The signals that were blocked before those of [`signals`] were.
struct Mask(libc::sigset_t);

#[allow(unsafe_code, reason = "signal masks have no safe wrapper")]
impl Mask {
    fn block() -> io::Result<Self> {
        let mut before = signals();
        // SAFETY: both sets are valid and live longer than the call.
        let result = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &signals(), &raw mut before) };
        if result == 0 { Ok(Self(before)) } else { Err(io::Error::from_raw_os_error(result)) }
    }

    fn restore(self) {
        // SAFETY: the set is valid; a null pointer asks for no answer.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut()) };
    }
}

#[allow(unsafe_code, reason = "no safe wrapper")]
fn next_signal() -> i32 {
    // SAFETY: the set is valid; a null pointer asks for no further information.
    unsafe { libc::sigwaitinfo(&signals(), std::ptr::null_mut()) }
}

#[allow(unsafe_code, reason = "no safe wrapper")]
fn unshare() -> io::Result<()> {
    // SAFETY: no memory is involved. This process has one thread, as a new user namespace demands.
    let done = unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[allow(unsafe_code, reason = "no safe wrapper")]
fn fork() -> io::Result<libc::pid_t> {
    // SAFETY: this process has one thread, so the child finds no lock held and may do whatever the parent may.
    let pid = unsafe { libc::fork() };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid) }
}

#[allow(unsafe_code, reason = "rustix has no raw status, which is what is passed on")]
fn wait(pid: libc::pid_t, options: i32) -> io::Result<(libc::pid_t, i32)> {
    let mut status = 0;
    // SAFETY: the status lives longer than the call.
    let pid = unsafe { libc::waitpid(pid, &raw mut status, options) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok((pid, status)) }
}

#[allow(unsafe_code, reason = "no safe wrapper for a raw id")]
fn kill(pid: libc::pid_t) {
    // SAFETY: a child that was not waited for: the id is its own.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Ends this process by a signal, whatever is done about it otherwise.
#[allow(unsafe_code, reason = "no safe wrapper")]
fn raise(signal: i32) {
    // SAFETY: a valid signal gets its default action; no handler is involved.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // SAFETY: a set of plain integers, for which zero is a value.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is valid.
    unsafe { libc::sigaddset(&raw mut set, signal) };
    // SAFETY: the set is valid; a null pointer asks for no answer.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) };
    let own = rustix::process::getpid().as_raw_pid();
    // SAFETY: no memory is involved.
    unsafe { libc::kill(own, signal) };
}

#[allow(unsafe_code, reason = "closes descriptors whose owners are never used again")]
fn close(first: u32, last: u32) {
    if first > last {
        return;
    }
    // SAFETY: called by processes that never return to the code that owns these descriptors.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) };
}

#[allow(unsafe_code, reason = "no safe wrapper")]
fn quit(status: i32) -> ! {
    // SAFETY: takes any status, does not return, runs no handlers.
    unsafe { libc::_exit(status) }
}
