//! What is scraped at `/metrics`: every metric is there from the first scrape on, with 0 where nothing happened yet.

use std::{collections::BTreeSet, time::Duration};

use metrics::counter;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::{log, metric, process, series};

/// Renders the metrics of this process.
#[derive(Clone)]
pub struct Page(PrometheusHandle);

/// Makes this process's metrics scrapeable. Once, before anything is counted: what was counted before is not there.
///
/// # Errors
/// If metrics are recorded elsewhere already.
pub fn install() -> Result<Page, String> {
    let handle = builder()?.install_recorder().map_err(|e| e.to_string())?;
    describe();
    series::prepare();
    Ok(Page(handle))
}

fn builder() -> Result<PrometheusBuilder, String> {
    PrometheusBuilder::new().set_buckets(BUCKETS).map_err(|e| e.to_string())
}

fn describe() {
    for metric in metric::ALL {
        match metric.kind {
            "counter" => metrics::describe_counter!(metric.name, metric.help),
            "gauge" => metrics::describe_gauge!(metric.name, metric.help),
            _ => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
}

impl Page {
    /// The page, in Prometheus' text format.
    pub fn render(&self) -> String {
        // Lines may be dropped before there is a recorder: they count themselves, and are read here.
        counter!(metric::LOG_LINES_DROPPED).absolute(log::dropped());
        let mut page = without(self.0.render(), &series::withheld());
        process::render(&mut page);
        page
    }

    /// Sorts what the histograms gathered into their buckets, for ever: unscraped, they would grow without end.
    ///
    /// Cancel safe.
    pub async fn upkeep(self) {
        let mut every = tokio::time::interval(UPKEEP);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            self.0.run_upkeep();
        }
    }
}

/// The page but for the series of those plugins.
fn without(page: String, plugins: &BTreeSet<String>) -> String {
    if plugins.is_empty() {
        return page;
    }
    let of = |line: &str| {
        let label = line.split_once("plugin=\"").and_then(|(_, rest)| rest.split_once('"'));
        label.is_some_and(|(plugin, _)| !line.starts_with('#') && plugins.contains(plugin))
    };
    page.split_inclusive('\n').filter(|line| !of(line)).collect()
}

/// In seconds. From half a millisecond, below which nothing here is worth a look, to a minute.
const BUCKETS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// 5 s of 20,000 samples a second are a megabyte.
const UPKEEP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
