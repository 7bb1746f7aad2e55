//! `completions SHELL`: what a shell needs to complete this program's command line.

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::{
    cli::Cli,
    exit::{self, Failure},
};

/// Prints them.
pub(crate) fn run(shell: Shell) -> Result<(), Failure> {
    // Into memory first: the generator panics over a closed pipe.
    exit::say(String::from_utf8_lossy(&text(shell)).trim_end())
}

fn text(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    generate(shell, &mut Cli::command(), "agent-host", &mut text);
    text
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_gets_the_commands() {
        for shell in Shell::value_variants() {
            let text = String::from_utf8(text(*shell)).unwrap();
            assert!(text.contains("explain") && text.contains("check"), "{shell}");
        }
    }
}
