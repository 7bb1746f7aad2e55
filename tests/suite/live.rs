//! Edit a line and it is so: the configuration of a host that serves, by file, signal and API.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    admin::{order, page},
    client::Client,
    harness::{
        Host, PATIENCE, Plugin, Setup, artifacts, eventually,
        host::plain_cli,
        http::{self, Answer},
        metrics::Metrics,
        tokens::operator,
    },
    live_swaps::write_version,
    scenario::ready,
};

const ALL: &[&str] = &["admin:read", "admin:toggle", "admin:config"];

/// Asks the admin API, with a body if there is one. Waits for the end of an order, unless `more` says what it prefers.
pub(crate) async fn call(
    host: &Host,
    method: &str,
    path: &str,
    more: &[(&str, &str)],
    body: &str,
) -> Result<Answer, String> {
    let prefers = more.iter().any(|(name, _)| *name == "Prefer");
    let wait = if prefers { None } else { Some(&http::WAIT) };
    let more: String = more.iter().chain(wait).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{more}Content-Length: {}\r\n\r\n{body}",
        host.admin,
        operator(ALL),
        body.len()
    );
    http::send(host.admin, request.as_bytes(), PATIENCE * 2).await
}

/// The configuration in force.
pub(crate) async fn config(host: &Host) -> Result<Value, String> {
    let answer = call(host, "GET", "/admin/v1/config", &[], "").await?;
    if answer.status == 200 { answer.json() } else { Err(format!("{answer:?}")) }
}

/// The file of the first plugin of a setup.
pub(crate) fn first_file(host: &Host) -> PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(host.dir().join("plugins.d"))
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files[0].clone()
}

/// Edits a file as a person does.
pub(crate) fn edit(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from:?} is not in {text}");
    put(file, text.replace(from, to));
}

/// Writes a file as an editor does: in one go. A host that looked at half of it would find another configuration, which may
/// even be a good one.
pub(crate) fn put(file: &Path, text: impl AsRef<[u8]>) {
    let beside = file.with_extension("next");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, file).unwrap();
}

/// Waits until a key has that value.
pub(crate) async fn holds(host: &Host, key: &str, value: &Value) -> Result<(), String> {
    eventually(key, async || {
        let page = config(host).await?;
        match &page["settings"][key]["value"] {
            found if found == value => Ok(()),
            found => Err(format!("{found}, not {value}; {}", page["failure"])),
        }
    })
    .await
}

#[tokio::test]
async fn an_edited_line_is_so_and_no_socket_notices() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run("before").await.unwrap().answered_by("echo").unwrap();
    let file = first_file(&host);
    edit(&file, "enabled = true", "enabled = false # for now");
    holds(&host, "plugins.echo.enabled", &json!(false)).await.unwrap();
    client.run("meanwhile").await.unwrap().answered_by_fallback("meanwhile").unwrap();
    edit(&file, "enabled = false", "enabled = true");
    holds(&host, "plugins.echo.enabled", &json!(true)).await.unwrap();
    client.run("after").await.unwrap().answered_by("echo").unwrap();
}

