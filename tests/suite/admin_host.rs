//! Orders to the host itself: the level of its log.

use serde_json::{Value, json};

use crate::{
    harness::{
        Host, PATIENCE, Setup, eventually,
        http::{self, Answer},
        tokens::operator,
    },
    scenario::ready,
};

const LEVEL: &str = "/admin/v1/log-level";
const ALL: &[&str] = &["admin:read", "admin:toggle", "admin:debug"];

fn setup() -> Setup {
    Setup::echo().operated().set("limits.auth_failures_per_minute", "0")
}

/// Asks with a token of these scopes and a body.
pub(crate) async fn ask(
    host: &Host,
    scopes: &[&str],
    method: &str,
    path: &str,
    body: &str,
) -> Result<Answer, String> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
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

#[tokio::test]
async fn a_level_that_was_ordered_holds_at_once_and_falls_back_by_itself() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let before = page(&host, "GET", LEVEL, &Value::Null).await.unwrap();
    assert_eq!(before, json!({ "level": "info", "configured": "info" }));
    assert_eq!(lines(&host, "UpgradeAnswered"), [] as [Value; 0], "it is logged at debug");

    let told = page(&host, "PUT", LEVEL, &json!({ "level": "debug", "for": "5s" })).await.unwrap();
    assert_eq!((&told["level"], &told["configured"]), (&"debug".into(), &"info".into()), "{told}");
    assert!(told["until"].as_str().is_some_and(|until| until.ends_with('Z')), "{told}");
    http::upgrade(host.address, None).await.unwrap();
    eventually("an upgrade is logged", async || match lines(&host, "UpgradeAnswered").len() {
        0 => Err("it is not".to_owned()),
        _ => Ok(()),
    })
    .await
    .unwrap();

    eventually("it is as configured again", async || {
        let now = page(&host, "GET", LEVEL, &Value::Null).await?;
        if now == before { Ok(()) } else { Err(now.to_string()) }
    })
    .await
    .unwrap();
    let told: Vec<Value> = lines(&host, "LogLevelChanged");
    let words = |line: &Value| (line["from"].clone(), line["to"].clone(), line["why"].clone());
    assert_eq!(
        told.iter().map(words).collect::<Vec<_>>(),
        [
            ("info".into(), "debug".into(), "ordered".into()),
            ("debug".into(), "info".into(), "its time is over".into())
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
