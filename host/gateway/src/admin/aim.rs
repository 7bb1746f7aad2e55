//! What an order to a plugin is for, and what there is to say where that is not so when it has ended. Pure.

use agent_host_engine::{PluginOrder, view::PluginDetail};
use agent_plugin_protocol::Code;
use http::StatusCode;

use super::view::KeptPart;
use crate::problem::Problem;

/// Why the plugin is not as the order would have it; `None`: it is. What was done stays done: a switch is kept, and what
/// takes longer goes on.
pub(crate) fn missed(order: PluginOrder, plugin: &PluginDetail, kept: Option<&KeptPart>) -> Option<Problem> {
    let view = &plugin.view;
    let reached = match order {
        PluginOrder::Disable => view.verdict == "disabled",
        PluginOrder::Drain => view.state == "unloaded",
        PluginOrder::Enable
        | PluginOrder::Reload
        | PluginOrder::Reset
        | PluginOrder::Probe
        | PluginOrder::Promote
        | PluginOrder::Rollback => false,
    };
    // One that is healthy after all was brought back by another order.
    if reached || view.verdict == "healthy" {
        return None;
    }
    let code = match (&view.fault, view.state) {
        (Some(fault), _) => fault.code,
        (None, "disabled") => Code::PluginDisabled,
        (None, "draining" | "unloaded") => Code::PluginDraining,
        (None, _) => Code::PluginStarting,
    };
    let (reason, hint) = match &view.fault {
        Some(fault) => (fault.reason.as_str(), fault.hint.as_str()),
        None => (code.meaning(), code.remedy()),
    };
    let (order, id, state) = (order.as_str(), &view.id, view.state);
    let detail = format!("{order} of {id} was carried out{}, but it is {state}: {reason}", where_kept(kept));
    Some(Problem::new(StatusCode::CONFLICT, code, detail, hint.to_owned()))
}

fn where_kept(kept: Option<&KeptPart>) -> String {
    let Some(kept) = kept else { return String::new() };
    match (&kept.file, &kept.until) {
        (Some(file), _) if kept.already => format!(", as {file} says"),
        (None, _) if kept.already => ", as the configuration says".to_owned(),
        (Some(file), _) => format!(" and is kept in {file}"),
        (None, Some(until)) => format!(" and holds until {until}"),
        (None, None) => " and holds until the host ends".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use agent_host_core::ports::instance::{Fault, Stage};
    use agent_plugin_protocol::PluginKind;

    use super::*;
    use crate::tests::support::{detail, plugin};

    fn check(order: PluginOrder, (verdict, state): (&'static str, &'static str), expected: Option<&str>) {
        let mut view = plugin("echo", PluginKind::Agent, true);
        (view.verdict, view.state) = (verdict, state);
        let found = missed(order, &detail(view), None);
        assert_eq!(found.as_ref().map(Problem::code), expected, "{order:?} {state}");
    }

    #[test]
    fn each_order_has_an_aim_of_its_own() {
        for order in PluginOrder::ALL {
            let (off, out) = match order {
                PluginOrder::Disable => (None, Some("plugin.draining")),
                PluginOrder::Drain => (Some("plugin.disabled"), None),
                _ => (Some("plugin.disabled"), Some("plugin.draining")),
            };
            check(order, ("healthy", "healthy"), None);
            check(order, ("disabled", "disabled"), off);
            check(order, ("failed", "unloaded"), out);
            check(order, ("failed", "draining"), Some("plugin.draining"));
            check(order, ("failed", "loaded"), Some("plugin.starting"));
        }
    }

    #[test]
    fn why_it_failed_is_said_in_the_plugin_s_own_words_and_where_the_switch_is_kept() {
        let mut view = plugin("echo", PluginKind::Agent, false);
        view.fault = Some(Fault {
            hint: "build it".to_owned(),
            ..Fault::new(Stage::Verify, Code::PluginNotElf, "no library")
        });
        let kept = KeptPart { file: Some("echo.toml".to_owned()), ..KeptPart::default() };
        let problem = missed(PluginOrder::Enable, &detail(view), Some(&kept)).unwrap();
        assert_eq!((problem.code(), problem.status()), ("plugin.not_elf", StatusCode::CONFLICT));
        let detail =
            "enable of echo was carried out and is kept in echo.toml, but it is quarantined: no library";
        assert_eq!(problem.detail(), detail);
        assert_eq!(serde_json::to_value(problem.body()).unwrap()["hint"], "build it");
    }
}
