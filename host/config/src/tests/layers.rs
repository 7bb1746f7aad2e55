//! Which layer wins, and what each value's origin is.

use std::{fs, time::Duration};

use agent_plugin_protocol::PluginId;

use super::{Given, SECRET};
use crate::{ByteSize, DefaultProtocol, Sources, known_keys, load};

const ECHO: (&str, &str) = ("plugins.d/echo.toml", "[plugins.echo]\npath = \"libecho.so\"\n");

fn id(text: &str) -> PluginId {
    PluginId::new(text).unwrap()
}

#[test]
fn each_layer_wins_over_the_one_before() {
    let check = |given: &Given, grace: u64, origin: &str| {
        assert_eq!(given.loaded().config.drain.grace, Duration::from_secs(grace));
        assert_eq!(given.origin("drain.grace"), origin);
    };
    check(&Given::files(&[("host.toml", "")]), 8, "default");

    let files = [
        ("host.toml", "[drain]\ngrace = \"1s\"\n"),
        ("plugins.d/a.toml", "[drain]\ngrace = \"2s\"\n"),
        ("plugins.d/b.toml", "[drain]\n\ngrace = \"3s\"\n"),
        ("busy.toml", "drain.grace = \"4s\"\n"),
    ];
    check(&Given::files(&files[..1]), 1, "host.toml:2:9");
    check(&Given::files(&files[..2]), 2, "plugins.d/a.toml:2:9");
    check(&Given::files(&files), 3, "plugins.d/b.toml:3:9");
    check(&Given::files(&files).profile("busy"), 4, "busy.toml:1:15");
    check(&Given::files(&files).env("AGENT_HOST_PROFILE", "busy"), 4, "busy.toml:1:15");

    let variable = "AGENT_HOST__DRAIN__GRACE";
    let with_env = Given::files(&files).profile("busy").env(variable, "5s");
    check(&with_env, 5, "variable AGENT_HOST__DRAIN__GRACE");
    check(&with_env.set("drain.grace", "6s"), 6, "command line (drain.grace)");
}

#[test]
fn tables_merge_key_by_key() {
    let given = Given::files(&[
        ("host.toml", "[limits]\nruns_at_once = 2\n"),
        (
            "plugins.d/echo.toml",
            "[plugins.echo]\npath = \"l.so\"\ntimeouts = { run = \"1m\", tool = \"3s\" }\n",
        ),
        ("slow.toml", "[plugins.echo.timeouts]\nrun = \"2m\"\n"),
    ]);
    let config = given.profile("slow").env("AGENT_HOST__LIMITS__CONNECTIONS", "7").loaded().config;
    let timeouts = config.plugins[&id("echo")].timeouts;
    assert_eq!((timeouts.run, timeouts.tool), (Duration::from_secs(120), Duration::from_secs(3)));
    assert_eq!((config.limits.connections, config.limits.runs_at_once), (Some(7), Some(2)));
}

#[test]
fn a_later_layer_s_signing_key_replaces_both_spellings() {
    let check = |host: &str, profile: &str, expected: &[&str]| {
        let given = Given::files(&[("host.toml", host), ("p.toml", profile)]).without_env().profile("p");
        let keys =
            given.env("A", &"a".repeat(32)).env("B", &"b".repeat(32)).loaded().config.auth.hs256_secrets;
        let expected: Vec<String> = expected.iter().map(|letter| letter.repeat(32)).collect();
        assert_eq!(keys.iter().map(|key| key.expose().to_owned()).collect::<Vec<_>>(), expected);
    };
    let one = |name: &str| format!("[auth]\nhs256_secret = {{ env = \"{name}\" }}\n");
    let many = "[auth]\nhs256_secrets = [{ env = \"A\" }, { env = \"B\" }]\n";
    check(&one("A"), "", &["a"]);
    check(&one("A"), &one("B"), &["b"]);
    check(&one("A"), many, &["a", "b"]);
    check(many, &one("B"), &["b"]);
    check(&one("A"), "[auth]\nhs256_secrets = []\njwks_url = \"https://issuer.example/keys\"\n", &[]);
}

#[test]
fn a_secret_comes_from_a_file_without_its_line_break_and_shows_nowhere() {
    let host = "[auth]\nhs256_secret = { file = \"keys/a\" }\n";
    let given = Given::files(&[("host.toml", host), ("keys/a", &format!("{SECRET}\n"))]).without_env();
    let loaded = given.loaded();
    assert_eq!(loaded.config.auth.hs256_secrets[0].expose(), SECRET);
    assert!(!format!("{loaded:?}").contains(SECRET));
}

#[test]
fn an_empty_audience_means_unchecked() {
    let host = ("host.toml", "[auth]\naudience = \"agent-host\"\n");
    let given = Given::files(&[host, ("open.toml", "[auth]\naudience = \"\"\n")]);
    assert_eq!(given.loaded().config.auth.audience.as_deref(), Some("agent-host"));
    assert_eq!(given.profile("open").loaded().config.auth.audience, None);
}

#[test]
fn port_overrides_the_port_alone() {
    let given = Given::files(&[("host.toml", "gateway.listen = \"0.0.0.0:1\"\n")]).env("PORT", "9000");
    assert_eq!(given.loaded().config.gateway.listen.to_string(), "0.0.0.0:9000");
    assert_eq!(given.origin("gateway.listen"), "variable PORT");
    let forced = given.set("gateway.listen", "127.0.0.1:2");
    assert_eq!(forced.loaded().config.gateway.listen.to_string(), "127.0.0.1:2");
}

