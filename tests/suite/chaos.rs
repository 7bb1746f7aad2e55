//! Faults that an operator injects: each hits what it names, users lose nothing that they were promised, and it heals by
//! itself. Without `[chaos] enabled`, or without the scope, nothing is injected at all.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    admin::page,
    client::Client,
    harness::{
        Host, PATIENCE, Plugin, Setup, artifacts, eventually,
        http::{self, Answer},
        metrics::Metrics,
        tokens::{self, operator},
    },
    scenario::ready,
};

const PATH: &str = "/admin/v1/chaos";

/// A host that may be harmed.
pub(crate) fn setup() -> Setup {
    Setup::echo().operated().set("chaos.enabled", "true").set("limits.messages_per_minute", "0")
}

async fn ask(host: &Host, method: &str, path: &str, token: &str, body: &str) -> Result<Answer, String> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        host.admin,
        body.len()
    );
    http::send(host.admin, head.as_bytes(), PATIENCE * 2).await
}

async fn order(host: &Host, method: &str, path: &str, body: &Value) -> Result<Answer, String> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    ask(host, method, path, &operator(&["admin:chaos"]), &body).await
}

/// Injects a fault.
pub(crate) async fn inject(host: &Host, fault: Value) -> Result<Value, String> {
    let answer = order(host, "POST", PATH, &fault).await?;
    if answer.status == 200 { answer.json() } else { Err(format!("{fault}: {answer:?}")) }
}

pub(crate) async fn standing(host: &Host) -> Result<Value, String> {
    let answer = ask(host, "GET", PATH, &operator(&["admin:read"]), "").await?;
    if answer.status == 200 { answer.json() } else { Err(format!("{answer:?}")) }
}

pub(crate) async fn stop(host: &Host) -> Result<(), String> {
    let answer = order(host, "DELETE", PATH, &Value::Null).await?;
    if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
}

pub(crate) async fn level(host: &Host) -> Result<String, String> {
    let answer = ask(host, "GET", "/admin/v1/status", &operator(&["admin:read"]), "").await?;
    Ok(answer.json()?["level"].as_str().unwrap_or_default().to_owned())
}

pub(crate) async fn until_level(host: &Host, wanted: &str) -> Result<(), String> {
    eventually("the level changes", async || match level(host).await? {
        level if level == wanted => Ok(()),
        level => Err(format!("{level}, not {wanted}")),
    })
    .await
}

/// Nothing is injected where the files do not say so, nor by whom they do not let; and the API cannot say it for them.
#[tokio::test]
async fn nothing_is_injected_without_the_files_and_the_scope() {
    let closed = Setup::echo().operated().start();
    ready(&closed).await.unwrap();
    for (method, path) in [("POST", PATH), ("DELETE", PATH), ("DELETE", "/admin/v1/chaos/1")] {
        let body = if method == "POST" { json!({ "fault": "store-fail" }) } else { Value::Null };
        let answer = order(&closed, method, path, &body).await.unwrap();
        assert_eq!((answer.status, answer.code()), (403, Ok("chaos.disabled".into())), "{method} {answer:?}");
    }
    let page = standing(&closed).await.unwrap();
    assert_eq!((&page["enabled"], &page["active"]), (&json!(false), &json!([])), "{page}");
    assert!(page["faults"].as_array().unwrap().len() >= 10, "it says what there would be: {page}");
    let set = json!({ "set": { "chaos.enabled": true } }).to_string();
    let answer = ask(&closed, "PATCH", "/admin/v1/config", &operator(&["admin:config"]), &set).await.unwrap();
    assert!(answer.status >= 400 && answer.body.contains("chaos.enabled"), "{answer:?}");
    Client::connect(&closed, "alice").await.unwrap().run("hi").await.unwrap().answered_by("echo").unwrap();

    let open = setup().start();
    ready(&open).await.unwrap();
    let fault = json!({ "fault": "store-fail" }).to_string();
    let all_but_it = operator(&["admin:read", "admin:toggle", "admin:config", "admin:debug"]);
    for (token, status) in [(all_but_it, 403), (tokens::of("alice"), 401), (String::new(), 401)] {
        let answer = ask(&open, "POST", PATH, &token, &fault).await.unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
    }
    assert_eq!(order(&open, "PUT", PATH, &Value::Null).await.unwrap().status, 405);
    assert_eq!(standing(&open).await.unwrap()["active"], json!([]));
}

