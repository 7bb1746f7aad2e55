//! The laws whose protection is one switch: each scenario is content with a sound host, and objects once the switch
//! is off. (Law 1 has its twins in `failpoints`, law 6 in `fallback`, law 8 in `config`.)

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    client::Client,
    harness::{Host, PATIENCE, Plugin, Setup, eventually, http, tokens, within},
    scenario::ready,
};

/// A plugin that takes longer to start than anybody waits for a welcome; by its name it comes before echo.
fn slow_starter(takes: &str) -> Plugin {
    Plugin::bad_create("asleep", "hang").key("timeouts", &format!("{{ init = \"{takes}\" }}"))
}

/// The fixture, which has plenty of time and may call the clock.
fn patient() -> Plugin {
    Plugin::misbehaving("bad")
        .key("timeouts", "{ tool = \"60s\", idle = \"60s\", run = \"60s\", grace = \"200ms\" }")
        .key("tools", "[\"clock\"]")
}

fn check(holds: bool, what: &str, found: &dyn std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("not so: {what}: {found:?}")) }
}

/// Law 2: while a plugin is still starting, the welcome is there, and says so.
async fn the_welcome_waits_for_nobody(host: &Host) -> Result<(), String> {
    let client = Client::connect(host, "alice").await?;
    let ready = http::get(host.address, "/ready", &[], PATIENCE).await?;
    check(ready.status == 503, "it was still starting", &ready)?;
    client.close().await.map(drop)
}

twin! {
    welcome_first(the_welcome_waits_for_nobody) on Setup::echo().plugin(slow_starter("60s"));
    faults ""; broken by "gateway.welcome_first=off", says "no welcome within 1 s"
}

/// Law 3: a run that ends in the midst of a tool closes the tool first.
async fn an_open_tool_is_closed(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    client.say("!tool-hang", json!({ "agent": "bad" })).await?;
    let accepted = client.expect("accepted").await?;
    client.until("tool_executing").await?;
    client.send(&json!({ "type": "cancel", "run_id": accepted["run_id"] })).await?;
    let closed = client.until("tool_completed").await?;
    check(closed["payload"]["error"].is_object(), "closed as failed", &closed)?;
    client.until("agent_completed").await.map(drop)
}

twin! {
    tools_are_closed(an_open_tool_is_closed) on Setup::new().plugin(patient());
    faults "services.tool_call=hang"; broken by "run_machine.close=off", says "out of order in its run"
}

/// Law 3: whoever says the last word twice, the person hears it once.
async fn the_last_word_is_said_once(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    for turn in 0..3 {
        client.run(&format!("turn {turn}")).await?.answered_by("echo")?;
    }
    Ok(())
}

twin! {
    one_last_word(the_last_word_is_said_once) on Setup::echo();
    faults "engine.last_word=error"; broken by "run_machine.over=off", says "out of order in its run"
}

/// Law 4: what was acknowledged is in the log, for every later connection, and is the same message if sent again.
async fn the_acknowledged_is_kept(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut first = Client::connect(host, "alice").await?;
    let message = json!({ "type": "user_message", "id": "kept-1", "content": "keep this" });
    first.send(&message).await?;
    let accepted = first.expect("accepted").await?;
    drop(first);

    let mut second = Client::connect(host, "alice").await?;
    second.send(&message).await?;
    let again = second.expect("accepted").await?;
    check(again["duplicate"] == true && again["run_id"] == accepted["run_id"], "accepted once", &again)?;

    let mut third = Client::connect(host, "alice").await?;
    let subscribe = json!({ "type": "subscribe", "thread_id": accepted["thread_id"], "after_seq": 0 });
    third.send(&subscribe).await?;
    third.expect("subscribed").await?;
    let kept = third.expect("user_message").await?;
    check(kept["payload"]["content"] == "keep this", "the log has it", &kept)?;
    third.until("agent_completed").await.map(drop)
}

twin! {
    durable_first(the_acknowledged_is_kept) on Setup::echo();
    faults ""; broken by "store.begin=off", says "accepted once"
}

/// What the host tells anybody of a plugin: its verdict, or its code.
fn told(page: &Value, id: &str, what: &str) -> String {
    let plugins = page["plugins"].as_array().into_iter().flatten();
    let mut words = plugins.filter(|plugin| plugin["id"] == id).filter_map(|plugin| plugin[what].as_str());
    words.next().unwrap_or("none").to_owned()
}

