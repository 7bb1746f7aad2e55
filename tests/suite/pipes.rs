//! `agent-host … | head -1`: a reader that has seen enough is no failure of the command, and no bug of the host's.

use crate::harness::{Setup, artifacts, host::cli_closed};

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let library = artifacts::echo();
    let library = library.to_str().unwrap();
    let commands: [&[&str]; 10] = [
        &["explain"],
        &["explain", "--output", "json"],
        &["check", library],
        &["check", library, "--output", "json"],
        &["config", "validate"],
        &["config", "print", "--effective"],
        &["config", "schema"],
        &["token", "mint", "--user", "alice"],
        &["man"],
        &["completions", "bash"],
    ];
    for arguments in commands {
        let output = cli_closed(arguments, &Setup::echo());
        let objected = String::from_utf8_lossy(&output.stderr);
        assert!(!objected.contains("panicked"), "{arguments:?}: {objected}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {objected}");
    }
}

/// The twin: the same command does print, where it is read.
#[test]
fn and_to_one_that_reads_it_is_said() {
    let output = crate::harness::host::plain_cli(&["explain"], &[]);
    assert!(output.stdout.len() > 1000, "{output:?}");
}
