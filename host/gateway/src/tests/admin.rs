//! The admin API over a scripted host: who is let in, what is answered, what is noted.

use std::{sync::Arc, time::Duration};

use agent_host_engine::{ControlError, PluginOrder};
use agent_host_telemetry::admin::{AdminEvent, watch};
use agent_plugin_protocol::{Code, PluginId, PluginKind};
use serde_json::Value;
use tokio::sync::{Semaphore, broadcast::Receiver};

use super::support::*;
use crate::auth::{MintClaims, mint};

/// A token with these permissions, signed by `secret` for `audience`.
fn signed(secret: &[u8], audience: &str, permissions: &[&str]) -> String {
    let claims = MintClaims {
        permissions: permissions.iter().map(|one| (*one).to_owned()).collect(),
        audience: audience.to_owned(),
        ..claims("olga", Duration::from_secs(60))
    };
    mint(&claims, &secret.to_vec().into()).unwrap()
}

fn operator(permissions: &[&str]) -> String {
    signed(ADMIN_SECRET, "agent-host-admin", permissions)
}

fn all() -> String {
    operator(&["admin:read", "admin:toggle", "admin:config", "admin:debug", "admin:chaos"])
}

/// It waits for the end of an order, unless a line of its own says what it prefers.
struct Request<'a> {
    method: &'a str,
    path: &'a str,
    host: Option<&'a str>,
    token: Option<&'a str>,
    lines: &'a [&'a str],
    body: &'a str,
}

impl<'a> Request<'a> {
    fn new(method: &'a str, path: &'a str, token: &'a str) -> Self {
        Self { method, path, host: None, token: Some(token), lines: &[], body: "" }
    }

    async fn send(&self, doors: &Doors) -> (u16, String) {
        let address = doors.gateway.admin_addr();
        let host = self.host.map_or_else(|| address.to_string(), str::to_owned);
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.path);
        if let Some(token) = self.token {
            text += &format!("Authorization: Bearer {token}\r\n");
        }
        let prefers = self.lines.iter().any(|line| line.starts_with("Prefer:"));
        let waits = if prefers { None } else { Some(&"Prefer: wait") };
        for line in self.lines.iter().chain(waits) {
            text += &format!("{line}\r\n");
        }
        if !self.body.is_empty() {
            text += &format!("Content-Length: {}\r\n", self.body.len());
        }
        exchange(address, &format!("{text}\r\n{}", self.body)).await
    }

    /// Status and stable code.
    async fn refused(&self, doors: &Doors) -> (u16, String) {
        let (status, answer) = self.send(doors).await;
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(answer.contains("cache-control: no-store"), "{answer}");
        (status, body(&answer)["code"].as_str().unwrap().to_owned())
    }
}

async fn get(doors: &Doors, path: &str) -> (u16, Value) {
    let (status, answer) = Request::new("GET", path, &all()).send(doors).await;
    assert!(answer.contains("cache-control: no-store"), "{answer}");
    (status, body(&answer))
}

/// What was noted of that plugin, from the happenings of this process.
fn noted(events: &mut Receiver<AdminEvent>, plugin: &str) -> Vec<AdminEvent> {
    let all = std::iter::from_fn(|| events.try_recv().ok());
    let is_about = |event: &AdminEvent| {
        let about = event.fields.get("plugin").or(event.fields.get("about"));
        about.is_some_and(|it| it == plugin)
    };
    all.filter(|event| event.fields.contains_key("operator") && is_about(event)).collect()
}

