//! `plugins show`: all that a host knows of one plugin, for people.

use std::fmt::{self, Write as _};

use agent_host_gateway::admin::view::{
    CanaryPart, ChangePart, CrashPart, FramePart, IsolationPart, PluginPage,
};
use time::OffsetDateTime;

use super::{
    why::what_to_do,
    words::{Style, ago, clock, count, lasted, shown},
};

/// The whole text.
pub(super) fn text(page: &PluginPage, style: Style) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, page, style, OffsetDateTime::now_utc());
    text
}

fn write(out: &mut String, page: &PluginPage, style: Style, now: OffsetDateTime) -> fmt::Result {
    head(out, page, style, now)?;
    if let Some(found) = &page.line.fault {
        row(out, "code", &format!("{} (stage {})", shown(&found.code), shown(&found.stage)))?;
        row(out, "reason", &shown(&found.reason))?;
    }
    if let Some(todo) = what_to_do(page) {
        row(out, "what to do", &todo)?;
    }
    if let Some(at) = &page.line.retry_at {
        row(out, "next try", &clock(at, now))?;
    }
    serving(out, page)?;
    protection(out, page, now)?;
    replacement(out, page, now)?;
    if let Some(digest) = &page.digest {
        row(out, "sha256", &shown(digest))?;
    }
    for (place, change) in page.history.iter().enumerate() {
        row(out, if place == 0 { "history" } else { "" }, &of_change(change, now))?;
    }
    if let Some(found) = &page.last_crash {
        crash(out, found, now)?;
    }
    Ok(())
}

fn head(out: &mut String, page: &PluginPage, style: Style, now: OffsetDateTime) -> fmt::Result {
    let line = &page.line;
    let (id, kind) = (shown(&line.id), shown(&line.kind));
    let version = line.version.as_deref().map(|version| format!(" {}", shown(version))).unwrap_or_default();
    writeln!(
        out,
        "{}: {id}{version} ({kind}), generation {}",
        style.verdict(&line.verdict, 0),
        line.generation
    )?;
    if let Some(description) = &page.description {
        row(out, "what it is", &shown(description))?;
    }
    let (since, before) = (clock(&line.since, now), ago(&line.since, now));
    row(out, "state", &format!("{} since {since} ({before})", shown(&line.state)))
}

fn serving(out: &mut String, page: &PluginPage) -> fmt::Result {
    let line = &page.line;
    let traffic = match &line.served_by {
        Some(who) => shown(who),
        None if line.verdict == "healthy" => "itself".to_owned(),
        None => "nobody stands in".to_owned(),
    };
    let waiting = match line.waiting {
        0 => String::new(),
        waiting => format!(", {waiting} waiting for a place"),
    };
    row(out, "traffic", &format!("{traffic}; {} under way{waiting}", count(line.in_flight, "call")))
}

fn protection(out: &mut String, page: &PluginPage, now: OffsetDateTime) -> fmt::Result {
    let breaker = &page.breaker;
    let again = breaker.retry_at.as_deref().map(|at| format!("; one trial from {}", clock(at, now)));
    let calls = format!("{} of {} failed", breaker.failures, count(breaker.calls, "call"));
    row(out, "breaker", &format!("{}, {calls}{}", shown(&breaker.state), again.unwrap_or_default()))?;
    let budget = &page.restart_budget;
    let spent = format!("{} of {} within {}", budget.used, budget.max, lasted(budget.within_ms));
    row(out, "restarts", &format!("{spent}; {} since the host began", page.line.restarts))?;
    isolation(out, &page.isolation)
}

/// The layers in force, and each that is not with its reason.
fn isolation(out: &mut String, found: &IsolationPart) -> fmt::Result {
    let (mut names, mut others) = (Vec::new(), Vec::new());
    for (name, layer) in &found.layers {
        match layer.state.as_str() {
            "enforced" => names.push(name.as_str()),
            state => others.push(format!("{state}: {name}: {}", layer.reason)),
        }
    }
    let enforced = found.enforced.as_deref().map(|word| format!(", {word}")).unwrap_or_default();
    let names = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    row(out, "isolation", &shown(&format!("{}{enforced}{names}", found.tier)))?;
    others.iter().try_for_each(|other| row(out, "", &shown(other)))
}