/// The short words of the command line are the faults that they stand for, with all that those take.
#[tokio::test]
async fn the_short_words_inject_what_they_stand_for() {
    // One that hangs is killed, and a worker that is gone is no target: another one for each.
    let other = |id: &str| Plugin::at(id, artifacts::echo());
    let host = setup().plugin(other("hung")).plugin(other("killed")).start();
    ready(&host).await.unwrap();
    for (word, plugin, fault, more) in [
        ("panic", "echo", "runs-fail", &["--share", "100"][..]),
        ("slow", "echo", "runs-slow", &["--delay", "50ms"]),
        ("hang", "hung", "worker-hang", &[]),
        ("kill", "killed", "worker-kill", &["--every", "5s", "--for", "10s"]),
    ] {
        let output = host.operate(&[&["chaos", word, plugin], more].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = said.contains(&format!("{fault} of {plugin}"));
        assert!(output.status.success() && told, "{word}: {output:?}");
    }
    let stopped = host.operate(&["chaos", "stop"]);
    assert!(stopped.status.success(), "{stopped:?}");
    let mistaken = host.operate(&["chaos", "slow", "echo", "--every", "1s"]);
    assert!(!mistaken.status.success(), "what a fault does not take is refused: {mistaken:?}");
}

/// What says nothing that can be done is refused by name, and does nothing.
#[tokio::test]
async fn a_fault_that_cannot_be_is_refused() {
    let host = setup().start();
    ready(&host).await.unwrap();
    for (fault, status, words) in [
        (json!({ "fault": "host-kill" }), 400, "worker-kill"),
        (json!({ "fault": "worker-kill" }), 400, "needs `plugin`"),
        (json!({ "fault": "worker-kill", "plugin": "nobody" }), 409, "chaos.no_target"),
        (json!({ "fault": "store-fail", "plugin": "echo" }), 400, "takes no `plugin`"),
        (json!({ "fault": "store-fail", "share": 0 }), 400, "1 to 100"),
        (json!({ "fault": "store-fail", "for": "11m" }), 400, "1s to 10m"),
        (json!({ "fault": "store-fail", "until": "noon" }), 400, "unknown field"),
        (json!({ "fault": "service-down", "service": "store" }), 400, "delegate"),
    ] {
        let answer = order(&host, "POST", PATH, &fault).await.unwrap();
        assert!(answer.status == status && answer.body.contains(words), "{fault}: {answer:?}");
    }
    assert_eq!(order(&host, "DELETE", "/admin/v1/chaos/1", &Value::Null).await.unwrap().status, 404);
    assert_eq!(standing(&host).await.unwrap()["active"], json!([]));
}

/// A worker that is killed, crashes or hangs: its runs end well, nobody is cut off, and it is back.
#[tokio::test]
async fn a_struck_worker_is_back_and_its_runs_are_whole() {
    for (fault, run) in
        [("worker-kill", "!slow 60000"), ("worker-crash", "!slow 60000"), ("worker-hang", "hi")]
    {
        let host = setup().plugin(Plugin::misbehaving("bad")).start();
        ready(&host).await.unwrap();
        let mut bystander = Client::connect(&host, "bob").await.unwrap();
        let mut client = Client::connect(&host, "alice").await.unwrap();
        let before = page(&host, "bad").await.unwrap()["generation"].as_u64();
        if fault != "worker-hang" {
            client.say(run, json!({ "agent": "bad" })).await.unwrap();
            client.until("agent_started").await.unwrap();
        }
        let injected = inject(&host, json!({ "fault": fault, "plugin": "bad" })).await.unwrap();
        assert_eq!(injected["hits"], 1, "{injected}");
        if fault != "worker-hang" {
            let completed = client.until("agent_completed").await.unwrap();
            assert_ne!(completed["payload"]["status"], "ok", "{fault}: {completed}");
        }
        bystander.run_with("hi", json!({ "agent": "echo" })).await.unwrap().answered_by("echo").unwrap();
        eventually("it is back", async || {
            let now = page(&host, "bad").await?;
            let is_another = now["generation"].as_u64() > before;
            if is_another && now["verdict"] == "healthy" { Ok(()) } else { Err(now.to_string()) }
        })
        .await
        .unwrap_or_else(|why| panic!("{fault}: {why}"));
        let answered = client.run_with("and now?", json!({ "agent": "bad" })).await.unwrap();
        answered.answered_by("bad").unwrap_or_else(|why| panic!("{fault}: {why}"));
        if fault == "worker-crash" {
            eventually("the crash is shown", async || {
                match page(&host, "bad").await?["last_crash"].to_string() {
                    crash if crash.contains("SIGSEGV") => Ok(()),
                    crash => Err(crash),
                }
            })
            .await
            .unwrap();
        }
    }
}

/// A worker that is killed again and again is given up, and the fallback serves; then it can be had back.
#[tokio::test]
async fn a_worker_that_is_killed_again_and_again_is_quarantined() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    inject(&host, json!({ "fault": "worker-kill", "plugin": "echo", "every": "100ms", "for": "1m" }))
        .await
        .unwrap();
    eventually("it is given up", async || {
        let page = page(&host, "echo").await?;
        if page["state"] == "quarantined" { Ok(()) } else { Err(page["state"].to_string()) }
    })
    .await
    .unwrap();
    client.run("anybody?").await.unwrap().answered_by_fallback("anybody?").unwrap();
    stop(&host).await.unwrap();
    crate::admin::order(&host, "echo", "reset").await.unwrap();
    client.run("back?").await.unwrap().answered_by("echo").unwrap();
}

