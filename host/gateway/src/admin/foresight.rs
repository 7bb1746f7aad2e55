//! Says what an order to a plugin would do, from what is so now. Pure: nothing is tried, and what a file would turn out to
//! be is not known before it is loaded.

use agent_host_core::level::ServiceLevel;
use agent_host_engine::{
    ControlError, PluginOrder,
    view::{PluginDetail, Status},
};
use agent_plugin_protocol::{Code, PluginId, PluginKind};

use super::view::{ForesightPage, LevelChangePart};

/// What is known now.
pub(crate) struct Known<'a> {
    pub(crate) status: &'a Status,
    pub(crate) plugin: &'a PluginDetail,
    /// Who would get its messages if it got none; `None`: the fallback.
    pub(crate) heir: Option<PluginId>,
    /// What `/ready` insists on.
    pub(crate) require: &'a [String],
}

/// What would come of it.
///
/// # Errors
/// If the order would be refused: as it would be.
pub(crate) fn foresee(order: PluginOrder, known: &Known<'_>) -> Result<ForesightPage, ControlError> {
    let view = &known.plugin.view;
    let (id, disabled) = (view.id.clone(), view.verdict == "disabled");
    if known.status.draining {
        return Err(ControlError::Draining);
    }
    let page = |changes, would: String| ForesightPage {
        dry_run: true,
        order: order.as_str().to_owned(),
        plugin: id.to_string(),
        verdict: view.verdict.to_owned(),
        changes,
        would,
        in_flight: known.plugin.in_flight,
        ..ForesightPage::default()
    };
    let of = view.generation;
    let drained = matches!(view.state, "draining" | "unloaded") && !disabled;
    let not_running = || {
        let code = view.fault.as_ref().map_or(Code::PluginDisabled, |fault| fault.code);
        ControlError::NotRunning { plugin: id.clone(), code }
    };
    match order {
        PluginOrder::Disable if disabled => Ok(page(false, "it is disabled already".to_owned())),
        PluginOrder::Disable => Ok(without(known, Absence::Unwanted, page)),
        PluginOrder::Drain if drained => Ok(page(false, "it is drained already".to_owned())),
        PluginOrder::Drain if matches!(view.state, "failed" | "quarantined") => Err(not_running()),
        PluginOrder::Drain if !disabled => Ok(without(known, Absence::Missed, page)),
        PluginOrder::Enable if disabled || drained => {
            Ok(page(true, "it is started, and gets messages once it is healthy".to_owned()))
        }
        PluginOrder::Enable => Ok(page(false, format!("it is enabled already, and {}", view.verdict))),
        PluginOrder::Reload
        | PluginOrder::Promote
        | PluginOrder::Rollback
        | PluginOrder::Reset
        | PluginOrder::Drain
            if disabled =>
        {
            Err(ControlError::Disabled(id.clone()))
        }
        PluginOrder::Reload => {
            let file = match &known.plugin.changed_file {
                Some(_) => "the other file that lies at its path by now",
                None => "its file",
            };
            Ok(page(
                true,
                format!(
                    "{file} is loaded and probed beside generation {of}, which serves until the new one is healthy, \
                     and goes on if it never is"
                ),
            ))
        }
        PluginOrder::Promote => match &known.plugin.canary {
            None => Err(ControlError::NoCanary(id.clone())),
            Some(canary) => {
                Ok(page(true, format!("generation {} gets everything in place of {of}", canary.generation)))
            }
        },
        PluginOrder::Rollback if let Some(canary) = &known.plugin.canary => {
            Ok(page(true, format!("generation {} is taken back; {of} gets everything", canary.generation)))
        }
        PluginOrder::Rollback => match known.plugin.former {
            None => Err(ControlError::NothingBefore(id.clone())),
            Some(former) => Ok(page(true, format!("generation {former} serves again in place of {of}"))),
        },
        PluginOrder::Reset if view.verdict == "healthy" => {
            Ok(page(true, "its crashes and its breaker are forgotten; it goes on".to_owned()))
        }
        PluginOrder::Reset => {
            Ok(page(true, "its crashes and its breaker are forgotten, and it is started".to_owned()))
        }
        PluginOrder::Probe if view.verdict == "healthy" || view.state == "degraded" => {
            Ok(page(false, "it is asked for its self-test; one that fails makes it degraded".to_owned()))
        }
        PluginOrder::Drain | PluginOrder::Probe => Err(not_running()),
    }
}

