//! Whether the host speaks WebSocket as RFC 6455 demands: a table of exchanges, each with its section, against an echo
//! with the sockets of `/ws` and against `/ws` itself. `docs/rfc6455.md` is what came of it.

mod cases;
mod handshakes;
mod wire;

use std::fmt::Write as _;

use tokio::{io::AsyncWriteExt as _, time::timeout};

use self::{
    cases::Case,
    wire::{Frame, Pace, Said, Wire},
};
use crate::harness::{Host, PATIENCE, Setup, artifacts, tokens};

/// The echo, in builds with fault injection only.
const ECHO: &str = "/conformance/echo";
/// As the host's own.
const LIMIT: usize = 64 * 1024;

fn setup() -> Setup {
    let setup = Setup::new().set("limits.messages_per_minute", "0").set("limits.connections_per_user", "0");
    setup.set("limits.frame_bytes", &LIMIT.to_string())
}

/// What the case says at a path. At `/ws`, what is said in text is no echo, and left out.
async fn played(host: &Host, path: &str, case: &Case) -> Result<Vec<Said>, String> {
    let wire = Wire::open(host.address, path, &tokens::of("alice")).await?;
    let mut said = wire.exchange(&case.sent, case.pace).await?;
    if path != ECHO {
        said.retain(|said| !matches!(said, Said::Text(_)));
    }
    Ok(said)
}

/// The same at `/ws`, whose protocol has no binary messages.
fn demanded_of_ws(case: &Case) -> Vec<Said> {
    let mut demanded = Vec::new();
    for said in &case.demanded {
        match said {
            Said::Text(_) => {}
            Said::Binary(_) => {
                demanded.push(Said::Close(Some(1003)));
                break;
            }
            said => demanded.push(said.clone()),
        }
    }
    demanded
}