#[tokio::test]
async fn a_plugin_comes_with_its_file_and_goes_with_it() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let path = toml::Value::from(artifacts::echo().to_str().unwrap());
    let file = host.dir().join("plugins.d/late.toml");
    // As an editor saves: beside it, then in its place.
    let beside = host.dir().join("plugins.d/.late.toml.swp");
    std::fs::write(&beside, format!("[plugins.late]\npath = {path}\n")).unwrap();
    std::fs::rename(&beside, &file).unwrap();
    eventually("it is healthy", async || match page(&host, "late").await? {
        page if page["verdict"] == "healthy" => Ok(()),
        page => Err(page.to_string()),
    })
    .await
    .unwrap();
    client.run_with("hi", json!({ "agent": "late" })).await.unwrap().answered_by("late").unwrap();
    std::fs::remove_file(&file).unwrap();
    eventually("it is unknown", async || match page(&host, "late").await {
        Err(said) if said.contains("plugin.unknown") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
    client.run("hi again").await.unwrap().answered_by("echo").unwrap();
}

/// A ConfigMap is a link to a folder that is exchanged.
#[tokio::test]
async fn a_mounted_folder_that_is_exchanged_is_noticed() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let (dir, main) = (host.dir(), host.dir().join("host.toml"));
    let text = std::fs::read_to_string(&main).unwrap();
    for (version, wait) in [("..one", "1s"), ("..two", "3s")] {
        std::fs::create_dir(dir.join(version)).unwrap();
        let text = format!("routing.wait = \"{wait}\"\n{text}");
        std::fs::write(dir.join(version).join("host.toml"), text).unwrap();
    }
    let point = |to: &str| {
        std::os::unix::fs::symlink(to, dir.join("..next")).unwrap();
        std::fs::rename(dir.join("..next"), dir.join("..data")).unwrap();
    };
    point("..one");
    std::os::unix::fs::symlink("..data/host.toml", dir.join(".link")).unwrap();
    std::fs::rename(dir.join(".link"), &main).unwrap();
    holds(&host, "routing.wait", &json!("1s")).await.unwrap();
    point("..two");
    holds(&host, "routing.wait", &json!("3s")).await.unwrap();
}

#[tokio::test]
async fn a_signal_has_the_files_read_again_and_does_not_end_the_host() {
    let mut host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    // Nothing changed: it is read all the same, and nothing is begun anew.
    host.signal(Signal::HUP);
    edit(&host.dir().join("host.toml"), "version = 1", "version = 1\nrouting.wait = \"4s\"");
    host.signal(Signal::HUP);
    holds(&host, "routing.wait", &json!("4s")).await.unwrap();
    assert_eq!(page(&host, "echo").await.unwrap()["generation"], 1);
    assert!(host.is_running());
}

#[tokio::test]
async fn what_waits_for_a_restart_is_named() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    edit(
        &host.dir().join("host.toml"),
        "drain.grace = \"4s\"",
        "drain.grace = \"5s\"\nrouting.wait = \"9s\"",
    );
    let diff = call(&host, "GET", "/admin/v1/config/diff", &[], "").await.unwrap().json().unwrap();
    let told: Vec<_> = diff["changes"].as_array().unwrap().iter().map(|c| (&c["key"], &c["live"])).collect();
    let ahead = told == [(&json!("drain.grace"), &json!(false)), (&json!("routing.wait"), &json!(true))];
    // The watch may have been quicker.
    assert!(ahead || told.is_empty(), "{diff}");
    holds(&host, "routing.wait", &json!("9s")).await.unwrap();
    assert_eq!(config(&host).await.unwrap()["pending_restart"], json!(["drain.grace"]));
}

