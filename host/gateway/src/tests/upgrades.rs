use std::time::Duration;

use serde_json::json;

use super::support::*;
use crate::auth::{MAX_TOKEN_BYTES, mint};

async fn refused(request: &str) -> (u16, String) {
    let doors = open(|_| {}).await;
    let (status, answer) = exchange(doors.gateway.public_addr(), request).await;
    (status, body(&answer)["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_valid_token_gets_a_101() {
    let doors = open(|_| {}).await;
    let bearer = format!("Authorization: Bearer {}", token());
    let protocol = format!("Sec-WebSocket-Protocol: agent-host.v1, bearer.{}", token());
    for (lines, echoed) in [
        (vec![bearer.as_str()], false),
        (vec![protocol.as_str()], true),
        (vec![&bearer, "Sec-WebSocket-Protocol: soap"], false),
    ] {
        let (status, answer) = exchange(doors.gateway.public_addr(), &upgrade(&lines)).await;
        assert_eq!(status, 101, "{answer}");
        // RFC 6455's own example.
        assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(answer.to_ascii_lowercase().contains("sec-websocket-protocol: agent-host.v1\r\n"), echoed);
        assert!(!answer.contains("bearer."), "a token is never sent back");
    }
}

#[tokio::test]
async fn each_bad_token_is_a_401_with_its_code() {
    let good = token();
    let expired = token_of("u", Duration::ZERO);
    let (head, rest) = good.split_once('.').unwrap();
    for (line, code) in [
        (String::new(), "auth.missing"),
        ("X-None: 1".to_owned(), "auth.missing"),
        ("Authorization: Bearer".to_owned(), "auth.missing"),
        ("Authorization: Bearer nonsense".to_owned(), "auth.malformed"),
        (format!("Authorization: Bearer {}", "x".repeat(MAX_TOKEN_BYTES + 1)), "auth.malformed"),
        (format!("Authorization: Bearer {}", "x".repeat(100_000)), "auth.malformed"),
        (format!("Authorization: Bearer eyJhbGciOiJub25lIn0.{rest}"), "auth.algorithm"),
        (format!("Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.{rest}"), "auth.algorithm"),
        (format!("Authorization: Bearer {head}.{rest}AA"), "auth.invalid"),
        ("Sec-WebSocket-Protocol: agent-host.v1, bearer.a.b.c".to_owned(), "auth.malformed"),
    ] {
        let lines: Vec<&str> = if line.is_empty() { vec![] } else { vec![&line] };
        assert_eq!(
            refused(&upgrade(&lines)).await,
            (401, code.to_owned()),
            "{}",
            &line[..line.len().min(60)]
        );
    }
    let doors = open(|_| {}).await;
    doors.clock.forward(Duration::from_secs(61));
    let (status, answer) =
        exchange(doors.gateway.public_addr(), &upgrade(&[&format!("Authorization: Bearer {expired}")])).await;
    assert_eq!((status, &body(&answer)["code"]), (401, &json!("auth.expired")));
}

#[tokio::test]
async fn a_missing_audience_is_a_401() {
    let doors = open(|s| s.auth.audience = "agent-host".to_owned()).await;
    let line = format!("Authorization: Bearer {}", token());
    let (status, answer) = exchange(doors.gateway.public_addr(), &upgrade(&[&line])).await;
    assert_eq!((status, &body(&answer)["code"]), (401, &json!("auth.audience")));
    let mut claims = claims("u", Duration::from_secs(60));
    claims.audience = "agent-host".to_owned();
    let line = format!("Authorization: Bearer {}", mint(&claims, &SECRET.to_vec().into()).unwrap());
    assert_eq!(exchange(doors.gateway.public_addr(), &upgrade(&[&line])).await.0, 101);
}

#[tokio::test]
async fn a_token_in_the_url_or_an_unknown_ticket_is_a_401() {
    let at = |query: &str| upgrade(&[]).replace("/ws", &format!("/ws?{query}"));
    assert_eq!(refused(&at(&format!("token={}", token()))).await, (401, "auth.missing".to_owned()));
    assert_eq!(refused(&at("ticket=abc")).await, (401, "auth.ticket_invalid".to_owned()));
}

#[tokio::test]
async fn an_incomplete_upgrade_is_a_400_that_says_how() {
    let whole = upgrade(&[]);
    let without =
        |name: &str| whole.split("\r\n").filter(|l| !l.starts_with(name)).collect::<Vec<_>>().join("\r\n");
    for (request, code) in [
        ("GET /ws HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(), "upgrade.not_websocket"),
        (without("Upgrade"), "upgrade.not_websocket"),
        (without("Connection"), "upgrade.not_websocket"),
        (without("Sec-WebSocket-Key"), "upgrade.missing_key"),
        (without("Sec-WebSocket-Version"), "upgrade.version"),
        (whole.replace("Version: 13", "Version: 8"), "upgrade.version"),
        (whole.replace("HTTP/1.1", "HTTP/1.0"), "upgrade.not_websocket"),
    ] {
        assert_eq!(refused(&request).await, (400, code.to_owned()), "{request}");
    }
    let doors = open(|_| {}).await;
    let (_, answer) = exchange(doors.gateway.public_addr(), &without("Sec-WebSocket-Key")).await;
    let hint = body(&answer)["hint"].as_str().unwrap().to_owned();
    for part in [
        "curl",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Version: 13",
        "Upgrade: websocket",
        "http://test/ws",
        "Bearer",
    ] {
        assert!(hint.contains(part), "{hint}");
    }
}

#[tokio::test]
async fn the_command_in_the_hint_carries_no_foreign_shell() {
    let doors = open(|_| {}).await;
    let request = "GET /ws HTTP/1.1\r\nHost: a';rm${IFS}x\r\n\r\n";
    let (status, answer) = exchange(doors.gateway.public_addr(), request).await;
    assert_eq!(status, 400);
    assert!(!answer.contains("rm${IFS}"), "{answer}");
}

#[tokio::test]
async fn other_methods_and_paths_are_http_s_own_refusals() {
    for (request, status, code) in [
        ("POST /ws HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n", 405, "http.method_not_allowed"),
        ("POST /live HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n", 405, "http.method_not_allowed"),
        ("GET /nowhere HTTP/1.1\r\nHost: t\r\n\r\n", 404, "http.not_found"),
        ("GET /metrics HTTP/1.1\r\nHost: t\r\n\r\n", 404, "http.not_found"),
    ] {
        assert_eq!(refused(request).await, (status, code.to_owned()), "{request}");
    }
}

#[tokio::test]
async fn a_foreign_page_is_a_403() {
    let line = format!("Authorization: Bearer {}", token());
    let (status, code) = refused(&upgrade(&[&line, "Origin: https://evil.example"])).await;
    assert_eq!((status, code.as_str()), (403, "origin.denied"));
}

#[tokio::test]
async fn a_draining_host_is_a_503_with_retry_after() {
    let doors = open(|_| {}).await;
    doors.script.drain();
    let line = format!("Authorization: Bearer {}", token());
    let (status, answer) = exchange(doors.gateway.public_addr(), &upgrade(&[&line])).await;
    assert_eq!((status, &body(&answer)["code"]), (503, &json!("host.draining")));
    assert!(answer.to_ascii_lowercase().contains("retry-after: 2"));
}

#[tokio::test]
async fn a_user_s_connections_are_bounded_and_another_user_s_are_not_theirs() {
    let doors = open(|s| s.limits.connections_per_user = 1).await;
    let mut first = Client::welcomed(&doors).await;
    let line = format!("Authorization: Bearer {}", token());
    let (status, answer) = exchange(doors.gateway.public_addr(), &upgrade(&[&line])).await;
    assert_eq!((status, &body(&answer)["code"]), (429, &json!("limit.connections")));
    assert!(answer.to_ascii_lowercase().contains("retry-after: "));
    assert!(Client::connect(&doors, &token_of("u2", Duration::from_secs(60))).await.is_ok());
    // The place comes back with the end of the connection.
    first.0.close(None).await.unwrap();
    while first.closed().await.is_some() {}
    loop {
        if exchange(doors.gateway.public_addr(), &upgrade(&[&line])).await.0 == 101 {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn above_the_connection_limit_is_a_503_and_operators_still_come_in() {
    let doors = open(|s| s.limits.connections = 1).await;
    let _first = Client::welcomed(&doors).await;
    let line = format!("Authorization: Bearer {}", token());
    let (status, answer) = exchange(doors.gateway.public_addr(), &upgrade(&[&line])).await;
    assert_eq!((status, &body(&answer)["code"]), (503, &json!("host.capacity")));
    let (status, _) = exchange(doors.gateway.admin_addr(), "GET /live HTTP/1.1\r\nHost: t\r\n\r\n").await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_request_that_never_ends_its_head_is_cut_off() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let doors = open(|s| s.timing.header = Duration::from_millis(50)).await;
    let mut stream = tokio::net::TcpStream::connect(doors.gateway.public_addr()).await.unwrap();
    stream.write_all(b"GET /ws HTTP/1.1\r\nHost: t\r\nX: ").await.unwrap();
    let mut rest = Vec::new();
    // Ends only because the host ends it.
    let _ = stream.read_to_end(&mut rest).await;
    assert!(!rest.starts_with(b"HTTP/1.1 500"));
}

#[tokio::test]
async fn what_is_not_http_does_no_harm() {
    let doors = open(|_| {}).await;
    for garbage in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET /ws HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n"]
    {
        let (status, _) = exchange(doors.gateway.public_addr(), garbage).await;
        assert!([0, 400, 505].contains(&status), "{garbage:?}: {status}");
    }
    Client::welcomed(&doors).await;
}
