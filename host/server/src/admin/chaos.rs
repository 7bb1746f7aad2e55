//! `chaos …`: injects faults into a host that allows it, and shows them.

use std::fmt::{self, Write as _};

use agent_host_core::chaos::Kind;
use agent_host_gateway::admin::view::{ChaosPage, FaultOrder, InjectedPart};

use super::{
    CHAOS, READ,
    link::{Method, ask},
    show,
    target::Target,
    words::shown,
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
            show(admin, &answer.json, || Ok(standing(&answer.read()?)))
        }
        ChaosCommand::Start(args) => start(args),
        ChaosCommand::Kill(args) => start(&args.to_start(Kind::WorkerKill)),
        ChaosCommand::Hang(args) => start(&args.to_start(Kind::WorkerHang)),
        ChaosCommand::Panic(args) => start(&args.to_start(Kind::RunsFail)),
        ChaosCommand::Slow(args) => start(&args.to_start(Kind::RunsSlow)),
        ChaosCommand::Stop { id, admin } => {
            let path = id.map_or_else(|| PATH.to_owned(), |id| format!("{PATH}/{id}"));
            let answer = ask(&Target::new(admin, CHAOS)?, Method::Delete, &path)?;
            show(admin, &answer.json, || Ok(standing(&answer.read()?)))
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
        let mut text = line(&injected);
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

/// What is in force.
fn standing(page: &ChaosPage) -> String {
    let mut text = allowed(page).to_owned();
    for injected in page.active.iter().chain(&page.ended) {
        text += "\n";
        text += &line(injected);
    }
    if page.enabled && page.active.is_empty() {
        text += "\nno fault is in force";
    }
    text
}

fn allowed(page: &ChaosPage) -> &'static str {
    match page.enabled {
        true => "this host injects faults on an operator's order (chaos.enabled)",
        false => {
            "this host injects none: `[chaos] enabled` is not set in its files (for `dev`: `--set chaos.enabled=true`)"
        }
    }
}

fn line(injected: &InjectedPart) -> String {
    let InjectedPart { id, fault, plugin, service, share, delay_ms, every_ms, left_ms, hits, ended, .. } =
        injected;
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
    let how = match ended {
        Some(ended) => ended.clone(),
        None => format!("{} s to go", left_ms.div_ceil(1000)),
    };
    shown(&format!("{id:>3}  {what}: {how}; hit {hits} times"))
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
            ..InjectedPart::default()
        };
        let said = line(&injected);
        assert!(!said.contains('\u{1b}'), "{said:?}");
        assert!(said.ends_with(", 20 % of them, 500 ms late: 2 s to go; hit 3 times"), "{said}");
        let ended = InjectedPart { ended: Some("expired".to_owned()), ..injected };
        assert!(line(&ended).ends_with("late: expired; hit 3 times"));
        assert!(standing(&ChaosPage::default()).contains("injects none"));
    }
}
