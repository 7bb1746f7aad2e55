//! `agent-host verify`: content with a host that is well, and it names the step that does not hold on each of those that
//! are not.

use std::{collections::BTreeSet, process::Output};

use serde_json::Value;

use crate::{
    chaos,
    harness::{Host, Plugin, Setup, eventually, host::plain_cli, tokens},
    scenario::ready,
};

/// Runs it against a host, as alice; with bob's token beside it.
fn verify(host: &Host, more: &[&str]) -> (Value, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, token: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, token).unwrap();
        path.display().to_string()
    };
    let (mine, other) = (write("mine", &tokens::of("alice")), write("other", &tokens::of("bob")));
    judged(&plain_cli(
        &[
            &[
                "verify",
                &format!("http://{}", host.address),
                "--token-file",
                &mine,
                "--other-token-file",
                &other,
                "--output",
                "json",
            ],
            more,
        ]
        .concat(),
        &[],
    ))
}

fn judged(output: &Output) -> (Value, Option<i32>) {
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    (report, output.status.code())
}

/// The steps that failed, with why.
fn failed(report: &Value) -> Vec<(String, String)> {
    let steps = report["steps"].as_array().unwrap().iter().filter(|step| step["outcome"] == "FAILED");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    steps.map(|step| (text(&step["step"]), text(&step["detail"]))).collect()
}

/// It approves of the host, if asked again: it has limits of its own, and what it says of a machine that stalls is right.
async fn approves(host: &Host, more: &[&str]) -> Value {
    let approved = eventually("it approves", async || match verify(host, more) {
        (report, Some(0)) if failed(&report).is_empty() => Ok(report),
        (report, status) => Err(format!("{status:?}: {report}")),
    });
    approved.await.unwrap()
}

/// What is looked at, where the example is the only agent.
const STEPS: [&str; 10] = [
    "upgrade",
    "level",
    "chaos",
    "run (echo)",
    "resume after a cut",
    "cancel",
    "malformed input",
    "history over HTTP",
    "another user",
    "tidy",
];

fn setup() -> Setup {
    Setup::echo().set("limits.messages_per_minute", "0")
}

#[tokio::test]
async fn a_host_that_is_well_holds_at_every_step_and_is_left_as_it_was() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let report = approves(&host, &["--expect-level", "full"]).await;
    let steps: Vec<&str> =
        report["steps"].as_array().unwrap().iter().filter_map(|s| s["step"].as_str()).collect();
    assert_eq!(steps, STEPS);
    assert!(report["steps"].as_array().unwrap().iter().all(|step| step["outcome"] == "ok"), "{report}");
    let bearer = format!("Bearer {}", tokens::of("alice"));
    let patience = crate::harness::PATIENCE;
    let list =
        crate::harness::http::get(host.address, "/v1/threads", &[("Authorization", &bearer)], patience).await;
    assert_eq!(list.unwrap().json().unwrap()["threads"], serde_json::json!([]), "nothing is left");
}

#[tokio::test]
async fn the_fallback_is_enough_where_no_agent_is_expected() {
    let host = Setup::new().set("limits.messages_per_minute", "0").start();
    ready(&host).await.unwrap();
    approves(&host, &["--expect-level", "fallback"]).await;
}

/// A host that is not well: what it is started with, the fault that it meets once it serves, and the step that does not hold
/// for it, with a word of why.
struct Broken {
    setup: Setup,
    fault: &'static str,
    expected: &'static [&'static str],
    step: &'static str,
    why: &'static str,
}

impl Broken {
    fn new(setup: Setup, fault: &'static str, step: &'static str, why: &'static str) -> Self {
        Self { setup, fault, expected: &[], step, why }
    }
}

fn broken_hosts() -> Vec<Broken> {
    let useless = || Plugin::misbehaving("bad").config("handle", "\"segv\"");
    let gone = setup().plugin(Plugin::at("gone", "nowhere.so"));
    vec![
        // It believes in tokens for somebody else.
        Broken::new(setup().set("auth.audience", "\"another\""), "", "upgrade", "auth.audience"),
        Broken::new(setup(), "gateway.upgrade.session=panic", "upgrade", "host.internal"),
        Broken {
            expected: &["--expect-level", "full"],
            ..Broken::new(gone, "", "level", "gone (plugin.not_found)")
        },
        Broken::new(setup(), "store.begin=error", "run (echo)", "store.unavailable"),
        Broken::new(setup(), "gateway.connection.frame=panic", "run (echo)", "1011"),
        // Healthy by its own word, and of no use.
        Broken::new(Setup::new().plugin(useless()), "", "run (bad)", "plugin.crashed"),
        Broken::new(Setup::new(), "fallback.answer=error", "run (fallback)", "host.internal"),
        Broken::new(setup(), "store.read=error", "resume after a cut", "not recovered"),
        Broken::new(setup(), "gateway.connection.cancel=panic", "cancel", "1011"),
        Broken::new(setup(), "gateway.connection.nonsense=panic", "malformed input", "1011"),
        Broken::new(setup(), "gateway.rest=error", "history over HTTP", "HTTP 503"),
        Broken::new(setup(), "store.scope=off", "another user", "not 404"),
        Broken::new(setup(), "gateway.rest.delete=error", "tidy", "HTTP 503"),
    ]
}

