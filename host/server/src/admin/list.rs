//! `status` and `plugins list` as tables: the verdict leads each line.

use std::fmt::{self, Write as _};

use agent_host_gateway::admin::view::{ConfigFailurePart, PluginLine, PluginList, ServiceLine, StatusPage};
use time::OffsetDateTime;

use super::words::{Style, ago, brief, clock, shown};

/// `plugins list`
pub(super) fn plugins(list: &PluginList, style: Style) -> String {
    if list.plugins.is_empty() {
        return "no plugin".to_owned();
    }
    let now = OffsetDateTime::now_utc();
    let head = ["PLUGIN", "STATE", "SINCE", "TRAFFIC", "VERSION", "DETAIL"].map(str::to_owned);
    let rows: Vec<_> = list.plugins.iter().map(|plugin| row(plugin, now)).collect();
    let widths = widths(&head, &rows);
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_line(&mut text, format!("{:<VERDICT$}", "VERDICT"), &head, &widths);
    for (plugin, row) in list.plugins.iter().zip(&rows) {
        let _ = write_line(&mut text, style.verdict(&plugin.verdict, VERDICT), row, &widths);
    }
    text
}

/// `status`
pub(super) fn status(page: &StatusPage, style: Style) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_status(&mut text, page, style);
    text
}

type Row = [String; 6];

fn row(plugin: &PluginLine, now: OffsetDateTime) -> Row {
    let id =
        if plugin.kind == "supervisor" { format!("{} (supervisor)", plugin.id) } else { plugin.id.clone() };
    let traffic = match &plugin.served_by {
        Some(who) => who.as_str(),
        None if plugin.verdict == "healthy" => "itself",
        None => "-",
    };
    let traffic = match plugin.on_trial {
        Some(generation) => format!("{traffic}, generation {generation} on trial"),
        None => traffic.to_owned(),
    };
    let detail = match &plugin.fault {
        Some(fault) if plugin.verdict != "disabled" => format!("{}: {}", fault.code, fault.reason),
        Some(_) | None => String::new(),
    };
    [
        brief(&id, 44),
        brief(&plugin.state, 20),
        ago(&plugin.since, now),
        brief(&traffic, 48),
        brief(plugin.version.as_deref().unwrap_or("-"), 16),
        brief(&detail, 100),
    ]
}

/// Of every column but the last, which ends the line.
fn widths(head: &Row, rows: &[Row]) -> Vec<usize> {
    let of = |column: usize| {
        let texts = std::iter::once(head).chain(rows).filter_map(move |row| row.get(column));
        texts.map(|text| text.chars().count()).max().unwrap_or(0)
    };
    (0..head.len() - 1).map(of).collect()
}

fn write_line(out: &mut String, verdict: String, row: &Row, widths: &[usize]) -> fmt::Result {
    let mut line = verdict;
    for (place, text) in row.iter().enumerate() {
        let width = widths.get(place).copied().unwrap_or(0);
        write!(line, "  {text:<width$}")?;
    }
    writeln!(out, "{}", line.trim_end())
}

fn write_status(out: &mut String, page: &StatusPage, style: Style) -> fmt::Result {
    let now = OffsetDateTime::now_utc();
    let going = match (page.draining, page.out_of_rotation, page.starting) {
        (true, _, _) => ", draining",
        (false, true, _) => ", out of rotation",
        (false, false, true) => ", starting",
        (false, false, false) => "",
    };
    let reason = if page.reason.is_empty() { String::new() } else { format!(": {}", shown(&page.reason)) };
    writeln!(out, "level {}{going}{reason}", shown(&page.level))?;
    let (host, version) = (shown(&page.host), shown(&page.version));
    let up = ago(&page.since, now);
    writeln!(out, "  host      {host}, version {version}, since {} ({up})", clock(&page.since, now))?;
    if let Some(chaos) = &page.chaos {
        let what = match chaos.active.as_slice() {
            [] => "none is".to_owned(),
            active => format!("in force: {}", active.join(", ")),
        };
        writeln!(out, "  CHAOS     faults may be injected here (chaos.enabled); {}", shown(&what))?;
    }
    if let Some(failure) = &page.config_failure {
        let verdict = style.verdict("failed", VERDICT);
        writeln!(out, "  {verdict}  {}", of_edit(failure, &clock(&failure.at, now)))?;
    }
    let counts = page.plugins;
    writeln!(
        out,
        "  plugins   {} healthy, {} failed, {} disabled",
        counts.healthy, counts.failed, counts.disabled
    )?;
    for trial in &page.on_trial {
        let until = clock(&trial.until, now);
        let what = format!(
            "{}, generation {} has {} of the threads until {until}",
            trial.plugin, trial.generation, trial.share
        );
        writeln!(out, "  on trial  {}", shown(&what))?;
    }
    for service in &page.services {
        writeln!(out, "  {}  {}", style.verdict(&service.verdict, VERDICT), of_service(service))?;
    }
    for missing in &page.missing {
        let what = format!("{} ({}), {}: {}", missing.name, missing.kind, missing.code, missing.reason);
        writeln!(out, "  missing   {}", shown(&what))?;
    }
    Ok(())
}