#[tokio::test]
async fn a_share_of_the_runs_fails_or_is_late_and_all_are_whole() {
    let host = setup().set("routing.retry", "false").start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    // Below what opens the breaker.
    inject(&host, json!({ "fault": "runs-fail", "plugin": "echo", "share": 20 })).await.unwrap();
    let mut by_fallback = 0;
    for turn in 0..10 {
        let run = client.run(&format!("message {turn}")).await.unwrap();
        if run.answered_by("echo").is_err() {
            run.answered_by_fallback(&format!("message {turn}")).unwrap();
            by_fallback += 1;
        }
    }
    assert_eq!(by_fallback, 2);
    stop(&host).await.unwrap();
    let fault = json!({ "fault": "runs-slow", "plugin": "echo", "delay": "1s" });
    inject(&host, fault).await.unwrap();
    let begun = std::time::Instant::now();
    client.run("late").await.unwrap().answered_by("echo").unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let hits = standing(&host).await.unwrap()["active"][0]["hits"].as_u64();
    assert_eq!(hits, Some(1));
}

/// A fault has an end, though nobody ends it.
async fn a_fault_ends_by_itself(host: &Host) -> Result<(), String> {
    ready(host).await?;
    inject(host, json!({ "fault": "tools-fail", "for": "1s" })).await?;
    eventually("it has ended by itself", async || {
        let page = standing(host).await?;
        match (page["active"].as_array().map(Vec::len), page["ended"][0]["ended"].as_str()) {
            (Some(0), Some("expired")) => Ok(()),
            _ => Err(format!("it is in force: {page}")),
        }
    })
    .await
}

twin! {
    no_fault_stays(a_fault_ends_by_itself) on setup();
    faults ""; broken by "chaos.expiry=off", says "it is in force"
}

