//! `deploy/staging`: up, verify and rollback against a cloud in a folder whose revisions are real hosts, good and broken; with
//! the cloud failing at each call, and half-configured.

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicU16, Ordering},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{Host, Setup, artifacts, tokens},
    scenario::ready,
};

/// The cloud, and the two hosts that run in it: image `good:…` is well, `bad:…` accepts no message.
struct Cloud {
    folder: TempDir,
    port: u16,
    _good: Host,
    _bad: Host,
}

impl Cloud {
    async fn new() -> Self {
        let setup = || Setup::echo().set("limits.messages_per_minute", "0").failpoints("none=off");
        let (good, bad) = (setup().start(), setup().start());
        ready(&good).await.unwrap();
        ready(&bad).await.unwrap();
        bad.inject("store.begin=error");
        let folder = tempfile::tempdir().unwrap();
        let ports = json!({
            "good:1": good.address.port(), "good:2": good.address.port(), "good:3": good.address.port(),
            "bad:1": bad.address.port(),
        });
        std::fs::write(folder.path().join("backends"), ports.to_string()).unwrap();
        std::fs::write(folder.path().join("token"), tokens::of("alice")).unwrap();
        std::fs::write(folder.path().join("other"), tokens::of("bob")).unwrap();
        Self { folder, port: port(), _good: good, _bad: bad }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A script, with the variables that it needs and these.
    fn run(&self, script: &str, more: &[(&str, &str)]) -> Output {
        let fake = artifacts::root().join("tests/fixtures/cloud");
        let path = format!("{}:{}", fake.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "120"]).arg(artifacts::root().join("deploy/staging").join(script));
        command.env_clear().env("PATH", path).env("CLOUD", self.folder.path());
        command.env("PROJECT", "p").env("REGION", "r").env("AGENT_HOST", artifacts::host());
        command.env("TOKEN_FILE", self.path("token")).env("OTHER_TOKEN_FILE", self.path("other"));
        command.env("PROXY_PORT", self.port.to_string());
        for (name, value) in more {
            match value.is_empty() {
                true => command.env_remove(name),
                false => command.env(name, value),
            };
        }
        command.output().expect("a shell")
    }

    fn up(&self, image: &str) -> Output {
        self.run("up", &[("IMAGE", image)])
    }

    fn fails_at(&self, pattern: &str) {
        std::fs::write(self.folder.path().join("fail"), pattern).unwrap();
    }

    fn heals(&self) {
        std::fs::remove_file(self.folder.path().join("fail")).unwrap();
    }

    fn state(&self) -> Value {
        let text = std::fs::read_to_string(self.folder.path().join("state.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The image that has the traffic, all of it; nothing: there is no service.
    fn serves(&self) -> String {
        let state = self.state();
        let traffic = state["traffic"].as_array().cloned().unwrap_or_default();
        let all = traffic.iter().find(|one| one["percent"] == 100);
        let Some(all) = all else { return String::new() };
        let revisions = state["revisions"].as_array().unwrap();
        let revision = revisions.iter().find(|one| one["name"] == all["revisionName"]).unwrap();
        revision["image"].as_str().unwrap().to_owned()
    }

    fn calls(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default()
    }
}

/// A port that is free, and that no other process takes meanwhile: below those which the kernel gives out to whoever binds
/// or connects, and another one in each process and for each cloud.
fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 1_000).expect("below a thousand");
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| 12_000 + own * 20 + NEXT.fetch_add(1, Ordering::Relaxed) % 20);
    ports.by_ref().take(20).find(free).expect("one of twenty is free")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[track_caller]
fn ends(output: &Output, status: i32, words: &str) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.contains(words), "no {words:?}: {said}");
}

#[tokio::test]
async fn up_verifies_before_it_moves_the_traffic_and_rollback_moves_it_back() {
    let cloud = Cloud::new().await;
    ends(&cloud.up("good:1"), 0, "serves; it is the first");
    assert_eq!(cloud.serves(), "good:1");
    ends(&cloud.up("good:2"), 0, "agent-host-staging-2 serves; agent-host-staging-1 is the previous one");
    assert_eq!(cloud.serves(), "good:2");
    // In this order: without traffic, verified there, then the traffic.
    let calls = cloud.calls();
    let at = |words: &str| calls.rfind(words).unwrap_or_else(|| panic!("no {words}: {calls}"));
    assert!(at("services replace") < at("--tag candidate") && at("--tag candidate") < at("--to-revisions"));

    ends(&cloud.run("verify", &[]), 0, "verify approves of agent-host-staging-2");
    // Again: nothing to move, and the previous one is still the one before.
    ends(&cloud.up("good:2"), 0, "serves already");
    ends(
        &cloud.run("rollback", &[]),
        0,
        "the traffic went from agent-host-staging-2 to agent-host-staging-1",
    );
    assert_eq!(cloud.serves(), "good:1");
    ends(&cloud.run("rollback", &[]), 0, "agent-host-staging-1 serves already");
    assert_eq!(cloud.serves(), "good:1");
    let named = cloud.run("rollback", &[("REVISION", "agent-host-staging-2")]);
    ends(&named, 0, "verify approves of agent-host-staging-2");
    assert_eq!(cloud.serves(), "good:2");
}

