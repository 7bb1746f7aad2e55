//! A host as a process: started on free ports, watched, and gone without a trace at the end.

use std::{
    io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write as _},
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    process::{Pid, Signal, kill_process},
};
use tempfile::TempDir;

use super::{
    PATIENCE, artifacts,
    clock::Moment,
    eventually, memory,
    setup::{Setup, Stderr},
};

/// How long a host may take until it listens, and a command until its end: nothing is red by waiting for them.
const LONG: Duration = Duration::from_secs(60);
/// How long a build of the plugins may take.
const BUILD_PATIENCE: Duration = Duration::from_secs(600);

/// A running host.
pub(crate) struct Host {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// Where operators look.
    pub(crate) admin: SocketAddr,
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    /// The faults that stay, whatever is injected later.
    faults: String,
    /// Kept when it is started again.
    dir: Arc<TempDir>,
    /// Both ends of its stderr, where nobody reads it.
    unread: Option<(PipeReader, PipeWriter)>,
}

impl Host {
    /// Starts a host and waits for its line on stdout.
    pub(super) fn start(setup: &Setup) -> Self {
        Self::start_in(Arc::new(config_dir(setup)), setup)
    }

    /// Kills it as `kill -9` does, if it still runs, and starts it again on the same folder, with this configuration.
    pub(crate) fn start_again(&mut self, setup: &Setup) {
        self.kill();
        let dir = Arc::clone(&self.dir);
        setup.rewrite(dir.path());
        if let Some(faults) = &setup.failpoints {
            write_faults(dir.path(), faults);
        }
        *self = Self::start_in(dir, setup);
    }

    /// Kills it as `kill -9` does, and waits for its end.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The folder of its configuration; the store is in `data` there.
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// The same with everything in its folder as it is now: what a supervisor does.
    pub(crate) fn start_as_it_is(&mut self, setup: &Setup) {
        self.kill();
        *self = Self::start_in(Arc::clone(&self.dir), setup);
    }

    fn start_in(dir: Arc<TempDir>, setup: &Setup) -> Self {
        let mut command = command(setup, dir.path());
        command.arg("serve").arg("--config").arg(dir.path());
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut unread = None;
        match setup.stderr {
            Stderr::Read => {}
            Stderr::Closed => {
                drop(reader);
                command.stderr(writer);
            }
            Stderr::Unread => {
                command.stderr(writer.try_clone().expect("a descriptor"));
                unread = Some((reader, writer));
            }
        }
        let mut host = Self::spawn(command, dir, setup.failpoints.clone().unwrap_or_default(), LONG);
        host.unread = unread;
        host
    }

    /// Fills the pipe of its stderr, which nobody reads, to the brim.
    pub(crate) fn clog(&self) {
        let (_, writer) = self.unread.as_ref().expect("a host whose stderr is unread");
        fill(writer);
    }

    /// Begins to read its stderr.
    pub(crate) fn read_on(&mut self) {
        let (reader, _) = self.unread.take().expect("a host whose stderr is unread");
        collect(reader, Arc::clone(&self.said), |_| {});
    }

    /// Starts `dev` in a folder, as a newcomer would, with these arguments; in the repository it builds the plugins first.
    pub(crate) fn dev(folder: &Path, arguments: &[&str]) -> Self {
        let dir = Arc::new(config_dir(&Setup::new()));
        let mut command = Command::new(artifacts::host());
        command.arg("dev").current_dir(folder).stdin(Stdio::null()).stderr(Stdio::piped());
        command.args(arguments);
        Self::spawn(command, dir, String::new(), BUILD_PATIENCE)
    }

