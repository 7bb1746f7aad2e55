//! Orders to the host itself: the level of its log, who is connected, its place in the rotation, what happens.

use rustix::process::Signal;
use serde_json::{Value, json};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    client::{Client, End},
    harness::{
        Host, PATIENCE, Plugin, Setup, eventually,
        http::{self, Answer},
        tokens::{self, operator},
    },
    scenario::ready,
};

const LEVEL: &str = "/admin/v1/log-level";
const ALL: &[&str] = &["admin:read", "admin:toggle", "admin:debug"];

fn setup() -> Setup {
    Setup::echo().operated().set("limits.auth_failures_per_minute", "0")
}

/// Asks with a token of these scopes and a body, and waits for the end of an order.
pub(crate) async fn ask(
    host: &Host,
    scopes: &[&str],
    method: &str,
    path: &str,
    body: &str,
) -> Result<Answer, String> {
    let (prefer, wait) = http::WAIT;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{prefer}: {wait}\r\nContent-Length: {}\r\n\r\n\
         {body}",
        host.admin,
        operator(scopes),
        body.len()
    );
    http::send(host.admin, request.as_bytes(), PATIENCE * 2).await
}

async fn page(host: &Host, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let answer = ask(host, ALL, method, path, &text).await?;
    if answer.status == 200 { answer.json() } else { Err(format!("{method} {path} {body}: {answer:?}")) }
}

/// The lines of the log with that event.
fn lines(host: &Host, event: &str) -> Vec<Value> {
    let said = host.said();
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["event"] == event).collect()
}

/// The same, once there are so many: the log is written beside everything else.
async fn noted(host: &Host, event: &str, many: usize) -> Vec<Value> {
    let all = eventually("so many lines", async || match lines(host, event) {
        lines if lines.len() >= many => Ok(lines),
        lines => Err(format!("{lines:?}")),
    });
    all.await.unwrap()
}

#[tokio::test]
async fn a_level_that_was_ordered_holds_at_once_and_falls_back_by_itself() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let before = page(&host, "GET", LEVEL, &Value::Null).await.unwrap();
    assert_eq!(before, json!({ "level": "info", "configured": "info" }));
    assert_eq!(lines(&host, "UpgradeAnswered"), [] as [Value; 0], "it is logged at debug");

    // Longer than any pause between the order and what is to be logged.
    let told = page(&host, "PUT", LEVEL, &json!({ "level": "debug", "for": "10m" })).await.unwrap();
    assert_eq!((&told["level"], &told["configured"]), (&"debug".into(), &"info".into()), "{told}");
    assert!(told["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{told}");
    http::upgrade(host.address, None).await.unwrap();
    eventually("an upgrade is logged", async || match lines(&host, "UpgradeAnswered").len() {
        0 => Err("it is not".to_owned()),
        _ => Ok(()),
    })
    .await
    .unwrap();

    page(&host, "PUT", LEVEL, &json!({ "level": "trace", "for": "1s" })).await.unwrap();
    eventually("it is as configured again", async || {
        let now = page(&host, "GET", LEVEL, &Value::Null).await?;
        if now == before { Ok(()) } else { Err(now.to_string()) }
    })
    .await
    .unwrap();
    let told = noted(&host, "LogLevelChanged", 3).await;
    let words = |line: &Value| (line["from"].clone(), line["to"].clone(), line["why"].clone());
    assert_eq!(
        told.iter().map(words).collect::<Vec<_>>(),
        [
            ("info".into(), "debug".into(), "ordered".into()),
            ("debug".into(), "trace".into(), "ordered".into()),
            ("trace".into(), "info".into(), "its time is over".into())
        ]
    );
}

/// Whoever makes the log quiet is found in it, and so is what is ordered afterwards.
async fn nobody_hides_behind_a_quiet_log(host: &Host) -> Result<(), String> {
    ready(host).await?;
    page(host, "PUT", LEVEL, &json!({ "level": "error" })).await?;
    page(host, "POST", "/admin/v1/plugins/echo/probe", &Value::Null).await?;
    ask(host, &["admin:read"], "POST", "/admin/v1/plugins/echo/reset", "").await?;
    eventually("each order is noted", async || {
        for (event, order) in
            [("HostOrdered", "set_log_level"), ("OperatorOrdered", "probe"), ("OrderRefused", "reset")]
        {
            let found = lines(host, event).into_iter().filter(|line| line["order"] == order).count();
            if found != 1 {
                return Err(format!("{event} {order} is not noted"));
            }
        }
        Ok(())
    })
    .await
}

twin! {
    orders_are_noted_at_every_level(nobody_hides_behind_a_quiet_log) on setup();
    faults ""; broken by "gateway.admin_audit=off", says "is not noted"
}

