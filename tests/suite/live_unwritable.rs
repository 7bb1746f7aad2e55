//! Files of the configuration that cannot be replaced: each is as it was, whole; the order says so, and what it was to set
//! holds nowhere; a switch that no file keeps says so as well.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    admin::order,
    harness::{Host, Setup},
    live::{call, config, first_file, holds},
    scenario::ready,
};

/// A key of the main file, and one of the plugin's: which is the second to be replaced.
pub(crate) const SET: [(&str, u64); 2] =
    [("limits.runs_at_once", 7), ("plugins.echo.limits.concurrent_runs", 5)];

pub(crate) fn setup() -> Setup {
    Setup::echo().operated()
}

/// Every file of the configuration, hidden ones too, with its text.
pub(crate) fn files(host: &Host) -> BTreeMap<PathBuf, String> {
    let folders = [host.dir().to_owned(), host.dir().join("plugins.d")];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap().flatten());
    let paths = entries.map(|entry| entry.path());
    let toml =
        paths.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".toml")));
    toml.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

pub(crate) async fn set(host: &Host) -> Result<(u16, String), String> {
    let body = json!({ "set": BTreeMap::from(SET) }).to_string();
    let answer = call(host, "PATCH", "/admin/v1/config", &[], &body).await?;
    Ok((answer.status, answer.code().unwrap_or_default()))
}

fn whole(host: &Host, before: &BTreeMap<PathBuf, String>) -> Result<(), String> {
    let after = files(host);
    let other = |(path, text): (&PathBuf, &String)| before.get(path) != Some(text);
    match after.iter().find(|(path, text)| other((path, text))) {
        None if after.len() == before.len() => Ok(()),
        None => Err(format!("a file is gone: {:?}", after.keys())),
        Some((path, text)) => Err(format!("{} is not as it was: {text}", path.display())),
    }
}

/// The file that fails is the first of two, or the second after the first was replaced.
async fn what_cannot_be_written_is_half_written_nowhere(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let (before, in_force) = (files(host), config(host).await?);
    for fails in ["host.toml", "00-echo.toml"] {
        host.inject(&format!("server.config_put.{fails}=error"));
        let answer = set(host).await?;
        if answer != (409, "config.unwritable".to_owned()) {
            return Err(format!("{fails}: {answer:?}"));
        }
        whole(host, &before).map_err(|objection| format!("{fails}: {objection}"))?;
        let now = config(host).await?;
        for (key, _) in SET {
            let (now, was) = (&now["settings"][key], &in_force["settings"][key]);
            if now != was {
                return Err(format!("{fails}: {key} is {now}, in force though in no file"));
            }
        }
        if now["etag"] != in_force["etag"] {
            return Err(format!("{fails}: another configuration is in force: {now}"));
        }
    }
    // The command says so, too.
    let told = host.operate(&["config", "set", "plugins.echo.limits.concurrent_runs=5"]);
    let said = String::from_utf8_lossy(&told.stderr).into_owned();
    if told.status.code() != Some(1) || !said.contains("config.unwritable") {
        return Err(format!("the command says {said}"));
    }
    // What is switched is switched, and whoever did it knows that no file says so.
    let off = order(host, "echo", "disable").await?;
    if off["verdict"] != "disabled" || !off["kept"]["file"].is_null() || !off["kept"]["reason"].is_string() {
        return Err(format!("not said to be in memory only: {off}"));
    }
    whole(host, &before)?;
    host.inject("");
    order(host, "echo", "enable").await?;
    match set(host).await? {
        (200, _) => {}
        answer => return Err(format!("without the fault: {answer:?}")),
    }
    for (key, value) in SET {
        holds(host, key, &Value::from(value)).await?;
    }
    let (main, plugin) = (host.dir().join("host.toml"), first_file(host));
    let after = files(host);
    match after[&main].contains("runs_at_once = 7") && after[&plugin].contains("concurrent_runs = 5") {
        true => Ok(()),
        false => Err(format!("in force and in no file: {after:?}")),
    }
}

twin! {
    unwritable(what_cannot_be_written_is_half_written_nowhere) on setup();
    faults ""; broken by "server.config_beside=off", says "host.toml is not as it was";
    broken by "server.config_taken_back=off", says "00-echo.toml: ";
    broken by "server.config_revert=off", says "in force though in no file"
}