fn replacement(out: &mut String, page: &PluginPage, now: OffsetDateTime) -> fmt::Result {
    if page.spares.wanted > 0 || page.spares.ready > 0 {
        let why = page.spares.fault.as_ref().map(|fault| format!("; {}: {}", fault.code, fault.reason));
        let spares = format!("{} of {} ready", page.spares.ready, page.spares.wanted);
        row(out, "spares", &format!("{spares}{}", shown(&why.unwrap_or_default())))?;
    }
    if let Some(candidate) = &page.candidate {
        let (number, since) = (candidate.generation, clock(&candidate.since, now));
        let text = match &candidate.fault {
            None => format!("generation {number} loads since {since}"),
            Some(fault) => format!(
                "generation {number} could not take over at {since}: {}: {}; {}",
                fault.code, fault.reason, fault.hint
            ),
        };
        row(out, "reload", &shown(&text))?;
    }
    if let Some(canary) = &page.canary {
        row(out, "on trial", &shown(&on_trial(canary, page, now)))?;
    }
    if let Some(former) = page.former {
        row(out, "kept", &format!("generation {former}, to go back to"))?;
    }
    if let Some(back) = &page.rolled_back {
        let text = format!(
            "generation {} gave way to {} at {}: {}: {}",
            back.from,
            back.to,
            clock(&back.at, now),
            back.code,
            back.reason
        );
        row(out, "taken back", &shown(&text))?;
    }
    if let Some(file) = &page.changed_file {
        let digest = file.digest.as_deref().unwrap_or("not to be read");
        let would = match &file.fault {
            None => "a reload would take it".to_owned(),
            Some(fault) => format!("a reload would fail: {}: {}; {}", fault.code, fault.reason, fault.hint),
        };
        row(
            out,
            "new file",
            &format!("{}  {}", clock(&file.seen, now), shown(&format!("{digest}; {would}"))),
        )?;
    }
    if !page.retiring.is_empty() {
        let numbers: Vec<String> = page.retiring.iter().map(u32::to_string).collect();
        row(out, "retiring", &format!("generation {}", numbers.join(", ")))?;
    }
    Ok(())
}

fn of_change(change: &ChangePart, now: OffsetDateTime) -> String {
    let why = match (&change.code, &change.reason) {
        (Some(code), Some(reason)) => format!("  {code}: {reason}"),
        (Some(code), None) => format!("  {code}"),
        (None, _) => String::new(),
    };
    let what = format!("{} → {} (generation {}){why}", change.from, change.to, change.generation);
    format!("{}  {}", clock(&change.at, now), shown(&what))
}

fn crash(out: &mut String, found: &CrashPart, now: OffsetDateTime) -> fmt::Result {
    let status = found.status.map(|status| format!(" with status {status}")).unwrap_or_default();
    let detail = found.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    let how = format!("{}{status}{detail}, {}", found.how, found.code);
    let at = clock(&found.at, now);
    let lived = lasted(found.uptime_ms);
    row(out, "last crash", &format!("{at}  generation {}: {} after {lived}", found.generation, shown(&how)))?;
    if let Some(summary) = &found.summary {
        row(out, "", &shown(summary))?;
    }
    for (place, frame) in found.backtrace.iter().enumerate() {
        row(out, "", &format!("#{place:<3} {}", of_frame(frame)))?;
    }
    if let Some(why) = &found.no_backtrace {
        row(out, "", &shown(&format!("no backtrace: {why}")))?;
    }
    for call in &found.calls {
        row(out, "", &shown(&format!("during {} of run {}", call.method, call.run)))?;
    }
    for said in &found.stderr {
        row(out, "", &format!("stderr | {}", shown(said)))?;
    }
    Ok(())
}

/// `function at file:line (library+0x1234)`, as far as it is known.
fn of_frame(frame: &FramePart) -> String {
    let module = if frame.module.is_empty() { "?" } else { &frame.module };
    let place = format!("{module}+{}", frame.offset);
    let Some(symbol) = &frame.symbol else { return shown(&place) };
    let source = match (&frame.file, frame.line) {
        (Some(file), Some(line)) => format!(" at {file}:{line}"),
        (Some(file), None) => format!(" at {file}"),
        (None, _) => String::new(),
    };
    shown(&format!("{symbol}{source} ({place})"))
}

fn row(out: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(out, "  {name:<12} {value}")
}

/// How one on trial fares, beside the one that serves.
pub(super) fn on_trial(canary: &CanaryPart, page: &PluginPage, now: OffsetDateTime) -> String {
    let CanaryPart { generation, version, share, runs, beside, .. } = canary;
    format!(
        "generation {generation} ({version}) has {share} of the threads until {}: {} of {} failed, {} of {} of generation {}",
        clock(&canary.until, now),
        runs.failed,
        count(runs.ended, "run"),
        beside.failed,
        beside.ended,
        page.line.generation
    )
}

#[cfg(test)]
mod tests {
    use agent_host_gateway::admin::view::{
        BreakerPart, BudgetPart, FaultPart, LayerPart, OpenCallPart, PluginLine,
    };
    use time::format_description::well_known::Rfc3339;