    fn spawn(mut command: Command, dir: Arc<TempDir>, faults: String, within: Duration) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).process_group(0).spawn().expect("the host's binary runs");
        let said = Arc::new(Mutex::new(Vec::new()));
        if let Some(pipe) = child.stderr.take() {
            collect(pipe, Arc::clone(&said), |_| {});
        }
        let (tell, told) = mpsc::channel();
        collect(child.stdout.take().expect("piped above"), Arc::clone(&said), move |line| {
            // Nobody listens any more after the first.
            let _ = listening(line).map(|addresses| tell.send(addresses));
        });
        match told.recv_timeout(within) {
            Ok((address, admin)) => Self { address, admin, child, said, faults, dir, unread: None },
            Err(_) => {
                let _ = child.kill();
                let status = child.wait();
                let said = said.lock().unwrap().join("\n");
                panic!("the host did not listen ({status:?}); it said:\n{said}");
            }
        }
    }

    /// The host's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sets the faults from now on, beside those that it was started with by [`Setup::failpoints`].
    pub(crate) fn inject(&self, faults: &str) {
        write_faults(self.dir.path(), &format!("{};{faults}", self.faults));
    }

    /// Takes every fault back, those that it was started with too.
    pub(crate) fn heal(&self) {
        write_faults(self.dir.path(), "");
    }

    /// Runs the command line against this host, as its operator does who has its configuration.
    pub(crate) fn operate(&self, arguments: &[&str]) -> Output {
        let admin = format!("http://{}", self.admin);
        let mut command = command(&Setup::new(), self.dir.path());
        command.args(arguments).args(["--admin", &admin]).arg("--config").arg(self.dir.path());
        finished(command)
    }

    /// Its configuration folder.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// How many workers it has that live.
    pub(crate) fn workers(&self) -> usize {
        self.worker_ids().len()
    }

    /// The processes in which plugins run: those below it that have none below themselves.
    pub(crate) fn worker_ids(&self) -> Vec<u32> {
        let all = descendants(self.pid());
        let parents: Vec<u32> = all.iter().map(|process| process.parent).collect();
        all.iter().map(|process| process.pid).filter(|pid| !parents.contains(pid)).collect()
    }

    /// Sends a signal to the host alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.id(), signal).expect("the host is a child not yet waited for");
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for it to end by itself.
    pub(crate) async fn ended(&mut self, within: Duration) -> Result<ExitStatus, String> {
        let began = Moment::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if began.elapsed() > within => {
                    return Err(format!("still running after {within:?}"));
                }
                Ok(None) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(e) => return Err(format!("wait: {e}")),
            }
        }
    }

    /// What it has written, to stdout and stderr.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// What it has written, once all of these are in it: the log is written beside everything else, so a page or a
    /// frame may know of something a moment earlier.
    pub(crate) async fn says(&self, words: &[&str]) -> Result<String, String> {
        eventually("the log says it", async || {
            let said = self.said();
            match words.iter().find(|word| !said.contains(**word)) {
                None => Ok(said),
                Some(word) => Err(format!("no {word:?} in: {said}")),
            }
        })
        .await
    }

    /// Its id, for system calls.
    pub(crate) fn id(&self) -> Pid {
        let raw = i32::try_from(self.child.id()).expect("process ids are small");
        Pid::from_raw(raw).expect("a child's id is not 0")
    }
}

impl Drop for Host {
    /// Kills the host alone, as `kill -9` would: its workers must notice that for themselves.
    fn drop(&mut self) {
        let mut left = descendants(self.child.id());
        let _ = self.child.kill();
        let _ = self.child.wait();
        let began = Moment::now();
        while !left.is_empty() && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
            left.retain(Process::is_alive);
        }
        for process in &left {
            let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
            let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
        }
        if std::thread::panicking() {
            eprintln!("--- the host said ---\n{}\n---", self.said());
        } else {
            assert!(left.is_empty(), "processes outlived their host: {left:?}");
        }
    }
}

/// Runs the host's command line to its end, on a configuration folder made of `setup`.
pub(crate) fn cli(arguments: &[&str], setup: &Setup) -> Output {
    let dir = config_dir(setup);
    let mut command = command(setup, dir.path());
    command.args(arguments).arg("--config").arg(dir.path());
    finished(command)
}

/// Runs the host's command line to its end, on the folder of a host that may be running.
pub(crate) fn cli_beside(host: &Host, arguments: &[&str], setup: &Setup) -> Output {
    let mut command = command(setup, host.folder());
    command.args(arguments).arg("--config").arg(host.folder());
    finished(command)
}

/// Runs the host's command line to its end in a folder, which is all it is told.
pub(crate) fn cli_in(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = command(&Setup::new(), folder);
    command.args(arguments).current_dir(folder);
    finished(command)
}

/// Runs the host's command line to its end, with these variables.
pub(crate) fn plain_cli(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let setup = env.iter().fold(Setup::new(), |setup, (name, value)| setup.env(name, value));
    let dir = config_dir(&setup);
    let mut command = command(&setup, dir.path());
    command.args(arguments);
    finished(command)
}

