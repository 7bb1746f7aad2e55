//! Decides what follows when a try to answer a message failed.

use super::{Choice, FallbackReason, RouteRequest, RouteTable, Target, choose, choose_in_order};
use crate::outcome::{Clock, Outcome};

/// One try of a message that did not end well.
#[derive(Debug, Clone, Copy)]
pub struct FailedTry<'a> {
    /// Who was tried last; part of `request.tried`.
    pub target: &'a Target,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// `RunMachine::is_before_first_event`.
    pub before_first_event: bool,
    /// Earlier tries of this message that began (were not refused), this one not counted.
    pub earlier_tries: u32,
    /// Whether a second try is wanted at all.
    pub retries: bool,
    /// Earlier tries of this message that ended with the plugin's process, this one not counted.
    pub earlier_crashes: u32,
}

/// What follows a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextMove {
    /// The run ends with this outcome.
    Finish,
    /// Once more, there.
    Retry(Target),
    /// The fallback answers.
    Fallback(FallbackReason),
}

/// Decides what follows when a try failed.
///
/// Before any plugin event and any tool call: once more, then the fallback. After one: no move. A message that
/// ended two processes is never given to a third, and one that used up the whole run's clock, or whose agent said
/// that another try is of no use, is not tried again, nor is any where no second try is wanted. A refusal is no try: it costs nothing and moves on.
pub fn after_failure(table: &RouteTable, request: RouteRequest<'_>, failed: FailedTry<'_>) -> NextMove {
    let Some(code) = failed.outcome.code() else { return NextMove::Finish };
    if matches!(failed.outcome, Outcome::Deserted | Outcome::Interrupted) || !failed.before_first_event {
        return NextMove::Finish;
    }
    let (agent, retryable) = (failed.target.plugin.clone(), failed.outcome.retryable());
    let gone = NextMove::Fallback(FallbackReason::AgentFailed { agent, code, retryable });
    if !may_retry(&failed) {
        return gone;
    }
    match choose(table, request) {
        // A supervisor that comes back chooses for new messages; this one has waited enough.
        Choice::Supervisor(_) => match choose_in_order(table, request) {
            Choice::Agent(target) => NextMove::Retry(target),
            Choice::Supervisor(_) | Choice::Fallback(_) | Choice::Unknown => gone,
        },
        Choice::Agent(target) => NextMove::Retry(target),
        Choice::Fallback(_) | Choice::Unknown => gone,
    }
}

fn may_retry(failed: &FailedTry<'_>) -> bool {
    match failed.outcome {
        Outcome::Refused(_) => true,
        _ if !failed.retries => false,
        Outcome::Lost(_) => failed.earlier_tries == 0 && failed.earlier_crashes == 0,
        Outcome::PluginError { retryable: false, .. } | Outcome::TimedOut(Clock::Run) => false,
        Outcome::PluginError { retryable: true, .. }
        | Outcome::Panicked { .. }
        | Outcome::TimedOut(Clock::Tool | Clock::Idle)
        | Outcome::Violation(_) => failed.earlier_tries == 0,
        Outcome::Ok(_) | Outcome::Cancelled | Outcome::Deserted | Outcome::Interrupted => false,
    }
}
