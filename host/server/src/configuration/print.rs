//! `config print`, `schema` and `diff`: shows the configuration, for people and for programs.

use std::{collections::BTreeMap, path::Path};

use agent_host_config::{Loaded, Setting, toml_of};
use agent_host_gateway::admin::view::ChangePage;
use serde_json::{Value, json};

use crate::{
    admin,
    cli::{ConfigArgs, DiffArgs, Output, PrintArgs},
    configuration,
    exit::{self, Failure},
    live,
};

/// `config print`.
pub(crate) fn print(args: &PrintArgs) -> Result<(), Failure> {
    let loaded = configuration::load(&args.config)?;
    let shown = loaded.settings().filter(|setting| args.effective || setting.is_set());
    match args.output {
        Output::Table => {
            let lines: Vec<String> = shown.map(|setting| line(setting, args.show_origin)).collect();
            exit::say(&lines.join("\n"))?;
        }
        Output::Json => {
            let all: serde_json::Map<String, Value> =
                shown.map(|setting| (setting.key.to_owned(), entry(setting, args.show_origin))).collect();
            exit::say(&format!("{:#}", Value::from(all)))?;
        }
    }
    Ok(())
}

/// `config schema`.
pub(crate) fn schema() -> Result<(), Failure> {
    exit::say(&format!("{:#}", agent_host_config::schema()))
}

/// `config diff --profile A --profile B`. Two keys that are written into files as plain text are not told apart: neither is
/// shown.
pub(crate) fn diff(args: &DiffArgs, [first, second]: [&String; 2]) -> Result<(), Failure> {
    let differences = differences(&load(args.folder(), Some(first))?, &load(args.folder(), Some(second))?);
    match args.admin.output {
        Output::Json => exit::say(&format!("{:#}", json!(differences))),
        Output::Table if differences.is_empty() => exit::say(&format!("{first} and {second} are the same")),
        Output::Table => {
            let one = |(key, [one, other]): (&String, &[Value; 2])| {
                format!("{key}\n  {first}: {}\n  {second}: {}", toml_of(one), toml_of(other))
            };
            exit::say(&differences.iter().map(one).collect::<Vec<_>>().join("\n"))
        }
    }
}

/// `config diff --edited DIR`: what the copy would change if it took the folder's place. Nobody is asked, so that it can be
/// said where no host runs; a host takes its files up by itself, so what they say is what is in force.
pub(crate) fn edited(args: &DiffArgs, edited: &Path, profile: Option<&String>) -> Result<(), Failure> {
    let (now, then) = (load(args.folder(), profile)?, load(edited, profile)?);
    let changes = live::differences(&now, &then);
    let page = ChangePage { etag: String::new(), changes, warnings: configuration::warnings(&then.config) };
    match args.admin.output {
        Output::Json => {
            exit::say(&format!("{:#}", json!({ "changes": page.changes, "warnings": page.warnings })))
        }
        Output::Table => exit::say(&admin::config::changes(&page, "the two say the same")),
    }
}

fn load(folder: &Path, profile: Option<&String>) -> Result<Loaded, Failure> {
    let args = ConfigArgs { config: folder.to_owned(), profile: profile.cloned(), overrides: Vec::new() };
    configuration::load(&args)
}

fn differences(one: &Loaded, other: &Loaded) -> BTreeMap<String, [Value; 2]> {
    let keys = one.values.keys().chain(other.values.keys());
    let value = |of: &Loaded, key: &String| of.values.get(key).cloned().unwrap_or(Value::Null);
    let pairs = keys.map(|key| (key.clone(), [value(one, key), value(other, key)]));
    pairs.filter(|(_, [one, other])| one != other).collect()
}

/// `key = value`, which is TOML; the origin is a comment.
fn line(setting: Setting<'_>, with_origin: bool) -> String {
    let assignment = match setting.value {
        Value::Null => format!("#{} =", setting.key),
        value => format!("{} = {}", setting.key, toml_of(value)),
    };
    if with_origin { format!("{assignment:<50}  # {}", setting.origin) } else { assignment }
}

fn entry(setting: Setting<'_>, with_origin: bool) -> Value {
    if with_origin {
        json!({ "value": setting.value, "origin": setting.origin.to_string() })
    } else {
        setting.value.clone()
    }
}
