//! A plugin that dies, hangs or lies in the midst of a message: the run completes, nobody else notices, and the next
//! generation serves.

use serde_json::json;

use crate::{
    client::{Client, Run},
    harness::{Host, Plugin, Setup, eventually},
    scenario::ready,
};

/// A host with a good agent and one that does as it is told.
fn setup() -> Setup {
    beside_echo(Plugin::misbehaving("bad"))
}

/// The same, where it may be told what never ends.
fn impatient() -> Setup {
    beside_echo(Plugin::misbehaving("bad").hasty())
}

fn beside_echo(bad: Plugin) -> Setup {
    let bad = bad.key("restart", "{ max = 50, within = \"60s\" }");
    Setup::echo().plugin(bad).set("limits.messages_per_minute", "0").set("limits.runs_at_once", "0")
}

/// What is told to the plugin, and the codes by which the run may name its end.
struct Deed {
    command: &'static str,
    codes: &'static [&'static str],
}

const ENDS: &[Deed] = &[
    Deed { command: "!segv", codes: &["plugin.crashed"] },
    Deed { command: "!abort", codes: &["plugin.crashed"] },
    Deed { command: "!stackoverflow", codes: &["plugin.crashed"] },
    Deed { command: "!exit0", codes: &["plugin.exited"] },
    Deed { command: "!exit1", codes: &["plugin.exited"] },
    Deed { command: "!panic", codes: &["plugin.panicked"] },
    Deed { command: "!panic-drop", codes: &["plugin.panicked", "plugin.crashed", "plugin.exited"] },
    Deed { command: "!error", codes: &["plugin.error"] },
    Deed { command: "!think-segv", codes: &["plugin.crashed"] },
];

const NEVER_ENDS: &[Deed] = &[
    Deed { command: "!loop", codes: &["plugin.timeout_idle", "plugin.hung"] },
    Deed { command: "!sleep", codes: &["plugin.timeout_idle", "plugin.hung"] },
    Deed { command: "!hang", codes: &["plugin.timeout_idle", "plugin.hung"] },
    Deed { command: "!think-hang", codes: &["plugin.timeout_idle", "plugin.hung"] },
    Deed { command: "!block-all", codes: &["plugin.timeout_idle", "plugin.hung"] },
];

/// The run of a deed is whole (the client holds that), ends within patience, says why, and claims no answer.
fn judge(deed: &Deed, run: &Run) -> Result<(), String> {
    if !["failed", "degraded"].contains(&run.status()) {
        return Err(format!("{}: ended as if all were well: {}", deed.command, run.completed()));
    }
    match run.codes().iter().any(|code| deed.codes.contains(code)) {
        true => Ok(()),
        false => Err(format!("{}: expected one of {:?}, got {:?}", deed.command, deed.codes, run.events)),
    }
}

