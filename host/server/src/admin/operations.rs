//! Orders that may take a while: given without waiting for the answer, then followed. Whoever interrupts this command takes
//! nothing back: the order goes on, and `operations` shows how.

use std::{io::IsTerminal as _, thread, time::Duration};

use agent_host_gateway::{
    admin::view::{ForesightPage, OperationList, OperationPage, PluginPage, StepPart},
    auth::inspect,
};
use agent_host_telemetry::log;
use serde_json::Value;
use time::OffsetDateTime;

use super::{
    READ,
    link::{Answer, Begun, Method, ask, begin, outcome, wait},
    show,
    target::Target,
    words::{clock, shown},
};
use crate::{
    cli::{AdminArgs, HowArgs, OperationsCommand, Output},
    exit::Failure,
};

/// `operations …`
pub(crate) fn operations(command: &OperationsCommand) -> Result<(), Failure> {
    match command {
        OperationsCommand::List(admin) => {
            let answer = ask(&Target::new(admin, READ)?, Method::Get, "/admin/v1/operations")?;
            show(admin, &answer.json, || {
                let now = OffsetDateTime::now_utc();
                let list: OperationList = answer.read()?;
                let lines: Vec<String> = list.operations.iter().map(|one| line(one, now)).collect();
                Ok(if lines.is_empty() { "none".to_owned() } else { lines.join("\n") })
            })
        }
        OperationsCommand::Show { operation, admin } => {
            let answer = ask(&Target::new(admin, READ)?, Method::Get, &path(operation))?;
            show(admin, &answer.json, || Ok(whole(&answer.read()?, OffsetDateTime::now_utc())))
        }
    }
}

/// What came of an order, as far as this command waits for it.
pub(super) enum Carried {
    /// It ended.
    Ended(Answer),
    /// It goes on, or was not meant: that was printed.
    Said,
}

/// Gives an order, shows what happens on the way (on stderr, and only to people), and answers what came of it.
pub(super) fn carry_out(
    args: &AdminArgs,
    target: &Target,
    how: HowArgs,
    method: Method,
    path: &str,
) -> Result<Carried, Failure> {
    if how.dry_run {
        let joined = if path.contains('?') { '&' } else { '?' };
        let answer = ask(target, method, &format!("{path}{joined}dry_run=true"))?;
        return Ok(Carried::Ended(answer));
    }
    // Whose token may not look an operation up waits for the answer.
    if !how.no_wait && !may_read(&target.token) {
        return wait(target, &method, path).map(Carried::Ended);
    }
    let page = match begin(target, &method, path)? {
        Begun::Ended(answer) => return Ok(Carried::Ended(answer)),
        Begun::GoesOn(page) => *page,
    };
    if how.no_wait {
        show(args, &serde_json::to_value(&page).unwrap_or_default(), || {
            let id = shown(&page.id);
            Ok(format!("begun: `agent-host operations show {id}` says how it goes"))
        })?;
        return Ok(Carried::Said);
    }
    let progress = args.output == Output::Table && std::io::stderr().is_terminal();
    followed(target, page, progress).map(Carried::Ended)
}

/// Looks it up until it has ended.
fn followed(target: &Target, mut page: OperationPage, progress: bool) -> Result<Answer, Failure> {
    let mut told = 0;
    loop {
        if progress {
            let first = page.steps_left_out as usize;
            let new = page.steps.iter().enumerate().filter(|(at, _)| first + at >= told);
            new.for_each(|(_, one)| log::say(&format!("  {}", step(one))));
            told = first + page.steps.len();
        }
        if page.state != "running" {
            return outcome(target, page);
        }
        thread::sleep(EVERY);
        let goes_on = |failure: Failure| {
            failure.with_hint(&format!(
                "the order goes on: `agent-host operations show {}` says how it went",
                shown(&page.id)
            ))
        };
        page = ask(target, Method::Get, &path(&page.id)).map_err(goes_on)?.read()?;
    }
}

/// Between two looks.
const EVERY: Duration = Duration::from_millis(150);

