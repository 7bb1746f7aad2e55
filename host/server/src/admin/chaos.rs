//! `chaos …`: injects faults into a host that allows it, and shows them.

use std::fmt::{self, Write as _};

use agent_host_core::chaos::Kind;
use agent_host_gateway::admin::view::{ChaosPage, FaultOrder, InjectedPart};

use time::OffsetDateTime;

use super::{
    CHAOS, READ,
    link::{Method, ask},
    show,
    target::Target,
    words::{clock, shown},
};
use crate::{
    cli::{ChaosCommand, ChaosHowArgs, ChaosStartArgs},
    exit::Failure,
};

/// Where it is asked for.
pub(crate) const PATH: &str = "/admin/v1/chaos";

/// `chaos …`
pub(crate) fn chaos(command: &ChaosCommand) -> Result<(), Failure> {
    match command {
        ChaosCommand::List(admin) => {
            let answer = ask(&Target::new(admin, READ)?, Method::Get, PATH)?;
            show(admin, &answer.json, || Ok(table(&answer.read()?)))
        }
        ChaosCommand::Status(admin) => {
            let answer = ask(&Target::new(admin, READ)?, Method::Get, PATH)?;
            show(admin, &answer.json, || Ok(standing(&answer.read()?, OffsetDateTime::now_utc())))
        }
        ChaosCommand::Start(args) => start(args),
        ChaosCommand::Kill(args) => start(&args.to_start(Kind::WorkerKill)),
        ChaosCommand::Hang(args) => start(&args.to_start(Kind::WorkerHang)),
        ChaosCommand::Panic(args) => start(&args.to_start(Kind::RunsFail)),
        ChaosCommand::Slow(args) => start(&args.to_start(Kind::RunsSlow)),
        ChaosCommand::Stop { id, admin } => {
            let path = id.map_or_else(|| PATH.to_owned(), |id| format!("{PATH}/{id}"));
            let answer = ask(&Target::new(admin, CHAOS)?, Method::Delete, &path)?;
            show(admin, &answer.json, || Ok(standing(&answer.read()?, OffsetDateTime::now_utc())))
        }
    }
}

fn start(args: &ChaosStartArgs) -> Result<(), Failure> {
    let ChaosHowArgs { share, delay, every, lasting } = args.how.clone();
    let order = FaultOrder {
        fault: args.fault.clone(),
        plugin: args.plugin.as_ref().map(ToString::to_string),
        service: args.service.clone(),
        share,
        delay,
        every,
        lasting,
    };
    let order = serde_json::to_string(&order).expect("names and numbers encode");
    let answer = ask(&Target::new(&args.admin, CHAOS)?, Method::Send(order), PATH)?;
    show(&args.admin, &answer.json, || {
        let injected: InjectedPart = answer.read()?;
        let mut text = line(&injected, OffsetDateTime::now_utc());
        if injected.ended.is_none() {
            text += &format!("\nit ends by itself; sooner by `agent-host chaos stop {}`", injected.id);
        }
        Ok(text)
    })
}

/// What there is.
fn table(page: &ChaosPage) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_table(&mut text, page);
    text
}

fn write_table(out: &mut String, page: &ChaosPage) -> fmt::Result {
    for kind in &page.faults {
        let option = |word: &String| format!("--{word}");
        let needs = kind.needs.iter().map(option);
        let takes = kind.takes.iter().map(|word| format!("[--{word}]"));
        let words: Vec<String> = needs.chain(takes).collect();
        writeln!(out, "{:<16} {}", shown(&kind.fault), shown(&words.join(" ")))?;
        writeln!(out, "    does   {}", shown(&kind.does))?;
        writeln!(out, "    holds  {}", shown(&kind.holds))?;
    }
    write!(out, "{}", allowed(page))
}