/// The bad agent answers again, on a later generation or the same.
async fn serves_again(client: &mut Client) -> Result<u64, String> {
    for _ in 0..600 {
        let run = client.run_with("are you back?", json!({ "agent": "bad" })).await?;
        if run.status() == "ok" {
            run.answered_by("bad")?;
            return run.completed()["responder"]["generation"].as_u64().ok_or("no generation".to_owned());
        }
        run.answered_by_fallback("are you back?")?;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    Err("the plugin never came back".to_owned())
}

/// One user suffers a deed; another, on another agent, gets every answer meanwhile.
async fn only_its_own_run_sees_it(host: &Host, deed: &Deed) -> Result<(), String> {
    let mut victim = Client::connect(host, "victim").await?;
    let mut other = Client::connect(host, "other").await?;
    let suffers = victim.run_with(deed.command, json!({ "agent": "bad" }));
    let goes_on = async {
        for turn in 0..10 {
            let run = other.run_with(&format!("turn {turn}"), json!({ "agent": "echo" })).await?;
            run.answered_by("echo")?;
        }
        Ok::<_, String>(())
    };
    let (run, calm) = tokio::join!(suffers, goes_on);
    calm.map_err(|e| format!("{}: the other user noticed: {e}", deed.command))?;
    judge(deed, &run?)?;
    serves_again(&mut victim).await.map(drop).map_err(|e| format!("{}: {e}", deed.command))
}

async fn every_deed(host: &Host, deeds: &[Deed]) -> Result<(), String> {
    ready(host).await?;
    let mut wrong = Vec::new();
    for deed in deeds {
        if let Err(objection) = only_its_own_run_sees_it(host, deed).await {
            wrong.push(objection);
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

#[tokio::test]
async fn what_ends_the_process_ends_only_its_own_run() {
    let mut host = setup().start();
    let pid = host.pid();
    every_deed(&host, ENDS).await.unwrap();
    assert!(host.is_running() && host.pid() == pid);
}

#[tokio::test]
async fn what_never_ends_is_ended() {
    let mut host = impatient().start();
    every_deed(&host, NEVER_ENDS).await.unwrap();
    assert!(host.is_running());
}

#[tokio::test]
async fn a_crash_is_answered_by_a_new_generation() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let before = serves_again(&mut client).await.unwrap();
    client.run_with("!segv", json!({ "agent": "bad" })).await.unwrap();
    let after = serves_again(&mut client).await.unwrap();
    assert!(after > before, "generation {after} after {before}");
}

#[tokio::test]
async fn a_crash_loop_at_its_message_spends_the_budget_and_the_fallback_serves() {
    let bad = Plugin::misbehaving("bad").key("restart", "{ max = 2, within = \"60s\" }");
    let host = Setup::echo().plugin(bad).set("limits.messages_per_minute", "0").start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let client_of = tokio::sync::Mutex::new(&mut client);
    eventually("the plugin is quarantined", async || {
        let run = client_of.lock().await.run_with("!segv", json!({ "agent": "bad" })).await?;
        if run.status() == "ok" {
            return Err(format!("answered as if all were well: {}", run.completed()));
        }
        let fresh = Client::connect(&host, "bob").await?;
        let missing = fresh.welcome["service"]["missing"].as_array().cloned().unwrap_or_default();
        match missing.iter().find(|one| one["name"] == "bad") {
            Some(one) if one["code"] == "plugin.quarantined" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await
    .unwrap();
    client.run("and you?").await.unwrap().answered_by("echo").unwrap();
}

#[tokio::test]
async fn a_lie_leaves_a_well_formed_run() {
    const LIES: &[&str] = &[
        "json",
        "empty",
        "kind",
        "utf8",
        "surrogate",
        "newline",
        "nul",
        "progress",
        "huge-number",
        "duplicate",
        "unknown-field",
        "deep",
        "large",
        "message-id",
        "foreign-emit",
        "foreign-complete",
        "foreign-request",
        "completion",
        "completion-value",
        "completion-code",
        "completion-large",
        "twice",
        "after",
        "method",
        "request",
        "log",
        "credit",
        "log-flood",
        "request-flood",
    ];
    let host = impatient().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    for lie in LIES {
        // The client's laws are the assertion: whatever came was whole, dense and in order.
        let run = client.run_with(&format!("!lie-{lie}"), json!({ "agent": "bad" })).await;
        run.unwrap_or_else(|e| panic!("{lie}: {e}"));
        serves_again(&mut client).await.unwrap_or_else(|e| panic!("after {lie}: {e}"));
    }
}

#[tokio::test]
async fn a_flood_of_events_is_held_back_and_the_other_user_is_served() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut loud = Client::connect(&host, "loud").await.unwrap();
    let mut quiet = Client::connect(&host, "quiet").await.unwrap();
    loud.say("!flood", json!({ "agent": "bad" })).await.unwrap();
    loud.expect("accepted").await.unwrap();
    for turn in 0..10 {
        let run = quiet.run_with(&format!("turn {turn}"), json!({ "agent": "echo" })).await.unwrap();
        run.answered_by("echo").unwrap();
    }
}

#[tokio::test]
async fn many_events_arrive_all_and_in_order() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let run = client.run_with("!many 2000", json!({ "agent": "bad" })).await.unwrap();
    assert_eq!(run.status(), "ok", "{}", run.completed());
    assert!(run.events.len() > 2000, "{} events", run.events.len());
}

#[tokio::test]
async fn a_run_is_cancelled_by_its_own_user() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let id = client.say("!wait", json!({ "agent": "bad" })).await.unwrap();
    let accepted = client.expect("accepted").await.unwrap();
    assert_eq!(accepted["id"], id.as_str());
    client.until("agent_thinking").await.unwrap();
    client.send(&json!({ "type": "cancel", "run_id": accepted["run_id"] })).await.unwrap();
    let completed = client.until("agent_completed").await.unwrap();
    assert_eq!(completed["payload"]["status"], "cancelled", "{completed}");
}

#[tokio::test]
async fn a_question_is_answered_in_a_new_run_of_the_same_thread() {
    let host = Setup::new().plugin(Plugin::misbehaving("bad").config("handle", "\"ask\"")).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let asked = client.run("may I?").await.unwrap();
    assert_eq!(asked.status(), "input_required", "{}", asked.completed());
    let interrupt = &asked.completed()["interrupts"][0];
    let answer = json!({
        "type": "interrupt_response", "id": "answer-1", "run_id": asked.id(),
        "interrupt_id": interrupt["id"].as_str().or(interrupt["interrupt_id"].as_str()), "response": true,
    });
    client.send(&answer).await.unwrap();
    let answered = client.gather("answer-1").await.unwrap();
    assert_eq!(answered.thread(), asked.thread());
    assert_eq!(answered.accepted["resumes"], asked.id(), "{}", answered.accepted);
    assert_eq!(answered.status(), "ok", "{}", answered.completed());
    assert!(answered.text().contains("you answered true"), "{}", answered.text());
}

/// What a liar emits never reaches the client as it was said.
async fn a_lie_is_not_passed_on(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    client.run_with("!lie-json", json!({ "agent": "bad" })).await.map(drop)
}

twin! {
    judged_events(a_lie_is_not_passed_on) on setup();
    faults ""; broken by "run_machine.decode=off", says "not JSON"
}

/// The log tells a crash with its signal, the call, and the author's function at the top of the way there.
async fn a_crash_is_explained_in_the_log(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let run = client.run_with("!segv", json!({ "agent": "bad" })).await?;
    let wanted =
        [format!("SIGSEGV at 0x1000 in handle of run {}", run.id()), "misbehaving::deeds::segv".to_owned()];
    eventually("the crash is explained", async || {
        let said = host.said();
        let told = said.lines().find(|line| line.contains("PluginCrashed"));
        let told = told.ok_or("no crash was reported")?;
        let missing = wanted.iter().find(|words| !told.contains(words.as_str()));
        missing.map_or(Ok(()), |words| Err(format!("{words:?} is not in {told}")))
    })
    .await
}

twin! {
    crash_reports(a_crash_is_explained_in_the_log) on setup();
    faults ""; broken by "runtime.crash_report=off", says "no crash was reported"
}
