//! Secrets planted everywhere at once, and looked for everywhere at once: the host's keys, a plugin's secret, tokens good and
//! bad in each place where a client may put one, a ticket. None is in the log, in a metric, in any page of either listener,
//! in what the command line prints, in a frame, or in a file of the store.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{
    admin_host::ask,
    client::{Client, PROTOCOL},
    harness::{
        Host, PATIENCE, Plugin, Setup, eventually, http,
        tokens::{self, ADMIN_SECRET, OTHER_SECRET, SECRET, claims, operator, signed},
    },
    netra::{client::Version, conformance::Greeted, v2::spoken},
    scenario::ready,
};

const OF_PLUGIN: &str = "canary-of-a-plugin-41c77a";
const SCOPES: &[&str] = &["admin:read", "admin:toggle", "admin:config", "admin:debug"];

fn setup() -> Setup {
    let rich = Plugin::misbehaving("rich").key("secrets", "{ billing_key = { env = \"BILLING\" } }");
    spoken(Setup::echo().plugin(rich).operated())
        .env("BILLING", OF_PLUGIN)
        .set("log.level", "\"debug\"")
        .set("limits.messages_per_minute", "0")
        .set("limits.auth_failures_per_minute", "0")
}

/// What must be nowhere, with what it is.
type Secrets = Vec<(&'static str, String)>;
/// What was seen, with where.
type Seen = Vec<(String, String)>;

/// Each token in each place where a client may put it, and whatever makes a plugin talk; answers the frames, too.
async fn plant(host: &Host) -> Result<(Secrets, Seen), String> {
    let (good, bad) = (tokens::of("alice"), signed(&claims("alice"), OTHER_SECRET));
    let mut frames = Vec::new();
    let mut client = Client::connect(host, "alice").await?;
    frames.push(("the welcome".to_owned(), client.welcome.to_string()));
    for (agent, said) in [("echo", "hello"), ("rich", "!secret-tell billing_key"), ("rich", "!think-segv")] {
        let run = client.run_with(said, json!({ "agent": agent })).await?;
        frames.push((format!("the run of {said}"), format!("{} {:?}", run.accepted, run.events)));
    }
    for token in [&bad, &good] {
        client.send(&json!({ "type": "auth_refresh", "token": token })).await?;
        let answer = one_of(&mut client, &["error", "auth_refreshed"]).await?;
        frames.push(("the answer to auth_refresh".to_owned(), answer.to_string()));
    }
    for version in Version::BOTH {
        let greeted = Greeted::of(host, version, "alice").await?;
        frames.push((format!("the greeting of {version:?}"), format!("{:?}", greeted.greeting)));
    }
    for token in [&good, &bad] {
        let headers = [("Authorization", format!("Bearer {token}")), ("Cookie", format!("token={token}"))];
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let in_query = format!("/v1/threads?token={token}");
        for path in ["/v1/threads", "/v1/nowhere", "/ws", &in_query] {
            for to in [host.address, host.admin] {
                let answer = http::get(to, path, &headers, PATIENCE).await?;
                frames.push((path.split('?').next().unwrap_or_default().to_owned(), format!("{answer:?}")));
            }
        }
        let offer = [(PROTOCOL, format!("agent-host.v1, bearer.{token}"))];
        // The bad one is refused, which is as good.
        let _ = Client::upgrade(host, &offer).await;
    }
    let bearer = format!("Bearer {good}");
    let issued =
        http::request(host.address, "POST", "/v1/ws-tickets", &[("Authorization", &bearer)], PATIENCE)
            .await?;
    let ticket = issued.json()?["ticket"].as_str().ok_or_else(|| format!("{issued:?}"))?.to_owned();
    Client::with_query(host, &format!("ticket={ticket}"), &[(PROTOCOL, "agent-host.v1".to_owned())]).await?;
    eventually("the plugin has talked and crashed", async || match host.said() {
        said if said.contains("my key is") && said.contains("PluginExited") => Ok(()),
        said => Err(said),
    })
    .await?;
    let secrets = vec![
        ("the host's key", SECRET.to_owned()),
        ("the operators' key", ADMIN_SECRET.to_owned()),
        ("a plugin's secret", OF_PLUGIN.to_owned()),
        ("a good token", good),
        ("a bad token", bad),
        ("an operator's token", operator(SCOPES)),
        ("a ticket", ticket),
    ];
    Ok((secrets, frames))
}

/// The next frame of one of these types.
async fn one_of(client: &mut Client, kinds: &[&str]) -> Result<Value, String> {
    loop {
        let frame = client.next().await?;
        if frame["type"].as_str().is_some_and(|kind| kinds.contains(&kind)) {
            return Ok(frame);
        }
    }
}

/// Every page that takes no order, as the host describes them, with the operators' listener seen by an operator.
async fn pages(host: &Host) -> Result<Seen, String> {
    let mut seen = Vec::new();
    let described = http::get(host.admin, "/admin/v1/openapi.json", &[], PATIENCE).await?.json()?;
    for (path, methods) in described["paths"].as_object().ok_or("no paths")? {
        let path = path.replace("{id}", "rich");
        // The stream of events is printed by its command.
        if methods.get("get").is_some() && !path.ends_with("/events") {
            let answer = ask(host, SCOPES, "GET", &path, "").await?;
            seen.push((path, format!("{answer:?}")));
        }
    }
    for path in [
        "/live",
        "/ready?verbose",
        "/health",
        "/ws/config",
        "/ws/stats",
        "/health/agents/rich",
        "/asyncapi.json",
    ] {
        let answer = http::get(host.address, path, &[("Connection", "close")], PATIENCE).await?;
        seen.push((path.to_owned(), format!("{answer:?}")));
    }
    let metrics = http::get(host.admin, "/metrics", &[("Connection", "close")], PATIENCE).await?;
    seen.push(("/metrics".to_owned(), metrics.body));
    Ok(seen)
}

fn printed(host: &Host) -> Seen {
    let commands: [&[&str]; 6] = [
        &["status"],
        &["plugins", "show", "rich"],
        &["plugins", "why", "rich"],
        &["config", "show"],
        &["connections", "list"],
        &["events", "--output", "json"],
    ];
    let run = |command: &&[&str]| {
        let output = host.operate(command);
        let said = [output.stdout, output.stderr].concat();
        (command.join(" "), String::from_utf8_lossy(&said).into_owned())
    };
    commands.iter().map(run).collect()
}

/// Everything in the store's folder. What a plugin keeps for itself is its own.
fn stored(folder: &Path, seen: &mut Seen) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            stored(&path, seen);
        } else {
            let bytes = fs::read(&path).unwrap_or_default();
            seen.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}

