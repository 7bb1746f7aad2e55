//! The host's side of one worker: its process, its socket and its words, as one thing that speaks frames.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    outcome::{Exit, ExitReport, signal_name},
    ports::instance::Strike,
};
use bytes::{Buf, BytesMut};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::UnixStream,
    time::{Instant, timeout},
};

use crate::{
    crash::{
        area::{CrashArea, Told},
        backtrace::Scene,
        desk::Evidence,
    },
    frames::{FrameError, FromWorker, ToWorker},
    sandbox::Group,
    spawn::{Ended, STUBBORN, Spawned, WorkerProcess},
    speaker::Speaker,
    words::Words,
};

/// Bytes that may wait for a worker that does not read; beyond it the worker has hung.
const BACKLOG: usize = 32 * 1024 * 1024;
/// Read at a time.
const CHUNK: usize = 64 * 1024;
/// Room below which another chunk is made.
const LEAST: usize = 4 * 1024;
/// Bytes of a dead worker that are still read: its socket's buffers hold less.
const LAST_BYTES: usize = 4 * 1024 * 1024;
/// From a closed socket to the end of its process: the kernel closes it while it ends it.
const CLOSING: Duration = Duration::from_secs(2);

/// A worker, as its host holds it.
#[derive(Debug)]
pub(crate) struct Link {
    socket: UnixStream,
    inbox: BytesMut,
    outbox: BytesMut,
    pidfd: AsyncFd<OwnedFd>,
    process: WorkerProcess,
    words: Words,
    born: Instant,
    /// Where it tells of a crash; `None` where no memory for it could be had.
    area: Option<CrashArea>,
    scene: Scene,
    /// Its control group, where it has one. After the process in this list: it is removed when that is gone.
    group: Option<Group>,
}

/// Why a worker is of no more use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Gone {
    /// It ended by itself.
    Ended,
    /// It has to be ended, for this reason.
    Kill(Exit),
}

impl Link {
    /// Takes hold of a worker that was just started.
    pub(crate) fn new(spawned: Spawned, scene: Scene, speaker: Speaker) -> io::Result<Self> {
        let Spawned { process, socket, words } = spawned;
        socket.set_nonblocking(true)?;
        Ok(Self {
            pidfd: watch(process.pidfd()?)?,
            process,
            socket: UnixStream::from_std(socket)?,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            words: Words::follow(words, speaker)?,
            born: Instant::now(),
            area: CrashArea::new().ok(),
            scene,
            group: None,
        })
    }

    /// It was put into a control group.
    pub(crate) fn enclosed(&mut self, group: Option<Group>) {
        self.group = group;
    }

