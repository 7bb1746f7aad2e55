//! The switches of the runbook's partial rollback: each takes back one behaviour, and nothing else; at the start, and in a
//! host that serves, without a restart or a lost message, and back again.

mod shown;
mod traffic;

use serde_json::{Value, json};

use self::traffic::Traffic;
use crate::{
    admin::page,
    client::Client,
    harness::{Host, Plugin, Setup},
    live::{edit, holds},
    scenario::ready,
};

/// A plugin that fails when told to, then the example.
fn setup(bad: Plugin) -> Setup {
    Setup::new().plugin(bad).plugin(Plugin::echo()).set("routing.order", "[\"bad\", \"echo\"]")
}

fn bad() -> Plugin {
    Plugin::misbehaving("bad")
}

#[tokio::test]
async fn a_failed_message_is_tried_again_unless_that_is_switched_off() {
    for (retry, takes_over) in [("true", "echo"), ("false", "fallback")] {
        let host = setup(bad()).set("routing.retry", retry).start();
        ready(&host).await.unwrap();
        let mut client = Client::connect(&host, "alice").await.unwrap();
        let run = client.run("!segv").await.unwrap();
        assert_eq!(run.responder(), takes_over, "retry = {retry}: {:?}", run.kinds());
        // All else is as ever.
        client.run_with("hello", json!({ "agent": "echo" })).await.unwrap().answered_by("echo").unwrap();
    }
}

#[tokio::test]
async fn a_plugin_that_keeps_failing_gets_no_runs_unless_its_breaker_is_switched_off() {
    for (breaker, then) in [("true", "fallback"), ("false", "bad")] {
        let host = setup(bad().key("breaker", breaker)).set("limits.messages_per_minute", "0").start();
        ready(&host).await.unwrap();
        let mut client = Client::connect(&host, "alice").await.unwrap();
        // A machine may stall for longer than the breaker's pause: then it is opened again.
        let mut answered = Vec::new();
        while answered.len() < 3 && !answered.iter().any(|by| by == then) {
            for _ in 0..6 {
                client.run_with("!panic", json!({ "agent": "bad" })).await.unwrap();
            }
            let run = client.run_with("hello", json!({ "agent": "bad" })).await.unwrap();
            answered.push(run.responder().to_owned());
        }
        assert_eq!(answered.last().map(String::as_str), Some(then), "breaker = {breaker}: {answered:?}");
    }
}

/// A row of the runbook: the table's own words, and what is written there while the behaviour is on.
pub(crate) struct Switch {
    pub(crate) section: &'static str,
    pub(crate) off: &'static str,
    on: &'static str,
}

impl Switch {
    /// Its dotted key, and the TOML values of off and on. The plugin that the runbook calls `ID` is `bad`.
    fn parts(&self) -> (String, &'static str, &'static str) {
        let (name, off) = self.off.split_once(" = ").expect("a line of a configuration");
        let section = self.section.trim_matches(['[', ']']).replace("ID", "bad");
        (format!("{section}.{name}"), off, self.on)
    }

    /// Switches it as a person edits: the one line, in the file that has it.
    fn edit(&self, host: &Host, on: bool) {
        let of_plugin = |id: &str| {
            let files = std::fs::read_dir(host.dir().join("plugins.d")).unwrap().flatten();
            let mut files = files.map(|entry| entry.path());
            files.find(|file| file.to_string_lossy().ends_with(&format!("-{id}.toml"))).expect("its file")
        };
        let (key, off, on_value) = self.parts();
        let (from, to) = if on { (off, on_value) } else { (on_value, off) };
        let file = match key.split('.').collect::<Vec<_>>()[..] {
            ["plugins", id, ..] => of_plugin(id),
            _ => host.dir().join("host.toml"),
        };
        let name = key.rsplit('.').next().expect("a key has a name");
        edit(&file, &format!("{name} = {from}"), &format!("{name} = {to}"));
    }
}

/// A TOML value as the host shows it.
fn shown_as(value: &str) -> Value {
    serde_json::from_str(value).unwrap_or_else(|_| panic!("{value} is the same in JSON"))
}

