//! What is shown of a configuration: its values and origins without secrets, and the schema of its files.

use std::{fs, path::PathBuf};

use agent_host_core::share::Share;
use agent_plugin_protocol::PluginId;
use serde_json::{Value, json};

use super::{Given, SECRET, shipped::switched_on};
use crate::{
    parse_duration, schema,
    section::UID_RANGE_PATTERN,
    toml_of,
    value::{
        ID_PATTERN,
        quantity::{DURATION_PATTERN, SHARE_PATTERN, SIZE_PATTERN},
    },
};

#[test]
fn every_value_is_shown_with_its_origin() {
    let given = Given::files(&[
        ("host.toml", "[drain]\ngrace = \"60s\"\n[store]\npath = \"s\"\n"),
        ("plugins.d/a.toml", "[plugins.a]\npath = \"/l.so\"\n[plugins.a.config]\nm.x = 1\nm.y = [true]\n"),
    ]);
    let given =
        given.env("AGENT_HOST__PLUGINS__A__CONFIG__M__X", "2").env("PORT", "81").set("log.level", "debug");
    let loaded = given.loaded();
    let shown = |key: &str| {
        let setting =
            loaded.settings().find(|setting| setting.key == key).unwrap_or_else(|| panic!("no {key}"));
        given.short(&format!("{} # {}", toml_of(setting.value), setting.origin))
    };
    assert_eq!(shown("drain.grace"), "\"1m\" # host.toml:2:9");
    assert_eq!(shown("gateway.listen"), "\"127.0.0.1:81\" # variable PORT");
    assert_eq!(shown("log.level"), "\"debug\" # command line (log.level)");
    assert_eq!(shown("limits.frame_bytes"), "\"64KiB\" # default");
    assert_eq!(shown("routing.order"), "[] # default");
    assert_eq!(shown("routing.supervisor"), "(none) # default");
    assert_eq!(shown("store.path"), "\"s\" # host.toml:4:8");
    assert_eq!(shown("plugins.a.config.m.x"), "2 # variable AGENT_HOST__PLUGINS__A__CONFIG__M__X");
    assert_eq!(shown("plugins.a.config.m.y"), "[true] # plugins.d/a.toml:5:7");
    assert_eq!(shown("plugins.a.limits.memory"), "\"512MiB\" # default");
    assert!(!loaded.values.contains_key("plugins.a.config"), "it is shown by its parts");
}

#[test]
fn no_secret_is_shown() {
    let inline = "an-inline-secret-that-must-not-be-shown";
    let plugin = format!(
        "[plugins.a]\npath = \"/l.so\"\n[plugins.a.secrets]\none = \"{inline}\"\ntwo = {{ env = \"TWO\" }}\n"
    );
    let given = Given::files(&[("host.toml", ""), ("plugins.d/a.toml", &plugin)]).env("TWO", inline);
    let loaded = given.loaded();
    let all = format!("{:?} {loaded:?}", loaded.values);
    assert!(!all.contains(inline) && !all.contains(SECRET), "{all}");
    assert_eq!(loaded.values["plugins.a.secrets.one"], "<redacted>");
    assert_eq!(loaded.values["plugins.a.secrets.two"], json!({ "env": "TWO" }));
    assert_eq!(loaded.values["auth.hs256_secret"], "<redacted>");
}

/// The part of JSON schema that ours uses; another keyword fails the test.
fn objections(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, rule) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$schema" | "title" | "description" => true,
            "type" => match rule.as_str().unwrap() {
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_i64() || value.is_u64(),
                "array" => value.is_array(),
                "object" => value.is_object(),
                other => panic!("the type {other}"),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text)),
            "anyOf" => rule.as_array().unwrap().iter().any(|one| objections(one, value, at).is_empty()),
            "required" => {
                rule.as_array().unwrap().iter().all(|key| value.get(key.as_str().unwrap()).is_some())
            }
            "items" => {
                let items = value.as_array().into_iter().flatten();
                found.extend(items.flat_map(|item| objections(rule, item, at)));
                true
            }
            "properties" | "patternProperties" | "additionalProperties" => true,
            other => panic!("the keyword {other}"),
        };
        if !holds {
            found.push(format!("{at}: {keyword} {rule}, not {value}"));
        }
    }
    for (key, below) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{key}");
        let by_pattern =
            || schema["patternProperties"].as_object()?.iter().find(|(name, _)| matches(name, key));
        let rule = schema["properties"].get(key).or_else(|| by_pattern().map(|(_, rule)| rule));
        match rule.or(schema.get("additionalProperties")) {
            Some(Value::Bool(false)) => found.push(format!("{at} is unknown")),
            Some(rule) => found.extend(objections(rule, below, &at)),
            None => {}
        }
    }
    found
}

/// The patterns that the schema uses, by what they stand for.
fn matches(pattern: &str, text: &str) -> bool {
    let unit = |units: &[&str]| {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        split > 0 && units.contains(&text[split..].trim_start())
    };
    match pattern {
        DURATION_PATTERN => parse_duration(text).is_some(),
        SIZE_PATTERN => unit(&["GiB", "MiB", "KiB", "GB", "MB", "kB", "B"]),
        SHARE_PATTERN => Share::parse(text).is_some(),
        ID_PATTERN => PluginId::new(text).is_ok(),
        _ => text.split_once('-').is_some_and(|(first, last)| {
            pattern == UID_RANGE_PATTERN
                && first.trim().parse::<u32>().is_ok()
                && last.trim().parse::<u32>().is_ok()
        }),
    }
}

fn judge(text: &str) -> Vec<String> {
    objections(&schema(), &toml::from_str(text).unwrap(), "")
}

#[test]
fn every_shipped_file_validates_by_the_schema() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config"));
    let plugins = fs::read_dir(folder.join("plugins.d")).unwrap();
    let files = fs::read_dir(&folder).unwrap().chain(plugins).map(|entry| entry.unwrap().path());
    let files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        assert_eq!(judge(&fs::read_to_string(&file).unwrap()), Vec::<String>::new(), "{}", file.display());
    }
    // With every key that there is.
    assert_eq!(judge(&switched_on(&["#~ ", "#"])), Vec::<String>::new());
}

#[test]
fn the_schema_refuses_what_the_host_refuses() {
    for text in [
        "ordr = 1",
        "[drain]\ngrce = \"1s\"",
        "[drain]\ngrace = 8",
        "[drain]\ngrace = \"8 fortnights\"",
        "[log]\nlevel = \"loud\"",
        "[limits]\nframe_bytes = \"64 kibibytes\"",
        "[limits]\nruns_at_once = -1",
        "[limits]\nruns_at_once = 100001",
        "[plugins.Echo]\npath = \"l.so\"",
        "[plugins.echo]\nenabeld = true",
        "[plugins.echo.timeouts]\nrun = 5",
        "[plugins.echo.secrets]\nkey = { env = \"A\", file = \"b\" }",
        "[plugins.echo.secrets]\nkey = { enf = \"A\" }",
        "[routing]\norder = [\"Not An Id\"]",
        "[auth]\nhs256_secrets = \"one\"",
    ] {
        assert!(!judge(text).is_empty(), "{text:?} is allowed");
    }
    for text in [
        "[plugins.echo.config]\nanything = { at = [\"all\"] }",
        "[limits]\nruns_at_once = 0",
        "[limits]\nframe_bytes = 2048",
    ] {
        assert_eq!(judge(text), Vec::<String>::new(), "{text:?}");
    }
}