/// A hundred texts in a second, wrong ones among them: the last one holds.
#[tokio::test]
async fn a_storm_of_edits_ends_at_its_last() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let main = host.dir().join("host.toml");
    let text = std::fs::read_to_string(&main).unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    for n in 0..300_u32 {
        let line = match n % 3 {
            0 => "routing.wait = ".to_owned(),
            1 => format!("routing.wait = \"{n}ms\"\n"),
            _ => "no_such_key = 1\n".to_owned(),
        };
        put(&main, format!("{line}{text}"));
        if n % 50 == 0 {
            client.run("in the storm").await.unwrap().answered_by("echo").unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    put(&main, format!("routing.wait = \"7s\"\n{text}"));
    holds(&host, "routing.wait", &json!("7s")).await.unwrap();
    assert_eq!(config(&host).await.unwrap()["failure"], Value::Null);
    client.run("after it").await.unwrap().answered_by("echo").unwrap();
    assert_eq!(page(&host, "echo").await.unwrap()["generation"], 1, "nothing was begun anew");
}

/// What the API switches stands in the file, with everything else that is in it, and outlives the host.
#[tokio::test]
async fn an_order_is_written_into_the_file_that_said_otherwise() {
    let setup = Setup::echo().operated();
    let host = setup.start();
    ready(&host).await.unwrap();
    let file = first_file(&host);
    edit(&file, "enabled = true", "# ours\nenabled = true   # said Ann");
    let text = std::fs::read_to_string(&file).unwrap();
    eventually("the edit was seen", async || {
        let origin = config(&host).await?["settings"]["plugins.echo.enabled"]["origin"].to_string();
        if origin.contains(":4:") { Ok(()) } else { Err(origin) }
    })
    .await
    .unwrap();
    let off = order(&host, "echo", "disable").await.unwrap();
    assert_eq!(off["kept"]["file"], json!(file.display().to_string()), "{off}");
    let now = std::fs::read_to_string(&file).unwrap();
    assert_eq!(now, text.replace("enabled = true ", "enabled = false "));
    assert_eq!(config(&host).await.unwrap()["settings"]["plugins.echo.enabled"]["value"], false);
    let on = order(&host, "echo", "enable").await.unwrap();
    assert_eq!((&on["verdict"], &on["generation"]), (&json!("healthy"), &json!(2)), "{on}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[tokio::test]
async fn an_order_that_no_file_can_keep_holds_in_memory_and_says_so() {
    let host = Setup::echo().operated().env("AGENT_HOST__PLUGINS__ECHO__ENABLED", "true").start();
    ready(&host).await.unwrap();
    let off = order(&host, "echo", "disable").await.unwrap();
    assert_eq!(off["verdict"], "disabled");
    let reason = off["kept"]["reason"].as_str().unwrap();
    assert!(reason.contains("AGENT_HOST__PLUGINS__ECHO__ENABLED"), "{off}");
    // An edit that has nothing to do with it does not switch it on again.
    edit(&host.dir().join("host.toml"), "version = 1", "version = 1\nrouting.wait = \"4s\"");
    holds(&host, "routing.wait", &json!("4s")).await.unwrap();
    assert_eq!(page(&host, "echo").await.unwrap()["verdict"], "disabled");
    let shown = config(&host).await.unwrap();
    assert_eq!(shown["in_memory"][0]["key"], "plugins.echo.enabled", "{shown}");
    let setting = &shown["settings"]["plugins.echo.enabled"];
    assert_eq!((&setting["value"], &setting["origin"]), (&json!(false), &json!("order")), "{shown}");
}

#[tokio::test]
async fn an_order_for_a_time_takes_itself_back() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let answer = call(&host, "POST", "/admin/v1/plugins/echo/disable?for=1s", &[], "").await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.json().unwrap()["kept"]["until"].is_string(), "{answer:?}");
    assert!(std::fs::read_to_string(first_file(&host)).unwrap().contains("enabled = true"));
    eventually("it is back", async || match page(&host, "echo").await? {
        page if page["verdict"] == "healthy" => Ok(()),
        page => Err(page.to_string()),
    })
    .await
    .unwrap();
    for wrong in ["for=soon", "for=0s", "for=1y", "until=1s", "for=1s&for=2s"] {
        let path = format!("/admin/v1/plugins/echo/disable?{wrong}");
        let answer = call(&host, "POST", &path, &[], "").await.unwrap();
        assert_eq!(answer.status, 400, "{wrong}: {answer:?}");
    }
}

#[tokio::test]
async fn keys_are_set_through_the_api_as_one_and_only_those_that_may_be() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let set = |body: Value| body.to_string();
    let etag = format!("\"{}\"", config(&host).await.unwrap()["etag"].as_str().unwrap());
    let body = set(json!({ "set": { "plugins.echo.limits.concurrent_runs": 5, "routing.wait": "3s" } }));
    let path = "/admin/v1/config";
    let answer = call(&host, "PATCH", path, &[("If-Match", &etag)], &body).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let shown = config(&host).await.unwrap();
    assert_eq!(shown["settings"]["plugins.echo.limits.concurrent_runs"]["value"], 5);
    assert!(std::fs::read_to_string(first_file(&host)).unwrap().contains("concurrent_runs = 5"));
    assert!(std::fs::read_to_string(host.dir().join("host.toml")).unwrap().contains("wait = \"3s\""));
    // Who looked at another one is told.
    let stale = call(&host, "PATCH", path, &[("If-Match", &etag)], &body).await.unwrap();
    assert_eq!((stale.status, stale.code()), (412, Ok("config.stale_etag".to_owned())), "{stale:?}");
    let before = config(&host).await.unwrap()["settings"].clone();
    for (key, value, status, code) in [
        ("plugins.echo.path", json!("/tmp/evil.so"), 403, "config.files_only"),
        ("plugins.echo.isolation", json!("in-process"), 403, "config.files_only"),
        ("auth.hs256_secret", json!("x".repeat(40)), 403, "config.files_only"),
        ("admin.listen", json!("0.0.0.0:1"), 403, "config.files_only"),
        ("trust.require_pin", json!(false), 403, "config.files_only"),
        ("plugins.echo.limits.concurrent_runs", json!("many"), 422, "config.type"),
        ("plugins.echo.limits.concurrent_runs", json!(0), 422, "config.range"),
        ("plugins.echo.limits.concurent_runs", json!(5), 422, "config.unknown_key"),
        ("plugins.nobody.enabled", json!(true), 422, "config.missing"),
    ] {
        // With a good one beside it, which must not come to be either.
        let body = set(json!({ "set": { key: value, "service.settle": "9s" } }));
        let answer = call(&host, "PATCH", path, &[], &body).await.unwrap();
        assert_eq!((answer.status, answer.code()), (status, Ok(code.to_owned())), "{key}: {answer:?}");
    }
    assert_eq!(config(&host).await.unwrap()["settings"], before);
    let reader = operator(&["admin:read", "admin:toggle"]);
    let request = format!(
        "PATCH {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {reader}\r\nContent-Length: {}\r\n\r\n{body}",
        host.admin,
        body.len()
    );
    let answer = http::send(host.admin, request.as_bytes(), PATIENCE).await.unwrap();
    assert_eq!((answer.status, answer.code()), (403, Ok("permission.denied".to_owned())));
}

