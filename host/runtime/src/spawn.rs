//! Starts worker processes, and sees to it that each is killed with its group and reaped, whatever happens.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use agent_host_core::{failpoint, failpoint::Action, ports::instance::Strike};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal,
        waitid,
    },
};
use tokio::sync::oneshot;

/// How long a process that was told to end may take before it is ended: it needs a millisecond.
pub(crate) const STUBBORN: Duration = Duration::from_secs(2);

/// How a worker is started: the host's own program, called so that it becomes a worker.
#[derive(Debug, Clone)]
pub struct WorkerCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments: those that lead to [`crate::worker::main`].
    pub args: Vec<OsString>,
}

impl WorkerCommand {
    /// The running program itself, even if its file was replaced meanwhile, with one argument.
    pub fn this_program(argument: &str) -> Self {
        Self { program: PathBuf::from("/proc/self/exe"), args: vec![argument.into()] }
    }
}

/// A worker that was just started.
#[derive(Debug)]
pub(crate) struct Spawned {
    /// Its process.
    pub(crate) process: WorkerProcess,
    /// The host's end of the socket pair.
    pub(crate) socket: UnixStream,
    /// Where its stdout and stderr come out.
    pub(crate) words: OwnedFd,
}

/// A worker's process. Dropped, it is killed with all that it made, and reaped.
///
/// Where the worker has a namespace of its own this is the outer process of it, which is the host's own code: told to
/// end, it has the namespace killed, waits for that, and then ends. So nobody is left to be reaped by somebody else.
#[derive(Debug)]
pub(crate) struct WorkerProcess {
    pid: Pid,
    pidfd: Option<OwnedFd>,
    /// The worker itself, which may be deaf to what it is told: foreign code runs in it.
    bare: bool,
    reaped: bool,
}

/// How a process ended, as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By this signal.
    Signal(i32),
    /// With this status.
    Status(i32),
}

/// Starts a worker whose own folder is `folder`. Cancel safe: a worker that nobody waits for is killed.
pub(crate) async fn spawn(command: WorkerCommand, folder: Option<PathBuf>) -> io::Result<Spawned> {
    let (reply, answer) = oneshot::channel();
    let gone = |_| io::Error::other("the thread that spawns workers has ended");
    spawner()?.send(Order { command, folder, reply }).map_err(|_| gone(()))?;
    answer.await.map_err(|_| gone(()))?
}

struct Order {
    command: WorkerCommand,
    folder: Option<PathBuf>,
    reply: oneshot::Sender<io::Result<Spawned>>,
}

/// The one thread that spawns: it lives as long as the host, because the parent-death signal fires when the
/// spawning *thread* ends.
fn spawner() -> io::Result<&'static mpsc::SyncSender<Order>> {
    static SPAWNER: OnceLock<Option<mpsc::SyncSender<Order>>> = OnceLock::new();
    let started = SPAWNER.get_or_init(|| {
        // Full means that 1024 plugins start at once: the start that comes then waits for a millisecond or so.
        let (orders, inbox) = mpsc::sync_channel::<Order>(1024);
        let work = move || {
            for order in inbox {
                // A start that was given up gets its worker back as an error, and drops it: that kills it.
                let _ = order.reply.send(start(&order.command, order.folder));
            }
        };
        thread::Builder::new().name("worker-spawn".into()).spawn(work).ok().map(|_| orders)
    });
    started.as_ref().ok_or_else(|| io::Error::other("no thread that spawns workers could be started"))
}

