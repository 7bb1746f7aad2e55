//! The REST surface against a real host: a user's threads, their events, the end of a run, and tickets; and that nobody
//! sees what is another's.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    client::{Client, PROTOCOL, Run},
    harness::{
        Host, PATIENCE, Plugin, Setup,
        http::{self, Answer},
        tokens,
    },
    scenario::ready,
};

fn setup() -> Setup {
    Setup::echo()
        .plugin(Plugin::misbehaving("bad"))
        .set("routing.order", "[\"echo\", \"bad\"]")
        .set("limits.messages_per_minute", "0")
}

async fn ask(host: &Host, user: &str, method: &str, path: &str) -> Result<Answer, String> {
    let bearer = format!("Bearer {}", tokens::of(user));
    http::request(host.address, method, path, &[("Authorization", &bearer)], PATIENCE).await
}

async fn json_of(host: &Host, user: &str, method: &str, path: &str) -> Result<Value, String> {
    let answer = ask(host, user, method, path).await?;
    match answer.status {
        200..=299 => answer.json(),
        _ => Err(format!("{method} {path}: {answer:?}")),
    }
}

fn check(holds: bool, what: &str, found: &dyn std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("not so: {what}: {found:?}")) }
}

async fn talk(host: &Host, user: &str) -> Result<(Client, Run), String> {
    ready(host).await?;
    let mut client = Client::connect(host, user).await?;
    let run = client.run("hello there").await?;
    run.answered_by("echo")?;
    Ok((client, run))
}

/// A user who knows every id of another finds nothing: not even that there is something.
async fn a_stranger_finds_nothing(host: &Host) -> Result<(), String> {
    let (mut client, run) = talk(host, "alice").await?;
    let thread = run.thread().to_owned();
    client.say("!wait", json!({ "agent": "bad", "thread_id": thread })).await?;
    let going = client.until("accepted").await?["run_id"].as_str().unwrap_or_default().to_owned();
    client.until("agent_thinking").await?;
    for (method, path) in [
        ("GET", format!("/v1/threads/{thread}")),
        ("GET", format!("/v1/threads/{thread}/events")),
        ("DELETE", format!("/v1/threads/{thread}")),
        ("POST", format!("/v1/runs/{going}/cancel")),
    ] {
        let theirs = ask(host, "mallory", method, &path).await?;
        check(theirs.status == 404, "a stranger's is not found", &(method, &path, &theirs))?;
        let nowhere = path.replace(&thread, "no-such-thread").replace(&going, "no-such-run");
        let nothing = ask(host, "mallory", method, &nowhere).await?;
        check(nothing.body == theirs.body, "in the same words as what is not there", &(nothing, theirs))?;
        // A malformed name is no other answer either.
        let malformed =
            ask(host, "mallory", method, &path.replace(&thread, "%2e%2e").replace(&going, "%00")).await?;
        check(malformed.status == 404, "a malformed name is not found", &malformed)?;
    }
    let list = json_of(host, "mallory", "GET", "/v1/threads").await?;
    check(list == json!({ "threads": [], "next_after": null }), "an empty list", &list)?;
    let events = json_of(host, "alice", "GET", &format!("/v1/threads/{thread}/events")).await?;
    check(events["events"].as_array().is_some_and(|all| all.len() > 5), "its owner sees it", &events)
}

twin! {
    strangers(a_stranger_finds_nothing) on setup();
    faults ""; broken by "store.scope=off", says "a stranger's is not found"
}