#[tokio::test]
async fn the_pages_say_what_is_so() {
    let doors = open(|_| ()).await;
    let (status, page) = get(&doors, "/admin/v1/status").await;
    assert_eq!(
        (status, &page["level"], &page["host"]),
        (200, &"partial".into(), &"test-host".into()),
        "{page}"
    );
    assert_eq!(page["plugins"], serde_json::json!({ "healthy": 1, "failed": 1, "disabled": 0 }));
    let (_, page) = get(&doors, "/admin/v1/plugins").await;
    let ids: Vec<&Value> = page["plugins"].as_array().unwrap().iter().map(|plugin| &plugin["id"]).collect();
    assert_eq!(ids, ["echo", "billing"]);
    for (state, expected) in [("failed", "billing"), ("quarantined", "billing"), ("healthy", "echo")] {
        let (_, page) = get(&doors, &format!("/admin/v1/plugins?state={state}")).await;
        assert_eq!(page["plugins"][0]["id"], expected);
        assert_eq!(page["plugins"].as_array().unwrap().len(), 1);
    }
    let (_, page) = get(&doors, "/admin/v1/plugins/echo").await;
    assert_eq!((&page["verdict"], &page["in_flight"]), (&"healthy".into(), &2.into()), "{page}");
    assert_eq!(page["isolation"]["layers"]["seccomp"]["state"], "enforced");
    assert_eq!(page["last_crash"]["how"], "SIGSEGV");
    assert_eq!(page["changed_file"]["digest"], "e3b0");
    assert_eq!(page["last_crash"]["stderr"][0], "last words", "what a plugin wrote is made safe");
}

#[tokio::test]
async fn a_list_leads_with_the_verdict() {
    let doors = open(|_| ()).await;
    let (_, answer) = Request::new("GET", "/admin/v1/plugins", &all()).send(&doors).await;
    assert!(answer.contains(r#"{"plugins":[{"verdict":"healthy","id":"echo","#), "{answer}");
}

#[tokio::test]
async fn every_order_is_carried_out_by_post_and_nothing_by_get() {
    // What is refused before its token is looked at is counted as a guess.
    let doors = open(|settings| settings.limits.auth_failures_per_minute = 0).await;
    let token = all();
    for order in PluginOrder::ALL {
        let path = format!("/admin/v1/plugins/echo/{}", order.as_str());
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
            let (status, answer) = Request::new(method, &path, &token).send(&doors).await;
            assert_eq!(status, 405, "{method} {path}");
            assert!(answer.contains("allow: POST"), "{answer}");
        }
        assert!(doors.script.ordered.lock().unwrap().is_empty(), "{order:?} by another method");
        for body in ["", "{}", " "] {
            let (status, answer) = Request { body, ..Request::new("POST", &path, &token) }.send(&doors).await;
            assert_eq!(status, 200, "{answer}");
            assert_eq!(
                doors.script.ordered.lock().unwrap().drain(..).collect::<Vec<_>>(),
                [("echo".to_owned(), order)]
            );
        }
    }
}

#[tokio::test]
async fn only_an_operator_s_own_token_opens_and_only_what_it_permits() {
    let doors = open(|_| ()).await;
    let scopes = ["admin:read", "admin:toggle", "admin:config", "admin:debug", "admin:chaos"];
    let users = signed(SECRET, "", &scopes);
    let users_key = signed(SECRET, "agent-host-admin", &scopes);
    let wrong_audience = signed(ADMIN_SECRET, "agent-host", &scopes);
    let no_audience = signed(ADMIN_SECRET, "", &scopes);
    let (reader, toggler) = (operator(&["admin:read"]), operator(&["admin:toggle"]));
    let (none, other) = (operator(&[]), operator(&["admin:debug", "read"]));
    for (token, get, post) in [
        (Some(&users), Some("auth.invalid"), Some("auth.invalid")),
        (Some(&users_key), Some("auth.invalid"), Some("auth.invalid")),
        (Some(&wrong_audience), Some("auth.audience"), Some("auth.audience")),
        (Some(&no_audience), Some("auth.audience"), Some("auth.audience")),
        (Some(&"x.y.z".to_owned()), Some("auth.malformed"), Some("auth.malformed")),
        (None, Some("auth.missing"), Some("auth.missing")),
        (Some(&none), Some("permission.denied"), Some("permission.denied")),
        (Some(&other), Some("permission.denied"), Some("permission.denied")),
        (Some(&reader), None, Some("permission.denied")),
        (Some(&toggler), Some("permission.denied"), None),
    ] {
        for (method, path, expected) in
            [("GET", "/admin/v1/plugins/echo", get), ("POST", "/admin/v1/plugins/echo/reset", post)]
        {
            let request = Request { token: token.map(String::as_str), ..Request::new(method, path, "") };
            let (status, answer) = request.send(&doors).await;
            let expected_status = match expected {
                None => 200,
                Some("permission.denied") => 403,
                Some(_) => 401,
            };
            assert_eq!(status, expected_status, "{method} {path} {token:?}: {answer}");
            assert_eq!(body(&answer)["code"].as_str(), expected.filter(|_| status != 200), "{answer}");
            assert_eq!(status == 401, answer.contains("www-authenticate: Bearer"), "{answer}");
        }
    }
    assert_eq!(doors.script.ordered.lock().unwrap().len(), 1, "the one order that was permitted");
}

#[tokio::test]
async fn a_scope_claim_is_as_good_as_permissions() {
    let doors = open(|_| ()).await;
    let payload = serde_json::json!({
        "sub": "olga", "aud": ["agent-host-admin"], "scope": "openid admin:read", "exp": 4_000_000_000_u64,
    });
    let key = jsonwebtoken::EncodingKey::from_secret(ADMIN_SECRET);
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &payload, &key).unwrap();
    assert_eq!(Request::new("GET", "/admin/v1/status", &token).send(&doors).await.0, 200);
    let order = Request::new("POST", "/admin/v1/plugins/echo/reset", &token);
    assert_eq!(order.refused(&doors).await, (403, "permission.denied".to_owned()));
}