/// Runs the host's command line with a stderr that is full and that nobody reads; its status, if it ends in time.
pub(crate) fn cli_unread(arguments: &[&str], setup: &Setup, within: Duration) -> Option<i32> {
    let dir = config_dir(setup);
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    fill(&writer);
    let mut command = command(setup, dir.path());
    command.args(arguments).arg("--config").arg(dir.path()).stdout(Stdio::null()).stderr(writer);
    let mut child = command.process_group(0).spawn().expect("the host's binary runs");
    let began = Moment::now();
    while matches!(child.try_wait(), Ok(None)) && began.elapsed() < within {
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = child.try_wait().expect("it can be waited for");
    if ended.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    ended.and_then(|status| status.code())
}

/// Writes into a pipe until it takes no more. It is non-blocking meanwhile, for all who write to it.
fn fill(mut pipe: &PipeWriter) {
    let flags = fcntl_getfl(pipe).expect("an open descriptor");
    fcntl_setfl(pipe, flags | OFlags::NONBLOCK).expect("an open descriptor");
    for bytes in [4096, 1] {
        while pipe.write(&vec![b'\n'; bytes]).is_ok() {}
    }
    fcntl_setfl(pipe, flags).expect("an open descriptor");
}

fn finished(mut command: Command) -> Output {
    command.stdout(Stdio::piped());
    let mut child = command.process_group(0).spawn().expect("the host's binary runs");
    // Read all along: whoever writes more than a pipe holds waits for its reader.
    let (stdout, stderr) = (drained(child.stdout.take()), drained(child.stderr.take()));
    let began = Moment::now();
    while matches!(child.try_wait(), Ok(None)) {
        if began.elapsed() > LONG {
            let _ = child.kill();
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = child.wait().expect("it can be waited for");
    let all = |reader: JoinHandle<Vec<u8>>| reader.join().expect("reading does not panic");
    Output { status, stdout: all(stdout), stderr: all(stderr) }
}

/// Reads a pipe to its end, beside everything else.
fn drained(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is what there is.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        bytes
    })
}

/// A command of the host's binary with a clean environment.
fn command(setup: &Setup, dir: &Path) -> Command {
    let binary = match setup.failpoints {
        Some(_) => artifacts::host_with_failpoints(),
        None => artifacts::host(),
    };
    let mut command = match setup.open_files {
        None => Command::new(binary),
        // The shell makes way: the process stays the same.
        Some(most) => {
            let mut shell = Command::new("/bin/sh");
            shell.arg("-c").arg(format!("ulimit -n {most} && exec \"$0\" \"$@\"")).arg(binary);
            shell
        }
    };
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("HOME", dir).env("RUST_BACKTRACE", "1");
    if setup.failpoints.is_some() {
        command.env("AGENT_HOST_FAILPOINTS", format!("@{}", faults_file(dir).display()));
    }
    if let Some(user) = setup.user {
        command.uid(user).gid(user);
    }
    command.envs(setup.env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

fn config_dir(setup: &Setup) -> TempDir {
    let dir = memory::folder();
    setup.write(dir.path());
    if let Some(faults) = &setup.failpoints {
        write_faults(dir.path(), faults);
    }
    if let Some(user) = setup.user {
        give(dir.path(), user);
    }
    dir
}

/// Makes a user the owner of a folder and all that is in it.
fn give(path: &Path, user: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(user)).unwrap();
    for entry in std::fs::read_dir(path).into_iter().flatten() {
        give(&entry.unwrap().path(), user);
    }
}

fn faults_file(dir: &Path) -> PathBuf {
    dir.join("failpoints")
}

/// Replaces the file as a whole: the host reads it at each point.
fn write_faults(dir: &Path, faults: &str) {
    let next = dir.join("failpoints.next");
    std::fs::write(&next, faults.replace(';', "\n")).unwrap();
    std::fs::rename(next, faults_file(dir)).unwrap();
}

/// Gathers the lines of a pipe until it closes, and shows each.
fn collect(
    pipe: impl Read + Send + 'static,
    into: Arc<Mutex<Vec<String>>>,
    show: impl Fn(&str) + Send + 'static,
) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            into.lock().unwrap().push(line.clone());
            show(&line);
        }
    });
}

/// Reads `agent-host listening on http://ADDR (admin http://ADDR)`.
fn listening(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let rest = line.trim().strip_prefix("agent-host listening on http://")?;
    let (address, admin) = rest.split_once(" (admin http://")?;
    Some((address.parse().ok()?, admin.strip_suffix(')')?.parse().ok()?))
}

/// A process, by an id that is not used again: the number and when it began.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    pid: u32,
    parent: u32,
    began: u64,
    zombie: bool,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // `pid (command) state ppid …`; the command may hold anything. The 22nd field is the start.
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        Some(Self {
            pid,
            parent: fields.get(1)?.parse().ok()?,
            began: fields.get(19)?.parse().ok()?,
            zombie: fields.first() == Some(&"Z"),
        })
    }

    fn is_alive(&self) -> bool {
        Self::read(self.pid).is_some_and(|now| now.began == self.began && !now.zombie)
    }
}

/// The children of a process, and theirs.
fn descendants(of: u32) -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let names = entries.filter_map(Result::ok).map(|entry| entry.file_name());
    let all: Vec<Process> = names.filter_map(|name| Process::read(name.to_str()?.parse().ok()?)).collect();
    let mut found = Vec::new();
    let mut parents = vec![of];
    while let Some(parent) = parents.pop() {
        let children = all.iter().filter(|process| process.parent == parent && !process.zombie);
        for child in children {
            parents.push(child.pid);
            found.push(child.clone());
        }
    }
    found
}
