//! Fills the generated parts of `docs/protocol.md` from the frames that the crates' own snapshots hold.

use std::fmt::Write as _;

use crate::harness::artifacts;

const PAGE: &str = "docs/protocol.md";

const ENCODED: &str = "host/gateway/src/native/encode/snapshots/agent_host_gateway__native__encode__tests__";
const RUNS: &str = "host/core/src/run_machine/snapshots/agent_host_core__run_machine__tests__";

/// What a snapshot holds, without its heading.
fn snapshot(folder: &str, name: &str) -> String {
    let text = artifacts::read(&format!("{folder}{name}.snap"));
    text.splitn(3, "---\n").nth(2).unwrap_or_default().trim().to_owned()
}

/// One example of each type of event: `type agent payload` becomes a frame's parts.
fn events() -> String {
    let mut seen = Vec::new();
    let mut page = String::from("```jsonc\n");
    for run in ["whole_run", "delegated_run", "degraded_run"] {
        for line in snapshot(RUNS, run).lines() {
            let mut parts = line.splitn(3, ' ');
            let (Some(kind), Some(agent), Some(payload)) = (parts.next(), parts.next(), parts.next()) else {
                panic!("{run}: no event: {line}")
            };
            if !seen.contains(&kind.to_owned()) {
                seen.push(kind.to_owned());
                writeln!(page, "{{\"type\":\"{kind}\",\"agent\":\"{agent}\",\"payload\":{payload}}}")
                    .unwrap();
            }
        }
    }
    page + "```\n"
}

fn generated(part: &str) -> String {
    match part {
        "welcome" => format!("```json\n{}\n```\n", snapshot(ENCODED, "the_welcome_is_as_documented")),
        "frames" => format!("```jsonc\n{}\n```\n", snapshot(ENCODED, "the_other_frames_are_as_documented")),
        "events" => events(),
        other => panic!("{PAGE} has a generated part {other:?} that nothing makes"),
    }
}

/// The page with its generated parts as they should be.
fn current(page: &str) -> String {
    let mut pieces = page.split("<!-- generated: ");
    let mut out = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (part, rest) = piece.split_once(" -->\n").expect("a mark ends its line");
        let (_, rest) = rest.split_once("<!-- end -->").expect("a generated part has an end");
        write!(out, "<!-- generated: {part} -->\n{}<!-- end -->{rest}", generated(part)).unwrap();
    }
    out
}

#[test]
fn the_frames_of_the_protocol_s_page_are_those_that_the_tests_hold() {
    let page = artifacts::read(PAGE);
    let current = current(&page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(artifacts::root().join(PAGE), &current).unwrap();
    }
    assert!(
        artifacts::read(PAGE) == current,
        "{PAGE} is not current; run UPDATE_DOCS=1 cargo test -p agent-host-tests docs"
    );
}

#[test]
fn every_kind_of_event_and_frame_is_shown() {
    let page = artifacts::read(PAGE);
    for kind in agent_plugin_protocol::EventKind::ALL {
        assert!(
            page.contains(&format!("`{kind}`")) || page.contains(&format!("\"type\":\"{kind}\"")),
            "{kind}"
        );
    }
    let decoder = artifacts::read("host/gateway/src/native/frames.rs");
    let types = decoder.split("const TYPES").nth(1).and_then(|rest| rest.split("];").next()).unwrap();
    for kind in types.split('"').skip(1).step_by(2) {
        assert!(page.contains(&format!("{{\"type\":\"{kind}\"")), "{kind} is not shown");
    }
    let closes = artifacts::read("host/gateway/src/native/close.rs");
    for code in
        closes.split("=> ").skip(1).filter_map(|rest| rest.get(..4)).filter(|c| c.parse::<u16>().is_ok())
    {
        assert!(page.contains(code), "the close {code} is not told");
    }
}
