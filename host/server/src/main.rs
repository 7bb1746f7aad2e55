//! The binary: reads the command line and hands it to the module of the command.
#![forbid(unsafe_code)]

mod admin;
mod chaos;
mod chat;
mod check;
mod cli;
mod completions;
mod compose;
mod configuration;
mod dev;
mod drill;
mod exit;
mod explain;
mod live;
mod log;
mod man;
mod notify;
mod retention;
mod revocations;
mod safe;
mod serve;
mod settings;
mod specs;
mod steps;
mod tidy;
mod token;
mod verify;
mod withheld;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    cli::{Command, ConfigCommand, TokenCommand},
    exit::Failure,
    steps::Step,
};

fn main() -> ExitCode {
    match run(cli::Cli::parse().command) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Config(ConfigCommand::Validate(args)) => configuration::validate(&args)?,
        Command::Config(ConfigCommand::Print(args)) => configuration::print::print(&args)?,
        Command::Config(ConfigCommand::Schema) => configuration::print::schema()?,
        Command::Config(ConfigCommand::Diff(args)) if args.profiles.is_empty() => {
            admin::config::diff(&args.admin)?
        }
        Command::Config(ConfigCommand::Diff(args)) => configuration::print::diff(&args)?,
        Command::Config(ConfigCommand::Show(args)) => admin::config::show_running(&args)?,
        Command::Config(ConfigCommand::Reload(args)) => admin::config::reload(&args)?,
        Command::Config(ConfigCommand::Set(args)) => admin::config::set(&args)?,
        Command::Status(args) => admin::status(&args)?,
        Command::Plugins(command) => return admin::plugins(&command),
        Command::Connections(command) => admin::connections(&command)?,
        Command::Operations(command) => admin::operations(&command)?,
        Command::Events(args) => admin::events(&args)?,
        Command::Drain(args) => admin::rotation(&args, true)?,
        Command::Undrain(args) => admin::rotation(&args, false)?,
        Command::Chaos(command) => admin::chaos(&command)?,
        Command::Top(args) => admin::top(&args)?,
        Command::SupportBundle(args) => admin::support_bundle(&args)?,
        Command::Man => man::run()?,
        Command::LogLevel(args) => admin::log_level(&args)?,
        Command::Chat(args) => return chat::chat(&args),
        Command::Check(args) => return check::run(&args),
        Command::Verify(args) => return verify::run(&args),
        Command::Drill(args) => return drill::run(&args),
        Command::Explain(args) => explain::run(&args)?,
        Command::Threads(command) => log::threads(&command)?,
        Command::Db(command) => log::db(&command)?,
        Command::Completions { shell } => completions::run(shell)?,
        Command::Serve(args) => {
            let (finished, loaded) = steps::take(Step::Config, || {
                Ok::<_, String>((live::finish(&args.config), configuration::load(&args)))
            })?;
            serve::serve(&loaded?, configuration::sources(&args), finished.as_ref(), |_| ())?;
        }
        Command::Dev(args) => dev::dev(&args)?,
        Command::Token(TokenCommand::Mint(args)) => {
            let loaded = configuration::load(&args.config)?;
            println!("{}", token::sign(&token::order(&args, &loaded.config)?)?);
        }
        Command::Token(TokenCommand::Inspect(args)) => return token::inspect::run(&args),
        Command::Token(TokenCommand::Revoke(args)) => admin::revoke(&args)?,
        Command::Worker(_) => return Ok(agent_host_runtime::worker::main()),
    }
    Ok(ExitCode::SUCCESS)
}