/// What was said, with the same thing many times over said once.
fn shown(said: &[Said]) -> String {
    let mut shown: Vec<(String, usize)> = Vec::new();
    for word in said.iter().map(Said::to_string) {
        match shown.last_mut() {
            Some((last, times)) if *last == word => *times += 1,
            _ => shown.push((word, 1)),
        }
    }
    let words = shown.into_iter().map(|(word, times)| match times {
        1 => word,
        times => format!("{times} × {word}"),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Every case on both routes, and every handshake. The page of it, or what is wrong.
async fn conformance(host: &Host) -> Result<String, String> {
    let mut page = String::from(HEAD);
    let mut wrong = Vec::new();
    page.push_str("\n## Handshakes\n\n| asked | section | `/ws` | |\n|---|---|---|---|\n");
    for handshake in handshakes::ALL {
        for path in [ECHO, "/ws"] {
            let answer = handshakes::ask(host, path, handshake).await?;
            // Any method is a matter of the path: the echo has no words of its own for it.
            let exempt = path == ECHO && handshake.demanded.0 == 405;
            if !exempt && !handshakes::lawful(handshake, &answer) {
                wrong.push(format!("{} at {path}: {answer:?}", handshake.name));
            }
            if path != ECHO {
                let shown = handshakes::shown(&answer);
                let (name, section, note) = (handshake.name, handshake.section, handshake.note);
                writeln!(page, "| {name} | {section} | {shown} | {note} |").unwrap();
            }
        }
    }
    let mut group = "";
    for case in cases::all(LIMIT) {
        let echo = played(host, ECHO, &case).await;
        let ws = played(host, "/ws", &case).await;
        for (path, said, demanded) in
            [(ECHO, &echo, case.demanded.clone()), ("/ws", &ws, demanded_of_ws(&case))]
        {
            if said.as_ref() != Ok(&demanded) {
                wrong.push(format!("{}, {} at {path}: {said:?}, not {demanded:?}", case.group, case.name));
            }
        }
        if case.group != group {
            group = case.group;
            write!(page, "\n## {group}\n\n| sent | section | echo | `/ws` | |\n|---|---|---|---|---|\n")
                .unwrap();
        }
        let word = |said: &Result<Vec<Said>, String>| said.as_deref().map_or_else(|e| e.clone(), shown);
        let (echo, ws) = (word(&echo), word(&ws));
        writeln!(page, "| {} | {} | {echo} | {ws} | {} |", case.name, case.section, case.note).unwrap();
    }
    if wrong.is_empty() { Ok(page) } else { Err(wrong.join("\n")) }
}

const HEAD: &str = "# The WebSocket standard, case by case\n\n\
    What the host answers to each of these exchanges, each on a connection of its own, and which section of\n\
    [RFC 6455](https://www.rfc-editor.org/rfc/rfc6455) is the measure. The echo is a route of builds with fault\n\
    injection: the handshake, socket, limits and closes of `/ws`, and each message sent back. At `/ws`, what the native\n\
    protocol says in text is left out, and a binary message is closed with 1003, since that protocol has none. Where\n\
    nothing of ours closed, the client did, with 1000. A note says where the answer could be expected to be another.\n\n\
    This page is what `tests/suite/rfc6455.rs` saw; `UPDATE_DOCS=1 cargo test -p agent-host-tests rfc6455` writes it.\n";

#[tokio::test]
async fn every_case_is_answered_as_the_standard_demands() {
    let host = setup().failpoints("").start();
    let seen = conformance(&host).await.unwrap_or_else(|wrong| panic!("{wrong}"));
    let path = artifacts::root().join("docs/rfc6455.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &seen).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == seen,
        "docs/rfc6455.md is not current; run UPDATE_DOCS=1 cargo test -p agent-host-tests rfc6455"
    );
}

/// The table against a host without a protection: red, and for the cases that are about it.
async fn objections(broken: &str) -> String {
    let host = setup().failpoints(broken).start();
    conformance(&host).await.expect_err("the table is content with a broken host")
}

#[tokio::test]
async fn the_table_is_red_without_the_limit() {
    let wrong = objections("gateway.socket.limit=off").await;
    assert!(wrong.contains("one byte above it, in two pieces"), "{wrong}");
    assert!(!wrong.contains("Reserved bits"), "{wrong}");
}

#[tokio::test]
async fn the_table_is_red_where_masks_are_not_asked_for() {
    let wrong = objections("gateway.socket.mask=off").await;
    assert!(wrong.contains("a ping without a mask"), "{wrong}");
    assert!(!wrong.contains("The limit of this host"), "{wrong}");
}

#[tokio::test]
async fn a_host_without_fault_injection_has_no_echo() {
    let host = setup().start();
    let refused = Wire::open(host.address, ECHO, &tokens::of("alice")).await.err().unwrap();
    assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");
}

/// More pings than any buffer holds, while their answers are read: all of them are answered, in order.
#[tokio::test]
async fn a_flood_of_pings_is_answered_in_order() {
    const PINGS: usize = 100_000;
    let host = setup().failpoints("").start();
    let wire = Wire::open(host.address, ECHO, &tokens::of("alice")).await.unwrap();
    let mut flood: Vec<u8> =
        (0..PINGS).flat_map(|n| Frame::new(wire::PING, format!("{n:0120}")).bytes()).collect();
    flood.extend(Frame::new(wire::CLOSE, [3, 232]).bytes());
    let said = wire.exchange(&flood, Pace::AtOnce).await.unwrap();
    let (close, pongs) = said.split_last().unwrap();
    assert_eq!((close, pongs.len()), (&Said::Close(Some(1000)), PINGS));
    for (n, pong) in pongs.iter().enumerate() {
        assert_eq!(pong, &Said::Pong(format!("{n:0120}").into_bytes()));
    }
}

/// A client that pings without end, as fast as it can, and reads nothing: the host owes it no more than a socket's
/// buffer holds, and lets it go. (There are no limits of frames here: these alone must not be what saves it.)
async fn unread_pongs_are_not_hoarded(host: &Host) -> Result<(), String> {
    let before = resident(host);
    let wire = Wire::open(host.address, "/ws", &tokens::of("alice")).await?;
    let (_unread, mut write) = wire.stream.into_split();
    let pings = Frame::new(wire::PING, [b'*'; 125]).bytes().repeat(1000);
    // 40 MB in all. It ends earlier where nothing more is taken, or where the host has closed.
    for _ in 0..300 {
        match timeout(PATIENCE, write.write_all(&pings)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => break,
            Err(_) => return Err("neither taken nor closed".to_owned()),
        }
    }
    let grown = resident(host).saturating_sub(before);
    if grown > 16 * 1024 { Err(format!("hoarded: {grown} KiB more")) } else { Ok(()) }
}

/// Its memory, in KiB.
fn resident(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

twin! {
    unread_pongs(unread_pongs_are_not_hoarded) on setup();
    faults ""; broken by "gateway.socket.answer=off", says "hoarded"
}