fn start(command: &WorkerCommand, folder: Option<PathBuf>) -> io::Result<Spawned> {
    let (socket, theirs) = UnixStream::pair()?;
    let (words, mouth) = io::pipe()?;
    let mut order = Command::new(&command.program);
    order.args(&command.args).process_group(0);
    // Off for a broken twin: a host that hands its keys down.
    if failpoint!("runtime.environment") != Some(Action::Off) {
        order.env_clear();
    }
    if let Some(folder) = folder {
        order.env("TMPDIR", &folder).env("HOME", &folder);
    }
    // The socket goes in as descriptor 0: every other descriptor of the host is close-on-exec.
    order.stdin(Stdio::from(OwnedFd::from(theirs)));
    order.stdout(mouth.try_clone()?).stderr(mouth);
    let child = order.spawn()?;
    // The child is reaped by `WorkerProcess` alone; dropping std's handle does nothing to it.
    let pid = Pid::from_child(&child);
    let mut process = WorkerProcess { pid, pidfd: None, bare: false, reaped: false };
    process.pidfd = Some(pidfd_open(pid, PidfdFlags::empty())?);
    Ok(Spawned { process, socket, words: words.into() })
}

impl WorkerProcess {
    /// The process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Has the process that runs the plugin suffer an injected fault.
    pub(crate) fn strike(&self, strike: Strike) -> io::Result<()> {
        crate::strike::strike(self.pid, self.bare, strike)
    }

    /// A descriptor that becomes readable when the process ends.
    pub(crate) fn pidfd(&self) -> io::Result<OwnedFd> {
        self.pidfd.as_ref().ok_or_else(|| io::Error::other("no pidfd"))?.try_clone()
    }

    /// From now on this process may run foreign code itself: it has no namespace of its own.
    pub(crate) fn is_bare(&mut self) {
        self.bare = true;
    }

    /// Kills the worker and everything that it made. In a namespace that takes a moment: see [`STUBBORN`].
    pub(crate) fn kill(&self) {
        match &self.pidfd {
            // An error means that nothing is left to kill.
            Some(pidfd) if !self.bare => drop(pidfd_send_signal(pidfd, Signal::TERM)),
            Some(_) | None => self.kill_now(),
        }
    }

    /// Kills the process and everything in its group, without waiting for what is in its namespace: that follows it.
    ///
    /// The id cannot have been given to another process: a process keeps it until it is reaped.
    pub(crate) fn kill_now(&self) {
        // Errors mean that nothing is left to kill.
        let _ = kill_process_group(self.pid, Signal::KILL);
        if let Some(pidfd) = &self.pidfd {
            // By itself too: it may have moved to another group.
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }

    /// Reaps the process, after what is left of its group was killed. Does not wait: `Err` gives it back if it has
    /// not ended yet.
    pub(crate) fn reap(mut self) -> Result<Ended, Self> {
        match self.wait(WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT) {
            Some(ended) => {
                self.kill_now();
                // For a broken twin: a host that leaves its dead to lie.
                if failpoint!("runtime.reap") != Some(Action::Off) {
                    self.wait(WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
                }
                self.reaped = true;
                Ok(ended)
            }
            None => Err(self),
        }
    }

    fn wait(&self, options: WaitIdOptions) -> Option<Ended> {
        let id = match &self.pidfd {
            Some(pidfd) => WaitId::PidFd(pidfd.as_fd()),
            None => WaitId::Pid(self.pid),
        };
        let status = waitid(id, options).ok()??;
        let signal = status.terminating_signal().map(Ended::Signal);
        signal.or_else(|| status.exit_status().map(Ended::Status))
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        self.kill();
        // Reaped by a thread of its own, as dropping must not wait; the process dies within a moment.
        let Ok(pidfd) = self.pidfd() else {
            self.kill_now();
            self.wait(WaitIdOptions::EXITED);
            return;
        };
        let reap = move || {
            let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
            let patience = STUBBORN.try_into().ok();
            if !matches!(poll(&mut ended, patience.as_ref()), Ok(1)) {
                // An error means that it has ended just now.
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            }
            let _ = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED);
        };
        if thread::Builder::new().name("worker-reap".into()).spawn(reap).is_err() {
            self.kill_now();
            self.wait(WaitIdOptions::EXITED);
        }
    }
}