/// As a file has it: nested tables say the same as dotted names, and what would come of them can be asked first.
#[tokio::test]
async fn keys_may_be_nested_and_are_judged_before_they_are_set() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let (path, ask_first) = ("/admin/v1/config", "/admin/v1/config/validate");
    let nested = json!({ "limits": { "runs_at_once": 7 }, "plugins": { "echo": { "limits": { "concurrent_runs": 6 } } } });
    let named = json!({ "set": { "limits.runs_at_once": 7, "plugins.echo.limits.concurrent_runs": 6 } });
    let before = config(&host).await.unwrap();
    let post = async |body: &Value| call(&host, "POST", ask_first, &[], &body.to_string()).await.unwrap();
    let would = post(&nested).await.json().unwrap();
    assert_eq!(would, post(&named).await.json().unwrap());
    let keys: Vec<_> =
        would["changes"].as_array().unwrap().iter().map(|one| (&one["key"], &one["to"])).collect();
    let (runs, places) = (json!("limits.runs_at_once"), json!("plugins.echo.limits.concurrent_runs"));
    assert_eq!(keys, [(&runs, &json!(7)), (&places, &json!(6))], "{would}");
    assert_eq!(config(&host).await.unwrap(), before, "it was only asked");
    // The files alone, as ever.
    for nothing in ["", "{}"] {
        let files = call(&host, "POST", ask_first, &[], nothing).await.unwrap();
        assert_eq!((files.status, &files.json().unwrap()["changes"]), (200, &json!([])), "{files:?}");
    }

    let answer = call(&host, "PATCH", path, &[], &nested.to_string()).await.unwrap();
    assert_eq!((answer.status, &answer.json().unwrap()["changes"]), (200, &would["changes"]), "{answer:?}");
    assert!(std::fs::read_to_string(first_file(&host)).unwrap().contains("concurrent_runs = 6"));
    // `null` takes a key out: what holds then is the default.
    let out = json!({ "plugins": { "echo": { "limits": { "concurrent_runs": null } } } }).to_string();
    let answer = call(&host, "PATCH", path, &[], &out).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!std::fs::read_to_string(first_file(&host)).unwrap().contains("concurrent_runs"));

    for (body, status, code) in [
        (json!({ "limits": { "runs_at_once": "many" } }), 422, "config.type"),
        (json!({ "plugins": { "echo": { "path": "/tmp/evil.so" } } }), 403, "config.files_only"),
        (
            json!({ "limits": { "runs_at_once": 8 }, "set": { "routing.wait": "3s" } }),
            400,
            "http.bad_request",
        ),
        (json!({ "limits": {} }), 400, "http.bad_request"),
        (json!([1]), 400, "http.bad_request"),
    ] {
        for (method, path) in [("PATCH", path), ("POST", ask_first)] {
            let answer = call(&host, method, path, &[], &body.to_string()).await.unwrap();
            assert_eq!(
                (answer.status, answer.code()),
                (status, Ok(code.to_owned())),
                "{method} {body}: {answer:?}"
            );
        }
    }
    assert_eq!(config(&host).await.unwrap()["settings"]["limits.runs_at_once"]["value"], 7);
}

