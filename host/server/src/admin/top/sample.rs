//! What a page of metrics says, and what happened between two of them.

use std::{collections::BTreeMap, time::Instant};

/// A page, read.
#[derive(Debug, Clone)]
pub(super) struct Sample {
    at: Instant,
    /// Between the two pages, or since the host began.
    seconds: f64,
    /// By name with labels, as it is written.
    series: BTreeMap<String, f64>,
}

impl Sample {
    /// Reads one. What is not understood is left out.
    pub(super) fn read(page: &str) -> Self {
        let series: BTreeMap<String, f64> = page
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let start = series.get("process_start_time_seconds").copied().unwrap_or(now.as_secs_f64());
        Self { at: Instant::now(), seconds: (now.as_secs_f64() - start).max(0.0), series }
    }

    /// What happened since the other; since the host began without one, or where it is another host by now.
    pub(super) fn since(&self, before: Option<&Self>) -> Self {
        let begun =
            |sample: &Self| sample.series.get("process_start_time_seconds").copied().unwrap_or_default();
        // The kernel tells the begin of its own time in whole seconds, rounded anew each time.
        let is_same = |before: &&Self| (begun(before) - begun(self)).abs() < 2.0;
        let Some(before) = before.filter(is_same) else { return self.clone() };
        let series = self.series.iter().map(|(name, value)| {
            (name.clone(), (value - before.series.get(name).copied().unwrap_or_default()).max(0.0))
        });
        Self { at: self.at, seconds: (self.at - before.at).as_secs_f64(), series: series.collect() }
    }

    pub(super) const fn seconds(&self) -> f64 {
        self.seconds
    }

    /// One series; 0 where there is none.
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.sum(name, labels)
    }

    /// All series of that name which have these labels, together.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|(_, value)| value).sum()
    }

    /// Below which so much of a histogram lies, as far as its buckets tell; `None`: nothing was measured.
    pub(super) fn quantile(&self, name: &str, labels: &[(&str, &str)], part: f64) -> Option<f64> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (labels, count) in self.of(&format!("{name}_bucket"), labels) {
            let Some(bound) =
                label(labels, "le").and_then(|bound| bound.replace("+Inf", "inf").parse::<f64>().ok())
            else {
                continue;
            };
            match buckets.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
                Some((_, sum)) => *sum += count,
                None => buckets.push((bound, count)),
            }
        }
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let all = buckets.last().map(|(_, count)| *count).filter(|all| *all > 0.0)?;
        buckets.into_iter().find(|(_, count)| *count >= part * all).map(|(bound, _)| bound)
    }

    fn of<'a>(&'a self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = (&'a str, f64)> {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let name = name.to_owned();
        self.series.iter().filter_map(move |(series, value)| {
            let (found, rest) = series.split_once('{').unwrap_or((series, ""));
            (found == name && labels.iter().all(|label| has(rest, label))).then_some((rest, *value))
        })
    }
}

/// Whether a label is among those that are written: from its begin on, as `le` ends other names too.
fn has(labels: &str, label: &str) -> bool {
    labels.strip_suffix('}').unwrap_or(labels).split(',').any(|known| known == label)
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels
        .strip_suffix('}')?
        .split(',')
        .find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"# HELP x
process_start_time_seconds 5
agent_host_runs_total{plugin="echo",outcome="ok"} 7
agent_host_runs_total{plugin="echo",outcome="failed"} 2
agent_host_runs_total{plugin="echo-2",outcome="ok"} 1
agent_host_run_seconds_bucket{plugin="echo",le="0.1"} 6
agent_host_run_seconds_bucket{plugin="echo",le="1"} 9
agent_host_run_seconds_bucket{plugin="echo",le="+Inf"} 10
not a number x
"#;

    #[test]
    fn series_are_summed_by_their_labels() {
        let page = Sample::read(PAGE);
        assert!((page.sum("agent_host_runs_total", &[]) - 10.0).abs() < 1e-9);
        assert!((page.sum("agent_host_runs_total", &[("plugin", "echo")]) - 9.0).abs() < 1e-9);
        assert!(page.sum("agent_host_runs", &[]).abs() < 1e-9);
        assert_eq!(page.quantile("agent_host_run_seconds", &[("plugin", "echo")], 0.5), Some(0.1));
        assert_eq!(page.quantile("agent_host_run_seconds", &[("plugin", "echo")], 0.9), Some(1.0));
        assert_eq!(page.quantile("agent_host_run_seconds", &[], 0.99), Some(f64::INFINITY));
        assert_eq!(page.quantile("agent_host_run_seconds", &[("plugin", "none")], 0.5), None);
    }

    #[test]
    fn between_two_pages_only_what_is_new_counts_and_a_new_host_begins_anew() {
        let first = Sample::read(PAGE);
        let second = Sample::read(&PAGE.replace("} 7", "} 9"));
        let new = second.since(Some(&first)).sum("agent_host_runs_total", &[]);
        assert!((new - 2.0).abs() < 1e-9, "{new}");
        let another = Sample::read(&PAGE.replace("seconds 5", "seconds 9"));
        let new = another.since(Some(&first)).sum("agent_host_runs_total", &[]);
        assert!((new - 10.0).abs() < 1e-9, "{new}");
    }
}
