//! Every way to be wrong that we know: the code, the place and the hint of each.

use super::{Given, SECRET};
use crate::{ConfigErrors, Sources, load};

/// The errors, one a line: `code place: reason | hint`.
fn lines(given: &Given) -> String {
    let errors = given.load().expect_err("the configuration is wrong");
    let line = |error: &crate::ConfigError| {
        let hint = error.hint.as_deref().unwrap_or("-");
        given.short(&format!("{} {}: {} | {hint}\n", error.code, error.origin, error.reason))
    };
    errors.iter().map(line).collect()
}

fn host(text: &str) -> String {
    lines(&Given::files(&[("host.toml", text)]))
}

/// A plugin's table after its `path`, so that the text begins in line 3.
fn plugin(text: &str) -> String {
    host(&format!("[plugins.echo]\npath = \"libecho.so\"\n{text}"))
}

fn variable(name: &str, value: &str) -> String {
    let files = [("host.toml", "[plugins.my-echo]\npath = \"l.so\"\n")];
    lines(&Given::files(&files).env(name, value))
}

/// The expected lines may be indented.
fn check(found: &str, expected: &str) {
    let expected: String = expected.trim().lines().map(|line| format!("{}\n", line.trim())).collect();
    assert_eq!(found, expected, "found:\n{found}");
}

macro_rules! cases {
    ($($name:ident: $lines:expr => $expected:literal;)*) => {$(
        #[test]
        fn $name() {
            check(&$lines, $expected);
        }
    )*};
}

