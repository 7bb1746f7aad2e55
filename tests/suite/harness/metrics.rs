//! A host's `/metrics`, as numbers.

use super::{Host, PATIENCE, http};

/// One scrape.
pub(crate) struct Metrics(String);

impl Metrics {
    /// Scrapes it.
    pub(crate) async fn of(host: &Host) -> Result<Self, String> {
        let answer = http::get(host.admin, "/metrics", &[("Connection", "close")], PATIENCE).await?;
        match answer.status {
            200 => Ok(Self(answer.body)),
            status => Err(format!("/metrics answers {status}")),
        }
    }

    /// The sum of the samples whose series begins so; 0 where there is none. A name alone takes all its labels.
    pub(crate) fn sum(&self, series: &str) -> f64 {
        let samples = self.0.lines().filter(|line| {
            let rest = line.strip_prefix(series);
            // `a_total` is not `a_total_of_another`.
            rest.is_some_and(|rest| series.contains('{') || rest.starts_with(['{', ' ']))
        });
        samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}
