//! One document for whoever helps: how the host fares and is set up, bounded, and without anybody's secrets or words.
//!
//! It may leave the house. So it has no token and no key (none is ever shown), no configuration that a plugin is handed,
//! no environment, nothing that a plugin printed, and no name or address of a person: those are withheld by field.

use std::fs;

use agent_host_core::{failpoint, failpoint::Action, timestamp::rfc3339};
use agent_host_telemetry::{
    admin::{self as happenings, AdminEvent, Position},
    log,
};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::{
    door::Admin,
    pages,
    view::{ChaosStanding, ConfigFailurePart, ConfigPage, LogLevelPage, PluginPage, StatusPage},
};
use crate::{host::Host, problem::Problem};

/// `GET /admin/v1/support-bundle`
pub(crate) fn answer<H: Host>(admin: &Admin<H>, query: Option<&str>) -> Result<Response, Problem> {
    pages::parameters(query, &[])?;
    let now = admin.clock.now();
    let mut status = StatusPage::new(&admin.host.status(), rfc3339(admin.since), rfc3339(now));
    status.draining |= admin.host.is_draining();
    status.out_of_rotation = admin.rotation.is_out();
    status.config_failure = admin.configuration.as_ref().and_then(|one| one.failure()).map(unquoted);
    status.chaos = admin.chaos.as_ref().map(|chaos| ChaosStanding::new(&chaos.injected()));
    let plugins = admin.host.plugins();
    let kept = happenings::since(Some(Position::BEGIN));
    let bundle = json!({
        "bundle": 1,
        "made": rfc3339(now),
        "version": env!("CARGO_PKG_VERSION"),
        "status": status,
        "plugins": plugins.iter().take(PLUGINS).map(|plugin| of_plugin(&PluginPage::from(plugin))).collect::<Vec<_>>(),
        "plugins_left_out": plugins.len().saturating_sub(PLUGINS),
        "configuration": admin.configuration.as_ref().map(|configuration| in_force(&configuration.page())),
        "log": log::level().map(|in_force| LogLevelPage::new(in_force, now)),
        "connections": admin.open.len(),
        "events": kept.events.iter().map(of_event).collect::<Vec<_>>(),
        "metrics": admin.metrics.as_ref().map(|render| cut(render(), METRICS)),
        "machine": machine(),
    });
    Ok(pages::json(&bundle))
}

/// What is in force, with where each value comes from. What a plugin is handed is the plugin's.
fn in_force(page: &ConfigPage) -> Value {
    let mut page = page.clone();
    // For a broken twin, as below.
    if failpoint!("gateway.bundle_withheld") != Some(Action::Off) {
        for (key, setting) in &mut page.settings {
            let mut parts = key.split('.');
            if (parts.next(), parts.nth(1)) == (Some("plugins"), Some("config")) {
                setting.value = json!(GONE);
            }
        }
    }
    page.failure = page.failure.map(unquoted);
    json!(page)
}

/// Why an edit is not in force, without what it quotes of a file.
fn unquoted(failure: ConfigFailurePart) -> ConfigFailurePart {
    // For a broken twin, as below.
    let quotes = failpoint!("gateway.bundle_withheld") == Some(Action::Off);
    if quotes { failure } else { ConfigFailurePart { reason: GONE.to_owned(), ..failure } }
}

/// A plugin as it is shown, but for what it printed.
fn of_plugin(page: &PluginPage) -> Value {
    withheld(json!(page))
}

/// A happening, but for whom it is about, and what it quotes of a file.
fn of_event(event: &AdminEvent) -> Value {
    let mut shown = withheld(json!(event));
    let quotes = event.event == "ConfigRefused" && failpoint!("gateway.bundle_withheld") != Some(Action::Off);
    if let (true, Some(reason)) = (quotes, shown.pointer_mut("/fields/reason")) {
        *reason = json!(GONE);
    }
    shown
}

/// The same without what is somebody's: at whatever depth.
fn withheld(value: Value) -> Value {
    // For a broken twin: a host that tells everything to whoever helps.
    if failpoint!("gateway.bundle_withheld") == Some(Action::Off) {
        return value;
    }
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, value)| {
                    let value = if WITHHELD.contains(&name.as_str()) { json!(GONE) } else { withheld(value) };
                    (name, value)
                })
                .collect::<Map<_, _>>(),
        ),
        Value::Array(values) => Value::Array(values.into_iter().map(withheld).collect()),
        other => other,
    }
}

/// What the kernel says of this process and its machine. What cannot be read is left out.
fn machine() -> Value {
    let files = MACHINE.iter().filter_map(|path| {
        let text = fs::read_to_string(path).ok()?;
        Some(((*path).to_owned(), json!(cut(text, FILE))))
    });
    Value::Object(files.collect())
}

/// At most so many bytes of it.
fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push_str("\n… cut");
    }
    text
}

/// Fields that are somebody's: what a plugin printed, who did something, from where, to whom.
const WITHHELD: [&str; 9] =
    ["stderr", "operator", "token", "from", "name", "about", "connection", "thread", "run"];
const GONE: &str = "[withheld]";
/// Nothing of these is of a person or a plugin. The command line and the environment are not among them.
const MACHINE: [&str; 8] = [
    "/proc/self/limits",
    "/proc/self/status",
    "/proc/self/cgroup",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/pressure/cpu",
    "/proc/pressure/memory",
    "/proc/version",
];
/// Plugins with all of their history; more are counted.
const PLUGINS: usize = 200;
/// Bytes of the page of metrics; 100 plugins are a quarter of it.
const METRICS: usize = 1024 * 1024;
/// Bytes of one file of the kernel's.
const FILE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::view::{ConfigFailurePart, SettingPart};

    #[test]
    fn what_is_somebody_s_is_withheld_at_every_depth() {
        let event = json!({ "event": "OperatorOrdered", "fields": { "operator": "olga", "plugin": "echo" } });
        assert_eq!(
            withheld(json!([event])),
            json!([{ "event": "OperatorOrdered", "fields": { "operator": GONE, "plugin": "echo" } }])
        );
        assert_eq!(
            withheld(json!({ "last_crash": { "stderr": ["a word"] } })),
            json!({ "last_crash": { "stderr": GONE } })
        );
    }

    #[test]
    fn what_a_plugin_is_handed_and_what_a_refusal_quotes_are_withheld() {
        let setting = |value: &str| SettingPart { value: json!(value), origin: "a.toml:1:1".to_owned() };
        let page = ConfigPage {
            settings: [
                ("plugins.a.config.key".to_owned(), setting("a word")),
                ("plugins.config.path".to_owned(), setting("l.so")),
                ("routing.wait".to_owned(), setting("2s")),
            ]
            .into(),
            failure: Some(ConfigFailurePart { reason: "key = \"a word\"".to_owned(), ..Default::default() }),
            ..ConfigPage::default()
        };
        let shown = in_force(&page);
        assert!(!shown.to_string().contains("a word"), "{shown}");
        assert_eq!(shown["settings"]["plugins.a.config.key"]["origin"], "a.toml:1:1");
        assert_eq!(shown["settings"]["plugins.config.path"]["value"], "l.so", "a plugin may be called so");
        assert_eq!(shown["settings"]["routing.wait"]["value"], "2s");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("ääää".to_owned(), 3), "ä\n… cut");
        assert_eq!(cut("a".to_owned(), 3), "a");
    }
}