#[tokio::test]
async fn a_token_elsewhere_than_in_the_header_is_none() {
    let doors = open(|_| ()).await;
    let path = format!("/admin/v1/status?token={}", all());
    let request = Request { token: None, ..Request::new("GET", &path, "") };
    assert_eq!(request.refused(&doors).await, (401, "auth.missing".to_owned()));
}

#[tokio::test]
async fn foreign_pages_and_names_are_refused_whatever_their_token() {
    let doors = open(|settings| settings.admin_hosts = vec!["admin.example".to_owned()]).await;
    let token = all();
    let origin = format!("Origin: http://{}", doors.gateway.admin_addr());
    for (host, lines, expected) in [
        (None, &[][..], None),
        (Some("localhost"), &[], None),
        (Some("admin.example:80"), &[], None),
        (None, &[origin.as_str()], None),
        (Some("rebound.example"), &[], Some("origin.unknown_host")),
        (Some("rebound.example"), &["Origin: http://rebound.example"], Some("origin.unknown_host")),
        (None, &["Origin: http://evil.example"], Some("origin.denied")),
        (None, &["Origin: null"], Some("origin.denied")),
        (None, &[origin.as_str(), "Origin: http://evil.example"], Some("origin.denied")),
    ] {
        for (method, path) in [
            ("GET", "/admin/v1/status"),
            ("GET", "/admin/v1/openapi.json"),
            ("POST", "/admin/v1/plugins/echo/reset"),
        ] {
            let request = Request { host, lines, ..Request::new(method, path, &token) };
            match expected {
                None => assert_eq!(request.send(&doors).await.0, 200, "{host:?} {lines:?} {path}"),
                Some(code) => assert_eq!(request.refused(&doors).await, (403, code.to_owned()), "{path}"),
            }
        }
    }
    assert_eq!(doors.script.ordered.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn what_is_not_there_or_not_understood_is_said() {
    let doors = open(|_| ()).await;
    let token = all();
    let long = "x".repeat(2000);
    doors.script.change_status(|status| status.plugins.push(plugin("panics", PluginKind::Agent, true)));
    for (method, path, body, expected) in [
        ("GET", "/admin/v1/plugins/nobody", "", (404, "plugin.unknown")),
        ("GET", "/admin/v1/plugins/No%20Body", "", (404, "plugin.unknown")),
        ("GET", "/admin/v1/plugins/", "", (404, "plugin.unknown")),
        ("POST", "/admin/v1/plugins/nobody/reset", "", (404, "plugin.unknown")),
        ("POST", "/admin/v1/plugins/../reset", "", (404, "plugin.unknown")),
        ("GET", "/admin/v1/nothing", "", (404, "http.not_found")),
        ("POST", "/admin/v1/status", "", (405, "http.method_not_allowed")),
        ("GET", "/admin/v1/plugins?state=well", "", (400, "http.bad_request")),
        ("GET", "/admin/v1/plugins?stat=failed", "", (400, "http.bad_request")),
        ("POST", "/admin/v1/plugins/echo/disable?dryrun=true", "", (400, "http.bad_request")),
        ("POST", "/admin/v1/plugins/echo/disable", r#"{"dry_run":true}"#, (400, "http.bad_request")),
        ("POST", "/admin/v1/plugins/echo/disable", &long, (413, "http.too_large")),
        ("POST", "/admin/v1/plugins/panics/reset", "", (503, "host.internal")),
    ] {
        let refused = Request { body, ..Request::new(method, path, &token) }.refused(&doors).await;
        assert_eq!(refused, (expected.0, expected.1.to_owned()), "{method} {path}");
    }
    assert!(doors.script.ordered.lock().unwrap().is_empty());
    let chunked = ["Transfer-Encoding: chunked"];
    let body = format!("7d0\r\n{long}\r\n0\r\n\r\n");
    let request = format!(
        "POST /admin/v1/plugins/echo/disable HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{}\r\n\r\n{body}",
        chunked[0]
    );
    assert_eq!(exchange(doors.gateway.admin_addr(), &request).await.0, 413);
}

#[tokio::test]
async fn an_order_that_came_to_nothing_says_why() {
    let doors = open(|_| ()).await;
    let id = PluginId::new("echo").unwrap();
    let token = all();
    for (error, expected) in [
        (ControlError::Disabled(id.clone()), (409, "plugin.disabled")),
        (
            ControlError::NotRunning { plugin: id.clone(), code: Code::PluginQuarantined },
            (409, "plugin.quarantined"),
        ),
        (ControlError::Draining, (503, "host.draining")),
        (ControlError::Unanswered, (503, "host.internal")),
    ] {
        doors.script.refuse.lock().unwrap().push(error);
        let request = Request::new("POST", "/admin/v1/plugins/echo/probe", &token);
        assert_eq!(request.refused(&doors).await, (expected.0, expected.1.to_owned()));
    }
}

/// A plugin of its own, so that no other test's happenings are taken for this one's.
async fn open_with(id: &str) -> Doors {
    let doors = open(|_| ()).await;
    doors.script.change_status(|status| status.plugins.push(plugin(id, PluginKind::Agent, true)));
    doors
}

#[tokio::test]
async fn every_order_leaves_a_line_and_so_does_every_refused_one() {
    let mut events = watch();
    let doors = open_with("noted").await;
    doors.script.change_status(|status| status.plugins.push(plugin("panics", PluginKind::Agent, true)));
    let (token, reader) = (all(), operator(&["admin:read"]));
    let path = "/admin/v1/plugins/noted/reset";
    for (request, event, operator, order, told) in [
        (Request::new("POST", path, &token), "OperatorOrdered", "olga", "reset", "healthy"),
        (Request::new("POST", path, &reader), "OrderRefused", "olga", "reset", "permission.denied"),
        (
            Request { token: None, ..Request::new("POST", path, "") },
            "OrderRefused",
            "-",
            "reset",
            "auth.missing",
        ),
        (Request::new("GET", path, &token), "OrderRefused", "-", "reset", "http.method_not_allowed"),
        (
            Request { host: Some("evil"), ..Request::new("POST", path, &token) },
            "OrderRefused",
            "-",
            "reset",
            "origin.unknown_host",
        ),
        (
            Request { body: "x", ..Request::new("POST", path, &token) },
            "OrderRefused",
            "olga",
            "reset",
            "http.bad_request",
        ),
        (
            Request::new("DELETE", "/admin/v1/plugins/noted", &token),
            "OrderRefused",
            "-",
            "DELETE /admin/v1/plugins/noted",
            "http.method_not_allowed",
        ),
    ] {
        request.send(&doors).await;
        let lines = noted(&mut events, "noted");
        let [line] = lines.as_slice() else {
            panic!("one line for {} {}: {lines:?}", request.method, request.path)
        };
        let outcome = line.fields.get("outcome").or(line.fields.get("code")).unwrap();
        assert_eq!((line.event, outcome), (event, &told.into()), "{line:?}");
        assert_eq!(
            (&line.fields["operator"], &line.fields["order"]),
            (&operator.into(), &order.into()),
            "{line:?}"
        );
        let text = format!("{line:?}");
        assert!(!text.contains(&token) && !text.contains(&reader), "a token is in a line");
    }
    Request::new("POST", "/admin/v1/plugins/panics/reset", &token).send(&doors).await;
    let lines = noted(&mut events, "panics");
    let [line] = lines.as_slice() else { panic!("one line for what panicked: {lines:?}") };
    assert_eq!((line.event, &line.fields["code"]), ("OrderFailed", &"host.internal".into()), "{line:?}");
    // What is refused once it was begun is refused, and what was tried and is not so has failed.
    let id = PluginId::new("noted").unwrap();
    doors.script.refuse.lock().unwrap().push(ControlError::NothingBefore(id));
    Request::new("POST", "/admin/v1/plugins/noted/rollback", &token).send(&doors).await;
    let lines = noted(&mut events, "noted");
    let [line] = lines.as_slice() else { panic!("one line for what was refused: {lines:?}") };
    assert_eq!((line.event, &line.fields["code"]), ("OrderRefused", &"plugin.nothing_before".into()));
    doors.script.change_status(|status| status.plugins.push(plugin("broken", PluginKind::Agent, false)));
    Request::new("POST", "/admin/v1/plugins/broken/enable", &token).send(&doors).await;
    let lines = noted(&mut events, "broken");
    let [line] = lines.as_slice() else { panic!("one line for what failed: {lines:?}") };
    assert_eq!((line.event, &line.fields["order"]), ("OrderFailed", &"enable".into()), "{line:?}");

    // Reading, refused or not, is no order.
    Request::new("GET", "/admin/v1/status", &token).send(&doors).await;
    Request { token: None, ..Request::new("GET", "/admin/v1/status", "") }.send(&doors).await;
    assert!(noted(&mut events, "-").is_empty());
}

/// Doors whose host carries no order out before it is given a permit.
async fn open_with_gate() -> (Doors, Arc<Semaphore>) {
    let (doors, gate) = (open(|_| ()).await, Arc::new(Semaphore::new(0)));
    *doors.script.gate.lock().unwrap() = Some(Arc::clone(&gate));
    (doors, gate)
}

/// The operation once it has ended.
async fn ended(doors: &Doors, location: &str) -> Value {
    let ends = async {
        loop {
            match get(doors, location).await {
                (200, page) if page["state"] == "running" => tokio::task::yield_now().await,
                (status, page) => {
                    assert_eq!(status, 200, "{page}");
                    return page;
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ends).await.expect("it ends")
}

#[tokio::test]
async fn an_order_is_an_operation_for_who_does_not_wait_or_not_so_long() {
    let (doors, gate) = open_with_gate().await;
    let token = all();
    for prefer in ["", "respond-async", "wait=0", "wait=1", "respond-async, wait"] {
        let line = format!("Prefer: {prefer}");
        let order =
            Request { lines: &[&line], ..Request::new("POST", "/admin/v1/plugins/echo/reset", &token) };
        let (status, answer) = order.send(&doors).await;
        let page = body(&answer);
        assert_eq!((status, &page["state"]), (202, &"running".into()), "{prefer}: {answer}");
        let applied = match prefer {
            "" => None,
            "respond-async, wait" => Some("respond-async"),
            said => Some(said),
        };
        let header = applied.map(|applied| format!("preference-applied: {applied}\r\n"));
        let heeded = header.as_ref().is_some_and(|header| answer.contains(header.as_str()));
        assert_eq!(heeded, answer.contains("preference-applied"), "{prefer}: {answer}");
        assert_eq!(heeded, applied.is_some(), "{prefer}: {answer}");
        let location = format!("/admin/v1/operations/{}", page["id"].as_str().unwrap());
        assert!(answer.contains(&format!("location: {location}\r\n")), "{answer}");
        assert_eq!(get(&doors, &location).await.1["state"], "running");
        gate.add_permits(1);
        let page = ended(&doors, &location).await;
        assert_eq!((&page["state"], &page["result"]["id"]), (&"done".into(), &"echo".into()), "{page}");
    }
    assert_eq!(doors.script.ordered.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn who_waits_is_answered_when_it_has_ended() {
    let (doors, gate) = open_with_gate().await;
    let token = all();
    for (at, prefer) in ["wait", "wait=3000", "wait=3000, respond-async"].into_iter().enumerate() {
        let line = format!("Prefer: {prefer}");
        let order =
            Request { lines: &[&line], ..Request::new("POST", "/admin/v1/plugins/echo/reset", &token) };
        let answer = order.send(&doors);
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => panic!("answered at a closed gate: {answer:?}"),
            () = doors.script.arrived.notified() => gate.add_permits(1),
        }
        let (status, answer) = answer.await;
        assert_eq!((status, &body(&answer)["id"]), (200, &"echo".into()), "{prefer}: {answer}");
        assert!(answer.contains("preference-applied: "), "{answer}");
        // It was an operation all the same, which has ended by the time of the answer.
        let (_, list) = get(&doors, "/admin/v1/operations").await;
        let all = list["operations"].as_array().unwrap();
        assert_eq!((all.len(), &all[0]["state"]), (at + 1, &"done".into()), "{list}");
    }
    doors.script.refuse.lock().unwrap().push(ControlError::NothingBefore(PluginId::new("echo").unwrap()));
    gate.add_permits(1);
    let order = Request::new("POST", "/admin/v1/plugins/echo/rollback", &token);
    assert_eq!(order.refused(&doors).await, (409, "plugin.nothing_before".to_owned()));
    let (_, list) = get(&doors, "/admin/v1/operations").await;
    let last = &list["operations"][0];
    assert_eq!(
        (&last["state"], &last["problem"]["code"]),
        (&"failed".into(), &"plugin.nothing_before".into())
    );
}

#[tokio::test]
async fn what_cannot_be_begun_is_refused_at_once_and_is_no_operation() {
    let doors = open(|_| ()).await;
    let (token, lines) = (all(), ["Prefer: respond-async"]);
    let order = |path| Request { lines: &lines, ..Request::new("POST", path, &token) };
    let echo = "/admin/v1/plugins/echo/reset";
    for (request, status, code) in [
        (order("/admin/v1/plugins/nobody/reset"), 404, "plugin.unknown"),
        (Request { body: "x", ..order(echo) }, 400, "http.bad_request"),
        (order("/admin/v1/plugins/echo/enable?for=ever"), 400, "http.bad_request"),
    ] {
        assert_eq!(request.refused(&doors).await, (status, code.to_owned()));
    }
    doors.script.drain();
    assert_eq!(order(echo).refused(&doors).await, (503, "host.draining".to_owned()));
    assert_eq!(get(&doors, "/admin/v1/operations").await.1, serde_json::json!({ "operations": [] }));
}

#[tokio::test]
async fn an_order_is_finished_and_noted_though_its_client_leaves() {
    let mut events = watch();
    let gate = Arc::new(Semaphore::new(0));
    let doors = open_with("left").await;
    *doors.script.gate.lock().unwrap() = Some(Arc::clone(&gate));
    let token = all();
    let order = Request::new("POST", "/admin/v1/plugins/left/enable", &token);
    tokio::select! {
        answer = order.send(&doors) => panic!("answered at a closed gate: {answer:?}"),
        () = doors.script.arrived.notified() => {}
    }
    gate.add_permits(1);
    let done = async {
        loop {
            let event = events.recv().await.unwrap();
            if event.event == "OperatorOrdered" && event.fields["plugin"] == "left" {
                return event;
            }
        }
    };
    let event = tokio::time::timeout(Duration::from_secs(10), done).await.expect("it is noted");
    assert_eq!(event.fields["outcome"], "healthy");
}

#[tokio::test]
async fn who_guesses_is_slowed_down_and_an_operator_is_not_locked_out() {
    let doors = open(|settings| settings.limits.auth_failures_per_minute = 3).await;
    let bad = signed(SECRET, "agent-host-admin", &["admin:read"]);
    let guess = Request::new("GET", "/admin/v1/status", &bad);
    for _ in 0..3 {
        assert_eq!(guess.refused(&doors).await, (401, "auth.invalid".to_owned()));
    }
    for _ in 0..3 {
        let (status, answer) = guess.send(&doors).await;
        assert_eq!((status, &body(&answer)["code"]), (429, &"limit.auth_failures".into()));
        assert!(answer.contains("retry-after: "), "{answer}");
    }
    let (status, _) = Request::new("GET", "/admin/v1/status", &all()).send(&doors).await;
    assert_eq!(status, 200, "a good token is let in");
}

#[tokio::test]
async fn a_host_without_an_admin_key_says_so() {
    let doors = open(|settings| settings.admin.hs256_secrets.clear()).await;
    let (status, answer) = Request::new("GET", "/admin/v1/status", &all()).send(&doors).await;
    assert_eq!(status, 401);
    assert!(body(&answer)["hint"].as_str().unwrap().contains("admin.hs256_secret"), "{answer}");
}

#[tokio::test]
async fn the_description_is_served_to_whoever_asks_and_names_what_is_served() {
    use agent_host_telemetry::log::{Format, Level, Way, install};
    // One of the operations is about the log of the process.
    install(Format::Json, Level::Error, Way::Direct).unwrap();
    let doors = open(|_| ()).await;
    let request = Request { token: None, ..Request::new("GET", "/admin/v1/openapi.json", "") };
    let (status, answer) = request.send(&doors).await;
    assert_eq!(status, 200);
    let document = body(&answer);
    let token = all();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let (method, path) = (method.to_ascii_uppercase(), path.replace("{id}", "echo"));
            let (status, answer) = Request::new(&method, &path, &token).send(&doors).await;
            assert!(operation["responses"].get(status.to_string()).is_some(), "{method} {path}: {answer}");
            // What takes a body is refused without one.
            let expected = match (method.as_str(), path.as_str()) {
                _ if operation["requestBody"]["required"] == true => 400,
                ("DELETE", "/admin/v1/connections/echo") | ("GET", "/admin/v1/operations/echo") => 404,
                // It says not whose.
                ("DELETE", "/admin/v1/threads") => 400,
                // These doors stand before a host that injects no faults.
                ("DELETE", path) if path.starts_with("/admin/v1/chaos") => 403,
                // These doors stand before no configuration.
                (_, path) if path.starts_with("/admin/v1/config") => 503,
                _ => 200,
            };
            assert_eq!(status, expected, "{method} {path}: {answer}");
        }
    }
    assert_eq!(doors.script.ordered.lock().unwrap().len(), PluginOrder::ALL.len());
}

#[tokio::test]
async fn the_public_listener_has_no_admin_api() {
    let doors = open(|_| ()).await;
    let request =
        format!("GET /admin/v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", all());
    assert_eq!(exchange(doors.gateway.public_addr(), &request).await.0, 404);
}
