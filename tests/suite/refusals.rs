//! What an upgrade is answered with, byte for byte: 101, or a problem document with a stable code. Never 500.

use crate::harness::{
    Host, Setup,
    http::{self, Answer, UPGRADE, UPGRADE_WITHIN},
    tokens,
};

/// An upgrade of a good token, without one of its headers and with others instead.
async fn upgrade_but(host: &Host, without: &str, with: &[(&str, &str)]) -> Answer {
    let bearer = format!("Bearer {}", tokens::of("alice"));
    let mut headers: Vec<_> = UPGRADE.iter().copied().filter(|(name, _)| *name != without).collect();
    headers.push(("Authorization", &bearer));
    headers.extend_from_slice(with);
    http::get(host.address, "/ws", &headers, UPGRADE_WITHIN).await.unwrap()
}

#[tokio::test]
async fn a_good_token_gets_a_101_with_the_protocol_s_name() {
    let host = Setup::echo().start();
    let answer = upgrade_but(&host, "", &[]).await;
    assert_eq!(answer.status, 101, "{answer:?}");
    assert_eq!(answer.header("sec-websocket-protocol"), Some("agent-host.v1"), "{answer:?}");
    // The example of RFC 6455.
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer:?}");
}

#[tokio::test]
async fn a_client_that_offers_no_protocol_gets_none() {
    let host = Setup::echo().start();
    let answer = upgrade_but(&host, "Sec-WebSocket-Protocol", &[]).await;
    assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, None), "{answer:?}");
}

#[tokio::test]
async fn an_incomplete_upgrade_is_a_400_that_says_what_lacks() {
    let host = Setup::echo().start();
    let key = upgrade_but(&host, "Sec-WebSocket-Key", &[]).await;
    assert_eq!((key.status, key.code()), (400, Ok("upgrade.missing_key".into())), "{key:?}");
    assert!(key.body.contains("Sec-WebSocket-Key"), "the hint shows the header: {key:?}");

    let plain = upgrade_but(&host, "Upgrade", &[]).await;
    assert_eq!((plain.status, plain.code()), (400, Ok("upgrade.not_websocket".into())), "{plain:?}");

    let version = upgrade_but(&host, "Sec-WebSocket-Version", &[("Sec-WebSocket-Version", "8")]).await;
    assert_eq!((version.status, version.code()), (400, Ok("upgrade.version".into())), "{version:?}");
}

#[tokio::test]
async fn a_foreign_origin_is_a_403() {
    let host = Setup::echo().start();
    let answer = upgrade_but(&host, "", &[("Origin", "https://evil.example")]).await;
    assert_eq!((answer.status, answer.code()), (403, Ok("origin.denied".into())), "{answer:?}");
}

/// A browser sends its user's connection from whatever page asks it to.
async fn only_pages_that_are_listed_connect(host: &Host) -> Result<(), String> {
    for (page, status) in [
        ("https://app.example", 101),
        ("http://app.example", 403),
        ("https://app.example.evil.example", 403),
        ("https://evil.example", 403),
        ("null", 403),
    ] {
        let answer = upgrade_but(host, "", &[("Origin", page)]).await;
        let denied = answer.status == 101 || answer.code().is_ok_and(|code| code == "origin.denied");
        if answer.status != status || !denied {
            return Err(format!("a page of {page} is let in or out wrongly: {answer:?}"));
        }
    }
    Ok(())
}

twin! {
    foreign_pages(only_pages_that_are_listed_connect)
        on Setup::echo().set("gateway.origins", "[\"https://app.example\"]");
    faults ""; broken by "gateway.origins=off", says "a page of http://app.example is let in"
}

#[tokio::test]
async fn other_paths_and_methods_are_http_s_own_refusals() {
    let host = Setup::echo().start();
    let nowhere = http::get(host.address, "/nowhere", &[], UPGRADE_WITHIN).await.unwrap();
    assert_eq!(nowhere.status, 404, "{nowhere:?}");
    let post = b"POST /ws HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";
    let post = http::send(host.address, post, UPGRADE_WITHIN).await.unwrap();
    assert!([400, 401, 405].contains(&post.status), "{post:?}");
}

#[tokio::test]
async fn what_is_no_http_never_gets_a_500() {
    let host = Setup::echo().start();
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..], b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n"]
    {
        if let Ok(answer) = http::send(host.address, bytes, UPGRADE_WITHIN).await {
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
    }
    assert_eq!(upgrade_but(&host, "", &[]).await.status, 101);
}

#[tokio::test]
async fn a_health_check_needs_no_token() {
    let host = Setup::echo().start();
    for (to, path) in [(host.address, "/live"), (host.admin, "/live"), (host.admin, "/ready")] {
        let answer = http::get(to, path, &[], UPGRADE_WITHIN).await.unwrap();
        assert!([200, 503].contains(&answer.status), "{path}: {answer:?}");
    }
    let live = http::get(host.address, "/live", &[], UPGRADE_WITHIN).await.unwrap();
    assert_eq!(live.status, 200, "{live:?}");
}