/// Waits until there is some of it.
async fn is_counted(host: &Host, series: &str) -> Result<(), String> {
    eventually("it is counted", async || match Metrics::of(host).await?.sum(series) {
        1.0.. => Ok(()),
        none => Err(format!("{series} is {none}")),
    })
    .await
}

fn two() -> Setup {
    Setup::echo().plugin(Plugin::misbehaving("wild")).operated()
}

/// A version that does not come up is not taken, nor is anything else of that edit; API, log and metric say why.
async fn a_bad_version_never_serves(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let file = host.dir().join("plugins.d/01-wild.toml");
    let good = std::fs::read_to_string(&file).map_err(|e| e.to_string())?;
    let before = config(host).await?;
    // With what would be good alone: room for one connection of a user.
    let main = host.dir().join("host.toml");
    let text = std::fs::read_to_string(&main).map_err(|e| e.to_string())?;
    put(&file, format!("{good}create = \"error\"\n"));
    put(&main, format!("limits.connections_per_user = 1\n{text}"));
    // A look that begins now finds both: the watch's may have found one of the two alone.
    call(host, "POST", "/admin/v1/config/reload", &[], "").await?;
    eventually("the edit is refused", async || match config(host).await?["failure"]["code"].as_str() {
        Some("plugin.init_error") => Ok(()),
        other => Err(format!("failure is {other:?}")),
    })
    .await?;
    let page = page(host, "wild").await?;
    if page["verdict"] != "healthy" || page["generation"] != 1 {
        return Err(format!("the bad version serves: {page}"));
    }
    let words = "create was told to fail";
    let told = config(host).await?["failure"]["reason"].to_string();
    if !told.contains(words) {
        return Err(format!("it is not said why: {told}"));
    }
    host.says(&[words]).await?;
    is_counted(host, "agent_host_config_reload_failures_total").await?;
    client.run_with("hi", json!({ "agent": "wild" })).await?.answered_by("wild")?;
    let now = config(host).await?;
    if now["etag"] != before["etag"] || now["settings"] != before["settings"] {
        return Err(format!("a part of what was refused is in force: {now}"));
    }
    let another = Client::connect(host, "alice").await;
    another.map_err(|objection| format!("a part of what was refused holds at the doors: {objection}"))?;
    put(&main, text);
    put(&file, good);
    eventually("the failure is over", async || match &config(host).await?["failure"] {
        Value::Null => Ok(()),
        failure => Err(failure.to_string()),
    })
    .await
}

twin! {
    bad_versions_are_refused(a_bad_version_never_serves) on two();
    faults ""; broken by "engine.change.refuses=off", says "failure is None";
    broken by "server.config_order=off", says "holds at the doors"
}

