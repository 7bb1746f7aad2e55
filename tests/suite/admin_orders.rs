//! What an operator's orders do to a plugin, and that those who talk to it notice nothing.

use serde_json::{Value, json};

use crate::{
    admin::{allowed, order, page},
    client::Client,
    harness::{Host, Plugin, Setup, artifacts, elf, eventually},
    scenario::ready,
};

#[tokio::test]
async fn a_disabled_plugin_s_traffic_goes_elsewhere_and_no_socket_notices() {
    let host = Setup::new().plugin(Plugin::echo()).operated().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run("before").await.unwrap().answered_by("echo").unwrap();
    let page = order(&host, "echo", "disable").await.unwrap();
    assert_eq!((&page["verdict"], &page["state"]), (&"disabled".into(), &"disabled".into()), "{page}");
    client.run("meanwhile").await.unwrap().answered_by_fallback("meanwhile").unwrap();
    eventually("its process is gone", async || match host.workers() {
        0 => Ok(()),
        workers => Err(format!("{workers} workers")),
    })
    .await
    .unwrap();
    let page = order(&host, "echo", "enable").await.unwrap();
    assert_eq!(page["verdict"], "healthy", "{page}");
    // The same connection all the while.
    client.run("after").await.unwrap().answered_by("echo").unwrap();
}

fn slow() -> Setup {
    Setup::new().plugin(Plugin::misbehaving("slow")).operated()
}

async fn a_disabled_plugin_finishes_what_it_began(host: &Host) -> Result<(), String> {
    what_it_began_is_finished(host, "disable", "disabled").await.map(drop)
}

/// Taken out of rotation by hand: what it had begun is finished, the host misses it, and the command that is named
/// brings it back, over the same connection.
async fn a_drained_plugin_finishes_and_is_brought_back(host: &Host) -> Result<(), String> {
    let mut client = what_it_began_is_finished(host, "drain", "unloaded").await?;
    client
        .run_with("who is there?", json!({ "agent": "slow" }))
        .await?
        .answered_by_fallback("who is there?")?;
    let out = page(host, "slow").await?;
    let hint = out["hint"].as_str().unwrap_or_default();
    if out["code"] != "plugin.draining" || !hint.contains("plugins enable slow") {
        return Err(format!("it does not say that it was taken out: {out}"));
    }
    order(host, "slow", "enable").await?;
    client.run_with("back?", json!({ "agent": "slow" })).await?.answered_by("slow")
}

/// It is told so, and then is in that state.
async fn what_it_began_is_finished(host: &Host, told: &str, state: &str) -> Result<Client, String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    // Longer than anything between its begin and the order.
    client.say("!slow 3000", json!({ "agent": "slow" })).await?;
    client.expect("accepted").await?;
    client.until("agent_started").await?;
    let page = order(host, "slow", told).await?;
    if page["state"] != state {
        return Err(format!("it is not {state}: {page}"));
    }
    let completed = client.until("agent_completed").await?;
    match completed["payload"]["status"].as_str() {
        Some("ok") => Ok(client),
        _ => Err(format!("what it had begun was cut off: {completed}")),
    }
}

twin! {
    drained_by_hand(a_drained_plugin_finishes_and_is_brought_back) on slow();
    faults ""; broken by "engine.retire.wait=off", says "cut off"
}

twin! {
    runs_outlive_their_plugin_s_place(a_disabled_plugin_finishes_what_it_began) on slow();
    faults ""; broken by "engine.retire.wait=off", says "cut off"
}

/// An order is answered when it is so, not when it was heard: the page in the answer is of the new generation.
async fn an_answer_is_of_what_is_so(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let before = page(host, "slow").await?["generation"].as_u64();
    let answered = order(host, "slow", "reload").await?;
    match (answered["verdict"].as_str(), answered["generation"].as_u64()) {
        (Some("healthy"), generation) if generation > before => Ok(()),
        _ => Err(format!("answered before it was so: {answered}")),
    }
}

twin! {
    orders_are_answered_when_carried_out(an_answer_is_of_what_is_so) on slow();
    faults ""; broken by "engine.control.wait=off", says "before it was so"
}

#[tokio::test]
async fn a_reload_takes_the_file_as_it_is_now_and_a_bad_one_changes_nothing() {
    let library = tempfile::tempdir().unwrap();
    let echo = std::fs::read(artifacts::echo()).unwrap();
    let path = elf::write(library.path(), "libagent.so", &echo);
    let host = Setup::new().plugin(Plugin::at("served", &path)).operated().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run("hello").await.unwrap().answered_by("served").unwrap();
    let first = page(&host, "served").await.unwrap();

    // Renamed over, as a deployment does it.
    let replace = |bytes: &[u8]| {
        let next = elf::write(library.path(), "next.so", bytes);
        std::fs::rename(next, &path).unwrap();
    };
    replace(&std::fs::read(artifacts::misbehaving()).unwrap());
    let second = order(&host, "served", "reload").await.unwrap();
    assert_eq!(second["verdict"], "healthy", "{second}");
    assert!(second["generation"].as_u64() > first["generation"].as_u64(), "{first} {second}");
    assert_ne!(second["digest"], first["digest"], "the new file runs");
    client.run("and you?").await.unwrap().answered_by("served").unwrap();

    replace(b"no library at all");
    let answer = allowed(&host, "POST", "/admin/v1/plugins/served/reload").await.unwrap();
    assert_eq!((answer.status, answer.code()), (409, Ok("plugin.not_elf".into())), "{answer:?}");
    let third = page(&host, "served").await.unwrap();
    assert_eq!((&third["verdict"], &third["digest"]), (&"healthy".into(), &second["digest"]), "{third}");
    client.run("still there?").await.unwrap().answered_by("served").unwrap();

    // What is amiss with another file is no matter any more once the one that runs lies there again.
    assert_eq!(third["candidate"]["fault"]["code"], "plugin.not_elf", "{third}");
    replace(&std::fs::read(artifacts::misbehaving()).unwrap());
    eventually("the other file is forgotten", async || match &page(&host, "served").await?["candidate"] {
        Value::Null => Ok(()),
        candidate => Err(candidate.to_string()),
    })
    .await
    .unwrap();
}
