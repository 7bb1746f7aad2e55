//! The operator's side of a drill: looks at the host, injects faults, and takes them back.

use std::time::{Duration, Instant};

use agent_host_gateway::admin::view::{
    ChaosPage, FaultOrder, InjectedPart, PluginList, PluginPage, StatusPage,
};
use agent_plugin_protocol::PluginId;

use super::talk::BAD;
use crate::{
    admin::{
        chaos::PATH,
        link::{self, Method, ask},
        target::Target,
    },
    cli::AdminArgs,
    exit::Failure,
};

/// A token that is made for a command holds for two minutes.
const TOKEN_FOR: Duration = Duration::from_secs(60);

/// Where the operator sits.
pub(super) struct Desk {
    args: AdminArgs,
    reading: Option<(Instant, Target)>,
    harming: Option<(Instant, Target)>,
}

impl Desk {
    pub(super) fn new(args: &AdminArgs) -> Self {
        Self { args: args.clone(), reading: None, harming: None }
    }

    pub(super) fn status(&mut self) -> Result<StatusPage, Failure> {
        ask(self.reading()?, Method::Get, "/admin/v1/status")?.read()
    }

    pub(super) fn plugins(&mut self) -> Result<PluginList, Failure> {
        ask(self.reading()?, Method::Get, "/admin/v1/plugins")?.read()
    }

    pub(super) fn plugin(&mut self, plugin: &PluginId) -> Result<PluginPage, Failure> {
        ask(self.reading()?, Method::Get, &format!("/admin/v1/plugins/{plugin}"))?.read()
    }

    pub(super) fn chaos(&mut self) -> Result<ChaosPage, Failure> {
        ask(self.reading()?, Method::Get, PATH)?.read()
    }

    pub(super) fn begin(&mut self, order: &FaultOrder) -> Result<InjectedPart, Failure> {
        let order = serde_json::to_string(order).expect("names and numbers encode");
        ask(self.harming()?, Method::Send(order), PATH)?.read()
    }

    /// Ends a fault. One that has ended by itself is no failure.
    pub(super) fn end(&mut self, id: u32) -> Result<(), Failure> {
        let ended = ask(self.harming()?, Method::Delete, &format!("{PATH}/{id}")).map(drop);
        match ended {
            Err(failure) if self.is_active(id).unwrap_or(true) => Err(failure),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whether it is in force.
    pub(super) fn is_active(&mut self, id: u32) -> Result<bool, Failure> {
        Ok(self.chaos()?.active.iter().any(|one| one.id == id))
    }

    /// Open connections, and runs that ended badly, of everybody.
    pub(super) fn everybody(&mut self) -> Result<(u64, u64), Failure> {
        let page = link::text(self.reading()?, "/metrics")?;
        Ok((sum(&page, "agent_host_connections", &[]), sum(&page, "agent_host_runs_total", &BAD)))
    }

    fn reading(&mut self) -> Result<&Target, Failure> {
        fresh(&mut self.reading, &self.args, "admin:read")
    }

    fn harming(&mut self) -> Result<&Target, Failure> {
        fresh(&mut self.harming, &self.args, "admin:chaos")
    }
}

fn fresh<'a>(
    kept: &'a mut Option<(Instant, Target)>,
    args: &AdminArgs,
    scope: &str,
) -> Result<&'a Target, Failure> {
    if kept.as_ref().is_none_or(|(made, _)| made.elapsed() > TOKEN_FOR) {
        *kept = None;
    }
    let made = match kept.take() {
        Some(made) => made,
        None => (Instant::now(), Target::new(args, scope)?),
    };
    Ok(&kept.insert(made).1)
}

/// The sum of a metric's series: all, or those with one of these outcomes.
fn sum(page: &str, metric: &str, outcomes: &[&str]) -> u64 {
    let series = page.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let (name, labels) = name.split_once('{').unwrap_or((name, ""));
        let fits = outcomes.is_empty()
            || outcomes.iter().any(|outcome| labels.contains(&format!("outcome=\"{outcome}\"")));
        (name == metric && fits).then(|| value.parse::<f64>().unwrap_or(0.0))
    });
    // Whole numbers, and far below what a float counts exactly.
    series.sum::<f64>().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_outcome() {
        let page = "# HELP x\nagent_host_connections 3\nagent_host_connections_closed_total{code=\"1\"} 9\n\
                    agent_host_runs_total{plugin=\"a\",outcome=\"ok\"} 5\n\
                    agent_host_runs_total{plugin=\"a\",outcome=\"failed\"} 2\n\
                    agent_host_runs_total{plugin=\"fallback\",outcome=\"degraded\"} 1\n";
        assert_eq!(sum(page, "agent_host_connections", &[]), 3);
        assert_eq!(sum(page, "agent_host_runs_total", &BAD), 3);
    }
}
