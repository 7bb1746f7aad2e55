//! What a service manager hears (systemd's `Type=notify`): ready, the level, a heartbeat, a reload, stopping.

use std::{
    os::unix::net::UnixDatagram,
    time::{Duration, Instant},
};

use rustix::{
    process::Signal,
    time::{ClockId, clock_gettime},
};

use crate::{
    harness::{Host, PATIENCE, Plugin, Setup},
    live::edit,
    scenario::ready,
};

/// A manager's socket, in a folder of its own.
struct Manager {
    socket: UnixDatagram,
    /// How long it waits for the end of a reload.
    patience: Duration,
    _folder: tempfile::TempDir,
    path: String,
}

impl Manager {
    /// One that gives a reload up after so long.
    fn new(patience: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, patience, path: path.display().to_string(), _folder: folder }
    }

    /// Hears until something is told that holds this.
    fn hears(&self, wanted: &str) -> Result<String, String> {
        self.hears_within(wanted, PATIENCE)
    }

    /// The same; it gives up after so long without that, whatever else it hears.
    fn hears_within(&self, wanted: &str, patience: Duration) -> Result<String, String> {
        self.socket.set_read_timeout(Some(patience)).map_err(|e| e.to_string())?;
        let (mut heard, began) = (Vec::new(), Instant::now());
        let mut buffer = [0; 4096];
        while began.elapsed() < patience {
            let length =
                self.socket.recv(&mut buffer).map_err(|e| format!("{wanted}: {e}, after {heard:?}"))?;
            let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if told.contains(wanted) {
                return Ok(told);
            }
            heard.push(told);
        }
        Err(format!("{wanted}: not among {heard:?}"))
    }
}

fn told_to(manager: &Manager, setup: Setup) -> Host {
    setup.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "200000").start()
}

/// From the start to the end: ready, the level, heartbeats, stopping. For the one that is `missed` it does not wait long.
async fn a_manager_hears(setup: Setup, missed: &str) -> Result<(), String> {
    let manager = Manager::new(PATIENCE);
    let hears = |wanted: &str| {
        let short = !missed.is_empty() && wanted.starts_with(missed);
        manager.hears_within(wanted, if short { Duration::from_secs(3) } else { PATIENCE })
    };
    let mut host = told_to(&manager, setup.plugin(Plugin::at("gone", "nowhere.so")));
    let mut told = hears("READY=1")?;
    // The level is told with it, and whenever it changes: the other plugin may still be starting.
    while !(told.contains("STATUS=level partial") && told.contains("gone (plugin.not_found)")) {
        told = hears("STATUS=level ").map_err(|objection| format!("{objection}; before it {told:?}"))?;
    }
    hears("WATCHDOG=1")?;
    host.signal(Signal::TERM);
    hears("STOPPING=1")?;
    match host.ended(PATIENCE).await?.code() {
        Some(0) => Ok(()),
        other => Err(format!("it ended with {other:?}")),
    }
}

#[tokio::test]
async fn it_hears_when_the_doors_are_open_what_the_level_is_that_it_lives_and_that_it_stops() {
    a_manager_hears(Setup::echo(), "").await.unwrap();
}

/// The twins: hosts that leave out one of these.
#[tokio::test]
async fn a_manager_that_is_not_told_of_one_of_them_objects() {
    let twins = [("ready", "READY"), ("status", "STATUS"), ("alive", "WATCHDOG"), ("stopping", "STOPPING")];
    for (news, missed) in twins {
        let broken = Setup::echo().failpoints(&format!("server.notify.{news}=off"));
        let objection = a_manager_hears(broken, missed).await.unwrap_err();
        assert!(objection.starts_with(missed), "{news}: red for another reason: {objection}");
    }
}

/// What the clock says by which a manager knows the reload that it ordered.
fn monotonic_usec() -> i128 {
    let now = clock_gettime(ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000
}

/// As systemd's `Type=notify-reload` has it: after its SIGHUP it waits for a beginning that is of later than that, and then
/// for ready.
async fn a_reload_has_a_beginning_and_an_end(manager: &Manager, host: &Host) -> Result<(), String> {
    if !manager.hears("READY=1")?.contains("STATUS=level full") {
        manager.hears("STATUS=level full")?;
    }
    for (from, to, status) in [
        ("version = 1", "version = 1\nrouting.wait = \"4s\"", "STATUS=level full"),
        ("routing.wait", "routing.weight", "STATUS=configuration refused: "),
        ("routing.weight", "routing.wait", "STATUS=level full"),
    ] {
        // Told until its own end: an edit is noticed without the signal too.
        edit(&host.dir().join("host.toml"), from, to);
        let ordered = monotonic_usec();
        host.signal(Signal::HUP);
        let began = begins_after(manager, ordered)?;
        if began > monotonic_usec() {
            return Err(format!("it is of the future: {began}"));
        }
        let told = manager.hears_within("READY=1", manager.patience)?;
        if !told.contains(status) {
            return Err(format!("{told:?} does not say {status}"));
        }
    }
    Ok(())
}

/// The time of the first beginning that is not of before.
fn begins_after(manager: &Manager, ordered: i128) -> Result<i128, String> {
    loop {
        let told = manager.hears("RELOADING=1")?;
        let time = told.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        let time = time.and_then(|time| time.parse().ok()).ok_or_else(|| format!("no time in {told:?}"))?;
        if time >= ordered {
            return Ok(time);
        }
    }
}

#[tokio::test]
async fn it_hears_when_a_reload_begins_and_when_it_is_over_refused_or_not() {
    let manager = Manager::new(PATIENCE);
    let host = told_to(&manager, Setup::echo().failpoints("none=off"));
    a_reload_has_a_beginning_and_an_end(&manager, &host).await.unwrap();
}

/// The twin: a host that does not say that it is done, for which a manager would wait in vain.
#[tokio::test]
async fn a_reload_that_never_ends_is_noticed() {
    let manager = Manager::new(Duration::from_secs(3));
    let setup = Setup::echo().failpoints("server.notify.reloaded=off");
    // Without heartbeats, which would go on for ever.
    let host = setup.env("NOTIFY_SOCKET", &manager.path).start();
    let objection = a_reload_has_a_beginning_and_an_end(&manager, &host).await.unwrap_err();
    assert!(objection.starts_with("READY=1: "), "{objection}");
}

/// A manager that never reads, whose queue is full before long, and one whose socket is gone.
#[tokio::test]
async fn a_manager_that_does_not_listen_costs_nothing() {
    let deaf = Manager::new(PATIENCE);
    let gone = Manager::new(PATIENCE);
    std::fs::remove_file(&gone.path).unwrap();
    for manager in [deaf, gone] {
        let setup = Setup::echo().env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "2000");
        let mut host = setup.start();
        ready(&host).await.unwrap();
        let mut client = crate::client::Client::connect(&host, "alice").await.unwrap();
        for _ in 0..20 {
            client.run("hello").await.unwrap().answered_by("echo").unwrap();
            client.idle(Duration::from_millis(20)).await.unwrap();
        }
        host.signal(Signal::TERM);
        assert_eq!(host.ended(PATIENCE).await.unwrap().code(), Some(0));
    }
}
