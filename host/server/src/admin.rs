//! `status`, `plugins …`, `connections …`, `events`, `drain`, `chaos`, `log-level` and `token revoke`: asks a running host over its admin API, and gives it an operator's orders.

pub(crate) mod chaos;
pub(crate) mod config;
mod connections;
mod deleting;
mod detail;
mod events;
mod host;
pub(crate) mod http;
pub(crate) mod link;
mod list;
mod operations;
mod screen;
pub(crate) mod target;
mod top;
mod why;
mod words;

use std::process::ExitCode;

use agent_host_gateway::admin::view::{PluginList, PluginPage, RevocationOrder, StatusPage};
use agent_plugin_protocol::PluginId;
use serde_json::Value;

pub(crate) use self::{
    chaos::chaos,
    connections::connections,
    deleting::delete_threads,
    events::events,
    host::{log_level, rotation, support_bundle},
    operations::operations,
    top::top,
};
use self::{
    link::{Method, ask},
    operations::{Carried, carry_out},
    target::Target,
    words::Style,
};
use crate::{
    cli::{AdminArgs, OrderArgs, Output, PluginArgs, PluginsCommand, RevokeArgs, ToggleArgs, WatchArgs},
    exit::{Failure, say},
    safe,
};

/// `status`
pub(crate) fn status(args: &WatchArgs) -> Result<(), Failure> {
    let target = Target::new(&args.admin, READ)?;
    let once = |target: &Target| {
        let answer = ask(target, Method::Get, "/admin/v1/status")?;
        let text =
            |answer: &link::Answer| Ok(list::status(&answer.read::<StatusPage>()?, Style::of_stdout()));
        match args.admin.output {
            Output::Json => Ok(safe::json(&answer.json.to_string())),
            Output::Table => text(&answer),
        }
    };
    match args.watch {
        true => screen::repeat(&args.admin, READ, screen::EVERY, None, once),
        false => {
            let answer = ask(&target, Method::Get, "/admin/v1/status")?;
            show(&args.admin, &answer.json, || {
                Ok(list::status(&answer.read::<StatusPage>()?, Style::of_stdout()))
            })
        }
    }
}

/// `plugins …`
pub(crate) fn plugins(command: &PluginsCommand) -> Result<ExitCode, Failure> {
    match command {
        PluginsCommand::List { state, admin } => list_plugins(admin, state.as_deref())?,
        PluginsCommand::Show(args) => show_plugin(args, |page| detail::text(page, Style::of_stdout()))?,
        PluginsCommand::Why(args) => show_plugin(args, why::sentence)?,
        PluginsCommand::Enable(args) => return toggle(args, "enable", "healthy"),
        PluginsCommand::Disable(args) => return toggle(args, "disable", "disabled"),
        PluginsCommand::Drain(args) => return order(args, "drain", "unloaded"),
        PluginsCommand::Reload(args) => return order(args, "reload", "healthy"),
        PluginsCommand::Reset(args) => return order(args, "reset", "healthy"),
        PluginsCommand::Probe(args) => return order(args, "probe", "healthy"),
        PluginsCommand::Promote(args) => return order(args, "promote", "healthy"),
        PluginsCommand::Rollback(args) => return order(args, "rollback", "healthy"),
    }
    Ok(ExitCode::SUCCESS)
}

/// `token revoke`
pub(crate) fn revoke(args: &RevokeArgs) -> Result<(), Failure> {
    let order = RevocationOrder {
        jti: args.jti.clone(),
        user: args.user.clone(),
        tenant: args.tenant.clone(),
        before: args.before,
        until: args.until,
    };
    let order = serde_json::to_string(&order).expect("names and numbers encode");
    let target = Target::new(&args.admin, TOGGLE)?;
    let answer = ask(&target, Method::Send(order), "/admin/v1/revocations")?;
    show(&args.admin, &answer.json, || {
        Ok("revoked: refused from now on, and its connections are closed".to_owned())
    })
}

fn list_plugins(args: &AdminArgs, state: Option<&str>) -> Result<(), Failure> {
    let target = Target::new(args, READ)?;
    // Only letters and the like: the command line took no other.
    let query = state.map(|word| format!("?state={word}")).unwrap_or_default();
    let answer = ask(&target, Method::Get, &format!("/admin/v1/plugins{query}"))?;
    show(args, &answer.json, || Ok(list::plugins(&answer.read::<PluginList>()?, Style::of_stdout())))
}

fn show_plugin(args: &PluginArgs, text: impl FnOnce(&PluginPage) -> String) -> Result<(), Failure> {
    let target = Target::new(&args.admin, READ)?;
    let answer = ask(&target, Method::Get, &path(&args.plugin, ""))?;
    show(&args.admin, &answer.json, || Ok(text(&answer.read()?)))
}

/// Gives an order. It failed if the plugin has neither the verdict afterwards that the order is for, nor is in that state.
fn order(args: &OrderArgs, order: &str, aim: &str) -> Result<ExitCode, Failure> {
    let (how, args) = (args.how, &args.plugin);
    let target = Target::new(&args.admin, TOGGLE)?;
    let carried =
        carry_out(&args.admin, &target, how, Method::Post, &path(&args.plugin, &format!("/{order}")))?;
    let Carried::Ended(answer) = carried else { return Ok(ExitCode::SUCCESS) };
    if how.dry_run {
        show(&args.admin, &answer.json, || Ok(operations::foreseen(&answer.read()?)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let page: PluginPage = answer.read()?;
    show(&args.admin, &answer.json, || {
        Ok(format!("{}{}{}", why::sentence(&page), operations::broken(&page), kept(&page)))
    })?;
    let reached = page.line.verdict == aim || page.line.state == aim;
    Ok(if reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Switches a plugin, and says where that is kept.
fn toggle(args: &ToggleArgs, order: &str, aim: &str) -> Result<ExitCode, Failure> {
    let query = args.lasting.as_ref().map(|text| format!("?for={text}")).unwrap_or_default();
    self::order(&args.order, &format!("{order}{query}"), aim)
}

fn kept(page: &PluginPage) -> String {
    let Some(kept) = &page.kept else { return String::new() };
    match (&kept.file, &kept.until) {
        (Some(file), _) if kept.already => format!("\nas {} says: no file was changed", words::shown(file)),
        (None, _) if kept.already => "\nas the configuration says: no file was changed".to_owned(),
        (Some(file), _) => format!("\nkept in {}", words::shown(file)),
        (None, Some(until)) => {
            format!("\nuntil {}; a restart of the host ends it before that", words::shown(until))
        }
        (None, None) => format!(
            "\nin memory only, until the host ends: {}",
            words::shown(kept.reason.as_deref().unwrap_or("no file keeps it"))
        ),
    }
}

/// An id has no character that means anything in a path.
fn path(plugin: &PluginId, order: &str) -> String {
    format!("/admin/v1/plugins/{plugin}{order}")
}

fn show(
    args: &AdminArgs,
    json: &Value,
    text: impl FnOnce() -> Result<String, Failure>,
) -> Result<(), Failure> {
    match args.output {
        Output::Json => say(&safe::json(&format!("{json:#}"))),
        Output::Table => say(text()?.trim_end()),
    }
}

const READ: &str = "admin:read";
const TOGGLE: &str = "admin:toggle";
const DEBUG: &str = "admin:debug";
const CHAOS: &str = "admin:chaos";