/// While the store does nothing, nothing is acknowledged; the socket stays, and it heals when that is over: by an order, or
/// by itself.
#[tokio::test]
async fn a_store_that_fails_costs_no_connection_and_no_message() {
    for (fault, code) in [("store-fail", "store.unavailable"), ("store-full", "store.full")] {
        let host = setup().start();
        ready(&host).await.unwrap();
        let mut client = Client::connect(&host, "alice").await.unwrap();
        let thread = client.run("before").await.unwrap().thread().to_owned();
        inject(&host, json!({ "fault": fault, "for": "10m" })).await.unwrap();
        client.say("meanwhile", json!({ "thread_id": thread })).await.unwrap();
        client.expect_error(code).await.unwrap_or_else(|why| panic!("{fault}: {why}"));
        until_level(&host, "basic").await.unwrap_or_else(|why| panic!("{fault}: {why}"));
        stop(&host).await.unwrap();
        until_level(&host, "full").await.unwrap_or_else(|why| panic!("{fault}: {why}"));
        // Once more, and nobody ends it.
        inject(&host, json!({ "fault": fault, "for": "1s" })).await.unwrap();
        eventually("it has ended by itself", async || {
            let page = standing(&host).await?;
            let ended = (&page["active"], &page["ended"][0]["ended"]) == (&json!([]), &json!("expired"));
            if ended { Ok(()) } else { Err(page.to_string()) }
        })
        .await
        .unwrap_or_else(|why| panic!("{fault}: {why}"));
        until_level(&host, "full").await.unwrap_or_else(|why| panic!("{fault}: {why}"));
        let run = client.run_with("after", json!({ "thread_id": thread })).await.unwrap();
        run.answered_by("echo").unwrap();
    }
}

#[tokio::test]
async fn a_service_that_is_gone_degrades_who_requires_it_and_comes_back() {
    let host = setup().plugin(Plugin::misbehaving("needy").key("requires", "[\"threads\"]")).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    inject(&host, json!({ "fault": "service-down", "service": "threads", "for": "1m" })).await.unwrap();
    until_level(&host, "partial").await.unwrap();
    eventually("who requires it is degraded", async || match page(&host, "needy").await? {
        needy if needy["state"] == "degraded" => Ok(()),
        needy => Err(needy.to_string()),
    })
    .await
    .unwrap();
    client.run_with("hi", json!({ "agent": "echo" })).await.unwrap().answered_by("echo").unwrap();
    stop(&host).await.unwrap();
    until_level(&host, "full").await.unwrap();
}

#[tokio::test]
async fn tools_fail_by_a_code_and_the_run_is_whole() {
    let host = setup().plugin(Plugin::misbehaving("bad").key("tools", "[\"clock\"]")).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    inject(&host, json!({ "fault": "tools-fail" })).await.unwrap();
    let run = client.run_with("!tool clock", json!({ "agent": "bad" })).await.unwrap();
    assert!(format!("{run:?}").contains("tool.failed"), "{run:?}");
    stop(&host).await.unwrap();
    let run = client.run_with("!tool clock", json!({ "agent": "bad" })).await.unwrap();
    assert!(!format!("{run:?}").contains("tool.failed"), "{run:?}");
}

/// Connections are cut off without a word, at a share; who comes back misses nothing of the run that went on.
#[tokio::test]
async fn who_is_cut_off_comes_back_and_misses_nothing() {
    let host = setup().plugin(Plugin::misbehaving("bad")).start();
    ready(&host).await.unwrap();
    let mut stays = Client::connect(&host, "bob").await.unwrap();
    let mut cut = Client::connect(&host, "alice").await.unwrap();
    // It is under way until she cancels it.
    cut.say("!wait", json!({ "agent": "bad" })).await.unwrap();
    let accepted = cut.expect("accepted").await.unwrap();
    cut.until("agent_started").await.unwrap();
    let injected = inject(&host, json!({ "fault": "connections-cut", "share": 50 })).await.unwrap();
    assert_eq!((&injected["hits"], &injected["ended"]), (&json!(1), &json!("done")), "{injected}");
    let lost = cut.until("agent_completed").await.unwrap_err();
    assert!(!lost.contains("4406") && !lost.contains("1001"), "no close frame: {lost}");
    stays.run_with("still here", json!({ "agent": "echo" })).await.unwrap().answered_by("echo").unwrap();
    let mut back = Client::connect(&host, "alice").await.unwrap();
    let subscribe = json!({
        "type": "subscribe", "thread_id": accepted["thread_id"], "after_seq": 0, "epoch": accepted["epoch"],
    });
    back.send(&subscribe).await.unwrap();
    back.until("agent_thinking").await.unwrap();
    back.send(&json!({ "type": "cancel", "run_id": accepted["run_id"] })).await.unwrap();
    let completed = back.until("agent_completed").await.unwrap();
    assert_eq!(completed["payload"]["status"], "cancelled", "{completed}");
}

