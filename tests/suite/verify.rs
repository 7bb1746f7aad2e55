//! `agent-host verify`: content with a host that is well, and it names the step that does not hold on each of those that
//! are not.

use std::process::Output;

use serde_json::Value;

use crate::{
    harness::{Host, Plugin, Setup, host::plain_cli, tokens},
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

fn setup() -> Setup {
    Setup::echo().set("limits.messages_per_minute", "0")
}

#[tokio::test]
async fn a_host_that_is_well_holds_at_every_step_and_is_left_as_it_was() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let (report, status) = verify(&host, &["--expect-level", "full"]);
    assert_eq!((failed(&report), status), (vec![], Some(0)), "{report}");
    let steps: Vec<&str> =
        report["steps"].as_array().unwrap().iter().filter_map(|s| s["step"].as_str()).collect();
    let expected = [
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
    assert_eq!(steps, expected);
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
    let (report, status) = verify(&host, &["--expect-level", "fallback"]);
    assert_eq!((failed(&report), status), (vec![], Some(0)), "{report}");
}

#[tokio::test]
async fn on_a_broken_host_it_names_the_step() {
    let useless = || Plugin::misbehaving("bad").config("handle", "\"segv\"");
    let gone = || Plugin::at("gone", "nowhere.so");
    for (setup, faults, more, step, words) in [
        (setup().plugin(gone()), "", &["--expect-level", "full"][..], "level", "gone (plugin.not_found)"),
        (setup(), "gateway.upgrade.session=panic", &[], "upgrade", "host.internal"),
        (setup(), "gateway.upgrade.welcome=delay:3000", &[], "upgrade", "host.internal"),
        (setup(), "store.begin=error", &[], "run (echo)", "store.unavailable"),
        (setup(), "store.read=error", &[], "resume after a cut", ""),
        (setup(), "gateway.rest=error", &[], "history over HTTP", "HTTP 503"),
        (setup(), "store.scope=off", &[], "another user", "not 404"),
        (setup(), "gateway.connection.frame=panic", &[], "run (echo)", "1011"),
        (Setup::new(), "fallback.answer=error", &[], "run (fallback)", "host.internal"),
        // Healthy by its own word, and of no use.
        (Setup::new().plugin(useless()), "", &[], "run (bad)", "it ended"),
    ] {
        let host = setup.failpoints("none=off").start();
        ready(&host).await.unwrap();
        host.inject(faults);
        let (report, status) = verify(&host, more);
        let found = failed(&report);
        assert!(
            found.first().is_some_and(|(name, why)| name == step && why.contains(words)),
            "{faults}: {report}"
        );
        assert_eq!(status, Some(1), "{faults}: {report}");
    }
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
