//! What came of the messages that a drill's people sent.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

/// Counted by one or more of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Talk {
    pub(super) sent: u32,
    pub(super) accepted: u32,
    /// By code.
    pub(super) refused: BTreeMap<String, u32>,
    /// How accepted ones ended, by status.
    pub(super) answers: BTreeMap<String, u32>,
    /// Why they did not end well, by code.
    pub(super) codes: BTreeMap<String, u32>,
    /// Who answered.
    pub(super) by: BTreeMap<String, u32>,
    /// Connections that were lost.
    pub(super) cuts: u32,
    /// What no host may do.
    pub(super) wrong: Vec<String>,
    /// From the message to the end of its run: without a fault, and with one.
    pub(super) calm: Vec<Duration>,
    pub(super) harmed: Vec<Duration>,
}

impl Talk {
    /// Both.
    pub(super) fn with(mut self, other: Self) -> Self {
        fn sum(into: &mut BTreeMap<String, u32>, from: BTreeMap<String, u32>) {
            for (name, count) in from {
                *into.entry(name).or_default() += count;
            }
        }
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.cuts += other.cuts;
        sum(&mut self.refused, other.refused);
        sum(&mut self.answers, other.answers);
        sum(&mut self.codes, other.codes);
        sum(&mut self.by, other.by);
        self.wrong.extend(other.wrong);
        self.calm.extend(other.calm);
        self.harmed.extend(other.harmed);
        self
    }

    /// Runs that ended otherwise than by their agent's answer.
    pub(super) fn bad(&self) -> u64 {
        let bad = self.answers.iter().filter(|(status, _)| BAD.contains(&status.as_str()));
        bad.map(|(_, count)| u64::from(*count)).sum()
    }

    /// In a sentence, for where nothing else was seen.
    pub(super) fn brief(&self) -> String {
        let counts = |of: &BTreeMap<String, u32>| {
            let all: Vec<String> = of.iter().map(|(name, count)| format!("{name} {count}")).collect();
            if all.is_empty() { "none".to_owned() } else { all.join(", ") }
        };
        let mut brief = format!(
            "of {} messages {} were accepted; refused: {}; ended: {}; answered by: {}",
            self.sent,
            self.accepted,
            counts(&self.refused),
            counts(&self.answers),
            counts(&self.by)
        );
        if let Some(wrong) = self.wrong.first() {
            brief += &format!("; {wrong}");
        }
        brief
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "messages": self.sent,
            "accepted": self.accepted,
            "refused": self.refused,
            "answers": self.answers,
            "codes": self.codes,
            "answered_by": self.by,
            "connections_lost": self.cuts,
            "latency_ms": { "before": percentiles(&self.calm), "during": percentiles(&self.harmed) },
        })
    }
}

/// Ends of runs that hurt somebody.
pub(super) const BAD: [&str; 3] = ["degraded", "failed", "interrupted"];

/// The middle, the slow end and the slowest, in milliseconds.
pub(super) fn percentiles(times: &[Duration]) -> Value {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| {
        let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(place).map(|time| time.as_millis() as u64)
    };
    json!({ "count": sorted.len(), "p50": at(50), "p99": at(99), "max": at(100) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentiles(&times), json!({ "count": 200, "p50": 100, "p99": 198, "max": 200 }));
        assert_eq!(percentiles(&[]), json!({ "count": 0, "p50": null, "p99": null, "max": null }));
    }
}