    use super::*;

    fn page() -> PluginPage {
        let own = |text: &str| text.to_owned();
        let time = |text: &str| format!("2026-11-25T14:{text}.000Z");
        PluginPage {
            line: PluginLine {
                verdict: own("failed"),
                id: own("billing"),
                state: own("quarantined"),
                since: time("02:11"),
                kind: own("agent"),
                fault: Some(FaultPart {
                    stage: own("running"),
                    code: own("plugin.crash_loop"),
                    reason: own("it keeps crashing"),
                    hint: own("mend it"),
                }),
                retry_at: None,
                served_by: Some(own("fallback")),
                generation: 6,
                version: Some(own("1.2.0\u{1b}[2J")),
                in_flight: 1,
                waiting: 2,
                restarts: 5,
                on_trial: None,
            },
            description: Some(own("Sends\nbills.")),
            digest: Some(own("e3b0")),
            isolation: IsolationPart {
                tier: own("process"),
                enforced: Some(own("partial")),
                layers: [
                    (own("seccomp"), LayerPart { state: own("enforced"), reason: String::new() }),
                    (own("cgroup"), LayerPart { state: own("unavailable"), reason: own("not delegated") }),
                ]
                .into_iter()
                .collect(),
            },
            breaker: BreakerPart {
                state: own("open"),
                since: time("02:00"),
                retry_at: Some(time("11:00")),
                failures: 5,
                calls: 5,
            },
            restart_budget: BudgetPart { used: 5, max: 5, within_ms: 60_000 },
            history: vec![ChangePart {
                at: time("02:11"),
                generation: 6,
                from: own("healthy"),
                to: own("quarantined"),
                code: Some(own("plugin.crash_loop")),
                reason: None,
            }],
            last_crash: Some(CrashPart {
                at: time("02:11"),
                generation: 6,
                code: own("plugin.crashed"),
                how: own("SIGSEGV"),
                uptime_ms: 3100,
                summary: Some(own("SIGSEGV at 0x0")),
                backtrace: vec![
                    FramePart {
                        module: own("libbilling.so"),
                        offset: own("0x12"),
                        symbol: Some(own("billing::pay")),
                        file: Some(own("src/lib.rs")),
                        line: Some(7),
                    },
                    FramePart { offset: own("0x34"), ..FramePart::default() },
                ],
                calls: vec![OpenCallPart { method: own("handle"), run: own("r1") }],
                stderr: vec![own("\u{202e}oh \u{1b}]0;x\u{7}no")],
                ..CrashPart::default()
            }),
            ..PluginPage::default()
        }
    }

    #[test]
    fn where_there_is_no_backtrace_it_is_said_why() {
        let mut text = String::new();
        let now = OffsetDateTime::parse("2026-11-25T14:10:11.000Z", &Rfc3339).unwrap();
        let mut page = page();
        let crash = page.last_crash.as_mut().unwrap();
        crash.backtrace.clear();
        crash.no_backtrace = Some("it is \u{1b}[31mstill being found out".to_owned());
        write(&mut text, &page, Style::Plain, now).unwrap();
        let expected = "SIGSEGV at 0x0\n               no backtrace: it is still being found out\n";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn everything_is_shown_and_nothing_acts_on_the_terminal() {
        let mut text = String::new();
        let now = OffsetDateTime::parse("2026-11-25T14:10:11.000Z", &Rfc3339).unwrap();
        write(&mut text, &page(), Style::Plain, now).unwrap();
        let expected = "\
failed: billing 1.2.0 (agent), generation 6
  what it is   Sends bills.
  state        quarantined since 14:02:11 UTC (8 min)
  code         plugin.crash_loop (stage running)
  reason       it keeps crashing
  what to do   mend it, then `agent-host plugins reset billing`
  traffic      fallback; 1 call under way, 2 waiting for a place
  breaker      open, 5 of 5 calls failed; one trial from 14:11:00 UTC
  restarts     5 of 5 within 60 s; 5 since the host began
  isolation    process, partial: seccomp
               unavailable: cgroup: not delegated
  sha256       e3b0
  history      14:02:11 UTC  healthy → quarantined (generation 6)  plugin.crash_loop
  last crash   14:02:11 UTC  generation 6: SIGSEGV, plugin.crashed after 3 s
               SIGSEGV at 0x0
               #0   billing::pay at src/lib.rs:7 (libbilling.so+0x12)
               #1   ?+0x34
               during handle of run r1
               stderr | oh no
";
        assert_eq!(text, expected);
    }
}
