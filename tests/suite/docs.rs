//! The documentation says what the code says: generated pages are current, named files exist, shown commands run.

mod incidents;
mod protocol;

use std::fmt::Write as _;

use agent_plugin_protocol::Code;

use crate::harness::{PATIENCE, Setup, artifacts, host, http};

/// Pages that a newcomer reads, and whose links must lead somewhere.
const PAGES: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/codes.md",
    "docs/drill.md",
    "docs/how-a-message-travels.md",
    "docs/incidents/0001-every-connection-500.md",
    "docs/log-events.md",
    "docs/metrics.md",
    "docs/protocol.md",
    "docs/operating.md",
    "docs/performance.md",
    "docs/plugin-authors.md",
    "docs/rfc6455.md",
    "docs/sandbox.md",
];

/// `docs/codes.md`, from the one table.
fn codes() -> String {
    let mut page = String::from(
        "# Error codes\n\n\
         The same word stands in frames, problem documents, logs, metrics and the command line. Codes are added, never\n\
         renamed. This page is made from the table in `plugin-api/protocol/src/code.rs` by\n\
         `UPDATE_DOCS=1 cargo test -p agent-host-tests docs`.\n",
    );
    let mut group = "";
    for code in Code::ALL {
        let here = code.as_str().split('.').next().unwrap_or_default();
        if here != group {
            group = here;
            write!(
                page,
                "\n## {group}\n\n| code | retry | what happened | what to do |\n|---|---|---|---|\n"
            )
            .unwrap();
        }
        let retry = if code.retryable() { "yes" } else { "no" };
        let cell = |text: &str| text.replace('|', "\\|").replace('<', "&lt;");
        writeln!(page, "| `{code}` | {retry} | {} | {} |", cell(code.meaning()), cell(code.remedy()))
            .unwrap();
    }
    page
}

#[test]
fn the_page_of_codes_is_the_table_of_codes() {
    let path = artifacts::root().join("docs/codes.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, codes()).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == codes(),
        "docs/codes.md is not current; run UPDATE_DOCS=1 cargo test -p agent-host-tests docs"
    );
}

#[tokio::test]
async fn the_published_protocol_is_what_the_host_serves() {
    let host = Setup::new().start();
    let answer = http::get(host.address, "/asyncapi.json", &[], PATIENCE).await.unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let path = artifacts::root().join("docs/asyncapi.json");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &answer.body).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == answer.body,
        "docs/asyncapi.json is not current; run UPDATE_DOCS=1 cargo test -p agent-host-tests docs"
    );
    let etag = answer.header("etag").expect("it has a name for caches").to_owned();
    let again = http::get(host.address, "/asyncapi.json", &[("If-None-Match", &etag)], PATIENCE).await;
    assert_eq!(again.map(|answer| answer.status), Ok(304));
}

#[tokio::test]
async fn the_published_admin_api_is_what_the_host_serves() {
    let host = Setup::new().start();
    let answer = http::get(host.admin, "/admin/v1/openapi.json", &[], PATIENCE).await.unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let path = artifacts::root().join("docs/admin-openapi.json");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &answer.body).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == answer.body,
        "docs/admin-openapi.json is not current; run UPDATE_DOCS=1 cargo test -p agent-host-tests docs"
    );
}

#[tokio::test]
async fn the_published_rest_surface_is_what_the_host_serves() {
    let host = Setup::new().start();
    let answer = http::get(host.address, "/openapi.json", &[], PATIENCE).await.unwrap();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    let path = artifacts::root().join("docs/openapi.json");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &answer.body).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == answer.body,
        "docs/openapi.json is not current; run UPDATE_DOCS=1 cargo test -p agent-host-tests docs"
    );
}

#[test]
fn links_between_pages_lead_somewhere() {
    for page in PAGES {
        let text = artifacts::read(page);
        let folder = artifacts::root().join(page).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") {
                assert!(folder.join(file).exists(), "{page} links to {link}");
            }
        }
    }
}

/// The commands in the fenced `sh` blocks of a page.
fn commands(page: &str) -> Vec<String> {
    let text = artifacts::read(page);
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines =
        blocks.flat_map(str::lines).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

#[test]
fn the_shown_commands_of_the_host_exist() {
    for page in ["README.md", "docs/operating.md", "docs/plugin-authors.md"] {
        let shown = commands(page);
        assert!(!shown.is_empty(), "{page} shows no command");
        for line in shown {
            let Some((_, arguments)) =
                line.split_once("agent-host ").or_else(|| line.split_once("--release -- "))
            else {
                continue;
            };
            // The words up to the first option are the subcommand.
            let words = arguments
                .split_whitespace()
                .take_while(|w| w.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
            let words: Vec<&str> = words.take_while(|word| !word.starts_with('-')).collect();
            let help: Vec<&str> = words.into_iter().chain(["--help"]).collect();
            let output = host::plain_cli(&help, &[]);
            assert!(output.status.success(), "{page}: `{line}`: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn the_shown_files_exist() {
    for page in ["README.md", "CONTRIBUTING.md", "docs/plugin-authors.md"] {
        for line in commands(page) {
            for word in
                line.split_whitespace().filter(|w| w.starts_with("tests/") || w.starts_with("plugins/"))
            {
                assert!(artifacts::root().join(word).exists(), "{page} names {word}");
            }
        }
    }
}

#[test]
fn explain_knows_every_code_and_no_other() {
    for code in Code::ALL {
        let output = host::plain_cli(&["explain", code.as_str()], &[]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains(code.as_str()), "{code}: {said}");
    }
    assert!(!host::plain_cli(&["explain", "plugin.crashd"], &[]).status.success());
}

/// The page of faults names each of them, in the words of the one table.
#[test]
fn the_page_of_faults_is_the_table_of_faults() {
    let list = host::plain_cli(&["drill", "--list"], &[]);
    let list = String::from_utf8(list.stdout).unwrap();
    let page = artifacts::read("docs/drill.md");
    let lines: Vec<&str> = list.lines().collect();
    assert!(lines.len() >= 30, "{list}");
    for scenario in lines.chunks(3) {
        let [name, does, holds] = scenario else { panic!("{scenario:?}") };
        let word = |line: &str, lead: &str| line.trim().trim_start_matches(lead).trim().to_owned();
        let row = format!("| `{name}` | {} | {} |", word(does, "does"), word(holds, "holds"));
        assert!(page.contains(&row), "docs/drill.md has no row {row}");
    }
}