/// What is wrong, and where: `config show` has the rest.
fn of_edit(failure: &ConfigFailurePart, at: &str) -> String {
    let reason = failure.reason.strip_prefix(&format!("{}: ", failure.code)).unwrap_or(&failure.reason);
    let brief = reason.lines().take(2).collect::<Vec<_>>().join(" ");
    let brief = brief.split_whitespace().collect::<Vec<_>>().join(" ");
    shown(&format!(
        "configuration, {}: the edit seen at {at} is not in force: {brief} (`agent-host config show`)",
        failure.code
    ))
}

fn of_service(service: &ServiceLine) -> String {
    let mut text = format!("service {}", service.name);
    if let Some(code) = &service.code {
        text += &format!(", {code}");
    }
    if let Some(reason) = &service.reason {
        text += &format!(": {reason}");
    }
    shown(&text)
}

/// The longest verdict is `disabled`.
const VERDICT: usize = 8;

#[cfg(test)]
mod tests {
    use agent_host_gateway::admin::view::{ChaosStanding, FaultPart};

    use super::*;

    fn plugin(verdict: &str, id: &str) -> PluginLine {
        PluginLine {
            verdict: verdict.to_owned(),
            id: id.to_owned(),
            state: verdict.to_owned(),
            kind: "agent".to_owned(),
            ..PluginLine::default()
        }
    }

    #[test]
    fn each_line_leads_with_the_verdict_and_columns_stand() {
        let fault = FaultPart {
            stage: "running".to_owned(),
            code: "plugin.crash_loop".to_owned(),
            reason: "it \u{1b}[31mkeeps\ncrashing".to_owned(),
            hint: String::new(),
        };
        let failed = PluginLine {
            fault: Some(fault),
            served_by: Some("fallback".to_owned()),
            version: Some("1.2.0".to_owned()),
            ..plugin("failed", "billing")
        };
        let list = PluginList { plugins: vec![plugin("healthy", "echo"), failed, plugin("disabled", "x")] };
        let text = plugins(&list, Style::Plain);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "VERDICT   PLUGIN   STATE     SINCE  TRAFFIC   VERSION  DETAIL",
                "healthy   echo     healthy          itself    -",
                "failed    billing  failed           fallback  1.2.0    plugin.crash_loop: it keeps crashing",
                "disabled  x        disabled         -         -",
            ]
        );
        assert_eq!(plugins(&PluginList::default(), Style::Plain), "no plugin");
    }

    #[test]
    fn the_status_begins_with_the_level() {
        let page = StatusPage {
            level: "partial".to_owned(),
            reason: "not healthy: billing".to_owned(),
            starting: true,
            services: vec![ServiceLine {
                verdict: "failed".to_owned(),
                name: "store".to_owned(),
                code: Some("store.unavailable".to_owned()),
                reason: None,
            }],
            config_failure: Some(ConfigFailurePart {
                at: "2026-01-02T03:04:05Z".to_owned(),
                code: "config.type".to_owned(),
                reason: "config.type: no number\n  --> host.toml:3:1\n   |\n 3 | x".to_owned(),
            }),
            chaos: Some(ChaosStanding { active: vec!["store-fail".to_owned()] }),
            ..StatusPage::default()
        };
        let text = status(&page, Style::Plain);
        assert!(text.starts_with("level partial, starting: not healthy: billing\n"), "{text}");
        assert!(
            text.contains("\n  CHAOS     faults may be injected here")
                && text.contains("in force: store-fail\n"),
            "{text}"
        );
        assert!(text.contains("  failed    service store, store.unavailable\n"), "{text}");
        let edit = "  failed    configuration, config.type: the edit seen at 2026-01-02 03:04:05 UTC is not in force: \
                    no number --> host.toml:3:1 (";
        assert!(text.contains(edit), "{text}");
    }
}