/// That it is on, and what is in force, is said wherever an operator looks; and every order leaves its line.
#[tokio::test]
async fn it_is_said_loudly() {
    let host = setup().start();
    ready(&host).await.unwrap();
    host.says(&["ChaosEnabled"]).await.unwrap();
    inject(&host, json!({ "fault": "tools-fail", "share": 5, "for": "1m" })).await.unwrap();
    let status = String::from_utf8(host.operate(&["status"]).stdout).unwrap();
    assert!(status.contains("CHAOS") && status.contains("tools-fail at 5 %"), "{status}");
    let page = http::get(host.address, "/ready?verbose", &[], PATIENCE).await.unwrap().json().unwrap();
    assert_eq!(page["chaos"]["active"], json!(["tools-fail at 5 %"]), "{page}");
    host.says(&["FaultBegan", "begin_fault"]).await.unwrap();
    let off = Setup::echo().start();
    ready(&off).await.unwrap();
    let page = http::get(off.address, "/ready?verbose", &[], PATIENCE).await.unwrap().json().unwrap();
    assert!(page.get("chaos").is_none() && !off.said().contains("Chaos"), "{page}");
}

/// A graph shows when trouble was made on purpose, and what it hit.
#[tokio::test]
async fn its_metrics_say_what_is_in_force_and_what_was_hit() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let said = async |fault: &str| {
        let page = Metrics::of(&host).await.unwrap();
        let of = |name: &str| page.sum(&format!("agent_host_chaos_{name}{{injected=\"{fault}\"}}"));
        (of("faults_active"), of("hits_total"))
    };
    assert_eq!(said("runs-fail").await, (0.0, 0.0));
    inject(&host, json!({ "fault": "runs-fail", "plugin": "echo" })).await.unwrap();
    client.run("hi").await.unwrap();
    let hits = standing(&host).await.unwrap()["active"][0]["hits"].as_f64();
    let (active, hit) = said("runs-fail").await;
    assert_eq!((active, Some(hit)), (1.0, hits), "what `chaos status` says");
    assert!(hit >= 1.0);
    stop(&host).await.unwrap();
    assert_eq!(said("runs-fail").await, (0.0, hit), "it is over; what it hit stays counted");
    inject(&host, json!({ "fault": "worker-kill", "plugin": "echo" })).await.unwrap();
    assert_eq!(said("worker-kill").await, (0.0, 1.0), "an act is over at once");
    let page = Metrics::of(&host).await.unwrap();
    assert_eq!(page.sum("agent_host_chaos_faults_active"), 0.0);
}

/// Killed in the midst of it, the host leaves nothing behind: no process, and no fault in the next one.
#[tokio::test]
async fn a_host_that_is_killed_leaves_no_fault_behind() {
    let setup = setup();
    let mut host = setup.start();
    ready(&host).await.unwrap();
    inject(&host, json!({ "fault": "store-full", "for": "10m" })).await.unwrap();
    inject(&host, json!({ "fault": "worker-hang", "plugin": "echo", "for": "10m" })).await.unwrap();
    let since = standing(&host).await.unwrap()["since"].clone();
    let workers = host.worker_ids();
    assert!(!workers.is_empty());
    host.kill();
    eventually("a worker that was stopped is gone", async || {
        let left = workers.iter().filter(|pid| std::path::Path::new(&format!("/proc/{pid}")).exists());
        match left.count() {
            0 => Ok(()),
            left => Err(format!("{left} processes")),
        }
    })
    .await
    .unwrap();
    host.start_again(&setup);
    ready(&host).await.unwrap();
    let page = standing(&host).await.unwrap();
    assert_eq!((&page["active"], &page["ended"]), (&json!([]), &json!([])), "{page}");
    assert!(page["since"].is_string() && page["since"] != since, "it says that it is another life: {page}");
    Client::connect(&host, "alice").await.unwrap().run("hi").await.unwrap().answered_by("echo").unwrap();
}

