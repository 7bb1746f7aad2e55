//! `top`: a host as it goes: what its plugins do, how long answers take, who gives them.

mod sample;

use agent_host_gateway::admin::view::{PluginLine, PluginList, StatusPage};
use serde_json::json;
use time::OffsetDateTime;

use self::sample::Sample;
use super::{
    READ,
    link::{Method, ask, text},
    screen,
    target::Target,
    words::{Style, ago, brief, shown},
};
use crate::{
    cli::{Output, TopArgs},
    exit::Failure,
    safe,
};

/// `top`
pub(crate) fn top(args: &TopArgs) -> Result<(), Failure> {
    let mut before: Option<Sample> = None;
    screen::repeat(&args.admin, READ, args.every, args.looks, |target| {
        let look = Look::at(target)?;
        // The first look shows all since the host began.
        let since = look.sample.since(before.as_ref());
        let said = match args.admin.output {
            Output::Table => look.table(&since, Style::of_stdout()),
            Output::Json => safe::json(&look.json(&since)),
        };
        before = Some(look.sample);
        Ok(said)
    })
}

struct Look {
    status: StatusPage,
    plugins: PluginList,
    sample: Sample,
}

/// Who answers where no agent can.
const FALLBACK: &str = "fallback";

impl Look {
    fn at(target: &Target) -> Result<Self, Failure> {
        Ok(Self {
            status: ask(target, Method::Get, "/admin/v1/status")?.read()?,
            plugins: ask(target, Method::Get, "/admin/v1/plugins")?.read()?,
            sample: Sample::read(&text(target, "/metrics")?),
        })
    }

    fn table(&self, since: &Sample, style: Style) -> String {
        let now = OffsetDateTime::now_utc();
        let (status, process) = (&self.status, &self.sample);
        let going = if status.out_of_rotation { ", out of rotation" } else { "" };
        let edit = if status.config_failure.is_some() { "  last edit NOT IN FORCE" } else { "" };
        let mut lines = vec![
            format!(
                "{}, version {}  level {}{going}{edit}  up {}",
                shown(&status.host),
                shown(&status.version),
                shown(&status.level),
                ago(&status.since, now)
            ),
            format!(
                "connections {}  runs/s {}  answers: {} by the fallback  p50 {}  p99 {}",
                whole(process.value("agent_host_connections", &[])),
                rate(since.sum("agent_host_runs_total", &[]), since.seconds()),
                share(
                    since.value("agent_host_answers_total", &[("by", FALLBACK)]),
                    since.sum("agent_host_answers_total", &[])
                ),
                latency(since.quantile("agent_host_run_seconds", &[], 0.5)),
                latency(since.quantile("agent_host_run_seconds", &[], 0.99)),
            ),
            format!(
                "memory {} MiB  descriptors {}  threads {}  slow readers {}  log lines lost {}",
                whole(process.value("process_resident_memory_bytes", &[]) / 1_048_576.0),
                whole(process.value("process_open_fds", &[])),
                whole(process.value("process_threads", &[])),
                whole(process.value("agent_host_slow_consumers_total", &[])),
                whole(process.value("agent_host_log_lines_dropped_total", &[])),
            ),
            String::new(),
            format!(
                "{:<8} {:<16} {:<11} {:>4} {:>7} {:>6} {:>7} {:>7} {:>3}",
                "VERDICT", "PLUGIN", "STATE", "NOW", "RUNS/S", "FAILED", "P50", "P99", "RST"
            ),
        ];
        lines.extend(self.plugins.plugins.iter().map(|plugin| self.line(plugin, since, style)));
        let fallback = PluginLine {
            id: FALLBACK.to_owned(),
            verdict: self.fallback(),
            state: "built in".to_owned(),
            ..PluginLine::default()
        };
        lines.push(self.line(&fallback, since, style));
        lines.join("\n")
    }

    /// How the built-in fallback fares.
    fn fallback(&self) -> String {
        let services = &self.status.services;
        services.iter().find(|one| one.name == FALLBACK).map(|one| one.verdict.clone()).unwrap_or_default()
    }

    fn line(&self, plugin: &PluginLine, since: &Sample, style: Style) -> String {
        let of = [("plugin", plugin.id.as_str())];
        let runs = since.sum("agent_host_runs_total", &of);
        let failed = since.sum("agent_host_runs_total", &[("plugin", &plugin.id), ("outcome", "failed")]);
        format!(
            "{} {:<16} {:<11} {:>4} {:>7} {:>6} {:>7} {:>7} {:>3}",
            style.verdict(&plugin.verdict, 8),
            brief(&plugin.id, 16),
            brief(&plugin.state, 11),
            plugin.in_flight,
            rate(runs, since.seconds()),
            whole(failed),
            latency(since.quantile("agent_host_run_seconds", &of, 0.5)),
            latency(since.quantile("agent_host_run_seconds", &of, 0.99)),
            plugin.restarts,
        )
    }

    fn json(&self, since: &Sample) -> String {
        let plugins = self.plugins.plugins.iter().map(|plugin| {
            let of = [("plugin", plugin.id.as_str())];
            json!({
                "id": plugin.id, "verdict": plugin.verdict, "state": plugin.state, "in_flight": plugin.in_flight,
                "runs": since.sum("agent_host_runs_total", &of), "restarts": plugin.restarts,
                "p50_seconds": since.quantile("agent_host_run_seconds", &of, 0.5),
                "p99_seconds": since.quantile("agent_host_run_seconds", &of, 0.99),
            })
        });
        json!({
            "level": self.status.level,
            "seconds": since.seconds(),
            "connections": self.sample.value("agent_host_connections", &[]),
            "runs": since.sum("agent_host_runs_total", &[]),
            "answers": since.sum("agent_host_answers_total", &[]),
            "answers_by_fallback": since.value("agent_host_answers_total", &[("by", FALLBACK)]),
            "plugins": plugins.collect::<Vec<_>>(),
        })
        .to_string()
    }
}

fn whole(number: f64) -> String {
    format!("{number:.0}")
}

fn rate(number: f64, seconds: f64) -> String {
    if seconds > 0.0 { format!("{:.1}", number / seconds) } else { "-".to_owned() }
}

fn share(part: f64, all: f64) -> String {
    if all > 0.0 { format!("{:.0} %", 100.0 * part / all) } else { "-".to_owned() }
}

fn latency(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds.is_infinite() => "long".to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}
