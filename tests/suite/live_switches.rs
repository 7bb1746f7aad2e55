//! A switch is written down only where a file says otherwise: who brings back what the files never took away changes none.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    admin::{order, page},
    harness::{Host, PATIENCE, Setup, eventually},
    live::{call, config, edit, first_file},
    scenario::ready,
};

const KEY: &str = "plugins.echo.enabled";

/// Waits until the host says that this is where the switch comes from.
async fn comes_from(host: &Host, origin: &str) -> Result<(), String> {
    eventually(origin, async || match config(host).await?["settings"][KEY]["origin"].to_string() {
        found if found.contains(origin) => Ok(()),
        found => Err(found),
    })
    .await
}

/// What an order to switch it answers, after it was drained; no file may have another text by then.
async fn brought_back(host: &Host) -> Result<Value, String> {
    let text = std::fs::read_to_string(first_file(host)).unwrap();
    let etag = config(host).await?["etag"].clone();
    order(host, "echo", "drain").await?;
    let back = order(host, "echo", "enable").await?;
    let now = std::fs::read_to_string(first_file(host)).unwrap();
    if now != text {
        return Err(format!("its file was changed: {now}"));
    }
    let page = config(host).await?;
    if page["etag"] != etag || !page["in_memory"].is_null() {
        return Err(format!("something else is in force: {page}"));
    }
    match (&back["verdict"], &back["kept"]["already"]) {
        (verdict, already) if *verdict == "healthy" && *already == true => Ok(back["kept"].clone()),
        _ => Err(format!("not said to be so already: {back}")),
    }
}

async fn no_file_is_changed_where_they_say_so_already(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let file = first_file(host);
    let named = json!(file.display().to_string());
    // It says so itself.
    let kept = brought_back(host).await?;
    if kept["file"] != named {
        return Err(format!("not told which file says so: {kept}"));
    }
    // None says anything.
    edit(&file, "enabled = true", "# theirs");
    comes_from(host, "default").await?;
    let kept = brought_back(host).await?;
    if !kept["file"].is_null() {
        return Err(format!("a file is named that says nothing: {kept}"));
    }
    // Another edit waits that does not hold: neither is it in force, nor forgotten.
    edit(&file, "# theirs", "# theirs\nspares = \"many\"");
    eventually("the edit is refused", async || match &config(host).await?["failure"] {
        Value::Null => Err("not yet".to_owned()),
        _ => Ok(()),
    })
    .await?;
    brought_back(host).await?;
    if config(host).await?["failure"].is_null() {
        return Err("what is wrong with the files is not shown any more".to_owned());
    }
    edit(&file, "\nspares = \"many\"", "");
    eventually("the edit is taken back", async || match &config(host).await?["failure"] {
        Value::Null => Ok(()),
        failure => Err(failure.to_string()),
    })
    .await?;
    // A trial that is ended by hand.
    let off = call(host, "POST", "/admin/v1/plugins/echo/disable?for=10m", &[], "").await?.json()?;
    if !off["kept"]["until"].is_string() {
        return Err(format!("not for a time: {off}"));
    }
    let back = order(host, "echo", "enable").await?;
    let page = config(host).await?;
    if back["kept"] != json!({ "already": true }) || !page["in_memory"].is_null() {
        return Err(format!("the trial is not over: {back} {}", page["in_memory"]));
    }
    brought_back(host).await?;
    // And what a file does say otherwise is written, as ever.
    for (told, line) in [("disable", "enabled = false"), ("enable", "enabled = true")] {
        let answer = order(host, "echo", told).await?;
        let text = std::fs::read_to_string(&file).unwrap();
        if answer["kept"] != json!({ "file": named }) || !text.contains(line) {
            return Err(format!("{told} is not written down: {answer} {text}"));
        }
    }
    Ok(())
}

twin! {
    said_already(no_file_is_changed_where_they_say_so_already) on Setup::echo().operated();
    faults ""; broken by "server.said_already=off", says "not said to be so already"
}

#[tokio::test]
async fn the_command_line_says_that_no_file_was_changed() {
    let host = Setup::echo().operated().start();
    ready(&host).await.unwrap();
    let typed = |arguments: &[&str]| {
        let output = host.operate(arguments);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let file = first_file(&host);
    typed(&["plugins", "drain", "echo"]);
    let said = typed(&["plugins", "enable", "echo"]);
    assert!(said.contains(&format!("as {} says: no file was changed", file.display())), "{said}");
    edit(&file, "enabled = true", "");
    comes_from(&host, "default").await.unwrap();
    typed(&["plugins", "drain", "echo"]);
    let said = typed(&["plugins", "enable", "echo"]);
    assert!(said.contains("as the configuration says: no file was changed"), "{said}");
    let said = typed(&["plugins", "disable", "echo"]);
    assert!(said.contains(&format!("kept in {}", file.display())), "{said}");
}

/// A plugin is taken out for a time, and its host ends within it, one way or the other: the files hold, and the next host
/// says so, once.
async fn a_trial_ends_with_its_host(setup: &Setup, in_order: bool) -> Result<(), String> {
    let mut host = setup.start();
    ready(&host).await?;
    let off = call(&host, "POST", "/admin/v1/plugins/echo/disable?for=10m", &[], "").await?.json()?;
    let until = off["kept"]["until"].clone();
    if in_order {
        host.signal(Signal::TERM);
        host.ended(PATIENCE * 2).await?;
    }
    host.start_as_it_is(setup);
    ready(&host).await?;
    let (echo, now) = (page(&host, "echo").await?, config(&host).await?);
    if echo["verdict"] != "healthy" || !now["in_memory"].is_null() {
        return Err(format!("the files do not hold: {echo} {now}"));
    }
    match now["ended_with_host"].as_array().map(Vec::as_slice) {
        Some([one]) if one["key"] == KEY && one["value"] == false && one["until"] == until => {}
        other => return Err(format!("the next host does not tell of it: {other:?}")),
    }
    host.says(&["SwitchEnded", KEY]).await?;
    let told = String::from_utf8_lossy(&host.operate(&["config", "show"]).stdout).into_owned();
    if !told.contains(&format!("ended with the host before: {KEY} = false until ")) {
        return Err(format!("not in config show: {told}"));
    }
    host.start_as_it_is(setup);
    ready(&host).await?;
    match &config(&host).await?["ended_with_host"] {
        Value::Null => Ok(()),
        again => Err(format!("told twice: {again}")),
    }
}

#[tokio::test]
async fn what_is_in_no_file_ends_with_the_host_and_the_next_one_says_so() {
    let setup = Setup::echo().operated();
    for in_order in [true, false] {
        a_trial_ends_with_its_host(&setup, in_order).await.unwrap();
    }
}

#[tokio::test]
async fn that_is_red_for_a_host_that_notes_nothing() {
    let broken = Setup::echo().operated().failpoints("server.switches_noted=off");
    let objection = a_trial_ends_with_its_host(&broken, false).await.unwrap_err();
    assert!(objection.contains("does not tell of it"), "{objection}");
}