/// How a plugin is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Absence {
    /// It is switched off: nobody misses it.
    Unwanted,
    /// It is wanted, and out of rotation.
    Missed,
}

fn without(
    known: &Known<'_>,
    absence: Absence,
    page: impl FnOnce(bool, String) -> ForesightPage,
) -> ForesightPage {
    let view = &known.plugin.view;
    let serves = view.verdict == "healthy";
    let is_agent = view.kind == PluginKind::Agent;
    let heir = known.heir.as_ref().map_or_else(|| "fallback".to_owned(), ToString::to_string);
    let unmet = unmet_without(known);
    let missed = absence == Absence::Missed || !unmet.is_empty();
    let (now, then) = (known.status.level, level_without(known.status, &view.id, missed));
    let mut breaks = Vec::new();
    if then < now {
        breaks.push(format!("the service level falls from {now} to {then}"));
    }
    if is_agent && serves && known.heir.is_none() {
        breaks.push("no agent is left: the built-in fallback answers, and says so".to_owned());
    }
    if !is_agent && serves {
        breaks.push(
            "nobody chooses: a message that names no agent goes to the first that is healthy".to_owned(),
        );
    }
    let strict = |name: &str| format!("/ready answers 503: `readiness.require` names {name:?}");
    breaks.extend(unmet.into_iter().map(strict));
    let would = match (is_agent, serves) {
        (true, true) => format!("its runs finish, and new messages go to {heir}"),
        (true, false) => format!("it is not tried any more; its messages go to {heir} as they do now"),
        (false, _) => "it is asked for no choice any more".to_owned(),
    };
    ForesightPage {
        served_by: is_agent.then_some(heir),
        level: Some(LevelChangePart { now: now.to_string(), then: then.to_string() }),
        breaks,
        ..page(true, would)
    }
}

/// What is required, is there, and would not be without the plugin.
fn unmet_without<'a>(known: &Known<'a>) -> Vec<&'a str> {
    let view = &known.plugin.view;
    let left = || known.status.plugins.iter().filter(|one| one.id != view.id && one.verdict == "healthy");
    let of_kind = |kind| view.kind == kind && !left().any(|one| one.kind == kind);
    let unmet = |name: &&str| match *name {
        "agent" => of_kind(PluginKind::Agent),
        "supervisor" => of_kind(PluginKind::Supervisor),
        name => name == view.id.as_str(),
    };
    let serves = view.verdict == "healthy";
    known.require.iter().map(String::as_str).filter(|name| serves && unmet(name)).collect()
}

/// The level if that plugin were not there; `missed`: somebody wants it.
fn level_without(status: &Status, plugin: &PluginId, missed: bool) -> ServiceLevel {
    let works = |name: &str| !status.services.iter().any(|one| one.name == name && one.verdict == "failed");
    let healthy = |one: &&agent_host_engine::view::PluginView| one.verdict == "healthy" && one.id != *plugin;
    let agents = status.plugins.iter().filter(healthy).any(|one| one.kind == PluginKind::Agent);
    let appends = status.level != ServiceLevel::Basic || (works("store") && works("fallback"));
    if !appends || (!agents && !works("fallback")) {
        ServiceLevel::Basic
    } else if !agents {
        ServiceLevel::Fallback
    } else if missed || status.missing.iter().any(|one| one.name != plugin.as_str()) {
        ServiceLevel::Partial
    } else {
        ServiceLevel::Full
    }
}
