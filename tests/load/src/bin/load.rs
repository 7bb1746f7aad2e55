//! The load generator: runs the scenarios against the host and its floor, and prints what they cost.
#![forbid(unsafe_code)]

use std::{fs, io, path::PathBuf, process::ExitCode, time::Duration};

use agent_host_load::{bench::Bench, machine::Cores, report::Report, scenario, server::Programs};
use clap::Parser;

/// What the host costs beside its floor.
#[derive(Parser)]
struct Arguments {
    /// How often each server's turn comes.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Two short rounds with small sizes: to see that everything works.
    #[arg(long)]
    quick: bool,
    /// How long one turn of a closed loop measures, in seconds.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Only these scenarios, comma separated.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where the programs are; by default beside this one.
    #[arg(long)]
    programs: Option<PathBuf>,
    /// The folder for load.json and load.md; by default beside this program.
    #[arg(long)]
    out: Option<PathBuf>,
    /// The servers' core.
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    /// The generator's core; by default the next, or the same if there is none.
    #[arg(long)]
    generator_core: Option<usize>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> io::Result<()> {
    let beside = std::env::current_exe()?.parent().map(PathBuf::from).unwrap_or_default();
    let folder = arguments.programs.clone().unwrap_or_else(|| beside.clone());
    let programs = Programs {
        host: folder.join("agent-host"),
        floor: folder.join("floor"),
        agent: folder.join("libload_agent.so"),
    };
    if let Some(unknown) =
        arguments.only.iter().find(|name| scenario::ALL.iter().all(|known| known.name != **name))
    {
        let known = scenario::ALL.map(|scenario| scenario.name).join(", ");
        return Err(io::Error::other(format!("no scenario is called {unknown:?}; there are {known}")));
    }
    let (rounds, seconds) = if arguments.quick { (2, 0.5) } else { (arguments.rounds, arguments.seconds) };
    let mut bench =
        Bench::new(programs, cores(arguments), rounds, Duration::from_secs_f64(seconds), arguments.quick);
    for scenario in scenario::ALL {
        if arguments.only.is_empty() || arguments.only.iter().any(|name| name == scenario.name) {
            eprintln!("{}", scenario.name);
            (scenario.run)(&mut bench);
        }
    }
    let report = Report::of(&bench);
    let out = arguments.out.clone().unwrap_or(beside);
    fs::create_dir_all(&out)?;
    fs::write(out.join("load.json"), serde_json::to_string_pretty(&report)?)?;
    fs::write(out.join("load.md"), report.markdown())?;
    println!("{}", report.markdown());
    Ok(())
}

fn cores(arguments: &Arguments) -> Cores {
    let server = arguments.server_core;
    let count = std::thread::available_parallelism().map_or(1, Into::into);
    let next = if count > 1 { (server + 1) % count } else { server };
    Cores { server: Some(server), generator: arguments.generator_core.unwrap_or(next) }
}
