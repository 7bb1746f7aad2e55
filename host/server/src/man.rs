//! `man`: the manual page, made from the command line as it is.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_mangen::Man;

use crate::{
    cli::Cli,
    exit::{Exit, Failure},
};

/// Prints it: the program, then each of its commands.
pub(crate) fn run() -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, error.to_string());
    // Into memory first: a reader that has seen enough is no failure.
    let page = page().map_err(failed)?;
    match std::io::stdout().write_all(&page) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(failed(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn page() -> std::io::Result<Vec<u8>> {
    let mut command = Cli::command();
    command.build();
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        writeln!(page, ".SH \"{}\"", inner.get_name().to_uppercase())?;
        each(inner, &mut page)?;
    }
    Ok(page)
}

/// A command and those below it: how it is written, what it does, what it takes.
fn each(command: &clap::Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let man = Man::new(command.clone());
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    if command.get_subcommands().next().is_none() {
        return man.render_options_section(page);
    }
    command
        .get_subcommands()
        .filter(|inner| inner.get_name() != "help")
        .try_for_each(|inner| each(inner, page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_command_and_the_exit_status() {
        let page = String::from_utf8(page().unwrap()).unwrap();
        for word in
            [".TH agent-host", "SERVE", "PLUGINS", "quarantine", "TOP", "78 the configuration is wrong"]
        {
            assert!(page.contains(word), "{word}");
        }
        assert!(!page.contains("WORKER"), "it is nobody's to call");
    }
}
