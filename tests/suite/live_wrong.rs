//! Wrong configurations for a host that serves: each is refused with its code, its place and what to do, and the host
//! serves on as before.

use serde_json::{Value, json};

use crate::{
    admin::page,
    client::Client,
    harness::{Host, Setup},
    live::{call, config, put},
    scenario::ready,
};

/// What is written, and what is said of it.
struct Wrong {
    /// The file, in the folder.
    file: &'static str,
    text: &'static str,
    code: &'static str,
    /// What the reason holds beside the file's name: place, or remedy.
    says: &'static str,
}

const fn wrong(file: &'static str, text: &'static str, code: &'static str, says: &'static str) -> Wrong {
    Wrong { file, text, code, says }
}

/// A line for `host.toml`.
const MAIN: &str = "host.toml";
/// A file beside the plugin's own.
const MORE: &str = "plugins.d/more.toml";

const TABLE: [Wrong; 43] = [
    // Words that nobody knows.
    wrong(MAIN, "gatway.listen = \"127.0.0.1:1\"", "config.unknown_key", "did you mean `gateway`"),
    wrong(MAIN, "routing.wiat = \"2s\"", "config.unknown_key", "did you mean `wait`"),
    wrong(MAIN, "limits.conections = 5", "config.unknown_key", "did you mean `connections`"),
    wrong(MAIN, "plugins = 5", "config.type", ":"),
    wrong(
        MORE,
        "[plugins.more]\npath = \"l.so\"\nenabeld = true",
        "config.unknown_key",
        "did you mean `enabled`",
    ),
    wrong(
        MORE,
        "[plugins.more]\npath = \"l.so\"\ntimeouts = { runn = \"1s\" }",
        "config.unknown_key",
        "more.toml:3",
    ),
    wrong(MORE, "[plugin.more]\npath = \"l.so\"", "config.unknown_key", "did you mean `plugins`"),
    wrong(MORE, "[plugins.ecko]\nenabled = false", "config.missing", "path"),
    // Values of another kind.
    wrong(MAIN, "routing.wait = true", "config.type", ":"),
    wrong(MAIN, "limits.connections = \"many\"", "config.type", ":"),
    wrong(MAIN, "limits.connections = 1.5", "config.type", ":"),
    wrong(MAIN, "routing.order = \"echo\"", "config.type", ":"),
    wrong(MAIN, "readiness = \"fast\"", "config.type", ":"),
    wrong(MAIN, "log.level = 3", "config.type", ":"),
    wrong(MORE, "[plugins.more]\npath = 7", "config.type", "more.toml:2"),
    wrong(MORE, "[plugins.more]\npath = \"l.so\"\nenabled = \"yes\"", "config.type", "more.toml:3"),
    // Values out of range, units that are none.
    wrong(MAIN, "routing.wait = \"2\"", "config.", ":"),
    wrong(MAIN, "routing.wait = \"2 parsecs\"", "config.", ":"),
    wrong(MAIN, "routing.wait = \"-2s\"", "config.", ":"),
    wrong(MAIN, "limits.connections = -1", "config.", ":"),
    wrong(MAIN, "limits.frame_bytes = \"1QB\"", "config.", ":"),
    wrong(MAIN, "log.level = \"loud\"", "config.", ":"),
    wrong(MAIN, "readiness.require = [1]", "config.type", ":"),
    wrong(MORE, "[plugins.more]\npath = \"\"", "config.range", "empty"),
    wrong(MORE, "[plugins.more]\npath = \"l.so\"\nsha256 = \"abc\"", "config.range", "64 hexadecimal"),
    wrong(MORE, "[plugins.more]\npath = \"l.so\"\nthreads = 0", "config.range", "more.toml:3"),
    wrong(MORE, "[plugins.more]\npath = \"l.so\"\nspares = 9", "config.range", "more.toml:3"),
    wrong(MORE, "[plugins.more]\npath = \"l.so\"\nkind = \"demon\"", "config.", "more.toml:3"),
    wrong(
        MORE,
        "[plugins.more]\npath = \"l.so\"\nlimits = { memory = \"1 potato\" }",
        "config.",
        "more.toml:3",
    ),
    wrong(MORE, "[plugins.more]\npath = \"l.so\"\nnetwork = [\"nowhere\"]", "config.range", "host:port"),
    wrong(MORE, "[plugins.More_One]\npath = \"l.so\"", "config.range", "more-one"),
    wrong(MORE, "[plugins.fallback]\npath = \"l.so\"", "config.range", "my-fallback"),
    // Twice.
    wrong(MAIN, "routing.wait = \"2s\"\nrouting.wait = \"3s\"", "config.duplicate", "defined twice"),
    wrong(MORE, "[plugins.echo]\npath = \"l.so\"", "config.duplicate", "first at"),
    wrong(MORE, "[plugins.more]\npath = \"l.so\"\n[plugins.more]\npath = \"m.so\"", "config.", "twice"),
    // Half-written, or no TOML at all.
    wrong(MAIN, "routing.wait =", "config.syntax", ":"),
    wrong(MAIN, "routing = { wait = \"2s\"", "config.syntax", ":"),
    wrong(MORE, "[plugins.more\npath = \"l.so\"", "config.syntax", "more.toml:1"),
    wrong(MORE, "[plugins.more]\npath = \"l.so", "config.syntax", "more.toml:2"),
    wrong(MORE, "\u{1b}[31mred", "config.syntax", "more.toml:1"),
    // What points at nothing.
    wrong(MAIN, "routing.order = [\"nobody\"]", "config.reference", "nobody"),
    wrong(MORE, "[plugins.more]\npath = \"l.so\"\nsubstitutes = [\"nobody\"]", "config.reference", "nobody"),
    wrong(
        MORE,
        "[plugins.more]\npath = \"l.so\"\nsecrets = { key = { file = 7 } }",
        "config.",
        "more.toml:3",
    ),
];