#[tokio::test]
async fn only_a_level_for_a_day_at_most_can_be_ordered_and_only_by_who_may() {
    let host = setup().start();
    ready(&host).await.unwrap();
    for body in [
        r#"{"level":"hyper=trace"}"#,
        r#"{"level":"off"}"#,
        r#"{"level":"debug","for":"2d"}"#,
        r#"{"level":"debug","for":"10"}"#,
        r#"{"level":"debug","until":"tomorrow"}"#,
        "debug",
        "",
    ] {
        let answer = ask(&host, ALL, "PUT", LEVEL, body).await.unwrap();
        assert_eq!(
            (answer.status, answer.code()),
            (400, Ok("http.bad_request".into())),
            "{body}: {answer:?}"
        );
    }
    let order = r#"{"level":"debug"}"#;
    for (scopes, method, status) in [
        (&["admin:read", "admin:toggle", "admin:config"][..], "PUT", 403),
        (ALL, "POST", 405),
        (ALL, "DELETE", 405),
    ] {
        let answer = ask(&host, scopes, method, LEVEL, order).await.unwrap();
        assert_eq!(answer.status, status, "{method} with {scopes:?}: {answer:?}");
    }
    let answer = ask(&host, ALL, "POST", LEVEL, order).await.unwrap();
    assert_eq!(answer.header("allow"), Some("GET, HEAD, PUT"), "{answer:?}");
    let answer = ask(&host, ALL, "PUT", LEVEL, &format!("{:9000}", order)).await.unwrap();
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(page(&host, "GET", LEVEL, &Value::Null).await.unwrap()["level"], "info");
}