cases! {
    unknown_section: host("[gatway]\nlisten = \"1\"\n") =>
        r#"config.unknown_key host.toml:1:2: there is no key `gatway` at the top | did you mean `gateway`?"#;
    unknown_key: host("[drain]\ngracee = \"8s\"\n") =>
        r#"config.unknown_key host.toml:2:1: there is no key `gracee` in `drain` | did you mean `grace`?"#;
    unknown_key_at_the_top: host("verison = 1\n") =>
        r#"config.unknown_key host.toml:1:1: there is no key `verison` at the top | did you mean `version`?"#;
    key_of_another_section: host("[drain]\nwait = \"8s\"\n") =>
        r#"config.unknown_key host.toml:2:1: there is no key `wait` in `drain` | did you mean `routing.wait`?"#;
    unknown_key_unlike_any: host("[drain]\nxylophone = 1\n") =>
        r#"config.unknown_key host.toml:2:1: there is no key `xylophone` in `drain` | known here: grace"#;
    unknown_key_in_an_inline_table: host("gateway = { netra = { v3 = true } }\n") =>
        r#"config.unknown_key host.toml:1:23: there is no key `v3` in `gateway.netra` | did you mean `v2`?"#;
    unknown_plugin_key: plugin("isolaton = \"process\"\n") =>
        r#"config.unknown_key host.toml:3:1: there is no key `isolaton` in `plugins.echo` | did you mean `isolation`?"#;
    unknown_plugin_timeout: plugin("timeouts = { runs = \"1m\" }\n") =>
        r#"config.unknown_key host.toml:3:14: there is no key `runs` in `plugins.echo.timeouts` | did you mean `run`?"#;
    unknown_limit: host("[limits]\nconnexions = 1\n") =>
        r#"config.unknown_key host.toml:2:1: there is no key `connexions` in `limits` | did you mean `connections`?"#;
    several_at_once: host("[drain]\ngrace = 8\n[log]\nlevel = \"inof\"\n[chaos]\nenabeld = true\n") => r#"
        config.type host.toml:2:9: `drain.grace` should be a duration such as "250ms", "5s" or "10m", not an integer | write the unit: ms, s, m, h or d, as in "5s"
        config.range host.toml:4:9: `log.level` is "inof"; it may be one of "error", "warn", "info", "debug", "trace" | did you mean `info`?
        config.unknown_key host.toml:6:1: there is no key `enabeld` in `chaos` | did you mean `enabled`?
    "#;
    dashes_for_underscores: host("[trust]\nrequire-pin = true\n") =>
        r#"config.unknown_key host.toml:2:1: there is no key `require-pin` in `trust` | did you mean `require_pin`?"#;

    no_table_of_tenants: host("[store]\ntenant_retention = \"30d\"\n") =>
        r#"config.type host.toml:2:20: `store.tenant_retention` should be a table; each entry is a duration such as "250ms", "5s" or "10m", not text | write { NAME = … }"#;
    a_tenant_without_a_unit: host("[store]\ntenant_retention = { acme = 30 }\n") =>
        r#"config.type host.toml:2:29: `store.tenant_retention` has "acme", which should be a duration such as "250ms", "5s" or "10m", not an integer | write the unit: ms, s, m, h or d, as in "5s""#;
    a_tenant_s_threads_for_ever: host("[store.tenant_retention]\nacme = \"9999d\"\n") =>
        r#"config.range host.toml:2:8: `store.tenant_retention` is 9999d for "acme"; it may be 0s to 3660d | -"#;
    text_for_a_number: host("[limits]\nconnections = \"many\"\n") =>
        r#"config.type host.toml:2:15: `limits.connections` should be a whole number, not text | -"#;
    number_for_a_truth: host("[chaos]\nenabled = 1\n") =>
        r#"config.type host.toml:2:11: `chaos.enabled` should be true or false, not an integer | -"#;
    text_for_a_truth: plugin("enabled = \"yes\"\n") =>
        r#"config.type host.toml:3:11: `plugins.echo.enabled` should be true or false, not text | -"#;
    value_for_a_section: host("drain = \"8s\"\n") =>
        r#"config.type host.toml:1:9: `drain` should be a table, not text | -"#;
    section_for_a_value: host("[drain.grace]\nseconds = 8\n") =>
        r#"config.type host.toml:1:1: `drain.grace` should be a duration such as "250ms", "5s" or "10m", not a table | write the unit: ms, s, m, h or d, as in "5s""#;
    number_for_a_duration: host("[drain]\ngrace = 8\n") =>
        r#"config.type host.toml:2:9: `drain.grace` should be a duration such as "250ms", "5s" or "10m", not an integer | write the unit: ms, s, m, h or d, as in "5s""#;
    text_for_a_list: plugin("tools = \"clock\"\n") =>
        r#"config.type host.toml:3:9: `plugins.echo.tools` should be a list, not text | put it in brackets: ["…"]"#;
    number_in_a_list_of_text: plugin("tools = [\"clock\",\n  7]\n") =>
        r#"config.type host.toml:4:3: `plugins.echo.tools` should be text, not an integer | -"#;
    list_for_a_plugin_s_config: plugin("config = [1]\n") =>
        r#"config.type host.toml:3:10: `plugins.echo.config` should be a table, not a list | -"#;
    value_for_a_plugin: host("[plugins]\necho = true\n") =>
        r#"config.type host.toml:2:8: `plugins.echo` should be a table, not true or false | -"#;
    two_tables_for_a_plugin: host("[[plugins.echo]]\npath = \"a\"\n") =>
        r#"config.type host.toml:1:1: `plugins.echo` should be a table, not a list | -"#;
    date_for_text: host("[auth]\nissuer = 2025-01-01\n") =>
        r#"config.type host.toml:2:10: `auth.issuer` should be text, not a date | -"#;
    no_address: host("[gateway]\nlisten = \"8080\"\n") =>
        r#"config.type host.toml:2:10: `gateway.listen` should be an address and port such as "127.0.0.1:8080", not "8080" | `0.0.0.0:PORT` is every IPv4 address, `[::]:PORT` every address"#;
    no_port: host("[admin]\nlisten = \"127.0.0.1\"\n") =>
        r#"config.type host.toml:2:10: `admin.listen` should be an address and port such as "127.0.0.1:8080", not "127.0.0.1" | `0.0.0.0:PORT` is every IPv4 address, `[::]:PORT` every address"#;

    unit_missing: host("[drain]\ngrace = \"8\"\n") =>
        r#"config.type host.toml:2:9: `drain.grace` should be a duration such as "250ms", "5s" or "10m", not "8" | a whole number and one of the units ms, s, m, h, d"#;
    unit_wrong: host("[drain]\ngrace = \"8 seconds\"\n") =>
        r#"config.type host.toml:2:9: `drain.grace` should be a duration such as "250ms", "5s" or "10m", not "8 seconds" | a whole number and one of the units ms, s, m, h, d"#;
    share_without_its_sign: plugin("canary = { share = 10 }\n") =>
        r#"config.type host.toml:3:20: `plugins.echo.canary.share` should be a share such as "10%", not an integer | write it in percent, as in "10%""#;
    share_of_more_than_all: plugin("canary = { share = \"101%\" }\n") =>
        r#"config.type host.toml:3:20: `plugins.echo.canary.share` should be a share such as "10%", not "101%" | a number from 0 to 100 and %, with up to two digits after a point"#;
    size_unit_wrong: plugin("limits = { memory = \"512mb\" }\n") =>
        r#"config.type host.toml:3:21: `plugins.echo.limits.memory` should be a size such as "64KiB" or "512MiB", or a number of bytes, not "512mb" | a whole number and one of the units B, KiB, MiB, GiB, kB, MB, GB"#;
    number_beyond_all: host("[limits]\nmessages_per_minute = 99999999999999999999\n") =>
        r#"config.range host.toml:2:23: `limits.messages_per_minute` is 99999999999999999999; it may be 1 to 1000000, or 0 for no limit | -"#;
    size_in_bytes_beyond_all: plugin("limits.memory = 99999999999999999999\n") =>
        r#"config.range host.toml:3:17: `plugins.echo.limits.memory` is 99999999999999999999; it may be 16MiB to 1024GiB, or 0 for no limit | -"#;
    size_beyond_all: plugin("limits.memory = \"99999999999999GiB\"\n") =>
        r#"config.type host.toml:3:17: `plugins.echo.limits.memory` should be a size such as "64KiB" or "512MiB", or a number of bytes, not "99999999999999GiB" | a whole number and one of the units B, KiB, MiB, GiB, kB, MB, GB"#;

    duration_out_of_range: host("[drain]\ngrace = \"2h\"\n") =>
        r#"config.range host.toml:2:9: `drain.grace` is 2h; it may be 0s to 1h | -"#;
    number_out_of_range: plugin("threads = 0\n") =>
        r#"config.range host.toml:3:11: `plugins.echo.threads` is 0; it may be 1 to 64 | -"#;
    number_beyond_its_type: plugin("threads = 1000\n") =>
        r#"config.range host.toml:3:11: `plugins.echo.threads` is 1000; it may be 1 to 64 | -"#;
    negative_number: host("[limits]\nconnections = -1\n") =>
        r#"config.range host.toml:2:15: `limits.connections` is -1; it may be 1 to 10000000, or 0 for no limit | -"#;
    size_out_of_range: plugin("limits = { memory = \"1MiB\" }\n") =>
        r#"config.range host.toml:3:21: `plugins.echo.limits.memory` is 1MiB; it may be 16MiB to 1024GiB, or 0 for no limit | -"#;
    limit_out_of_range: host("[limits]\nframe_bytes = 10\n") =>
        r#"config.range host.toml:2:15: `limits.frame_bytes` is 10B; it may be 1KiB to 64MiB, or 0 for no limit | -"#;
    version_unknown: host("version = 2\n") =>
        r#"config.range host.toml:1:11: `version` is 2; this host knows version 1 | -"#;
    word_unknown: plugin("isolation = \"in_process\"\n") =>
        r#"config.range host.toml:3:13: `plugins.echo.isolation` is "in_process"; it may be one of "process", "in-process" | did you mean `in-process`?"#;
    kind_unknown: plugin("kind = \"agnet\"\n") =>
        r#"config.range host.toml:3:8: `plugins.echo.kind` is "agnet"; it may be one of "agent", "supervisor" | did you mean `agent`?"#;
    protocol_unknown: host("[gateway]\ndefault_protocol = \"netra\"\n") =>
        r#"config.range host.toml:2:20: `gateway.default_protocol` is "netra"; it may be one of "agent-host.v1", "netra-v1" | -"#;
    origin_with_a_path: host("[gateway]\norigins = [\"https://a.example\", \"https://b.example/x\"]\n") =>
        r#"config.range host.toml:2:33: `gateway.origins` holds "https://b.example/x", no origin | an origin is scheme, host and port without a path: "https://chat.example.com""#;
    keys_over_plain_http: host("[auth]\njwks_url = \"http://issuer.example/keys\"\n") =>
        r#"config.range host.toml:2:12: `auth.jwks_url` is "http://issuer.example/keys", not an https address | https://…; http only for localhost"#;
    keys_over_a_lookalike_host: host("[auth]\njwks_url = \"http://localhost.example/keys\"\n") =>
        r#"config.range host.toml:2:12: `auth.jwks_url` is "http://localhost.example/keys", not an https address | https://…; http only for localhost"#;
    digest_too_short: plugin("sha256 = \"abc\"\n") =>
        r#"config.range host.toml:3:10: `plugins.echo.sha256` should be 64 hexadecimal digits | what `sha256sum` prints for the library"#;
    peer_without_a_port: plugin("network = [\"api.example.com\"]\n") =>
        r#"config.range host.toml:3:12: `plugins.echo.network` holds "api.example.com", no peer | write "host:port", as in "api.example.com:443""#;
    root_in_the_uid_range: host("[isolation]\nuid_range = \"0-9\"\n") =>
        r#"config.range host.toml:2:13: `isolation.uid_range` is "0-9"; the first is at least 1 and not above the last | -"#;
    signing_key_of_another_kind: host("[trust]\nkeys = [\"ssh-ed25519 AAAA\"]\n") =>
        r#"config.range host.toml:2:9: `trust.keys` holds what is no minisign key | the second line of the .pub file, which begins with RW"#;
    admin_audience_empty: host("[admin]\naudience = \"\"\n") =>
        r#"config.range host.toml:2:12: `admin.audience` is empty; an admin token's audience is always checked | leave it out for the default"#;

    plugin_id_in_capitals: host("[plugins.Echo]\npath = \"l.so\"\n") =>
        r#"config.range host.toml:1:10: `plugins.Echo` is wrong: plugin id "Echo" is not valid: it is 1 to 64 characters of [a-z0-9-] that begin with a letter | for example [plugins.echo]"#;
    plugin_id_with_an_underscore: host("[plugins.my_echo]\npath = \"l.so\"\n") =>
        r#"config.range host.toml:1:10: `plugins.my_echo` is wrong: plugin id "my_echo" is not valid: it is 1 to 64 characters of [a-z0-9-] that begin with a letter | for example [plugins.my-echo]"#;
    plugin_id_with_a_dot_and_a_space: host("[plugins.\"my echo.v2\"]\npath = \"l.so\"\n") =>
        r#"config.range host.toml:1:10: `plugins.my echo.v2` is wrong: plugin id "my echo.v2" is not valid: it is 1 to 64 characters of [a-z0-9-] that begin with a letter | for example [plugins.my-echo-v2]"#;

    plugin_called_fallback: host("[plugins.fallback]\npath = \"l.so\"\n") =>
        r#"config.range host.toml:1:10: `plugins.fallback` is a name of the host's own: the built-in fallback's | give it another name, for example [plugins.my-fallback]"#;
    plugin_called_as_a_service: host("[plugins.llm]\npath = \"l.so\"\n") =>
        r#"config.range host.toml:1:10: `plugins.llm` is a name of the host's own: that of what it offers plugins | give it another name, for example [plugins.my-llm]"#;
    plugin_called_store: host("[plugins.store]\nenabled = false\npath = \"l.so\"\n") =>
        r#"config.range host.toml:1:10: `plugins.store` is a name of the host's own: the log's | give it another name, for example [plugins.my-store]"#;
    agent_called_agent: host("[plugins.agent]\npath = \"l.so\"\n") =>
        r#"config.range host.toml:1:10: `plugins.agent` is a name of the host's own: the word for a kind of plugin | give it another name, for example [plugins.my-agent]"#;
    agent_called_supervisor: host("[plugins.supervisor]\npath = \"l.so\"\n") =>
        r#"config.range host.toml:1:10: `plugins.supervisor` is a name of the host's own: the word for a kind of plugin | give it another name, for example [plugins.my-supervisor]"#;

    key_twice: host("[drain]\ngrace = \"8s\"\ngrace = \"9s\"\n") =>
        r#"config.duplicate host.toml:3:1: `grace` is defined twice in this file | -"#;
    section_twice: host("[drain]\ngrace = \"8s\"\n[log]\n[drain]\n") =>
        r#"config.duplicate host.toml:4:2: `drain` is defined twice in this file | -"#;
    plugin_twice_in_a_file: host("[plugins.a]\npath = \"1\"\n[plugins.a]\npath = \"2\"\n") => r#"
        config.duplicate host.toml:3:10: `a` is defined twice in this file | -
        config.duplicate host.toml:4:1: `path` is defined twice in this file | -
    "#;
    plugin_twice_in_two_files: lines(&Given::files(&[
        ("host.toml", ""),
        ("plugins.d/a.toml", "[plugins.echo]\npath = \"1\"\n"),
        ("plugins.d/b.toml", "\n[plugins.echo]\npath = \"2\"\n"),
    ])) =>
        r#"config.duplicate plugins.d/b.toml:2:10: plugin `echo` is defined twice; first at plugins.d/a.toml:1:10 | keep one of the two, or give one another id"#;
    substitute_twice: plugin("substitutes = [\"b\", \"b\"]\n[plugins.b]\npath = \"l.so\"\n") =>
        r#"config.duplicate host.toml:3:21: `plugins.echo.substitutes` names `b` twice | -"#;
    both_spellings_of_the_key: lines(&Given::files(&[("host.toml",
        "[auth]\nhs256_secret = { env = \"A\" }\nhs256_secrets = [{ env = \"A\" }]\n")])) =>
        r#"config.duplicate host.toml:3:1: `auth` has both hs256_secret (host.toml:2:1) and hs256_secrets | keep `hs256_secrets`, a list; its first signs"#;
    operators_key_is_the_users: lines(&Given::files(&[("host.toml", "[admin]\nhs256_secret = { env = \"K\" }\n")])
        .env("K", SECRET)) =>
        r#"config.duplicate host.toml:2:16: `admin.hs256_secrets` holds a key of [auth]: whoever signs users' tokens could sign an operator's | give operators a key of their own"#;

    half_written_value: host("[drain]\ngrace = \"8") =>
        r#"config.syntax host.toml:2:11: invalid basic string, expected `"` | -"#;
    half_written_header: host("[drain]\ngrace = \"8s\"\n[log") =>
        r#"config.syntax host.toml:3:5: unclosed table, expected `]` | -"#;
    half_written_list: plugin("tools = [\"clock\",") =>
        r#"config.syntax host.toml:3:18: unclosed array, expected `]` | -"#;
    no_toml_at_all: host("{ \"drain\": { \"grace\": \"8s\" } }\n") =>
        r#"config.syntax host.toml:1:1: invalid key-value pair, expected key | -"#;
    no_utf8: {
        let given = Given::files(&[("host.toml", "")]);
        std::fs::write(given.dir.path().join("host.toml"), b"[drain]\ngrace = \"\xff\"\n").unwrap();
        lines(&given)
    } =>
        r#"config.syntax host.toml:2:10: the file is not UTF-8 here | -"#;
    syntax_hides_no_error_of_another_file: lines(&Given::files(&[
        ("host.toml", "[routing]\norder = [\"b\"]\n[log]\nlevle = \"info\"\n"),
        ("plugins.d/b.toml", "[plugins.b]\npath = "),
    ])) => r#"
        config.unknown_key host.toml:4:1: there is no key `levle` in `log` | did you mean `level`?
        config.syntax plugins.d/b.toml:2:8: string values must be quoted, expected literal string | -
    "#;

    no_such_folder: {
        let mut given = Given::files(&[]);
        given.sources.dir = Some(given.dir.path().join("nowhere"));
        lines(&given)
    } =>
        r#"config.missing nowhere/host.toml: there is no host.toml in nowhere | point --config at the folder that holds host.toml"#;
    no_such_profile: lines(&Given::files(&[("host.toml", ""), ("staging.toml", "")]).profile("stagin")) =>
        r#"config.missing stagin.toml: there is no profile "stagin": no stagin.toml (command line (--profile)) | did you mean `staging`?"#;
    no_such_profile_by_variable:
        lines(&Given::files(&[("host.toml", "")]).env("AGENT_HOST_PROFILE", "../secret")) =>
        r#"config.missing ../secret.toml: there is no profile "../secret": no ../secret.toml (variable AGENT_HOST_PROFILE) | -"#;
    folder_for_a_file: {
        let given = Given::files(&[("host.toml", ""), ("plugins.d/x.toml/inside", "")]);
        lines(&given)
    } =>
        r#"config.missing plugins.d/x.toml: plugins.d/x.toml cannot be read: Is a directory (os error 21) | -"#;
    path_missing: host("[plugins.echo]\nenabled = true\n") =>
        r#"config.missing host.toml:1:10: `plugins.echo.path` is missing | add path = "lib….so""#;
    id_misspelt_in_a_profile: lines(&Given::files(&[
        ("host.toml", "[plugins.assistant]\npath = \"l.so\"\n"),
        ("p.toml", "[plugins.asistant]\nenabled = false\n"),
    ]).profile("p")) =>
        r#"config.missing p.toml:1:10: `plugins.asistant.path` is missing | did you mean `assistant`?"#;
    no_key_at_all: lines(&Given::files(&[("host.toml", "[auth]\nissuer = \"i\"\n")]).without_env()) =>
        r#"config.missing host.toml:1:2: `auth.hs256_secret` is not set, so no token could be verified | set auth.hs256_secret = { env = "NAME" }, auth.public_keys or auth.jwks_url"#;
    key_s_variable_not_set:
        lines(&Given::files(&[("host.toml", "[auth]\nhs256_secret = { env = \"NOT_SET\" }\n")]).without_env()) =>
        r#"config.missing host.toml:2:16: `auth.hs256_secret` takes its value from the variable NOT_SET, which is not set | set NOT_SET in the host's environment"#;
    key_s_file_not_there:
        lines(&Given::files(&[("host.toml", "[auth]\nhs256_secret = { file = \"nope\" }\n")]).without_env()) =>
        r#"config.missing host.toml:2:16: `auth.hs256_secret` takes its value from nope, which cannot be read or is empty | put the secret into nope, readable by the host's user"#;
    key_s_reference_misspelt:
        lines(&Given::files(&[("host.toml", "[auth]\nhs256_secret = { evn = \"X\" }\n")]).without_env()) =>
        r#"config.unknown_key host.toml:2:18: `auth.hs256_secret` is a secret; a secret has no key `evn` | did you mean `env`?"#;
    key_too_short_inline:
        lines(&Given::files(&[("host.toml", "[auth]\nhs256_secret = \"hunter2\"\n")]).without_env()) =>
        r#"config.range host.toml:2:16: `auth.hs256_secret` has a secret of 7 bytes; HS256 needs at least 32 | make one with `openssl rand -base64 48`"#;
    second_key_too_short: lines(&Given::files(&[("host.toml",
        "[auth]\nhs256_secrets = [\n  { env = \"A\" },\n  { env = \"B\" },\n]\n")])
        .without_env().env("A", SECRET).env("B", "short")) =>
        r#"config.range host.toml:4:3: `auth.hs256_secrets` has a secret of 5 bytes; HS256 needs at least 32 | make one with `openssl rand -base64 48`"#;
    key_too_short_in_a_variable: lines(&Given::files(&[("host.toml", "")])
        .without_env().env("AGENT_HOST__AUTH__HS256_SECRET", "hunter2")) =>
        r#"config.range variable AGENT_HOST__AUTH__HS256_SECRET: `auth.hs256_secret` has a secret of 7 bytes; HS256 needs at least 32 | make one with `openssl rand -base64 48`"#;
    signatures_without_keys: host("[trust]\nrequire_signature = true\n") =>
        r#"config.missing host.toml:2:21: `trust.require_signature` is true and `trust.keys` is empty: every plugin would fail | add the public keys of those who sign"#;

    order_names_nobody: plugin("[routing]\norder = [\"echo\", \"ecco\"]\n") =>
        r#"config.reference host.toml:4:18: `routing.order` names `ecco`, which is not configured | did you mean `echo`?"#;
    order_names_a_supervisor: plugin("kind = \"supervisor\"\n[routing]\norder = [\"echo\"]\n") =>
        r#"config.reference host.toml:5:10: `routing.order` names `echo`, which is a supervisor and not an agent | -"#;
    supervisor_is_an_agent: plugin("[routing]\nsupervisor = \"echo\"\n") =>
        r#"config.reference host.toml:4:14: `routing.supervisor` names `echo`, which is an agent | name a plugin with kind = "supervisor""#;
    supervisor_is_nobody: plugin("[routing]\nsupervisor = \"boss\"\n") =>
        r#"config.reference host.toml:4:14: `routing.supervisor` names `boss`, which is not configured | add [plugins.boss], or take the name out"#;
    substitute_is_nobody: plugin("substitutes = [\"other\"]\n") =>
        r#"config.reference host.toml:3:16: `plugins.echo.substitutes` names `other`, which is not configured | add [plugins.other], or take the name out"#;
    readiness_names_nothing: host("[readiness]\nrequire = [\"stroe\"]\n") =>
        r#"config.reference host.toml:2:12: `readiness.require` names "stroe", neither a service nor a plugin | did you mean `store`?"#;

    variable_unknown: variable("AGENT_HOST__DRAIN__GRACEE", "8s") =>
        r#"config.unknown_variable variable AGENT_HOST__DRAIN__GRACEE: AGENT_HOST__DRAIN__GRACEE names no key | did you mean `AGENT_HOST__DRAIN__GRACE`?"#;
    variable_in_small_letters: variable("AGENT_HOST__drain__grace", "8s") =>
        r#"config.unknown_variable variable AGENT_HOST__drain__grace: AGENT_HOST__drain__grace names no key | did you mean `AGENT_HOST__DRAIN__GRACE`?"#;
    variable_of_no_plugin: variable("AGENT_HOST__PLUGINS__MY_ECO__ENABLED", "false") =>
        r#"config.unknown_variable variable AGENT_HOST__PLUGINS__MY_ECO__ENABLED: AGENT_HOST__PLUGINS__MY_ECO__ENABLED names no key | did you mean `AGENT_HOST__PLUGINS__MY_ECHO__ENABLED`?"#;
    variable_of_a_section: variable("AGENT_HOST__DRAIN", "8s") =>
        r#"config.unknown_variable variable AGENT_HOST__DRAIN: AGENT_HOST__DRAIN names no key | -"#;
    variable_of_the_wrong_type: variable("AGENT_HOST__LIMITS__CONNECTIONS", "many") =>
        r#"config.type variable AGENT_HOST__LIMITS__CONNECTIONS: `limits.connections` should be a whole number, not text | -"#;
    variable_out_of_range: variable("AGENT_HOST__PLUGINS__MY_ECHO__THREADS", "99") =>
        r#"config.range variable AGENT_HOST__PLUGINS__MY_ECHO__THREADS: `plugins.my-echo.threads` is 99; it may be 1 to 64 | -"#;
    variable_port_is_no_port: variable("PORT", "http") =>
        r#"config.range variable PORT: PORT is "http"; it may be 0 to 65535 | unset PORT, or set it to a port number"#;
    flag_unknown: lines(&Given::files(&[("host.toml", "")]).set("drain.gracee", "8s")) =>
        r#"config.unknown_key command line (drain.gracee): there is no key `drain.gracee` | did you mean `drain.grace`?"#;
    flag_of_the_wrong_type: lines(&Given::files(&[("host.toml", "")]).set("drain.grace", "8")) =>
        r#"config.type command line (drain.grace): `drain.grace` should be a duration such as "250ms", "5s" or "10m", not an integer | write the unit: ms, s, m, h or d, as in "5s""#;
}