#[tokio::test]
async fn a_revision_that_verify_does_not_approve_of_gets_no_traffic() {
    let cloud = Cloud::new().await;
    ends(
        &cloud.up("bad:1"),
        1,
        "the first revision, agent-host-staging-1, serves, and verify does not approve",
    );
    ends(&cloud.up("good:1"), 0, "agent-host-staging-2 serves");
    let output = cloud.up("bad:1");
    ends(
        &output,
        1,
        "verify does not approve of agent-host-staging-3; agent-host-staging-2 serves as before",
    );
    assert!(said(&output).contains("store.unavailable"), "it says what it met: {}", said(&output));
    assert_eq!(cloud.serves(), "good:1");
    ends(&cloud.run("verify", &[]), 0, "verify approves of agent-host-staging-2");
    // The one before was no good either: it is said, though the traffic is there as ordered.
    ends(&cloud.run("rollback", &[]), 1, "verify does not approve of agent-host-staging-1, which serves now");
}

#[tokio::test]
async fn whichever_call_fails_the_traffic_is_where_it_was_and_up_again_goes_on() {
    for (pattern, words) in [
        ("services list", "could not be asked"),
        ("services describe", "could not be described"),
        ("services replace", "was not deployed"),
        ("proxy .*--tag candidate", "verify does not approve of agent-host-staging-2"),
        ("--set-tags", "could not be tagged"),
        ("--to-revisions", "was not moved"),
    ] {
        let cloud = Cloud::new().await;
        ends(&cloud.up("good:1"), 0, "it is the first");
        cloud.fails_at(pattern);
        ends(&cloud.up("good:2"), 1, words);
        assert_eq!(cloud.serves(), "good:1", "{pattern}");
        cloud.heals();
        ends(&cloud.up("good:2"), 0, "agent-host-staging-2 serves; agent-host-staging-1 is the previous one");
        cloud.fails_at(pattern);
        let rolled = cloud.run("rollback", &[]);
        if ["services list", "services describe", "--to-revisions"].contains(&pattern) {
            ends(&rolled, 1, "rollback: ");
            assert_eq!(cloud.serves(), "good:2", "{pattern}");
        } else {
            ends(&rolled, 0, "verify approves");
        }
    }
}

/// The service's own address fails where the candidate's did not: the traffic goes back by itself.
#[tokio::test]
async fn a_revision_that_fails_with_the_traffic_on_it_loses_it_again() {
    let cloud = Cloud::new().await;
    ends(&cloud.up("good:1"), 0, "it is the first");
    cloud.fails_at("services proxy agent-host-staging --region r --port [0-9]+$");
    let output = cloud.up("good:2");
    ends(&output, 1, "back to agent-host-staging-1");
    assert_eq!(cloud.serves(), "good:1");
}

#[tokio::test]
async fn half_configured_nothing_is_done_and_all_that_is_missing_is_said() {
    let cloud = Cloud::new().await;
    for script in ["up", "verify", "rollback"] {
        let output = cloud.run(script, &[("PROJECT", ""), ("TOKEN_FILE", "")]);
        ends(&output, 2, "nothing was done: set PROJECT TOKEN_FILE");
        ends(
            &cloud.run(script, &[("IMAGE", "i"), ("TOKEN_FILE", "/nowhere")]),
            2,
            "TOKEN_FILE is /nowhere, which is no file",
        );
        let nowhere = cloud.run(script, &[("IMAGE", "i"), ("AGENT_HOST", "no-such-program")]);
        ends(&nowhere, 2, "no-such-program is not on PATH");
    }
    ends(&cloud.run("up", &[]), 2, "nothing was done: set IMAGE");
    assert_eq!(cloud.calls(), "", "the cloud was asked nothing");
    for script in ["verify", "rollback"] {
        ends(&cloud.run(script, &[]), 1, "there is no service agent-host-staging in p, r");
    }
    ends(&cloud.up("good:1"), 0, "it is the first");
    ends(&cloud.run("rollback", &[]), 1, "no revision is tagged `previous`");
    assert!(Path::new(&cloud.path("calls")).exists());
}
