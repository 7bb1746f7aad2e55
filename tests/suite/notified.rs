//! What a service manager hears (systemd's `Type=notify`): ready, the level, a heartbeat, stopping.

use std::{os::unix::net::UnixDatagram, time::Duration};

use rustix::process::Signal;

use crate::{
    harness::{Host, PATIENCE, Plugin, Setup},
    scenario::ready,
};

/// A manager's socket, in a folder of its own.
struct Manager {
    socket: UnixDatagram,
    _folder: tempfile::TempDir,
    path: String,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path: path.display().to_string(), _folder: folder }
    }

    /// Hears until something is told that holds this.
    fn hears(&self, wanted: &str) -> Result<String, String> {
        let mut heard = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            let length =
                self.socket.recv(&mut buffer).map_err(|e| format!("{wanted}: {e}, after {heard:?}"))?;
            let told = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if told.contains(wanted) {
                return Ok(told);
            }
            heard.push(told);
        }
    }
}

fn told_to(manager: &Manager, setup: Setup) -> Host {
    setup.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "200000").start()
}

#[tokio::test]
async fn it_hears_when_the_doors_are_open_what_the_level_is_that_it_lives_and_that_it_stops() {
    let manager = Manager::new();
    let mut host = told_to(&manager, Setup::echo().plugin(Plugin::at("gone", "nowhere.so")));
    manager.hears("READY=1").unwrap();
    let level = manager.hears("STATUS=level partial").unwrap();
    assert!(level.contains("gone (plugin.not_found)"), "{level}");
    manager.hears("WATCHDOG=1").unwrap();
    host.signal(Signal::TERM);
    manager.hears("STOPPING=1").unwrap();
    assert_eq!(host.ended(PATIENCE).await.unwrap().code(), Some(0));
}

/// A manager that never reads, whose queue is full before long, and one whose socket is gone.
#[tokio::test]
async fn a_manager_that_does_not_listen_costs_nothing() {
    let deaf = Manager::new();
    let gone = Manager::new();
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