/// What is over is told: how it ended, and when; of what ended with a host, its log says so.
#[tokio::test]
async fn how_and_when_a_fault_ended_is_told() {
    let setup = setup();
    let mut host = setup.start();
    ready(&host).await.unwrap();
    inject(&host, json!({ "fault": "worker-kill", "plugin": "echo" })).await.unwrap();
    inject(&host, json!({ "fault": "tools-slow", "delay": "10ms", "for": "10m" })).await.unwrap();
    inject(&host, json!({ "fault": "store-slow", "delay": "10ms", "for": "1s" })).await.unwrap();
    eventually("the first ends by itself", async || match standing(&host).await?["active"].as_array() {
        Some(active) if active.len() == 1 => Ok(()),
        active => Err(format!("{active:?}")),
    })
    .await
    .unwrap();
    stop(&host).await.unwrap();
    let page = standing(&host).await.unwrap();
    let ended = page["ended"].as_array().unwrap();
    let told: Vec<_> = ended.iter().map(|one| (one["fault"].as_str(), one["ended"].as_str())).collect();
    let all = [("tools-slow", "stopped"), ("store-slow", "expired"), ("worker-kill", "done")];
    assert_eq!(told, all.map(|(fault, how)| (Some(fault), Some(how))), "the last first: {page}");
    for one in ended {
        let (since, at) = (one["since"].as_str().unwrap(), one["ended_at"].as_str().unwrap());
        assert!(at >= since && since >= page["since"].as_str().unwrap(), "{page}");
    }
    let status = String::from_utf8(host.operate(&["chaos", "status"]).stdout).unwrap();
    for words in ["stopped by an operator ", "ended by itself ", "done once ", "no fault is in force"] {
        assert!(status.contains(words), "{words}: {status}");
    }

    inject(&host, json!({ "fault": "tools-slow", "for": "10m" })).await.unwrap();
    host.signal(Signal::TERM);
    host.ended(PATIENCE * 2).await.unwrap();
    eventually("its end is in the log", async || {
        let said = host.said();
        let line = said.lines().rfind(|line| line.contains("FaultEnded")).unwrap_or_default();
        if line.contains("host_ended") { Ok(()) } else { Err(said) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_command_line_lists_starts_and_stops() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let said = |arguments: &[&str]| {
        let output = host.operate(arguments);
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let (code, list) = said(&["chaos", "list"]);
    assert!(code == Some(0) && list.contains("worker-kill      --plugin [--every]"), "{list}");
    let (code, started) =
        said(&["chaos", "start", "store-slow", "--delay", "20ms", "--share", "50", "--for", "1m"]);
    assert!(code == Some(0) && started.contains("store-slow, 50 % of them, 20 ms late"), "{started}");
    let (code, status) = said(&["chaos", "status"]);
    assert!(code == Some(0) && status.contains("store-slow"), "{status}");
    let (code, stopped) = said(&["chaos", "stop"]);
    assert!(
        code == Some(0)
            && stopped.contains("stopped by an operator")
            && stopped.contains("no fault is in force"),
        "{stopped}"
    );
    assert_eq!(said(&["chaos", "stop", "1"]).0, Some(1), "it has ended");
    let (code, refused) = said(&["chaos", "start", "worker-kill", "--plugin", "nobody"]);
    assert!(code == Some(1) && refused.contains("chaos.no_target"), "{refused}");
}