/// A version that passes its probe and crashes on people is taken back.
async fn a_version_that_fails_later_gives_way(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let file = host.dir().join("plugins.d/01-wild.toml");
    write_version(&file, 1)?;
    eventually("the new one serves", async || match page(host, "wild").await? {
        page if page["generation"] == 2 && page["former"] == 1 => Ok(()),
        page => Err(page.to_string()),
    })
    .await?;
    client.run_with("!segv", json!({ "agent": "wild" })).await?;
    eventually("the one before serves again", async || match page(host, "wild").await? {
        // The run is tried again on the one before, which dies of it too: the next is of that one's kind.
        page if page["rolled_back"]["to"] == 1 && page["verdict"] == "healthy" => Ok(()),
        page => Err(format!("not taken back: generation {} is {}", page["generation"], page["state"])),
    })
    .await?;
    let page = page(host, "wild").await?;
    let reason = page["rolled_back"]["reason"].as_str().unwrap_or_default().to_owned();
    let shown = host.operate(&["plugins", "show", "wild"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    if reason.is_empty() || !shown.contains(&reason) {
        return Err(format!("it is not said why: {page}\n{shown}"));
    }
    host.says(&[&reason]).await?;
    is_counted(host, "agent_host_plugin_rollbacks_total{plugin=\"wild\"").await?;
    client.run_with("hi", json!({ "agent": "wild" })).await?.answered_by("wild")
}

twin! {
    versions_that_fail_later_give_way(a_version_that_fails_later_gives_way) on two();
    faults ""; broken by "engine.rollback=off", says "not taken back"
}

/// The same from the command line, as an operator types it.
#[tokio::test]
async fn the_command_line_shows_sets_compares_and_switches() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let typed = |arguments: &[&str]| {
        let output = host.operate(arguments);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (status, said) =
        typed(&["config", "set", "routing.wait=3s", "plugins.echo.limits.concurrent_runs=5"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("routing.wait\n  \"2s\" -> \"3s\""), "{said}");
    let (_, said) = typed(&["config", "show"]);
    assert!(
        said.contains("plugins.echo.limits.concurrent_runs = 5") && said.contains("echo.toml:"),
        "{said}"
    );
    let (status, said) = typed(&["config", "diff"]);
    assert_eq!((status, said.trim()), (Some(0), "the files say what is in force"));
    let (status, said) = typed(&["config", "set", "plugins.echo.path=/tmp/x.so"]);
    assert_eq!(status, Some(1));
    assert!(said.contains("config.files_only") && said.contains("what to do"), "{said}");
    let (status, said) = typed(&["plugins", "disable", "echo", "--for", "10m"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("until "), "{said}");
    let (status, said) = typed(&["plugins", "enable", "echo"]);
    assert_eq!(status, Some(0), "{said}");
    std::fs::write(host.dir().join("plugins.d/more.toml"), "[plugins.more]\nenabled = maybe\n").unwrap();
    // With the folder's own key nothing can be said while the folder is wrong: what is wrong is said at once.
    let (status, said) = typed(&["config", "reload"]);
    assert_eq!(status, Some(78), "{said}");
    assert!(said.contains("more.toml:2"), "{said}");
    let token = host.dir().join("operator.token");
    std::fs::write(&token, operator(ALL)).unwrap();
    let admin = format!("http://{}", host.admin);
    let with_token = |arguments: &[&str]| {
        let how = ["--admin", &admin, "--token-file", token.to_str().unwrap()];
        let output = plain_cli(&[arguments, &how].concat(), &[]);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (status, said) = with_token(&["config", "reload"]);
    assert_eq!(status, Some(1), "{said}");
    let (_, said) = with_token(&["config", "show"]);
    assert!(said.contains("NOT IN FORCE") && said.contains("more.toml:2"), "{said}");
    let (_, said) = with_token(&["config", "show", "--output", "json"]);
    let page: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(page["failure"]["code"], "config.syntax", "{page}");
}
