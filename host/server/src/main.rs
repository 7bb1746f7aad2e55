//! The binary: reads the command line and hands it to the module of the command.
#![forbid(unsafe_code)]

mod cli;
mod configuration;
mod exit;
mod explain;
mod specs;
mod token;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    cli::{Command, ConfigCommand, TokenCommand},
    exit::{Exit, Failure},
};

fn main() -> ExitCode {
    match run(cli::Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Config(ConfigCommand::Validate(args)) => configuration::validate(&args),
        Command::Explain { code } => explain::run(&code),
        Command::Serve(args) => Err(absent("serve", configuration::load(&args).err())),
        Command::Dev(_) => Err(absent("dev", None)),
        Command::Token(TokenCommand::Mint(args)) => {
            let loaded = configuration::load(&args.config)?;
            Err(absent("token mint", token::order(&args, &loaded.config).err()))
        }
        Command::Worker(_) => Err(absent("worker", None)),
    }
}

/// A command whose part is not linked into this binary; what else is wrong is told first.
fn absent(command: &str, earlier: Option<Failure>) -> Failure {
    earlier
        .unwrap_or_else(|| Failure::new(Exit::Failed, format!("this binary was built without `{command}`")))
}