/// Off by an edit, back by the command line if it may, while people talk. `seen` says whether the behaviour is there; it is told
/// what is expected, for what takes its time to come.
async fn switched(
    host: &Host,
    switch: &Switch,
    seen: impl AsyncFn(&Host, bool) -> Result<bool, String>,
) -> Result<(), String> {
    ready(host).await?;
    let traffic = Traffic::begin(host);
    let (key, off, on) = switch.parts();
    let expect = async |on: bool, objection: &str| match seen(host, on).await {
        Ok(found) if found == on => Ok(()),
        Ok(_) => Err(objection.to_owned()),
        Err(other) => Err(format!("where it would be {objection}: {other}")),
    };
    expect(true, "not there at first").await?;
    switch.edit(host, false);
    holds(host, &key, &shown_as(off)).await?;
    expect(false, "still there after the switch").await?;
    let back = host.operate(&["config", "set", &format!("{key}={}", on.trim_matches('"'))]);
    match back.status.success() {
        true => {}
        // What the doors are is set in files only.
        false if String::from_utf8_lossy(&back.stderr).contains("config.files_only") => {
            switch.edit(host, true);
            holds(host, &key, &shown_as(on)).await?;
        }
        false => return Err(format!("not set: {back:?}")),
    }
    expect(true, "not there again").await?;
    if page(host, "echo").await?["generation"] != 1 {
        return Err("another plugin was begun anew".to_owned());
    }
    traffic.end(host).await
}

/// Each has a scenario and its twin, on a host that says that what was edited is in force, and goes on as before
/// where no new generation is needed.
macro_rules! switches {
    ($($name:ident: $section:literal, $off:literal, else $on:literal, on $setup:expr, unheard by $broken:literal;)*) => {
        const LIVE: &[Switch] =
            &[$(Switch { section: $section, off: $off, on: $on }),*];

        $(mod $name {
            use super::*;

            async fn scenario(host: &Host) -> Result<(), String> {
                let switch = LIVE.iter().find(|one| (one.section, one.off) == ($section, $off));
                switched(host, switch.expect("it is in the list"), shown::$name).await
            }

            twin! {
                live(scenario) on $setup.operated();
                faults ""; broken by $broken, says "still there after the switch"
            }
        })*
    };
}

/// The fixture as `bad`, which may crash as often as it likes, and the example, which goes first.
fn beside(bad: Plugin) -> Setup {
    let bad = bad.key("restart", RESTARTS).key("substitutes", "[\"echo\"]");
    let setup = Setup::new().plugin(bad).plugin(Plugin::echo()).set("limits.messages_per_minute", "0");
    setup.set("routing.order", "[\"echo\", \"bad\"]")
}

const RESTARTS: &str = "{ max = 1000, within = \"1s\" }";

switches! {
    supervisor: "[plugins.supervisor]", "enabled = false", else "true",
        on shown::supervised(), unheard by "engine.change.commits=off";
    retry: "[routing]", "retry = false", else "true",
        on beside(bad()).set("routing.order", "[\"bad\", \"echo\"]").set("routing.retry", "true"),
        unheard by "engine.change.commits=off";
    breaker: "[plugins.ID]", "breaker = false", else "true",
        on beside(bad().key("breaker", "true")), unheard by "engine.change.commits=off";
    spare: "[plugins.ID]", "spares = 0", else "1",
        on beside(bad().key("spares", "1")), unheard by "engine.change.commits=off";
    gives_way: "[plugins.ID]", "rollback_window = \"0s\"", else "\"60s\"",
        on beside(bad().key("rollback_window", "\"60s\"")), unheard by "engine.change.commits=off";
    restart: "[plugins.ID.restart]", "max = 0", else "1000",
        on beside(bad()), unheard by "engine.change.commits=off";
    plugin: "[plugins.ID]", "enabled = false", else "true",
        on beside(bad()), unheard by "engine.change.commits=off";
    older_wire: "[gateway]", "default_protocol = \"agent-host.v1\"", else "\"netra-v1\"",
        on beside(bad()).set("gateway.default_protocol", "\"netra-v1\""), unheard by "gateway.rules=off";
    checks_itself: "[self_check]", "interval = \"0s\"", else "\"30s\"",
        on beside(bad()).set("self_check.interval", "\"30s\""), unheard by "gateway.rules=off";
}

/// All that are held here. The runbook may name no other.
pub(crate) fn all() -> impl Iterator<Item = &'static Switch> {
    LIVE.iter()
}