async fn nothing_is_betrayed(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let (secrets, mut seen) = plant(host).await?;
    seen.extend(pages(host).await?);
    seen.extend(printed(host));
    stored(&host.dir().join("data/log"), &mut seen);
    seen.push(("the log".to_owned(), host.said()));
    // Each kind of place is there, and has in it what it is looked at for.
    for (place, has) in [
        ("/metrics", "agent_host_runs_total"),
        ("/admin/v1/config", "drain.grace"),
        ("events --output json", "PluginExited"),
        ("plugins show rich", "plugin.crashed"),
        ("log.db", "hello"),
        ("the run of hello", "hello"),
        ("the answer to auth_refresh", "auth.invalid"),
        ("the answer to auth_refresh", "auth_refreshed"),
        ("the log", "HostListening"),
    ] {
        let there = seen.iter().any(|(name, text)| name.contains(place) && text.contains(has));
        if !there {
            let names: Vec<&String> = seen.iter().map(|(name, _)| name).collect();
            return Err(format!("{has} is not in {place}, so that nothing is proved by it: {names:?}"));
        }
    }
    let mut betrayed = Vec::new();
    for (what, secret) in &secrets {
        // Of a token, what makes it one: its claims are no secret.
        let core = secret.rsplit('.').next().unwrap_or(secret);
        for (place, text) in &seen {
            if let Some(at) = text.find(core) {
                let around: String =
                    text[..at].chars().rev().take(80).collect::<Vec<_>>().into_iter().rev().collect();
                betrayed.push(format!("{what} is in {place}, after: {around}"));
            }
        }
    }
    if betrayed.is_empty() { Ok(()) } else { Err(betrayed.join("\n")) }
}

twin! {
    planted_everywhere(nothing_is_betrayed) on setup();
    faults ""; broken by "gateway.quiet_tokens=off", says "token is in the log";
    broken by "gateway.quiet_metrics=off", says "a good token is in /metrics";
    broken by "gateway.quiet_frames=off", says "a bad token is in the answer to auth_refresh";
    broken by "runtime.redact=off", says "a plugin's secret is in"
}

/// The search finds what it looks for: a value that does stand in a page.
#[tokio::test]
async fn what_is_in_a_page_is_found() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let shown = pages(&host).await.unwrap();
    let found =
        shown.iter().any(|(place, text)| place.contains("/admin/v1/config") && text.contains("netra-v1"));
    assert!(found, "{:?}", shown.iter().map(|(place, _)| place).collect::<Vec<&String>>());
    assert!(shown.len() > 20 && !shown.iter().any(|(_, text)| text == &Value::Null.to_string()));
}