/// What a token says of itself; one that says nothing is not tried.
fn may_read(token: &str) -> bool {
    let Some(inspected) = inspect(token) else { return false };
    let listed =
        |claims: &Value| claims["permissions"].as_array().map(|all| all.iter().any(|one| one == READ));
    let words =
        |claims: &Value| claims["scope"].as_str().is_some_and(|all| all.split(' ').any(|one| one == READ));
    listed(&inspected.claims).unwrap_or_else(|| words(&inspected.claims))
}

/// What an order would do, in words.
pub(super) fn foreseen(page: &ForesightPage) -> String {
    let mut lines = vec![format!(
        "{} of {} would do this: {} (nothing was done)",
        shown(&page.order),
        shown(&page.plugin),
        shown(&page.would)
    )];
    if !page.changes {
        lines.push("it would change nothing".to_owned());
    }
    lines.extend(page.breaks.iter().map(|one| format!("worse than now: {}", shown(one))));
    if page.in_flight > 0 {
        lines.push(format!("{} calls under way would be finished first", page.in_flight));
    }
    lines.join("\n")
}

/// What an order broke, a line each.
pub(super) fn broken(page: &PluginPage) -> String {
    page.breaks.iter().map(|one| format!("\nworse than before: {}", shown(one))).collect()
}

fn line(page: &OperationPage, now: OffsetDateTime) -> String {
    let code = page.problem.as_ref().and_then(|problem| problem["code"].as_str());
    let code = code.map(|code| format!(" ({})", shown(code))).unwrap_or_default();
    let (id, order, about) = (shown(&page.id), shown(&page.order), shown(&page.about));
    format!("{:<8} {id}  {} {order} {about}{code}", shown(&page.state), clock(&page.began, now))
}

fn whole(page: &OperationPage, now: OffsetDateTime) -> String {
    let mut lines = vec![line(page, now)];
    if page.steps_left_out > 0 {
        lines.push(format!("  … {} steps before", page.steps_left_out));
    }
    lines.extend(page.steps.iter().map(|one| format!("  {} {}", clock(&one.at, now), step(one))));
    if let Some(problem) = &page.problem {
        let text = |name: &str| shown(problem[name].as_str().unwrap_or_default());
        lines.push(format!("{}\n  what to do: {}", text("detail"), text("hint")));
    }
    let breaks = page.result.as_ref().and_then(|result| result["breaks"].as_array());
    let breaks = breaks.into_iter().flatten().filter_map(Value::as_str);
    lines.extend(breaks.map(|one| format!("worse than before: {}", shown(one))));
    lines.join("\n")
}

fn step(step: &StepPart) -> String {
    let plugin = step.plugin.as_ref().map(|plugin| format!("{}: ", shown(plugin))).unwrap_or_default();
    let why = step.reason.as_ref().map(|reason| format!(": {}", shown(reason))).unwrap_or_default();
    format!("{plugin}{}{why}", shown(&step.what))
}

/// An id has no character that means anything in a path.
fn path(operation: &str) -> String {
    format!("/admin/v1/operations/{operation}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_wrong_is_told_with_its_steps_and_cannot_act_on_a_terminal() {
        let page = OperationPage {
            id: "a1".to_owned(),
            order: "reload".to_owned(),
            about: "echo".to_owned(),
            state: "failed".to_owned(),
            steps: vec![StepPart {
                what: "plugin failed".to_owned(),
                plugin: Some("echo".to_owned()),
                reason: Some("no\u{1b}[2J".to_owned()),
                ..StepPart::default()
            }],
            steps_left_out: 2,
            problem: Some(
                serde_json::json!({ "code": "plugin.crashed", "detail": "it died", "hint": "look" }),
            ),
            ..OperationPage::default()
        };
        let text = whole(&page, OffsetDateTime::UNIX_EPOCH);
        for words in [
            "failed",
            "reload echo (plugin.crashed)",
            "… 2 steps",
            "echo: plugin failed: no",
            "what to do: look",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