#[test]
fn a_variable_is_read_as_its_key_s_type() {
    let plugin = "[plugins.my-agent]\npath = \"l.so\"\n[plugins.my-agent.config]\nmodel = \"a\"\nkept = 1\n";
    let given = Given::files(&[("host.toml", plugin)])
        .env("AGENT_HOST__PLUGINS__MY_AGENT__ENABLED", "false")
        .env("AGENT_HOST__PLUGINS__MY_AGENT__TOOLS", "clock, web")
        .env("AGENT_HOST__PLUGINS__MY_AGENT__REQUIRES", "[\"llm\"]")
        .env("AGENT_HOST__PLUGINS__MY_AGENT__LIMITS__MEMORY", "1GiB")
        .env("AGENT_HOST__PLUGINS__MY_AGENT__CONFIG__MODEL", "b")
        .env("AGENT_HOST__PLUGINS__MY_AGENT__CONFIG__DEEP__NUMBER", "7")
        .env("AGENT_HOST__PLUGINS__MY_AGENT__SECRETS__API_KEY", "sesame")
        .env("AGENT_HOST__GATEWAY__NETRA__V2", "true")
        .env("AGENT_HOST__GATEWAY__DEFAULT_PROTOCOL", "netra-v1")
        .env("AGENT_HOST__AUTH__ISSUER", "1234");
    let config = given.loaded().config;
    let plugin = &config.plugins[&id("my-agent")];
    assert!(!plugin.enabled);
    assert_eq!((plugin.tools.join("+"), plugin.requires.join("+")), ("clock+web".into(), "llm".into()));
    assert_eq!(plugin.limits.memory, Some(ByteSize::gib(1)));
    assert_eq!(plugin.config, serde_json::json!({"model": "b", "kept": 1, "deep": {"number": 7}}));
    assert_eq!(plugin.secrets["api_key"].as_ref().unwrap().expose(), "sesame");
    assert!(config.gateway.netra.v2);
    assert_eq!(config.gateway.default_protocol, DefaultProtocol::NetraV1);
    assert_eq!(config.auth.issuer.as_deref(), Some("1234"));
}

#[test]
fn tenants_are_named_by_their_operator_in_any_layer() {
    let given = Given::files(&[
        ("host.toml", "[store]\ntenant_retention = { acme = \"30d\", \"a b\" = \"1h\" }\n"),
        ("p.toml", "[store.tenant_retention]\nacme = \"0s\"\n"),
    ]);
    let loaded = given.profile("p").load().expect("it is right");
    let kept: Vec<(&str, u64)> = loaded
        .config
        .store
        .tenant_retention
        .iter()
        .map(|(name, kept)| (name.as_str(), kept.as_secs()))
        .collect();
    assert_eq!(kept, [("a b", 3600), ("acme", 0)]);
}

#[test]
fn zero_switches_a_limit_off() {
    let given = Given::files(&[("host.toml", "[limits]\nmessages_per_minute = 0\nframe_bytes = 0\n")]);
    let limits = given.loaded().config.limits;
    assert_eq!((limits.messages_per_minute, limits.frame_bytes), (None, None));
    assert_eq!(limits.runs_at_once, Some(4));
}

#[test]
fn the_built_in_defaults_need_a_key_and_nothing_else() {
    let overrides = vec![("auth.hs256_secret".to_owned(), SECRET.to_owned())];
    let loaded = load(Sources { overrides, ..Sources::default() }).unwrap();
    assert!(loaded.config.plugins.is_empty());
    assert_eq!(loaded.config.gateway.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(loaded.config.admin.listen.to_string(), "127.0.0.1:9901");
    let errors = load(Sources::default()).unwrap_err();
    assert_eq!(errors.iter().count(), 1, "{errors}");
}

#[test]
fn a_library_is_looked_for_in_the_folder_then_beside_the_host() {
    let check = |written: &str, present: &[&str], expected: &str| {
        let host = format!("[plugins.a]\npath = \"{written}\"\n");
        let mut given = Given::files(&[("c/host.toml", &host)]);
        let root = given.dir.path().to_owned();
        for file in present {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        given.sources.dir = Some(root.join("c"));
        given.sources.beside = Some(root.join("bin"));
        let path = given.loaded().config.plugins[&id("a")].path.clone();
        assert_eq!(path, root.join(expected), "{written} with {present:?}");
    };
    check("liba.so", &[], "c/plugins/liba.so");
    check("liba.so", &["bin/liba.so"], "bin/liba.so");
    check("liba.so", &["bin/liba.so", "c/plugins/liba.so"], "c/plugins/liba.so");
    check("./liba.so", &["bin/liba.so"], "c/./liba.so");
    check("../x/liba.so", &[], "c/../x/liba.so");
    check("/opt/liba.so", &[], "/opt/liba.so");
}

#[test]
fn a_plugin_s_missing_secret_is_the_plugin_s_fault() {
    let host = "[plugins.a]\npath = \"l.so\"\n[plugins.a.secrets]\nkey = { env = \"NOT_SET\" }\n";
    let config = Given::files(&[("host.toml", host)]).loaded().config;
    assert_eq!(config.plugins[&id("a")].secrets["key"], None);
}

#[test]
fn hidden_and_other_files_are_not_read() {
    let given = Given::files(&[
        ("host.toml", ""),
        ECHO,
        ("plugins.d/.echo.toml", "broken ="),
        ("plugins.d/echo.toml.bak", "broken ="),
    ]);
    let names: Vec<String> =
        given.loaded().files.iter().map(|file| given.short(&file.display().to_string())).collect();
    assert_eq!(names, ["host.toml", "plugins.d/echo.toml"]);
}

#[test]
fn every_known_key_has_an_origin_when_it_is_read() {
    let origins = Given::files(&[("host.toml", ""), ECHO]).loaded().origins;
    for key in known_keys() {
        let path = key.path.replace("<id>", "echo");
        assert!(path.contains('*') || origins.contains_key(&path), "{path}");
    }
}
