//! Finds the key that a variable or a command line override names, and reads its text.

use std::sync::Arc;

use agent_plugin_protocol::Code;
use toml::de::DeValue;

use crate::{
    error::{ConfigError, did_you_mean},
    node::{self, From, Kind, Node, Table},
    origin::Origin,
    reader::Key,
    section::known_keys,
    value::Style,
};

/// What a variable must begin with to be a configuration key.
pub(crate) const PREFIX: &str = "AGENT_HOST__";

/// The layer of the environment: every `AGENT_HOST__…` variable, which must name a key.
pub(crate) fn environment(env: &[(String, String)], files: &Table, errors: &mut Vec<ConfigError>) -> Table {
    let keys = known_keys();
    let plugins = plugin_names(files);
    let mut layer = Table::default();
    for (name, text) in env.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        let origin = Origin::Variable(name.as_str().into());
        match find(&segments_of_variable(name, &plugins), &keys, &plugins) {
            Some((path, style)) => layer.insert(&path, read(text, style, &origin)),
            None => errors.push(ConfigError {
                code: Code::ConfigUnknownVariable,
                key: String::new(),
                reason: format!("{} names no key", printable(name)),
                hint: variable_meant(name, &keys, &plugins),
                origin,
            }),
        }
    }
    layer
}

/// The layer of the command line: dotted keys and their text.
pub(crate) fn command_line(
    overrides: &[(String, String)],
    files: &Table,
    errors: &mut Vec<ConfigError>,
) -> Table {
    let keys = known_keys();
    let plugins = plugin_names(files);
    let mut layer = Table::default();
    for (key, text) in overrides {
        let origin = Origin::CommandLine(Arc::from(printable(key)));
        let segments: Vec<String> = key.split('.').map(str::to_owned).collect();
        match find(&segments, &keys, &plugins) {
            Some((path, style)) => layer.insert(&path, read(text, style, &origin)),
            None => errors.push(ConfigError {
                code: Code::ConfigUnknownKey,
                key: key.clone(),
                reason: format!("there is no key `{}`", printable(key)),
                hint: did_you_mean(key, keys.iter().map(|key| key.path.as_str())),
                origin,
            }),
        }
    }
    layer
}

/// The value that a variable's text stands for.
fn read(text: &str, style: Style, origin: &Origin) -> Node {
    let plain = || Node { origin: origin.clone(), kind: Kind::Text(text.to_owned()) };
    let toml = || DeValue::parse(text.trim()).ok().map(|value| node::node(&value, &From::Origin(origin)));
    match style {
        Style::Text => plain(),
        Style::Scalar => {
            let is_scalar = |kind: &Kind| {
                matches!(kind, Kind::Integer(_) | Kind::Huge(_) | Kind::Bool(_) | Kind::Float(_))
            };
            toml().filter(|node| is_scalar(&node.kind)).unwrap_or_else(plain)
        }
        Style::List if text.trim_start().starts_with('[') => toml().unwrap_or_else(plain),
        Style::List => Node { origin: origin.clone(), kind: Kind::List(words(text, origin)) },
        Style::Secret if text.trim_start().starts_with('{') => toml().unwrap_or_else(plain),
        Style::Secret => plain(),
        Style::Secrets if text.trim_start().starts_with('[') => toml().unwrap_or_else(plain),
        Style::Secrets => Node { origin: origin.clone(), kind: Kind::List(vec![plain()]) },
        Style::Free => toml().unwrap_or_else(plain),
    }
}

fn words(text: &str, origin: &Origin) -> Vec<Node> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| Node { origin: origin.clone(), kind: Kind::Text(word.to_owned()) }).collect()
}

/// `AGENT_HOST__PLUGINS__MY_AGENT__ENABLED` → `plugins`, `my-agent`, `enabled`. Keys are in capitals in a variable;
/// another spelling gives a segment that no key has.
fn segments_of_variable(name: &str, plugins: &[String]) -> Vec<String> {
    let mut segments: Vec<String> = name[PREFIX.len()..]
        .split("__")
        .map(|segment| {
            let capitals = !segment.chars().any(|c| c.is_ascii_lowercase());
            if capitals { segment.to_ascii_lowercase() } else { segment.to_ascii_uppercase() }
        })
        .collect();
    if let [section, id, ..] = segments.as_mut_slice()
        && section == "plugins"
        && let Some(plugin) = plugins.iter().find(|plugin| plugin.replace('-', "_") == *id)
    {
        id.clone_from(plugin);
    }
    segments
}

/// The known key of these segments. Only plugins that a file configures have keys.
fn find(segments: &[String], keys: &[Key], plugins: &[String]) -> Option<(Vec<String>, Style)> {
    let fits = |key: &&Key| {
        let mut pattern = key.path.split('.');
        let mut given = segments.iter();
        loop {
            match (pattern.next(), given.next()) {
                (None, None) => return true,
                (Some("**"), Some(first)) => return !first.is_empty() && given.all(|rest| !rest.is_empty()),
                (Some("*"), Some(name)) if !name.is_empty() => {}
                (Some("<id>"), Some(id)) if plugins.contains(id) => {}
                (Some(word), Some(segment)) if word == segment => {}
                (Some(_), Some(_) | None) | (None, Some(_)) => return false,
            }
        }
    };
    keys.iter().find(fits).map(|key| (segments.to_vec(), key.style))
}

fn variable_meant(name: &str, keys: &[Key], plugins: &[String]) -> Option<String> {
    let rest = &name[PREFIX.len()..];
    let meant = did_you_mean(rest, variables(keys, plugins).iter().map(String::as_str));
    let plugin = || {
        rest.starts_with("PLUGINS__").then(|| "a plugin's variables need a file that configures it".into())
    };
    meant.map(|meant| meant.replacen('`', &format!("`{PREFIX}"), 1)).or_else(plugin)
}

/// Every variable there could be, without the prefix, for "did you mean".
fn variables(keys: &[Key], plugins: &[String]) -> Vec<String> {
    let variable = |path: &str| path.replace('.', "__").replace('-', "_").to_ascii_uppercase();
    keys.iter()
        .flat_map(|key| {
            if key.path.contains("<id>") {
                plugins.iter().map(|id| variable(&key.path.replace("<id>", id))).collect()
            } else {
                vec![variable(&key.path)]
            }
        })
        .collect()
}

fn plugin_names(files: &Table) -> Vec<String> {
    files.table("plugins").map(|plugins| plugins.0.keys().cloned().collect()).unwrap_or_default()
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(120).collect()
}