#[tokio::test]
async fn the_log_is_read_page_by_page_as_the_socket_told_it() {
    let host = setup().start();
    let (_client, run) = talk(&host, "alice").await.unwrap();
    let mut after = 0;
    let mut read: Vec<Value> = Vec::new();
    loop {
        let path = format!("/v1/threads/{}/events?after={after}&limit=3", run.thread());
        let page = json_of(&host, "alice", "GET", &path).await.unwrap();
        read.extend(page["events"].as_array().unwrap().iter().cloned());
        match page["next_after"].as_u64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(read, run.events, "the same frames");
    let head = json_of(&host, "alice", "GET", &format!("/v1/threads/{}", run.thread())).await.unwrap();
    assert_eq!(head["last_seq"].as_u64(), Some(read.len() as u64), "{head}");
}

#[tokio::test]
async fn threads_are_listed_the_newest_first_and_page_by_page() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let mut made = Vec::new();
    for n in 0..5 {
        made.push(client.run(&format!("thread {n}")).await.unwrap().thread().to_owned());
    }
    made.reverse();
    let (mut listed, mut path) = (Vec::new(), "/v1/threads?limit=2".to_owned());
    loop {
        let page = json_of(&host, "alice", "GET", &path).await.unwrap();
        let ids = page["threads"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["thread_id"].as_str().unwrap().to_owned());
        listed.extend(ids);
        match page["next_after"].as_str() {
            Some(next) => path = format!("/v1/threads?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(listed, made);
    let nowhere = ask(&host, "alice", "GET", "/v1/threads?after=zzz").await.unwrap();
    assert_eq!((nowhere.status, nowhere.code()), (400, Ok("http.bad_request".into())), "{nowhere:?}");
}

#[tokio::test]
async fn a_thread_is_deleted_but_not_while_it_works() {
    let host = setup().start();
    let (mut client, run) = talk(&host, "alice").await.unwrap();
    let path = format!("/v1/threads/{}", run.thread());
    client.say("!wait", json!({ "agent": "bad", "thread_id": run.thread() })).await.unwrap();
    let going = client.until("accepted").await.unwrap()["run_id"].as_str().unwrap().to_owned();
    client.until("agent_thinking").await.unwrap();
    let busy = ask(&host, "alice", "DELETE", &path).await.unwrap();
    assert_eq!((busy.status, busy.code()), (409, Ok("run.busy".into())), "{busy:?}");

    let cancel = json_of(&host, "alice", "POST", &format!("/v1/runs/{going}/cancel")).await.unwrap();
    assert_eq!((&cancel["run_id"], &cancel["thread_id"]), (&json!(going), &json!(run.thread())), "{cancel}");
    let completed = client.until("agent_completed").await.unwrap();
    assert_eq!(completed["payload"]["status"], "cancelled", "{completed}");

    crate::harness::eventually("the thread is deleted", async || {
        match ask(&host, "alice", "DELETE", &path).await?.status {
            204 => Ok(()),
            status => Err(format!("{status}")),
        }
    })
    .await
    .unwrap();
    assert_eq!(ask(&host, "alice", "GET", &path).await.unwrap().status, 404);
    assert_eq!(ask(&host, "alice", "DELETE", &path).await.unwrap().status, 404);
    let over = ask(&host, "alice", "POST", &format!("/v1/runs/{going}/cancel")).await.unwrap();
    assert_eq!((over.status, over.code()), (409, Ok("run.not_cancellable".into())), "{over:?}");
    let others = ask(&host, "mallory", "POST", &format!("/v1/runs/{going}/cancel")).await.unwrap();
    assert_eq!((others.status, others.code()), (404, Ok("run.not_found".into())), "{others:?}");
}

async fn with_ticket(host: &Host, ticket: &str) -> Result<Answer, String> {
    let path = format!("/ws?ticket={ticket}");
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Protocol", "agent-host.v1"),
    ];
    http::request(host.address, "GET", &path, &headers, Duration::from_secs(5)).await
}

async fn a_ticket_opens_one_connection(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let issued = ask(host, "alice", "POST", "/v1/ws-tickets").await?;
    let kept_nowhere = (issued.status, issued.header("cache-control")) == (201, Some("no-store"));
    check(kept_nowhere && issued.json()?["expires_at"].is_string(), "issued, and kept nowhere", &issued)?;
    let ticket = issued.json()?["ticket"].as_str().unwrap_or_default().to_owned();

    let protocol = [(PROTOCOL, "agent-host.v1".into())];
    let mut client = Client::with_query(host, &format!("ticket={ticket}"), &protocol).await?;
    check(client.welcome["user_id"] == "alice", "its owner's", &client.welcome)?;
    client.run("hello").await?.answered_by("echo")?;

    let again = with_ticket(host, &ticket).await?;
    let refused = (again.status, again.code()) == (401, Ok("auth.ticket_invalid".into()));
    check(refused, "refused a second time", &again)?;
    let guessed = with_ticket(host, &"A".repeat(43)).await?;
    check((guessed.status, &guessed.body) == (401, &again.body), "answered as a used one", &guessed)?;
    check(!host.said().contains(&ticket), "in no line of the log", &ticket)
}

twin! {
    a_ticket(a_ticket_opens_one_connection) on setup();
    faults ""; broken by "gateway.tickets=off", says "refused a second time"
}

#[tokio::test]
async fn who_has_no_good_token_is_told_so_before_anything_else() {
    let host = setup().start();
    ready(&host).await.unwrap();
    for path in ["/v1/threads", "/v1/threads/x/events", "/v1/nowhere", "/v1/ws-tickets?ticket=x"] {
        for (headers, code) in [
            (vec![], "auth.missing"),
            (vec![("Authorization", "Bearer x.y.z")], "auth.malformed"),
            (vec![("Sec-WebSocket-Protocol", "bearer.x.y.z")], "auth.missing"),
        ] {
            let answer = http::request(host.address, "GET", path, &headers, PATIENCE).await.unwrap();
            assert_eq!(
                (answer.status, answer.code()),
                (401, Ok(code.into())),
                "{path} {headers:?} {answer:?}"
            );
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
    }
    let path = format!("/v1/threads?token={}", tokens::of("alice"));
    let answer = http::get(host.address, &path, &[], PATIENCE).await.unwrap();
    assert!(answer.status == 401 && answer.body.contains("a token in the URL is not accepted"), "{answer:?}");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_said() {
    let host = setup().start();
    ready(&host).await.unwrap();
    for (method, path, status, code) in [
        ("GET", "/v1/threads?limit=501", 400, "http.bad_request"),
        ("GET", "/v1/threads?limit=0", 400, "http.bad_request"),
        ("GET", "/v1/threads?before=x", 400, "http.bad_request"),
        ("GET", "/v1/threads/x/events?after=-1", 400, "http.bad_request"),
        ("GET", "/v1/threads/x/events?after=1&after=2", 400, "http.bad_request"),
        ("GET", "/v1/nowhere", 404, "http.not_found"),
        ("GET", "/v1/ws-tickets", 405, "http.method_not_allowed"),
        ("PUT", "/v1/threads", 405, "http.method_not_allowed"),
        ("PATCH", "/v1/threads/x", 405, "http.method_not_allowed"),
    ] {
        let answer = ask(&host, "alice", method, path).await.unwrap();
        assert_eq!((answer.status, answer.code()), (status, Ok(code.into())), "{method} {path}: {answer:?}");
        assert_eq!(answer.header("allow").is_some(), status == 405, "{answer:?}");
    }
}

async fn never_a_500(host: &Host) -> Result<(), String> {
    let (_client, run) = talk(host, "alice").await?;
    for faults in ["store.read=error", "store.read=panic", "gateway.rest=panic", "gateway.rest=error"] {
        host.inject(faults);
        let answer = ask(host, "alice", "GET", &format!("/v1/threads/{}/events", run.thread())).await?;
        let told = answer.status == 503 && answer.header("retry-after").is_some() && answer.code().is_ok();
        check(told, "503 with a code and when to come back", &(faults, answer))?;
    }
    host.heal();
    json_of(host, "alice", "GET", &format!("/v1/threads/{}", run.thread())).await.map(drop)
}

#[tokio::test]
async fn what_goes_wrong_inside_is_a_503() {
    let host = setup().failpoints("none=off").start();
    never_a_500(&host).await.unwrap();
}

#[tokio::test]
async fn without_the_layer_around_everything_it_is_red() {
    let host = setup().failpoints("gateway.panic_answer=off").start();
    let objection = never_a_500(&host).await.unwrap_err();
    assert!(objection.contains("503 with a code") && objection.contains("500"), "{objection}");
}

#[tokio::test]
async fn pages_of_other_origins_may_ask_only_if_they_are_listed() {
    let host = setup().set("gateway.origins", "[\"https://app.example\"]").start();
    ready(&host).await.unwrap();
    let bearer = format!("Bearer {}", tokens::of("alice"));
    let from = async |origin: &str, method: &str| {
        let headers = [("Authorization", bearer.as_str()), ("Origin", origin)];
        http::request(host.address, method, "/v1/threads", &headers, PATIENCE).await.unwrap()
    };
    let listed = from("https://app.example", "GET").await;
    assert_eq!(
        (listed.status, listed.header("access-control-allow-origin")),
        (200, Some("https://app.example"))
    );
    assert_eq!(listed.header("vary"), Some("Origin"));
    let preflight = from("https://app.example", "OPTIONS").await;
    assert_eq!(preflight.status, 204);
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("Authorization"));
    for method in ["GET", "OPTIONS"] {
        let other = from("https://evil.example", method).await;
        assert_eq!((other.status, other.code()), (403, Ok("origin.denied".into())), "{other:?}");
        assert_eq!(other.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn agents_are_listed_with_the_level() {
    let host = setup().plugin(Plugin::at("gone", "nowhere.so")).start();
    ready(&host).await.unwrap();
    let list = json_of(&host, "alice", "GET", "/v1/agents").await.unwrap();
    assert_eq!(list["level"], "partial", "{list}");
    let states: Vec<_> = list["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["state"].as_str().unwrap()))
        .collect();
    assert!(states.contains(&("echo", "healthy")) && states.contains(&("gone", "failed")), "{list}");
}