/// Each differently: by its step, or by why.
#[tokio::test]
async fn on_each_of_more_than_ten_broken_hosts_it_names_the_step() {
    let mut told = BTreeSet::new();
    for broken in broken_hosts() {
        let Broken { setup, fault, expected, step, why } = broken;
        let host = setup.failpoints("none=off").start();
        ready(&host).await.unwrap();
        host.inject(fault);
        // On a machine that stalls it may object to something else first.
        let report = eventually("it names the step", async || {
            let (report, status) = verify(&host, expected);
            let found = failed(&report);
            assert_eq!((status, &report["ok"]), (Some(1), &false.into()), "{fault}: {report}");
            match found.first().is_some_and(|(name, reason)| name == step && reason.contains(why)) {
                true => Ok(()),
                false => Err(format!("{step} {why}, {fault}: {report}")),
            }
        });
        report.await.unwrap();
        assert!(told.insert((step, why)), "{step} {why} twice");
    }
    // What is done to this one, its operator does.
    let harmed = chaos::setup().start();
    ready(&harmed).await.unwrap();
    let begun = harmed.operate(&["chaos", "start", "tools-slow", "--for", "10m"]);
    assert!(begun.status.success(), "{begun:?}");
    let harm = eventually("it names the harm", async || {
        let (report, status) = verify(&harmed, &[]);
        match &failed(&report)[..] {
            [(step, why)] if step == "chaos" && why.contains("tools-slow") && status == Some(1) => Ok(()),
            _ => Err(format!("{status:?}: {report}")),
        }
    });
    harm.await.unwrap();
    told.insert(("chaos", "tools-slow"));
    assert!(told.len() > 10);
    let steps: BTreeSet<&str> = told.iter().map(|(step, _)| *step).collect();
    let each = STEPS.iter().filter(|step| !steps.contains(*step));
    assert_eq!(each.collect::<Vec<_>>(), [&""; 0], "each step is failed by one");
}

/// The table says the same as the JSON, and `--help` what the exit status means.
#[tokio::test]
async fn people_are_shown_the_step_and_told_what_the_status_means() {
    let host = setup().plugin(Plugin::at("gone", "nowhere.so")).start();
    ready(&host).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, tokens::of("alice")).unwrap();
    let (url, file) = (format!("http://{}", host.address), file.display().to_string());
    let output = plain_cli(&["verify", &url, "--token-file", &file, "--expect-level", "full"], &[]);
    let table = String::from_utf8(output.stdout).unwrap();
    let failed: Vec<&str> = table.lines().filter(|line| line.starts_with("FAILED")).collect();
    assert!(failed.len() == 1 && failed[0].contains("level") && failed[0].contains("gone"), "{table}");
    assert!(table.contains("skipped another user"), "{table}");
    assert!(table.trim_end().ends_with("1 step failed"), "{table}");
    assert_eq!(output.status.code(), Some(1));
    let help = String::from_utf8(plain_cli(&["verify", "--help"], &[]).stdout).unwrap();
    for word in ["0 ", "1 ", "2 ", "69 ", "--output", "json"] {
        assert!(help.contains(word), "{word:?}: {help}");
    }
}

/// As after a restart: what is looked at is what the host came to be, not how far it has come.
#[tokio::test]
async fn a_host_that_starts_is_given_its_time() {
    let setup = setup().plugin(Plugin::bad_create("late", "hang"));
    let host = setup.start();
    let report = approves(&host, &["--wait", "60s", "--expect-level", "partial"]).await;
    let level = &report["steps"][1]["detail"];
    assert_eq!(*level, "partial; missing: late (plugin.init_timeout)", "{report}");
}

#[tokio::test]
async fn a_bad_token_and_nobody_there_are_told_apart() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, "a.b.c").unwrap();
    let file = file.display().to_string();
    let run = |url: &str| plain_cli(&["verify", url, "--token-file", &file, "--output", "json"], &[]);
    let (report, status) = judged(&run(&format!("http://{}", host.address)));
    let found = failed(&report);
    assert!(found[0].0 == "upgrade" && found[0].1.contains("auth.malformed"), "{report}");
    assert_eq!(status, Some(1));

    let address = host.address;
    drop(host);
    let (report, status) = judged(&run(&format!("ws://{address}/ws")));
    assert_eq!((failed(&report)[0].0.as_str(), status), ("upgrade", Some(69)), "{report}");
}
