//! `verify`: the gate after a deployment or a rollback. Goes through a running host as its clients do, step by step, and
//! says which step did not hold. Safe in production: it sees its own user's threads only, and deletes those it made.

pub(crate) mod peer;
mod report;
mod steps;

use std::{fs, path::Path, process::ExitCode, time::Instant};

use tokio::runtime::Builder;

use self::{
    report::{Outcome, Report},
    steps::{Later, Probe},
};
use crate::{
    cli::VerifyArgs,
    exit::{Exit, Failure, say},
};

/// Why a step did not hold, or was left out.
#[derive(Debug)]
pub(super) enum Not {
    /// It does not hold.
    Held(String),
    /// It was not tried.
    Tried(&'static str),
}

impl From<String> for Not {
    fn from(reason: String) -> Self {
        Self::Held(reason)
    }
}

/// Runs every step, and answers with 0 if all held, 1 if one did not, 69 if nobody was there.
pub(crate) fn run(args: &VerifyArgs) -> Result<ExitCode, Failure> {
    let token = token_in(&args.token_file)?;
    let other = args.other_token_file.as_deref().map(token_in).transpose()?;
    let to = peer::Address::parse(&args.url)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let probe = Probe::new(to, token, other, args.expect_level);
    let report = runtime.block_on(async {
        if let Some(wait) = args.wait {
            probe.waits(wait).await;
        }
        verify(probe).await
    });
    say(&report.shown(args.output))?;
    match report.exit() {
        None => Ok(ExitCode::SUCCESS),
        Some(exit) => Ok(ExitCode::from(exit.status())),
    }
}

async fn verify(mut probe: Probe) -> Report {
    let mut report = Report::new(probe.url());
    // Without a connection there is nothing to look at.
    let begun = Instant::now();
    let opened = probe.opens().await;
    let unreachable = matches!(&opened, Err((_, true)));
    let opened = opened.map_err(|(reason, _)| Not::Held(reason));
    let open = opened.is_ok();
    report.note("upgrade", begun, opened);
    if !open {
        report.unreachable = unreachable;
        return report;
    }
    let begun = Instant::now();
    report.note("level", begun, probe.level());
    let begun = Instant::now();
    report.note("chaos", begun, probe.is_left_alone());
    for agent in probe.agents() {
        let begun = Instant::now();
        let outcome = probe.is_answered(agent.as_deref()).await;
        let name = agent.map_or_else(|| "run (fallback)".to_owned(), |agent| format!("run ({agent})"));
        report.note(&name, begun, outcome);
    }
    for step in [Later::Resume, Later::Cancel, Later::Malformed, Later::History, Later::Stranger] {
        let begun = Instant::now();
        let outcome = probe.take(step).await;
        report.note(step.name(), begun, outcome);
    }
    let begun = Instant::now();
    report.note("tidy", begun, probe.tidies());
    report
}

pub(crate) fn token_in(file: &Path) -> Result<String, Failure> {
    let failed = |reason: String| Failure::new(Exit::Failed, format!("{}: {reason}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    let token = text.trim();
    match token.is_empty() || token.contains(char::is_whitespace) {
        true => Err(failed("holds no token".to_owned())),
        false => Ok(token.to_owned()),
    }
}

impl From<Result<String, Not>> for Outcome {
    fn from(result: Result<String, Not>) -> Self {
        match result {
            Ok(detail) => Self::Held(detail),
            Err(Not::Held(reason)) => Self::Failed(reason),
            Err(Not::Tried(why)) => Self::Skipped(why),
        }
    }
}
