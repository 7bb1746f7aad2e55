//! `config show|diff|reload|set`: what a running host has in force, and changes of it.

use agent_host_config::toml_of;
use agent_host_gateway::admin::view::{ChangePage, ConfigOrder, ConfigPage, OverridePart};
use serde_json::Value;
use time::OffsetDateTime;

use super::{
    READ,
    link::{Method, ask},
    operations::{Carried, carry_out},
    show,
    target::Target,
    words::{clock, shown},
};
use crate::{
    cli::{AdminArgs, HowArgs, ReloadArgs, SetArgs},
    exit::Failure,
};

/// `config show`
pub(crate) fn show_running(args: &AdminArgs) -> Result<(), Failure> {
    let target = Target::of_any_folder(args, READ)?;
    let answer = ask(&target, Method::Get, "/admin/v1/config")?;
    show(args, &answer.json, || Ok(in_force(&answer.read()?, OffsetDateTime::now_utc())))
}

/// `config diff` of a running host.
pub(crate) fn diff(args: &AdminArgs) -> Result<(), Failure> {
    let target = Target::new(args, READ)?;
    let answer = ask(&target, Method::Get, "/admin/v1/config/diff")?;
    show(args, &answer.json, || Ok(changes(&answer.read()?, "the files say what is in force")))
}

/// `config reload`
pub(crate) fn reload(args: &ReloadArgs) -> Result<(), Failure> {
    let target = Target::new(&args.admin, CONFIG)?;
    let carried = carry_out(&args.admin, &target, args.how, Method::Post, "/admin/v1/config/reload")?;
    let Carried::Ended(answer) = carried else { return Ok(()) };
    show(&args.admin, &answer.json, || {
        Ok(said(args.how, changes(&answer.read()?, "in force already: nothing was changed")))
    })
}

/// `config set`
pub(crate) fn set(args: &SetArgs) -> Result<(), Failure> {
    let target = Target::new(&args.admin, CONFIG)?;
    let set = args.keys.iter().map(|(key, value)| (key.clone(), meant(value))).collect();
    let order = serde_json::to_string(&ConfigOrder { set }).expect("keys and values encode");
    let carried = carry_out(&args.admin, &target, args.how, Method::Patch(order), "/admin/v1/config")?;
    let Carried::Ended(answer) = carried else { return Ok(()) };
    show(&args.admin, &answer.json, || Ok(said(args.how, changes(&answer.read()?, "it was so already"))))
}

/// A value as JSON has it; what is none is text: `3s` needs no quotes on a command line.
fn meant(value: &str) -> Value {
    serde_json::from_str(value).unwrap_or_else(|_| value.into())
}

fn in_force(page: &ConfigPage, now: OffsetDateTime) -> String {
    let settings = page.settings.iter().filter(|(_, setting)| setting.origin != "default");
    let mut lines: Vec<String> = settings
        .map(|(key, setting)| {
            let line = format!("{} = {}", shown(key), toml_of(&setting.value));
            format!("{line:<50}  # {}", shown(&setting.origin))
        })
        .collect();
    lines.push(format!("\nin force since {}", clock(&page.since, now)));
    if !page.pending_restart.is_empty() {
        lines.push(format!("waits for a restart: {}", shown(&page.pending_restart.join(", "))));
    }
    let switch = |one: &OverridePart| {
        let until = one.until.as_ref().map(|until| format!(" until {}", clock(until, now)));
        let (until, value) = (until.unwrap_or_default(), toml_of(&one.value));
        format!("{} = {value}{until}: {}", shown(&one.key), shown(&one.reason))
    };
    lines.extend(page.in_memory.iter().map(|one| format!("in no file: {}", switch(one))));
    lines.extend(
        page.ended_with_host.iter().map(|one| format!("ended with the host before: {}", switch(one))),
    );
    if let Some(failure) = &page.failure {
        let reason: Vec<String> = failure.reason.lines().map(shown).collect();
        lines.push(format!(
            "\nNOT IN FORCE is the edit seen at {}: {}\n{}",
            clock(&failure.at, now),
            shown(&failure.code),
            reason.join("\n")
        ));
    }
    lines.join("\n")
}

/// What was changed, or only would be.
fn said(how: HowArgs, changes: String) -> String {
    if how.dry_run { format!("{changes}\n(nothing was done)") } else { changes }
}

fn changes(page: &ChangePage, none: &str) -> String {
    let of = |change: &agent_host_gateway::admin::view::KeyChangePart| {
        let wait = if change.live { "" } else { "  (with the next start)" };
        format!("{}\n  {} -> {}{wait}", shown(&change.key), toml_of(&change.from), toml_of(&change.to))
    };
    let mut lines: Vec<String> = page.changes.iter().map(of).collect();
    if lines.is_empty() {
        lines.push(none.to_owned());
    }
    lines.extend(page.warnings.iter().map(|warning| format!("warning: {}", shown(warning))));
    lines.join("\n")
}

const CONFIG: &str = "admin:config";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_json_or_text() {
        assert_eq!(meant("5"), json!(5));
        assert_eq!(meant("true"), json!(true));
        assert_eq!(meant("[\"a\"]"), json!(["a"]));
        assert_eq!(meant("null"), json!(null));
        assert_eq!(meant("3s"), json!("3s"));
    }
}