/// Law 5: a plugin that does not get ready holds up no other.
async fn a_slow_start_is_its_own(host: &Host) -> Result<(), String> {
    let slow = within(PATIENCE * 2, "echo is healthy", async || {
        let answer = http::get(host.address, "/ready?verbose", &[], Duration::from_secs(2)).await?;
        let page = answer.json()?;
        match told(&page, "echo", "verdict").as_str() {
            "healthy" => Ok(told(&page, "asleep", "code")),
            _ => Err(page.to_string()),
        }
    })
    .await?;
    // While it starts that is all there is to say of it.
    check(slow == "plugin.starting", "echo did not wait for the other's end", &slow)?;
    let mut client = Client::connect(host, "alice").await?;
    client.run_with("hello", json!({ "agent": "echo" })).await?.answered_by("echo")
}

twin! {
    parallel_starts(a_slow_start_is_its_own) on Setup::new().plugin(slow_starter("15s")).plugin(Plugin::echo());
    faults ""; broken by "engine.parallel_starts=off", says "did not wait"
}

/// Law 5, by force: a plugin that crashes ends its own run; the host and everybody else go on.
async fn a_crash_stays_in_its_process(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut victim = Client::connect(host, "victim").await?;
    let mut other = Client::connect(host, "other").await?;
    let run = victim.run_with("!segv", json!({ "agent": "bad" })).await?;
    check(run.status() != "ok", "said to have failed", &run.status())?;
    other.run_with("hello", json!({ "agent": "echo" })).await?.answered_by("echo")
}

twin! {
    processes_of_their_own(a_crash_stays_in_its_process) on Setup::echo().plugin(patient());
    faults ""; broken by "runtime.isolation=off", says "Broke"
}

/// Law 7: to a stranger another's thread does not exist, even by its right name.
async fn a_stranger_reads_nothing(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let run = Client::connect(host, "alice").await?.run("between you and me").await?;
    let mut stranger = Client::connect(host, "mallory").await?;
    stranger.send(&json!({ "type": "subscribe", "thread_id": run.thread(), "after_seq": 0 })).await?;
    stranger.expect_error("thread.not_found").await?;
    let write = json!({ "type": "user_message", "id": "w", "content": "me too", "thread_id": run.thread() });
    stranger.send(&write).await?;
    stranger.expect_error("thread.not_found").await.map(drop)
}

twin! {
    scoped_threads(a_stranger_reads_nothing) on Setup::echo();
    faults ""; broken by "store.scope=off", says "got {\"epoch\""
}

/// A value that stands for a key of the host's.
const CANARY: &str = "canary-4d1f-of-the-host";

/// Law 9: what the host was started with is not in a worker's environment.
async fn a_plugin_gets_no_key_of_the_host(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let run = client.run_with("!env MODEL_KEY", json!({ "agent": "bad" })).await?;
    check(run.status() == "ok", "asked", run.completed())?;
    check(!run.text().contains(CANARY), "the plugin has no key", &run.text())
}

twin! {
    a_clean_environment(a_plugin_gets_no_key_of_the_host)
        on Setup::new().plugin(patient()).env("MODEL_KEY", CANARY);
    faults ""; broken by "runtime.environment=off", says "the plugin has no key"
}

/// Law 9: at the most talkative level no token, no key and no word of a person is in the log.
async fn the_log_tells_no_secrets(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let token = tokens::of("alice");
    let mut client = Client::with_token(host, &token).await?;
    client.run(CANARY).await?.answered_by("echo")?;
    let connection = client.welcome["connection_id"].as_str().unwrap_or("none").to_owned();
    client.close().await?;
    // Lines come in order: with the end of the connection everything before it is there.
    let said = eventually("the connection's begin and end are logged", async || {
        let said = host.said();
        if said.matches(&connection).count() >= 2 { Ok(said) } else { Err(said) }
    })
    .await?;
    for (what, secret) in [("token", token.as_str()), ("key", tokens::SECRET), ("text", CANARY)] {
        check(!said.contains(secret), &format!("no {what} in the log"), &said.len())?;
    }
    Ok(())
}

twin! {
    quiet_logs(the_log_tells_no_secrets) on Setup::echo().set("log.level", "\"trace\"");
    faults ""; broken by "gateway.quiet_tokens=off", says "no token in the log"
}
