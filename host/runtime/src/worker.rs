//! The worker's side: the host's own program, called with a socket as its standard input and nothing else.
//!
//! In this order: inherited descriptors are closed, the first frame is read, the sandbox is applied, the library is
//! loaded, the instance created, and then the main thread carries the host's orders to it. It ends when the socket
//! does. Panics of the plugin are caught inside its own library; whatever else goes wrong in this process may take
//! it down: that is what it is for.

mod crash;
mod outbox;
mod voice;

use std::{
    fs::File,
    io::{self, IoSliceMut, Write as _},
    mem::MaybeUninit,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use agent_host_core::isolation::LayerState;
use bytes::BytesMut;
use rustix::{
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketType, recv, recvmsg, sockopt},
    process::Signal,
};

pub(crate) use self::crash::executing;
use self::{outbox::Outbox, voice::Voice};
use crate::{
    crash::Phase,
    frames::{FromWorker, PROTOCOL, ToWorker},
    hello::{HostHello, WorkerHello},
    host_api,
    module::{Instance, Module},
};

/// Read at a time.
const CHUNK: usize = 16 * 1024;
/// EX_USAGE and EX_PROTOCOL of sysexits.h.
const USAGE: u8 = 64;
const PROTOCOL_ERROR: u8 = 76;

/// Runs a worker; to be the first thing that the program does when it is called as one.
///
/// Returns only where nothing could be begun. Not for people: it wants the host's socket as its standard input.
pub fn main() -> ExitCode {
    let descriptors = close_inherited();
    let Ok(socket) = take_socket() else {
        eprintln!("this command is for the host itself: it starts its workers with it");
        return ExitCode::from(USAGE);
    };
    match serve(socket, descriptors) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("worker: {error}");
            ExitCode::from(PROTOCOL_ERROR)
        }
    }
}

/// Ends this process and whatever it forked, at once.
pub(crate) fn end() -> ! {
    if rustix::process::getpgrp() == rustix::process::getpid() {
        // Includes this process; if it could not be done, what follows ends it.
        let _ = rustix::process::kill_current_process_group(Signal::KILL);
    }
    std::process::abort()
}

/// Ends this process because its socket failed: by a status and with a word where the plugin closed it. That is no crash,
/// and the host is there to be told. Else the host is gone, and there is nobody to work for.
fn cut_off(error: Errno) -> ! {
    if ![Errno::BADF, Errno::NOTSOCK].contains(&error) {
        end()
    }
    let said = format!("worker: the plugin closed descriptors that are not its own ({error})\n");
    // It may have closed this one too.
    let _ = io::stderr().write_all(said.as_bytes());
    exit_quietly(PROTOCOL_ERROR)
}

fn serve(socket: OwnedFd, descriptors: LayerState) -> io::Result<()> {
    let mut inbox = Inbox { socket, bytes: BytesMut::new(), chunk: vec![0; CHUNK].into() };
    let (hello, Enclosed { library, area }) = inbox.hello()?;
    if !(hello.protocol[0]..=hello.protocol[1]).contains(&PROTOCOL) {
        return Err(io::Error::other("the host speaks another protocol"));
    }
    bound_arenas();
    // Before any thread: it forks, and what it gives up is given up by threads that are made later.
    let mut sandbox = hello.sandbox.enter(descriptors)?;
    // The thread and the buffers are made before the bounds that might forbid them.
    let outbox = Outbox::start(inbox.socket.try_clone()?)?;
    hello.sandbox.bound(&mut sandbox);
    let weaker = hello.sandbox.lacks(&sandbox).is_some();
    crash::enter(Phase::Load);
    if let Some(area) = area {
        crash::report_through(area);
        crash::list_modules(0);
    }
    let first = WorkerHello { protocol: PROTOCOL, pid: std::process::id(), sandbox };
    let first = serde_json::to_vec(&first)?;
    outbox.push_now(|out| FromWorker::Hello(first.into()).encode(out));
    if weaker {
        // The host sees the same, says so, and ends this process: nothing foreign has run.
        return inbox.wait_for_the_end();
    }

    // A worker loads one library: no other was known under this path.
    let path = PathBuf::from(format!("/proc/self/fd/{}", library.as_raw_fd()));
    let module = match Module::open(&path) {
        Ok(module) => module,
        Err(failed) => {
            let failed = serde_json::to_vec(&failed)?;
            outbox.push_now(|out| FromWorker::LoadFailed(failed.into()).encode(out));
            return inbox.wait_for_the_end();
        }
    };
    drop(library);
    crash::list_modules(1);
    crash::enter(Phase::Create);
    outbox.push_now(|out| FromWorker::Loaded.encode(out));

    let voice = Arc::new(Voice::new(Arc::clone(&outbox)));
    let host = host_api::register(Arc::clone(&voice) as Arc<_>);
    let params = serde_json::to_vec(&hello.create)?;
    match module.create(host_api::table(), host, params) {
        Ok(instance) => {
            let created = instance.created().to_vec();
            crash::list_modules(2);
            crash::enter(Phase::Serve);
            outbox.push_now(|out| FromWorker::Created(created.into()).encode(out));
            carry(&mut inbox, instance, &voice, &outbox)
        }
        Err(error) => {
            outbox.push_now(|out| FromWorker::CreateFailed(error.into()).encode(out));
            inbox.wait_for_the_end()
        }
    }
}

