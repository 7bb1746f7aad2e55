//! What came of the host's looks at itself, for `/ready?verbose`.

use std::time::{Duration, SystemTime};

use agent_host_core::timestamp::rfc3339;
use serde::Serialize;

/// Its name among what `readiness.require` may ask for.
pub(crate) const SELF_CHECK: &str = "self_check";

/// What came of the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Report {
    verdict: Verdict,
    /// When it ended, and how long it took.
    at: Option<(SystemTime, Duration)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Off,
    Pending,
    Holds,
    Failed {
        /// The last one.
        failure: Failure,
        /// In a row.
        times: u32,
    },
}

/// What did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(super) step: &'static str,
    pub(super) reason: String,
}

/// The report as the page has it.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    /// `healthy`, `failed`, `pending` before the first, `disabled`.
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<u64>,
}

impl Report {
    /// Before the first look, at this interval; zero: there will be none.
    pub(crate) fn before(interval: Duration) -> Self {
        Self { verdict: if interval.is_zero() { Verdict::Off } else { Verdict::Pending }, at: None }
    }

    /// Whether nobody looks.
    pub(super) fn is_off(&self) -> bool {
        matches!(self.verdict, Verdict::Off)
    }

    /// After one more look.
    pub(super) fn after(&self, failure: Option<Failure>, at: SystemTime, took: Duration) -> Self {
        let verdict = match failure {
            None => Verdict::Holds,
            Some(failure) => Verdict::Failed { failure, times: self.failures().saturating_add(1) },
        };
        Self { verdict, at: Some((at, took)) }
    }

    /// Whether the last look found all in order.
    pub(crate) fn holds(&self) -> bool {
        self.verdict == Verdict::Holds
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        match &self.verdict {
            Verdict::Failed { failure, .. } => Some(failure),
            Verdict::Off | Verdict::Pending | Verdict::Holds => None,
        }
    }

    /// How many failed in a row.
    pub(super) fn failures(&self) -> u32 {
        match &self.verdict {
            Verdict::Failed { times, .. } => *times,
            Verdict::Off | Verdict::Pending | Verdict::Holds => 0,
        }
    }

    /// For the page; the reason is for operators only.
    pub(crate) fn shown(&self, details: bool) -> Shown {
        Shown {
            verdict: match self.verdict {
                Verdict::Off => "disabled",
                Verdict::Pending => "pending",
                Verdict::Holds => "healthy",
                Verdict::Failed { .. } => "failed",
            },
            step: self.failure().map(|failure| failure.step),
            failures: Some(self.failures()).filter(|failures| *failures > 0),
            reason: self.failure().filter(|_| details).map(|failure| failure.reason.clone()),
            at: self.at.map(|(at, _)| rfc3339(at)),
            took_ms: self.at.map(|(_, took)| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::{Value, json};

    use super::*;

    fn shown(report: &Report, details: bool) -> Value {
        serde_json::to_value(report.shown(details)).unwrap()
    }

    #[test]
    fn failures_are_counted_until_one_holds() {
        let failure = || Some(Failure { step: "upgrade", reason: "HTTP 503".to_owned() });
        let first = Report::before(Duration::from_secs(1));
        assert_eq!(shown(&first, true), json!({ "verdict": "pending" }));
        assert_eq!(shown(&Report::before(Duration::ZERO), true), json!({ "verdict": "disabled" }));
        let twice = first.after(failure(), UNIX_EPOCH, Duration::ZERO).after(
            failure(),
            UNIX_EPOCH,
            Duration::from_millis(7),
        );
        let mut seen = json!({ "verdict": "failed", "step": "upgrade", "failures": 2, "took_ms": 7,
            "at": "1970-01-01T00:00:00.000Z" });
        assert_eq!(shown(&twice, false), seen, "the reason is for operators");
        seen["reason"] = "HTTP 503".into();
        assert_eq!(shown(&twice, true), seen);
        let held = twice.after(None, UNIX_EPOCH, Duration::ZERO);
        assert!(held.holds() && !twice.holds() && !first.holds());
        assert_eq!((twice.failures(), held.failures()), (2, 0));
    }
}
