//! `config print`, `schema` and `diff`: shows the configuration, for people and for programs.

use std::collections::BTreeMap;

use agent_host_config::{Loaded, Setting, toml_of};
use serde_json::{Value, json};

use crate::{
    cli::{ConfigArgs, DiffArgs, Output, PrintArgs},
    configuration,
    exit::{self, Exit, Failure},
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

/// `config diff`. Two keys that are written into files as plain text are not told apart: neither is shown.
pub(crate) fn diff(args: &DiffArgs) -> Result<(), Failure> {
    let [first, second] = args.profiles.as_slice() else {
        let profiles = args.profiles.len();
        return Err(Failure::new(
            Exit::Usage,
            format!("--profile was given {profiles} times: two profiles are compared"),
        )
        .with_remedy("config diff --profile A --profile B; without --profile, a running host is asked"));
    };
    let load = |profile: &String| {
        let profile = Some(profile.clone());
        let config = args.admin.config.clone().unwrap_or_else(|| "config".into());
        configuration::load(&ConfigArgs { config, profile, overrides: Vec::new() })
    };
    let differences = differences(&load(first)?, &load(second)?);
    match args.admin.output {
        Output::Json => println!("{:#}", json!(differences)),
        Output::Table if differences.is_empty() => println!("{first} and {second} are the same"),
        Output::Table => {
            for (key, [one, other]) in differences {
                println!("{key}\n  {first}: {}\n  {second}: {}", toml_of(&one), toml_of(&other));
            }
        }
    }
    Ok(())
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
