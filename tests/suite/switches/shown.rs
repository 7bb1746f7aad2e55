//! How each behaviour of the runbook's partial rollback shows: whether it is there. What takes its time to come is waited
//! for if it is expected.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::beside;
use crate::{
    admin::{order, page},
    client::Client,
    harness::{Host, PATIENCE, Plugin, Setup, artifacts, eventually, http, metrics::Metrics, tokens},
    live_swaps::write_version,
    netra::client::Older,
    scenario::ready,
};

/// The example goes first, unless the supervisor chooses.
pub(super) fn supervised() -> Setup {
    const TOOLS: &str = "[\"calculator\", \"clock\"]";
    let assistant = Plugin::at("assistant", artifacts::assistant()).key("tools", TOOLS);
    let supervisor =
        Plugin::at("supervisor", artifacts::supervisor()).key("kind", "\"supervisor\"").key("tools", TOOLS);
    beside(super::bad()).plugin(assistant).plugin(supervisor)
}

async fn client(host: &Host) -> Result<Client, String> {
    Client::connect(host, "alice").await
}

/// Asks `bad` by name; who answered.
async fn asks_bad(host: &Host, message: &str) -> Result<String, String> {
    let run = client(host).await?.run_with(message, json!({ "agent": "bad" })).await?;
    Ok(run.responder().to_owned())
}

/// The page of `bad`, once it is as `is` wants it.
async fn bad_is(host: &Host, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value, String> {
    eventually(what, async || match page(host, "bad").await? {
        page if is(&page) => Ok(page),
        page => Err(page.to_string()),
    })
    .await
}

async fn healthy(host: &Host) -> Result<u64, String> {
    let page = bad_is(host, "it is healthy", |page| page["verdict"] == "healthy").await?;
    page["generation"].as_u64().ok_or_else(|| page.to_string())
}

/// Another generation serves than that one.
fn is_after(page: &Value, generation: u64) -> bool {
    page["verdict"] == "healthy" && page["generation"].as_u64() > Some(generation)
}

/// Crashes it in the midst of a run, so that the run is not tried again, and crashes nobody else.
async fn crash(host: &Host) -> Result<u64, String> {
    let generation = healthy(host).await?;
    asks_bad(host, "!think-segv").await?;
    Ok(generation)
}

/// Whether it chooses.
pub(super) async fn supervisor(host: &Host, expected: bool) -> Result<bool, String> {
    let chosen = async || {
        let run = client(host).await?.run("@assistant what is 6*7?").await?;
        Ok::<_, String>(run.responder() == "assistant")
    };
    if !expected {
        return chosen().await;
    }
    // On a busy machine it may miss its time to choose.
    eventually("it chooses", async || match chosen().await? {
        true => Ok(true),
        false => Err("it did not".to_owned()),
    })
    .await
}

/// Whether a message is given to another agent.
pub(super) async fn retry(host: &Host, _expected: bool) -> Result<bool, String> {
    healthy(host).await?;
    let run = client(host).await?.run("!segv").await?;
    Ok(run.responder() == "echo")
}

/// Whether it gets no runs after it failed some.
pub(super) async fn breaker(host: &Host, expected: bool) -> Result<bool, String> {
    // A machine may stall for longer than the breaker's pause: what is expected is looked for again.
    for _ in 0..if expected { 3 } else { 1 } {
        for _ in 0..6 {
            asks_bad(host, "!panic").await?;
        }
        if asks_bad(host, "hello").await? != "bad" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a crash is taken over by a worker that was there already.
pub(super) async fn spare(host: &Host, expected: bool) -> Result<bool, String> {
    let sum = async |series: &str| Ok::<_, String>(Metrics::of(host).await?.sum(series));
    if expected {
        eventually("a spare is ready", async || {
            match sum("agent_host_plugin_spares_ready{plugin=\"bad\"").await? {
                1.0 => Ok(()),
                ready => Err(format!("{ready} are")),
            }
        })
        .await?;
    }
    let takeovers = "agent_host_plugin_spare_takeovers_total{plugin=\"bad\"";
    let before = sum(takeovers).await?;
    let crashed = crash(host).await?;
    bad_is(host, "it is back", |page| is_after(page, crashed)).await?;
    Ok(sum(takeovers).await? > before)
}

/// Whether a version that crashes gives way to the one before.
pub(super) async fn gives_way(host: &Host, _expected: bool) -> Result<bool, String> {
    static VERSION: AtomicUsize = AtomicUsize::new(0);
    let before = healthy(host).await?;
    write_version(&host.dir().join("plugins.d/00-bad.toml"), VERSION.fetch_add(1, Ordering::Relaxed))?;
    let new =
        bad_is(host, "the new version serves", |page| is_after(page, before)).await?["generation"].as_u64();
    crash(host).await?;
    let gave_way = |page: &Value| page["rolled_back"]["from"].as_u64() == new;
    let page = bad_is(host, "it is judged", |page| gave_way(page) || is_after(page, new.unwrap_or_default()))
        .await?;
    Ok(gave_way(&page))
}

/// Whether it is started again after a crash.
pub(super) async fn restart(host: &Host, _expected: bool) -> Result<bool, String> {
    // As the runbook has it for one that is left alone.
    order(host, "bad", "reset").await?;
    let crashed = crash(host).await?;
    let quarantined = |page: &Value| page["state"] == "quarantined";
    let page = bad_is(host, "it is judged", |page| quarantined(page) || is_after(page, crashed)).await?;
    Ok(!quarantined(&page))
}

/// Whether it answers for itself.
pub(super) async fn plugin(host: &Host, _expected: bool) -> Result<bool, String> {
    ready(host).await?;
    Ok(asks_bad(host, "hello").await? == "bad")
}

/// Whether a client that names no protocol is spoken to as the older wire has it.
pub(super) async fn older_wire(host: &Host, _expected: bool) -> Result<bool, String> {
    let bearer = format!("Bearer {}", tokens::of("alice"));
    let mut client = Older::connect(host, "/ws", &[("authorization", bearer)]).await?;
    Ok(client.frame().await?["protocol"] != "agent-host.v1")
}

/// Whether it looks at itself. Whoever looks hears of the switch by itself, a moment after it is in force.
pub(super) async fn checks_itself(host: &Host, expected: bool) -> Result<bool, String> {
    let looks = async || {
        let answer = http::get(host.admin, "/ready?verbose", &[], PATIENCE).await?.json()?;
        Ok::<_, String>(answer["self_check"]["verdict"] != "disabled")
    };
    let heard = eventually("it is heard of", async || match looks().await? == expected {
        true => Ok(()),
        false => Err("not yet".to_owned()),
    });
    Ok(heard.await.is_ok() == expected)
}
