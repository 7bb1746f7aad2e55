//! The shipped configuration: every key is in `host.toml`, its defaults are the real ones, and each profile loads.

use std::{fs, path::PathBuf};

use super::{Given, SECRET};
use crate::{Config, DefaultProtocol, Durability, Origin, Sources, known_keys, load};

fn shipped() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config"))
}

/// `host.toml` with some of its switched-off lines switched on.
pub(super) fn switched_on(marks: &[&str]) -> String {
    let text = fs::read_to_string(shipped().join("host.toml")).unwrap();
    let switched = |line: &str| {
        let on = marks.iter().find_map(|mark| line.strip_prefix(mark));
        on.filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
            .unwrap_or(line)
            .to_owned()
    };
    text.lines().map(|line| switched(line) + "\n").collect()
}

fn with_profile(profile: Option<&str>) -> Config {
    let env = vec![("AGENT_HOST_SECRET".to_owned(), SECRET.to_owned())];
    let profile = profile.map(str::to_owned);
    let sources = Sources { dir: Some(shipped()), profile, env, ..Sources::default() };
    load(sources).unwrap_or_else(|errors| panic!("{errors}")).config
}

#[test]
fn the_switched_off_defaults_are_the_built_in_ones() {
    let shown = Given::files(&[("host.toml", &switched_on(&["#"]))]).env("AGENT_HOST__AUTH__AUDIENCE", "");
    let shown = shown.env("AGENT_HOST__STORE__PATH", "/s").loaded().config;
    let built_in = Given::files(&[("host.toml", "")]).env("AGENT_HOST__STORE__PATH", "/s").loaded().config;
    assert_eq!(shown, built_in);
}

#[test]
fn every_known_key_is_in_the_shipped_file() {
    let text = switched_on(&["#~ ", "#"]);
    // Two spellings of one thing cannot both be switched on.
    let keys: String = text
        .lines()
        .filter(|line| !line.starts_with("hs256_secrets "))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(keys.len() < text.len());
    let plugin = "\n[plugins.supervisor]\nkind = \"supervisor\"\npath = \"l.so\"\n";
    let given = Given::files(&[("host.toml", &format!("{keys}{plugin}"))]).without_env();
    let given = given.env("AGENT_HOST_SECRET", SECRET).env("AGENT_HOST_ADMIN_SECRET", &SECRET.to_uppercase());
    let loaded = given.loaded();
    for key in known_keys() {
        let path = key.path.replace("<id>", "example");
        let shown = matches!(loaded.origins.get(&path), Some(Origin::File(_)));
        assert!(
            shown || path.ends_with(".hs256_secrets") || path.contains('*'),
            "{path} is not in host.toml"
        );
    }
    let example = loaded.config.plugins.iter().find(|(id, _)| id.as_str() == "example").unwrap().1;
    assert_eq!(example.secrets.keys().collect::<Vec<_>>(), ["billing_key"]);
}

#[test]
fn the_example_plugin_shows_the_built_in_defaults() {
    let host = switched_on(&["#~ "]);
    let plugin =
        &host[host.find("[plugins.example]").unwrap()..host.find("[plugins.example.secrets]").unwrap()];
    let load = |text: &str| {
        let config = Given::files(&[("host.toml", text)]).loaded().config;
        let mut plugin = config.plugins.into_values().next().unwrap();
        (plugin.sha256, plugin.path) = (None, PathBuf::new());
        plugin
    };
    assert_eq!(load(plugin), load("[plugins.example]\npath = \"libexample.so\"\n"));
}

#[test]
fn each_profile_loads_and_is_what_it_says() {
    let host = with_profile(None);
    assert_eq!(host.auth.audience.as_deref(), Some("agent-host"));
    let shipped = host.plugins.iter().map(|(id, plugin)| (id.as_str(), plugin.enabled, plugin.tools.len()));
    assert_eq!(
        shipped.collect::<Vec<_>>(),
        [("assistant", true, 2), ("echo", true, 1), ("supervisor", false, 2)]
    );
    assert_eq!(host.routing.order.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["echo"]);

    let staging = with_profile(Some("staging"));
    assert_eq!(staging.auth.audience, None);
    assert_eq!(staging.gateway.default_protocol, DefaultProtocol::NetraV1);
    assert_eq!(staging.store.durability, Durability::Ephemeral);

    let production = with_profile(Some("production"));
    assert_eq!(production.auth.audience.as_deref(), Some("agent-host"));
    assert_eq!(production.plugins.keys().collect::<Vec<_>>(), staging.plugins.keys().collect::<Vec<_>>());
}

#[test]
fn no_shipped_file_holds_a_secret() {
    let plugins = ["plugins.d/assistant.toml", "plugins.d/echo.toml", "plugins.d/supervisor.toml"];
    for name in ["host.toml", "staging.toml", "production.toml"].into_iter().chain(plugins) {
        let text = fs::read_to_string(shipped().join(name)).unwrap();
        for line in text.lines() {
            let Some((key, value)) = line.trim_start_matches("#~ ").split_once(" = ") else { continue };
            let inline = value.starts_with('"') || value.starts_with("[\"");
            let names_secret = key.contains("secret") && !key.contains(' ');
            assert!(!(names_secret && inline), "{name}: {line}");
        }
    }
}