/// What is in force, and how and when the last ones ended.
fn standing(page: &ChaosPage, now: OffsetDateTime) -> String {
    let mut lines = vec![allowed(page).to_owned()];
    lines.extend(page.active.iter().map(|injected| line(injected, now)));
    if page.enabled && page.active.is_empty() {
        lines.push("no fault is in force".to_owned());
    }
    if let Some(since) = &page.since {
        let since = clock(since, now);
        lines.push(match page.ended.is_empty() {
            true => format!(
                "none has ended since this host began, {since}; what was in force before ended with it"
            ),
            false => format!("ended since this host began, {since}, the last first:"),
        });
    }
    lines.extend(page.ended.iter().map(|injected| line(injected, now)));
    lines.join("\n")
}

fn allowed(page: &ChaosPage) -> &'static str {
    match page.enabled {
        true => "this host injects faults on an operator's order (chaos.enabled)",
        false => {
            "this host injects none: `[chaos] enabled` is not set in its files (for `dev`: `--set chaos.enabled=true`)"
        }
    }
}

fn line(injected: &InjectedPart, now: OffsetDateTime) -> String {
    let InjectedPart { id, fault, plugin, service, share, delay_ms, every_ms, left_ms, hits, .. } = injected;
    let mut what = fault.clone();
    for of in plugin.iter().chain(service) {
        what += &format!(" of {of}");
    }
    if let Some(share) = share {
        what += &format!(", {share} % of them");
    }
    if let Some(delay) = delay_ms {
        what += &format!(", {delay} ms late");
    }
    if let Some(every) = every_ms {
        what += &format!(", every {every} ms");
    }
    let since = clock(&injected.since, now);
    let how = match (&injected.ended, &injected.ended_at) {
        (Some(ended), Some(at)) => format!("{} {}, since {since}", in_words(ended), clock(at, now)),
        (Some(ended), None) => in_words(ended).to_owned(),
        (None, _) => format!("since {since}, {} s to go", left_ms.div_ceil(1000)),
    };
    shown(&format!("{id:>3}  {what}: {how}; hit {hits} times"))
}

/// How it ended; a word of a newer host as it is.
fn in_words(ended: &str) -> &str {
    match ended {
        "done" => "done once",
        "expired" => "ended by itself",
        "stopped" => "stopped by an operator",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_told_in_a_line() {
        let injected = InjectedPart {
            id: 7,
            fault: "runs-slow".to_owned(),
            plugin: Some("ec\u{1b}ho".to_owned()),
            share: Some(20),
            delay_ms: Some(500),
            left_ms: 1500,
            hits: 3,
            since: "1970-01-01T00:00:05Z".to_owned(),
            ..InjectedPart::default()
        };
        let now = OffsetDateTime::UNIX_EPOCH;
        let said = line(&injected, now);
        assert!(!said.contains('\u{1b}'), "{said:?}");
        assert!(
            said.ends_with(", 20 % of them, 500 ms late: since 00:00:05 UTC, 2 s to go; hit 3 times"),
            "{said}"
        );
        let ended = |how: &str| InjectedPart {
            ended: Some(how.to_owned()),
            ended_at: Some("1970-01-01T00:00:35Z".to_owned()),
            ..injected.clone()
        };
        for (how, told) in [("expired", "ended by itself"), ("stopped", "stopped by an operator")] {
            let said = line(&ended(how), now);
            let end = format!("late: {told} 00:00:35 UTC, since 00:00:05 UTC; hit 3 times");
            assert!(said.ends_with(&end), "{said}");
        }
        assert_eq!(standing(&ChaosPage::default(), now), allowed(&ChaosPage::default()));
        let page = ChaosPage { enabled: true, since: Some(injected.since.clone()), ..ChaosPage::default() };
        let none = standing(&page, now);
        assert!(none.contains("none has ended since this host began, 00:00:05 UTC"), "{none}");
        let some = standing(&ChaosPage { ended: vec![ended("expired")], ..page }, now);
        assert!(some.contains("no fault is in force") && some.contains("the last first:\n  7  "), "{some}");
    }
}