    /// The worker has no namespace of its own.
    pub(crate) fn is_bare(&mut self) {
        self.process.is_bare();
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Has the worker suffer an injected fault.
    ///
    /// # Errors
    /// If it is not there any more.
    pub(crate) fn strike(&self, strike: Strike) -> io::Result<()> {
        self.process.strike(strike)
    }

    /// Appends a frame to what is to be written.
    pub(crate) fn queue(&mut self, frame: &ToWorker) {
        frame.encode(&mut self.outbox);
    }

    /// Writes what can be written at once. `Err` where the worker does not read any more.
    pub(crate) fn flush(&mut self) -> Result<(), Gone> {
        while !self.outbox.is_empty() {
            match self.socket.try_write(&self.outbox) {
                Ok(written) => self.outbox.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Its end shows on the reading side too, with more to tell.
                Err(_) => self.outbox.clear(),
            }
        }
        if self.outbox.len() > BACKLOG { Err(Gone::Kill(Exit::Hung)) } else { Ok(()) }
    }

    /// The next frame that was already read.
    pub(crate) fn next(&mut self) -> Result<Option<FromWorker>, Gone> {
        FromWorker::decode(&mut self.inbox).map_err(|error| Gone::Kill(protocol(&error)))
    }

    /// Waits until there may be frames to take with [`next`](Self::next), or the worker is gone; meanwhile writes.
    ///
    /// Cancel safe: nothing that was read is lost.
    pub(crate) async fn exchange(&mut self) -> Result<(), Gone> {
        loop {
            let interest = if self.outbox.is_empty() {
                Interest::READABLE
            } else {
                Interest::READABLE | Interest::WRITABLE
            };
            tokio::select! {
                biased;
                ready = self.socket.ready(interest) => {
                    let ready = ready.map_err(|_| Gone::Ended)?;
                    if ready.is_writable() {
                        self.flush()?;
                    }
                    if ready.is_readable() && self.read()? {
                        return Ok(());
                    }
                }
                _ = self.pidfd.readable() => return Err(self.last_bytes()),
            }
        }
    }

    /// Reads what is there; `false` if that was nothing.
    fn read(&mut self) -> Result<bool, Gone> {
        // A buffer is filled to its end before the next is made: what was cut from it may still be held by others.
        if self.inbox.capacity() - self.inbox.len() < LEAST {
            self.inbox.reserve(CHUNK);
        }
        match self.socket.try_read_buf(&mut self.inbox) {
            Ok(0) => Err(Gone::Ended),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(_) => Err(Gone::Ended),
        }
    }

    /// Reads what a worker that has ended had still written.
    fn last_bytes(&mut self) -> Gone {
        let most = self.inbox.len() + LAST_BYTES;
        while self.inbox.len() < most && matches!(self.read(), Ok(true)) {}
        Gone::Ended
    }

    /// Sends the first frame together with the descriptors of the library and of the crash area.
    pub(crate) fn greet(&mut self, hello: &ToWorker) -> io::Result<()> {
        self.queue(hello);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let area = self.area.as_ref().and_then(|area| area.for_worker().ok());
        let descriptors = std::iter::once(self.scene.library.as_fd()).chain(area.as_ref().map(AsFd::as_fd));
        let descriptors: Vec<BorrowedFd<'_>> = descriptors.collect();
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        // A few bytes carry the descriptors; the socket is new and has room for them.
        let first = self.outbox.len().min(64);
        let piece = [IoSlice::new(self.outbox.get(..first).unwrap_or_default())];
        let sent = sendmsg(self.socket.as_fd(), &piece, &mut control, SendFlags::NOSIGNAL)?;
        self.outbox.advance(sent);
        Ok(())
    }

    /// Waits for the process's end, which follows by itself or is brought about, buries it and reports. Where it told of a
    /// crash, with what that has left: it goes to the desk.
    pub(crate) async fn end(self, gone: Gone) -> (ExitReport, Option<Evidence>) {
        let Self { socket, pidfd, mut process, words, born, area, scene, group, .. } = self;
        let mut given = match gone {
            Gone::Ended => None,
            Gone::Kill(exit) => {
                process.kill();
                Some(exit)
            }
        };
        if given.is_none() && timeout(CLOSING, pidfd.readable()).await.is_err() {
            given = Some(Exit::Protocol("it closed its socket and lived on".to_owned()));
            process.kill();
        }
        let ended = loop {
            // Killed or ended: the wait is short. Readiness may be stale, so it is asked until the kernel agrees.
            let Ok(ready) = timeout(STUBBORN, pidfd.readable()).await else {
                process.kill_now();
                continue;
            };
            if let Ok(mut ready) = ready {
                match process.reap() {
                    Ok(ended) => break ended,
                    Err(alive) => process = alive,
                }
                ready.clear_ready();
            }
        };
        // For a broken twin: a host that a plugin's crash takes along, as if it ran inside.
        if matches!(ended, Ended::Signal(_)) && failpoint!("runtime.isolation") == Some(Action::Off) {
            std::process::abort();
        }
        drop(socket);
        let stderr_tail = words.last().await;
        let told = match (&given, ended, area) {
            (None, Ended::Signal(signal), Some(area)) => area.told(signal),
            _ => None,
        };
        // The kernel ends it by SIGKILL, as anybody could; its group knows.
        let starved = ended == Ended::Signal(rustix::process::Signal::KILL.as_raw())
            && group.as_ref().is_some_and(Group::ran_out_of_memory);
        let given = given.or_else(|| starved.then_some(Exit::Memory));
        let exit = given.unwrap_or_else(|| exit_of(ended, &stderr_tail));
        let (crash, evidence) =
            told.map(|Told { report, remains }| (report, Evidence { remains, scene })).unzip();
        (ExitReport { exit, uptime: born.elapsed(), stderr_tail, crash }, evidence)
    }
}

/// Lets the runtime watch a pidfd, which becomes readable when its process ends.
#[allow(unsafe_code, reason = "registers a descriptor that its own value keeps open")]
fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the value that is handed over, so it stays open until it is dropped there.
    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }.map_err(Into::into)
}

/// The exit that a broken frame is.
fn protocol(error: &FrameError) -> Exit {
    Exit::Protocol(error.to_string())
}

/// SIGABRT, the same number on every Linux.
const ABORT: i32 = 6;

/// How a process that nobody killed came to its end. Rust's allocation failure prints a line and aborts.
fn exit_of(ended: Ended, tail: &[String]) -> Exit {
    let out_of_memory = || tail.iter().any(|line| line.contains("memory allocation of"));
    match ended {
        Ended::Signal(ABORT) if out_of_memory() => Exit::Memory,
        Ended::Signal(signal) => Exit::Signal(signal),
        Ended::Status(status) => Exit::Status(status),
    }
}

/// One line on an end, for the reason of a fault.
pub fn describe(report: &ExitReport) -> String {
    let how = match &report.exit {
        Exit::Signal(number) => match &report.crash {
            Some(crash) => format!("killed by signal {number}: {crash}"),
            None => format!("killed by signal {number} ({})", signal_name(*number)),
        },
        Exit::Status(status) => format!("it exited with status {status}"),
        Exit::Hung => "it gave no sign of life".to_owned(),
        Exit::Stopped => "it was stopped".to_owned(),
        Exit::Memory => "it reached its memory limit".to_owned(),
        Exit::Flood => "it sent more than it was allowed to".to_owned(),
        Exit::Protocol(what) => format!("it broke the protocol: {what}"),
    };
    match report.stderr_tail.as_slice() {
        [] => how,
        lines => {
            let last = lines.iter().rev().take(3).rev().map(String::as_str).collect::<Vec<_>>();
            format!("{how}; it printed: {}", last.join(" · "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abort_for_want_of_memory_is_told_from_another() {
        let tail = ["memory allocation of 8589934592 bytes failed".to_owned()];
        assert_eq!(exit_of(Ended::Signal(6), &tail), Exit::Memory);
        assert_eq!(exit_of(Ended::Signal(6), &[]), Exit::Signal(6));
        assert_eq!(exit_of(Ended::Signal(11), &tail), Exit::Signal(11));
        assert_eq!(exit_of(Ended::Status(0), &[]), Exit::Status(0));
    }
}
