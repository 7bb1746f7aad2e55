//! Holds a plugin, loaded anyhow, against the contract: the suite that `agent-host check` runs too.
//!
//! Each case is one promise. What an agent answers is its own affair, so an error is as good as an answer here; what is
//! judged is that there is exactly one last word, in time, after well-formed events, and that the plugin is still there.

mod bench;
mod cases;

use std::time::{Duration, Instant};

use agent_plugin_api::protocol::PluginKind;
use serde::Serialize;

pub(crate) use bench::{Bench, Hospitality};

use crate::Subject;

/// What is expected of the plugin under test.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// What it says that it is.
    pub kind: PluginKind,
    /// How long one call may take, from its beginning to its last word.
    pub patience: Duration,
    /// How long a cancelled call may take to end.
    pub grace: Duration,
}

impl Plan {
    /// A host's own defaults for the grace, and half a minute for a call.
    pub fn of(kind: PluginKind) -> Self {
        Self { kind, patience: Duration::from_secs(30), grace: Duration::from_secs(5) }
    }
}

/// One promise of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// The self-test is answered.
    Probe,
    /// An ordinary message ends with one readable last word.
    Message,
    /// What is emitted on the way can be passed on as it is.
    Events,
    /// Nothing comes after the last word.
    Silence,
    /// A method that it does not know is refused as such.
    UnknownMethod,
    /// Parameters that cannot be read end the call, not the plugin.
    Nonsense,
    /// Odd texts end as other messages do.
    OddMessages,
    /// A host that refuses every request is borne.
    Denial,
    /// A cancelled call ends within the grace period.
    Cancel,
    /// Eight calls at once all end.
    Concurrent,
    /// A supervisor names an agent of the roster, or takes the message itself.
    Route,
    /// A supervisor bears an empty roster.
    EmptyRoster,
    /// A plugin that is draining takes no call.
    Drain,
}

impl Case {
    /// All, in the order in which they are tried: the last one ends the plugin's use.
    pub const ALL: &'static [Self] = &[
        Self::Probe,
        Self::Message,
        Self::Events,
        Self::Silence,
        Self::UnknownMethod,
        Self::Nonsense,
        Self::OddMessages,
        Self::Denial,
        Self::Cancel,
        Self::Concurrent,
        Self::Route,
        Self::EmptyRoster,
        Self::Drain,
    ];

    /// The promise, as a sentence.
    pub const fn promise(self) -> &'static str {
        match self {
            Self::Probe => "the probe answers",
            Self::Message => "a message ends with exactly one last word",
            Self::Events => "events are well-formed",
            Self::Silence => "nothing is said after the last word",
            Self::UnknownMethod => "an unknown method is unimplemented",
            Self::Nonsense => "unreadable parameters end the call only",
            Self::OddMessages => "odd messages are borne",
            Self::Denial => "a host that refuses everything is borne",
            Self::Cancel => "a cancelled call ends within the grace period",
            Self::Concurrent => "eight calls at once all end",
            Self::Route => "the choice is an agent of the roster",
            Self::EmptyRoster => "an empty roster is borne",
            Self::Drain => "no call is taken while draining",
        }
    }
}

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The promise is kept.
    Pass,
    /// It is not.
    Fail {
        /// What happened instead. May quote the plugin: to be sanitised before it is shown.
        reason: String,
    },
    /// It could not be judged, or does not concern this plugin.
    Skip {
        /// Why.
        reason: String,
    },
}

/// One judged case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Which.
    pub case: Case,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

/// All cases, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// In the order of [`Case::ALL`].
    pub cases: Vec<Judged>,
}

impl Report {
    /// Whether no promise is broken.
    pub fn conforms(&self) -> bool {
        !self.cases.iter().any(|judged| matches!(judged.verdict, Verdict::Fail { .. }))
    }

    /// The broken promises, with what happened instead.
    pub fn failures(&self) -> Vec<(Case, &str)> {
        let failed = self.cases.iter().filter_map(|judged| match &judged.verdict {
            Verdict::Fail { reason } => Some((judged.case, reason.as_str())),
            Verdict::Pass | Verdict::Skip { .. } => None,
        });
        failed.collect()
    }
}

/// Runs the suite. It ends with the plugin draining, or gone. Takes at most a few patiences of the plan.
pub async fn run<S: Subject>(subject: &mut S, plan: &Plan) -> Report {
    let mut bench = Bench::new(subject, *plan);
    let mut judged = Vec::new();
    for case in Case::ALL {
        let began = Instant::now();
        let verdict = match bench.gone() {
            Some(why) => Verdict::Skip { reason: format!("the plugin is gone: {why}") },
            None => cases::judge(*case, &mut bench).await,
        };
        judged.push(Judged { case: *case, verdict, took: began.elapsed() });
    }
    Report { cases: judged }
}