#[tokio::test]
async fn the_command_line_shows_and_sets_it() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let said = |arguments: &[&str]| {
        let output = host.operate(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(said(&["log-level"]), "the log is written from info on, as configured\n");
    let set = said(&["log-level", "trace", "--for", "5m"]);
    assert!(
        set.starts_with("the log is written from trace on until ") && set.contains("then from info on"),
        "{set}"
    );
    let shown: Value = serde_json::from_str(&said(&["log-level", "--output", "json"])).unwrap();
    assert_eq!(shown["level"], "trace", "{shown}");
    assert!(said(&["log-level", "info"]).contains("as configured"));
}

const CONNECTIONS: &str = "/admin/v1/connections";

async fn connections(host: &Host, query: &str) -> Result<Vec<Value>, String> {
    let list = page(host, "GET", &format!("{CONNECTIONS}{query}"), &Value::Null).await?;
    list["connections"].as_array().cloned().ok_or_else(|| list.to_string())
}

#[tokio::test]
async fn who_is_connected_is_listed_and_nothing_that_was_said() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut alice = Client::connect(&host, "alice").await.unwrap();
    let _bob = Client::connect(&host, "bob").await.unwrap();
    alice.run("a canary in a message").await.unwrap();
    let list = eventually("her run is over for the host too", async || {
        let list = page(&host, "GET", CONNECTIONS, &Value::Null).await?;
        if list["connections"][0]["runs"] == 0 { Ok(list) } else { Err(list.to_string()) }
    })
    .await
    .unwrap();
    let users: Vec<&Value> = list["connections"].as_array().unwrap().iter().map(|one| &one["user"]).collect();
    assert_eq!(
        (users.as_slice(), &list["open"]),
        (&[&json!("alice"), &json!("bob")][..], &json!(2)),
        "{list}"
    );
    let first = &list["connections"][0];
    assert_eq!(
        (&first["subscriptions"], &first["runs"], &first["address"]),
        (&1.into(), &0.into(), &"127.0.0.1".into())
    );
    assert_eq!(
        (&first["surface"], &first["tenant"]),
        (&"agent-host.v1".into(), &"default".into()),
        "{first}"
    );
    let text = list.to_string();
    for secret in ["canary", &tokens::of("alice"), "eyJ"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    let of_bob = connections(&host, "?user=bob").await.unwrap();
    assert_eq!((of_bob.len(), &of_bob[0]["user"]), (1, &json!("bob")));
    let paged = page(&host, "GET", &format!("{CONNECTIONS}?limit=1"), &Value::Null).await.unwrap();
    let rest = connections(&host, &format!("?after={}", paged["next"])).await.unwrap();
    assert_eq!((rest.len(), &rest[0]["user"]), (1, &json!("bob")), "{paged}");
    for wrong in ["?limit=0", "?limit=1001", "?after=x", "?name=bob", "?user=%zz"] {
        let answer = ask(&host, ALL, "GET", &format!("{CONNECTIONS}{wrong}"), "").await.unwrap();
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
    drop(alice);
    eventually("who left is not listed", async || match connections(&host, "").await?.len() {
        1 => Ok(()),
        open => Err(format!("{open} are")),
    })
    .await
    .unwrap();
}

/// How a connection ends, whatever is said before.
async fn end(client: &mut Client) -> End {
    loop {
        if let Err(end) = client.next().await {
            return end;
        }
    }
}

#[tokio::test]
async fn a_connection_that_an_operator_closes_says_so_and_no_other_notices() {
    let host = Setup::new().plugin(Plugin::misbehaving("slow")).operated().start();
    ready(&host).await.unwrap();
    let mut alice = Client::connect(&host, "alice").await.unwrap();
    let mut bob = Client::connect(&host, "bob").await.unwrap();
    // It is under way until somebody cancels it.
    alice.say("!wait", json!({ "agent": "slow" })).await.unwrap();
    let accepted = alice.expect("accepted").await.unwrap();
    let listed = connections(&host, "?user=alice").await.unwrap();
    assert_eq!(listed[0]["runs"], 1, "{listed:?}");
    let id = listed[0]["id"].as_str().unwrap();
    page(&host, "DELETE", &format!("{CONNECTIONS}/{id}"), &Value::Null).await.unwrap();
    assert_eq!(end(&mut alice).await, End::Closed(4406), "she is told");
    bob.run_with("!slow 1", json!({ "agent": "slow" })).await.unwrap().answered_by("slow").unwrap();
    // Her run goes on, and she finds it when she comes back.
    let mut alice = Client::connect(&host, "alice").await.unwrap();
    alice.send(&json!({ "type": "subscribe", "thread_id": accepted["thread_id"] })).await.unwrap();
    alice.expect("subscribed").await.unwrap();
    alice.send(&json!({ "type": "cancel", "run_id": accepted["run_id"] })).await.unwrap();
    let completed = alice.until("agent_completed").await.unwrap();
    assert_eq!(completed["payload"]["status"], "cancelled", "{completed}");
    let answer = ask(&host, ALL, "DELETE", &format!("{CONNECTIONS}/{id}"), "").await.unwrap();
    assert_eq!(answer.status, 404, "{answer:?}");
    let refused = noted(&host, "OrderRefused", 1).await;
    assert_eq!(refused[0]["order"], "close_connection", "{refused:?}");
    // The log is in the order of what happened.
    let ordered = lines(&host, "HostOrdered");
    assert_eq!(ordered.iter().map(|line| &line["outcome"]).collect::<Vec<_>>(), ["closing"]);
}

/// Out of rotation: nobody new, whoever is there is served; and back.
#[tokio::test]
async fn a_host_out_of_rotation_serves_who_is_there_and_comes_back() {
    let mut host = setup().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let status = page(&host, "POST", "/admin/v1/drain", &Value::Null).await.unwrap();
    assert_eq!((&status["out_of_rotation"], &status["draining"]), (&true.into(), &false.into()), "{status}");
    let answer = http::get(host.address, "/ready", &[], PATIENCE).await.unwrap();
    assert_eq!((answer.status, &answer.json().unwrap()["status"]), (503, &"draining".into()));
    let token = tokens::of("bob");
    let answer = http::upgrade(host.address, Some(&token)).await.unwrap();
    assert_eq!((answer.status, answer.code()), (503, Ok("host.draining".into())), "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    let bearer = format!("Bearer {token}");
    let bearer = [("Authorization", bearer.as_str())];
    let ticket = http::request(host.address, "POST", "/v1/ws-tickets", &bearer, PATIENCE).await.unwrap();
    assert_eq!(ticket.status, 503, "{ticket:?}");
    assert_eq!(http::get(host.address, "/live", &[], PATIENCE).await.unwrap().status, 200);
    client.run("still there?").await.unwrap().answered_by("echo").unwrap();

    // Twice is as once.
    page(&host, "POST", "/admin/v1/drain", &Value::Null).await.unwrap();
    let status = page(&host, "POST", "/admin/v1/undrain", &Value::Null).await.unwrap();
    assert_eq!(status["out_of_rotation"], false, "{status}");
    ready(&host).await.unwrap();
    Client::connect(&host, "bob").await.unwrap().run("hello").await.unwrap().answered_by("echo").unwrap();
    client.run("and now?").await.unwrap().answered_by("echo").unwrap();

    // A signal ends it in order all the same.
    page(&host, "POST", "/admin/v1/drain", &Value::Null).await.unwrap();
    host.signal(Signal::TERM);
    client.until("going_away").await.unwrap();
    drop(client);
    assert!(host.ended(PATIENCE).await.unwrap().success());
    let noted = noted(&host, "HostOrdered", 4).await;
    let noted: Vec<&Value> = noted.iter().map(|line| &line["outcome"]).collect();
    assert_eq!(noted, ["out of rotation", "was so before", "in rotation", "out of rotation"]);
}

/// A stream of events, read as it comes.
struct Stream {
    socket: TcpStream,
    text: String,
}

impl Stream {
    async fn open(host: &Host, query: &str) -> Result<Self, String> {
        let mut socket = TcpStream::connect(host.admin).await.map_err(|e| e.to_string())?;
        let request = format!(
            "GET /admin/v1/events{query} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\r\n",
            host.admin,
            operator(ALL)
        );
        socket.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
        let mut stream = Self { socket, text: String::new() };
        stream.until("\r\n\r\n").await?;
        if stream.text.starts_with("HTTP/1.1 200") { Ok(stream) } else { Err(stream.text) }
    }

    /// Reads on until that was said.
    async fn until(&mut self, word: &str) -> Result<(), String> {
        let reading = async {
            while !self.text.contains(word) {
                let mut chunk = [0; 4096];
                match self.socket.read(&mut chunk).await {
                    Ok(0) | Err(_) => return Err(format!("it ended before {word}: {}", self.text)),
                    Ok(read) => self.text += &String::from_utf8_lossy(&chunk[..read]),
                }
            }
            Ok(())
        };
        timeout(PATIENCE, reading).await.map_err(|_| format!("{word} was not said"))?
    }

    /// The data of what was said so far.
    fn events(&self) -> Vec<Value> {
        let data = self.text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter_map(|data| serde_json::from_str(data).ok()).collect()
    }
}

#[tokio::test]
async fn what_happens_is_streamed_and_continued_without_gap_or_double() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut stream = Stream::open(&host, "?since=0").await.unwrap();
    stream.until("PluginHealthy").await.unwrap();
    page(&host, "POST", "/admin/v1/plugins/echo/disable", &Value::Null).await.unwrap();
    stream.until("OperatorOrdered").await.unwrap();
    let last = stream.events().last().unwrap()["id"].as_str().unwrap().to_owned();
    drop(stream);
    page(&host, "POST", "/admin/v1/plugins/echo/enable", &Value::Null).await.unwrap();
    let mut stream = Stream::open(&host, &format!("?since={last}")).await.unwrap();
    page(&host, "POST", "/admin/v1/plugins/echo/probe", &Value::Null).await.unwrap();
    stream.until("\"order\":\"probe\"").await.unwrap();
    let number = |id: &str| id.rsplit('-').next().and_then(|n| n.parse::<u64>().ok()).unwrap();
    let ids: Vec<u64> = stream.events().iter().map(|event| number(event["id"].as_str().unwrap())).collect();
    let expected: Vec<u64> = (number(&last) + 1..).take(ids.len()).collect();
    assert_eq!(ids, expected, "{}", stream.text);

    // Without `follow` it ends with what is kept.
    let answer = ask(&host, ALL, "GET", "/admin/v1/events?since=0&follow=false", "").await.unwrap();
    assert!(
        answer.body.contains("HostListening") && answer.body.contains("\"order\":\"probe\""),
        "{answer:?}"
    );
    for wrong in ["?since=x", "?follow=maybe", "?from=1"] {
        assert_eq!(
            ask(&host, ALL, "GET", &format!("/admin/v1/events{wrong}"), "").await.unwrap().status,
            400
        );
    }
    let shown = host.operate(&["events"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.lines().any(|line| line.contains("OperatorOrdered") && line.contains("order=probe")),
        "{shown}"
    );
}

#[tokio::test]
async fn who_watches_is_bounded_and_holds_up_no_end() {
    let mut host = setup().start();
    ready(&host).await.unwrap();
    let mut watching = Vec::new();
    for _ in 0..16 {
        watching.push(Stream::open(&host, "").await.unwrap());
    }
    let refused = ask(&host, ALL, "GET", "/admin/v1/events", "").await.unwrap();
    assert_eq!((refused.status, refused.code()), (503, Ok("host.capacity".into())), "{refused:?}");
    watching.pop();
    eventually("a place is free again", async || Stream::open(&host, "").await.map(drop)).await.unwrap();
    host.signal(Signal::TERM);
    assert!(host.ended(PATIENCE).await.unwrap().success(), "streams hold up its end");
}

#[tokio::test]
async fn the_command_line_lists_closes_and_takes_out_of_rotation() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let said = |arguments: &[&str]| {
        let output = host.operate(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let table = said(&["connections", "list", "--user", "alice"]);
    assert!(table.contains("alice") && table.ends_with("1 of 1 open\n"), "{table}");
    let list: Value = serde_json::from_str(&said(&["connections", "list", "--output", "json"])).unwrap();
    let id = list["connections"][0]["id"].as_str().unwrap();
    assert!(said(&["connections", "close", id]).contains("is being closed"));
    assert_eq!(end(&mut client).await, End::Closed(4406));
    assert_eq!(host.operate(&["connections", "close", id]).status.code(), Some(1));
    assert!(said(&["drain"]).starts_with("out of rotation"));
    assert!(said(&["status"]).starts_with("level full, out of rotation"));
    assert_eq!(said(&["undrain"]), "in rotation\n");
}