async fn is_refused(host: &Host, wrong: &Wrong, before: &Value) -> Result<(), String> {
    for path in ["validate", "reload"] {
        let answer = call(host, "POST", &format!("/admin/v1/config/{path}"), &[], "").await?;
        let (code, detail) =
            (answer.code()?, answer.json()?["detail"].as_str().unwrap_or_default().to_owned());
        let place = detail.contains(wrong.file) && detail.contains(wrong.says) && detail.contains("= help: ");
        if answer.status != 422 || !code.starts_with(wrong.code) || !place {
            return Err(format!("{path}: {} {code}: {detail}", answer.status));
        }
        if detail.contains('\u{1b}') {
            return Err(format!("{path}: a terminal would act on it: {detail:?}"));
        }
    }
    let now = config(host).await?;
    if (&now["etag"], &now["settings"]) != (&before["etag"], &before["settings"]) {
        return Err(format!("a part of it is in force: {now}"));
    }
    match now["failure"]["code"].as_str() {
        Some(code) if code.starts_with(wrong.code) => Ok(()),
        other => Err(format!("the page says {other:?}")),
    }
}

#[tokio::test]
async fn forty_wrong_configurations_are_named_and_touch_nothing() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let main = host.dir().join(MAIN);
    let good = std::fs::read_to_string(&main).unwrap();
    let before = config(&host).await.unwrap();
    let mut objections = Vec::new();
    for wrong in &TABLE {
        match wrong.file {
            MAIN => put(&main, format!("{}\n{good}", wrong.text)),
            file => put(&host.dir().join(file), wrong.text),
        }
        if let Err(objection) = is_refused(&host, wrong, &before).await {
            objections.push(format!("{:?} in {}: {objection}", wrong.text, wrong.file));
        }
        client.run("still there?").await.unwrap().answered_by("echo").unwrap();
        let _ = std::fs::remove_file(host.dir().join(MORE));
        put(&main, &good);
    }
    assert!(objections.is_empty(), "{}", objections.join("\n\n"));
    let answer = call(&host, "POST", "/admin/v1/config/reload", &[], "").await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let after = config(&host).await.unwrap();
    assert_eq!((&after["etag"], &after["failure"]), (&before["etag"], &json!(null)));
    assert_eq!(page(&host, "echo").await.unwrap()["generation"], 1);
}

/// A folder without its main file, and one that cannot be read: the host serves what it has.
#[tokio::test]
async fn a_file_that_is_gone_is_named_too() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let main = host.dir().join(MAIN);
    let good = std::fs::read_to_string(&main).unwrap();
    std::fs::remove_file(&main).unwrap();
    let answer = call(&host, "POST", "/admin/v1/config/reload", &[], "").await.unwrap();
    assert_eq!((answer.status, answer.code()), (422, Ok("config.missing".to_owned())), "{answer:?}");
    put(&main, [good.as_bytes(), b"# \xff\n"].concat());
    let answer = call(&host, "POST", "/admin/v1/config/reload", &[], "").await.unwrap();
    assert_eq!((answer.status, answer.code()), (422, Ok("config.syntax".to_owned())), "{answer:?}");
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run("still there?").await.unwrap().answered_by("echo").unwrap();
    put(&main, good);
    let answer = call(&host, "POST", "/admin/v1/config/reload", &[], "").await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// Just when the folder is wrong, somebody asks why it is not in force: with the key that stands in it.
#[tokio::test]
async fn a_wrong_folder_still_has_the_key_to_the_host() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let main = host.dir().join(MAIN);
    let good = std::fs::read_to_string(&main).unwrap();
    put(&host.dir().join(MORE), "[plugins.ecko]\nenabled = \n");
    put(&main, format!("routing.wiat = \"2s\"\n{good}"));
    let shown = host.operate(&["config", "show"]);
    let (out, beside) = (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
    assert!(shown.status.success() && out.contains("in force since"), "{shown:?}");
    assert!(beside.contains("warning: the files of") && beside.contains("config.unknown_key"), "{beside}");

    // Where no key can be read, it is said what to do.
    put(&main, format!("{good}\n["));
    let refused = host.operate(&["config", "show"]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(
        why.contains("host.toml") && why.contains("--token-file FILE or AGENT_HOST_ADMIN_TOKEN"),
        "{why}"
    );
}