/// Carries orders to the instance until it is destroyed or the host is gone.
fn carry(inbox: &mut Inbox, instance: Instance, voice: &Voice, outbox: &Outbox) -> io::Result<()> {
    loop {
        match inbox.next()? {
            ToWorker::Invoke { call, deadline_ms, method, payload } => {
                voice.opened(call);
                let status = instance.invoke(call, method, payload.into(), deadline_ms);
                if status != 0 {
                    voice.rejected(call, status);
                }
            }
            ToWorker::Respond { call, request, answer } => instance.respond(call, request, answer.into()),
            ToWorker::Credit { call, events } => {
                voice.credited(call, events);
                instance.credit(call, events);
            }
            ToWorker::Cancel { call } => instance.cancel(call),
            ToWorker::Drain => instance.drain(),
            ToWorker::Destroy => {
                crash::enter(Phase::Destroy);
                instance.destroy();
                outbox.push_now(|out| FromWorker::Destroyed.encode(out));
                exit_quietly(0);
            }
            ToWorker::Hello(_) => return Err(io::Error::other("a second first frame")),
        }
    }
}

/// The descriptors that come with the first frame.
struct Enclosed {
    library: OwnedFd,
    /// Where crashes are told.
    area: Option<OwnedFd>,
}

/// Frames from the host.
struct Inbox {
    socket: OwnedFd,
    bytes: BytesMut,
    /// Where the kernel writes: cleared once, not for every read.
    chunk: Box<[u8]>,
}

impl Inbox {
    /// The first frame, with what comes with it.
    fn hello(&mut self) -> io::Result<(HostHello, Enclosed)> {
        let mut enclosed = Vec::new();
        loop {
            if let Some(frame) = ToWorker::decode(&mut self.bytes).map_err(io::Error::other)? {
                let ToWorker::Hello(body) = frame else { return Err(io::Error::other("not a first frame")) };
                let mut enclosed = enclosed.into_iter();
                let library = enclosed
                    .next()
                    .ok_or_else(|| io::Error::other("no library came with the first frame"))?;
                let enclosed = Enclosed { library, area: enclosed.next() };
                return Ok((serde_json::from_slice(&body)?, enclosed));
            }
            let mut chunk = [0; 16 * 1024];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut pieces = [IoSliceMut::new(&mut chunk)];
            let got = recvmsg(&self.socket, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC)?;
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    enclosed.extend(descriptors);
                }
            }
            if got.bytes == 0 {
                end();
            }
            self.bytes.extend_from_slice(chunk.get(..got.bytes).unwrap_or_default());
        }
    }

    /// The next order. Does not return if the host is gone.
    fn next(&mut self) -> io::Result<ToWorker> {
        loop {
            if let Some(frame) = ToWorker::decode(&mut self.bytes).map_err(io::Error::other)? {
                return Ok(frame);
            }
            match recv(&self.socket, &mut *self.chunk, RecvFlags::empty()) {
                Ok((0, _)) => end(),
                Ok((got, _)) => self.bytes.extend_from_slice(self.chunk.get(..got).unwrap_or_default()),
                Err(Errno::INTR) => {}
                Err(error) => cut_off(error),
            }
        }
    }

    /// After a failure: the host reads why, and ends this process.
    fn wait_for_the_end(&mut self) -> io::Result<()> {
        loop {
            self.next()?;
        }
    }
}

/// The socket, moved away from descriptor 0: a plugin that reads its standard input finds it empty, and what it
/// starts does not inherit the socket.
fn take_socket() -> io::Result<OwnedFd> {
    let stdin = rustix::stdio::stdin();
    if sockopt::socket_type(stdin)? != SocketType::STREAM {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let socket = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket)
}

/// Closes every descriptor above the standard ones, before this program opened any.
#[allow(unsafe_code, reason = "closes descriptors that nothing owns")]
fn close_inherited() -> LayerState {
    // SAFETY: this is the first thing that a worker's main does: no descriptor above 2 is owned by anything in this
    // process, so none is closed under its owner.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    LayerState::of(if closed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) })
}

/// Keeps glibc from reserving 64 MiB of address space for each thread, which the limit on it would count.
#[allow(unsafe_code, reason = "one call into libc that has no safe wrapper")]
fn bound_arenas() {
    // SAFETY: a setting of the allocator; called while the process has one thread.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
}

/// Ends without running the exit handlers of the library: its threads may still run.
#[allow(unsafe_code, reason = "one call into libc that has no safe wrapper")]
fn exit_quietly(status: u8) -> ! {
    // SAFETY: takes any status, does not return, runs no handlers.
    unsafe { libc::_exit(status.into()) }
}
