//! The servers that are measured, each a child process pinned to its own core and ended with its handle.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{
    connection::Target,
    error::{Attempt, Error},
    machine::Cores,
    process::Tree,
};

/// The programs under measurement.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The host.
    pub host: PathBuf,
    /// The floor.
    pub floor: PathBuf,
    /// The agent's library.
    pub agent: PathBuf,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Axum alone: a message in, five events out.
    Floor,
    /// Axum alone, with the frames that the native protocol sends beside the five.
    FloorNative,
    /// The host, the agent in its process, the log in memory.
    InProcess,
    /// The host, the agent in a worker, the log in memory.
    Worker,
    /// The host, the agent in a worker, the log on disk.
    WorkerDurable,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where to connect, and with which token.
    pub target: Target,
    /// When it was spawned.
    pub spawned: Instant,
    /// Its configuration, store and log.
    _folder: TempDir,
    /// Held, as a host whose stdout is closed may fail to write to it.
    _stdout: BufReader<ChildStdout>,
}

impl Subject {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::FloorNative => "floor, native frames",
            Self::InProcess => "in-process, memory",
            Self::Worker => "worker, memory",
            Self::WorkerDurable => "worker, durable",
        }
    }

    /// Starts it with one agent and waits until it listens.
    ///
    /// # Errors
    /// It ended without listening.
    pub fn start(self, programs: &Programs, cores: Cores) -> Result<Server, Error> {
        let folder = TempDir::new().attempt("cannot make a folder")?;
        match self {
            Self::Floor => Server::spawn(Command::new(&programs.floor), None, folder, cores),
            Self::FloorNative => {
                let mut command = Command::new(&programs.floor);
                command.arg("--native");
                Server::spawn(command, None, folder, cores)
            }
            Self::InProcess | Self::Worker | Self::WorkerDurable => {
                write_host(folder.path(), self.durability())?;
                write_plugin(folder.path(), "load-agent", &programs.agent, self.isolation())?;
                Server::host(programs, folder, cores)
            }
        }
    }

    fn isolation(self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::Floor | Self::FloorNative | Self::Worker | Self::WorkerDurable => "process",
        }
    }

    fn durability(self) -> &'static str {
        match self {
            Self::WorkerDurable => "durable",
            Self::Floor | Self::FloorNative | Self::InProcess | Self::Worker => "memory",
        }
    }
}

impl Server {
    /// Starts the host on a folder that is already written.
    ///
    /// # Errors
    /// It gives no token, or ended without listening.
    pub fn host(programs: &Programs, folder: TempDir, cores: Cores) -> Result<Self, Error> {
        let minted = Command::new(&programs.host)
            .args(["token", "mint", "--user", "load", "--config"])
            .arg(folder.path())
            .output()
            .attempt("cannot run the host")?;
        if !minted.status.success() {
            let said = String::from_utf8_lossy(&minted.stderr).into_owned();
            return Err(Error::NotStarted(format!("the host (no token: {})", said.trim())));
        }
        let token = String::from_utf8_lossy(&minted.stdout).trim().to_owned();
        let mut command = Command::new(&programs.host);
        command.args(["serve", "--config"]).arg(folder.path());
        Self::spawn(command, Some(token), folder, cores)
    }

    /// Its processes.
    pub fn tree(&self) -> Tree {
        Tree::of(self.child.id())
    }

    /// Ends it at once, for scenarios that measure what a fresh one does.
    pub fn stop(self) {}

    fn spawn(
        mut command: Command,
        token: Option<String>,
        folder: TempDir,
        cores: Cores,
    ) -> Result<Self, Error> {
        let name = format!("{command:?}");
        let log = fs::File::create(folder.path().join("log")).attempt("cannot make a log")?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        // One worker thread: what is compared is cost, not how it spreads.
        if cores.server.is_some() {
            command.env("TOKIO_WORKER_THREADS", "1");
        }
        let spawned = Instant::now();
        let mut child = cores.as_server(|| command.spawn())?.attempt(&format!("cannot run {name}"))?;
        let stdout = child.stdout.take().expect("piped above");
        let mut stdout = BufReader::new(stdout);
        match listening(&mut stdout) {
            Some(address) => {
                let target = Target { address, token };
                Ok(Self { child, target, spawned, _folder: folder, _stdout: stdout })
            }
            None => {
                end(&mut child);
                let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(5).collect();
                Err(Error::NotStarted(format!("{name}\n{}", tail.join("\n"))))
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Writes `host.toml`: free ports, no limits, all else as it is by default.
///
/// # Errors
/// The folder cannot be written.
pub fn write_host(folder: &Path, durability: &str) -> Result<(), Error> {
    let text = format!(
        "version = 1\n[gateway]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [auth]\nhs256_secret = \"{SECRET}\"\naudience = \"agent-host\"\n\
         [store]\npath = \"data\"\ndurability = \"{durability}\"\n[drain]\ngrace = \"0s\"\n\
         [limits]\nconnections = 0\nconnections_per_user = 0\nmessages_per_minute = 0\nruns_at_once = 0\n\
         threads_per_user = 0\nstorage_per_user = 0\n"
    );
    fs::create_dir_all(folder.join("plugins.d")).attempt("cannot make a folder")?;
    fs::write(folder.join("host.toml"), text).attempt("cannot write the configuration")
}

/// Writes one plugin's file. Its runtime has one thread, as each server has: what is compared is cost.
///
/// # Errors
/// The library cannot be read, or the folder not be written.
pub fn write_plugin(folder: &Path, id: &str, library: &Path, isolation: &str) -> Result<(), Error> {
    let pin = match (isolation, fs::read(library)) {
        ("in-process", Ok(bytes)) => format!("sha256 = \"{}\"\n", hex(&Sha256::digest(bytes))),
        _ => String::new(),
    };
    let text = format!(
        "[plugins.{id}]\nenabled = true\nkind = \"agent\"\npath = {library:?}\nisolation = \"{isolation}\"\n{pin}\
         tools = [\"clock\"]\nthreads = 1\nlimits = {{ concurrent_runs = 100000 }}\n"
    );
    fs::write(folder.join("plugins.d").join(format!("{id}.toml")), text)
        .attempt("cannot write the configuration")
}

/// The address in `… listening on http://ADDR …`; `None` if stdout ends without it.
fn listening(stdout: &mut impl BufRead) -> Option<SocketAddr> {
    let mut line = String::new();
    while stdout.read_line(&mut line).ok()? > 0 {
        if let Some((_, rest)) = line.split_once("listening on http://") {
            return rest.split_whitespace().next()?.parse().ok();
        }
        line.clear();
    }
    None
}

/// Asks it to end, and kills it if it does not within 3 s.
fn end(child: &mut Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself, which is just as well.
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(3) {
        if let Ok(Some(_)) = child.try_wait() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Signs the tokens of hosts that live for seconds on a loopback address.
const SECRET: &str = "not a secret: only load tests use it, on loopback";