#[test]
fn an_error_shows_the_line_with_a_caret_and_what_to_do() {
    let given = Given::files(&[("host.toml", "[drain]\n\tgracee = \"8s\" # short\n")]);
    let shown = given.short(&given.load().unwrap_err().to_string());
    insta::assert_snapshot!(shown, @r#"
    config.unknown_key: there is no key `gracee` in `drain`
      --> host.toml:2:2
       |
     2 |  gracee = "8s" # short
       |  ^^^^^^
      = help: did you mean `grace`?
    "#);
}

#[test]
fn no_error_shows_a_secret() {
    let canary = "canary-0123";
    let check = |text: &str| {
        let given = Given::files(&[("host.toml", &text.replace("CANARY", canary))]).without_env();
        let errors: ConfigErrors = given.load().unwrap_err();
        for shown in [errors.to_string(), format!("{errors:?}")] {
            assert!(!shown.contains(canary), "{shown}");
        }
    };
    check("[auth]\nhs256_secret = \"CANARY\"\n");
    check("[auth]\nhs256_secrets = [\n  \"CANARY\",\n]\n");
    check("[auth]\nhs256_secret = \"CANARY\n");
    check("[auth]\nhs256_secrets = [\n  \"CANARY\n");
    check("auth = { hs256_secret = \"CANARY\", isuer = 'CANARY' }\n");
    check("[auth]\nhs256_secret = { value = \"CANARY\" }\n");
    check(
        "[plugins.a]\npath = \"l.so\"\n[plugins.a.secrets]\nkey = { value = \"CANARY\" }\nother = \"CANARY",
    );
    let overrides = vec![("auth.hs256_secret".to_owned(), canary.to_owned())];
    let errors = load(Sources { overrides, ..Sources::default() }).unwrap_err();
    assert!(!format!("{errors} {errors:?}").contains(canary));
}
