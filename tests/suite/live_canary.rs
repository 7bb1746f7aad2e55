//! A new version on trial: it has its share of the threads beside the old one, and is promoted, or taken back.

use std::{collections::BTreeSet, path::PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    admin::{order, page},
    client::Client,
    harness::{Host, Plugin, Setup, artifacts, eventually, metrics::Metrics},
    live::{config, edit, first_file, holds, put},
    scenario::ready,
};

/// A plugin whose new versions are tried on that share of the threads, for so long.
fn tried(share: &str, lasts: &str) -> Plugin {
    let terms = format!("{{ share = \"{share}\", for = \"{lasts}\", min_runs = 10, tolerance = \"20%\" }}");
    Plugin::misbehaving("tried").key("canary", &terms)
}

fn setup(share: &str, lasts: &str) -> Setup {
    Setup::new().plugin(tried(share, lasts)).operated().set("limits.messages_per_minute", "0")
}

/// Another version: the same library, told to do that with every message.
fn write_version(host: &Host, deed: &str) {
    let file = first_file(host);
    let text = std::fs::read_to_string(&file).unwrap();
    let text: String =
        text.lines().filter(|line| !line.starts_with("handle")).map(|line| format!("{line}\n")).collect();
    put(&file, format!("{text}handle = \"{deed}\"\n"));
}

/// Waits until a generation is on trial.
async fn on_trial(host: &Host, generation: u64) -> Result<(), String> {
    eventually("it is on trial", async || match page(host, "tried").await? {
        page if page["canary"]["generation"] == generation => Ok(()),
        page => Err(format!("not on trial: {page}")),
    })
    .await
}

/// Which generation answers a message in a new thread, and the thread.
async fn ask(client: &mut Client) -> Result<(u64, String), String> {
    let run = client.run("hello").await?;
    let generation = run.completed()["responder"]["generation"].as_u64();
    let generation = generation.ok_or_else(|| format!("answered by nobody: {}", run.completed()))?;
    Ok((generation, run.thread().to_owned()))
}

/// Which generations answer in so many new threads.
async fn ask_many(client: &mut Client, threads: usize) -> Result<Vec<u64>, String> {
    let mut answered = Vec::with_capacity(threads);
    for _ in 0..threads {
        answered.push(ask(client).await?.0);
    }
    Ok(answered)
}

/// Another library has the share that was asked for, by threads, and each thread stays where it is.
async fn the_share_is_as_asked(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    let old = page(host, "tried").await?;
    edit(&first_file(host), path(artifacts::misbehaving()).as_str(), path(artifacts::echo()).as_str());
    on_trial(host, 2).await?;
    let canary = page(host, "tried").await?["canary"].clone();
    if canary["digest"] == old["digest"] || canary["share"] != "25%" {
        return Err(format!("not the other library: {canary}"));
    }
    let mut threads = Vec::new();
    for _ in 0..200 {
        threads.push(ask(&mut client).await?);
    }
    let tried = threads.iter().filter(|(generation, _)| *generation == 2).count();
    // Five deviations of 50: sqrt(200 * 0.25 * 0.75) is 6.
    if !(19..=81).contains(&tried) {
        return Err(format!("{tried} of 200 threads are not the share that was asked for"));
    }
    for (generation, thread) in threads.iter().take(30) {
        let run = client.run_with("again", json!({ "thread_id": thread })).await?;
        if run.completed()["responder"]["generation"] != *generation {
            return Err(format!("a thread of generation {generation} moved: {}", run.completed()));
        }
    }
    // A run is counted a moment after its last word was sent.
    eventually("the same numbers are everywhere", async || it_is_shown(host, 230).await).await
}

/// The same numbers everywhere.
async fn it_is_shown(host: &Host, runs: u64) -> Result<(), String> {
    let page = page(host, "tried").await?;
    let of = |side: &str| page["canary"][side]["ended"].as_u64().unwrap_or(0);
    let (tried, beside) = (of("runs"), of("beside"));
    if tried + beside != runs || page["on_trial"] != 2 || page["generation"] != 1 {
        return Err(format!("{runs} runs are not all counted: {page}"));
    }
    let metrics = Metrics::of(host).await?;
    let side = |side: &str| {
        metrics.sum(&format!("agent_host_canary_runs_total{{plugin=\"tried\",side=\"{side}\",result=\"ok\""))
    };
    let share = metrics.sum("agent_host_canary_share{plugin=\"tried\"");
    if (side("canary"), side("serving"), share) != (tried as f64, beside as f64, 0.25) {
        return Err(format!("metrics say {} and {} and {share}", side("canary"), side("serving")));
    }
    for arguments in [["plugins", "why", "tried"], ["plugins", "show", "tried"]] {
        let said = operate(host, &arguments);
        let words = format!("0 of {tried} runs failed, 0 of {beside} of generation 1");
        if !said.contains("has 25% of the threads until") || !said.contains(&words) {
            return Err(format!("{arguments:?} do not say it: {said}"));
        }
    }
    let said = operate(host, &["status"]);
    if !said.contains("on trial  tried, generation 2 has 25% of the threads until") {
        return Err(format!("the status does not say it: {said}"));
    }
    let said = operate(host, &["plugins", "list"]);
    match said.contains("itself, generation 2 on trial") {
        true => Ok(()),
        false => Err(format!("the list does not say it: {said}")),
    }
}

fn path(library: PathBuf) -> String {
    library.to_str().unwrap().to_owned()
}

fn operate(host: &Host, arguments: &[&str]) -> String {
    let output = host.operate(arguments);
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

twin! {
    a_share_of_the_threads(the_share_is_as_asked) on setup("25%", "1h");
    faults ""; broken by "engine.canary.share=off", says "200 of 200 threads are not the share"
}

/// A version that fails a third of its messages, which no breaker minds, is taken back; nobody is left without an answer.
async fn one_that_fails_more_gives_way(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    write_version(host, "panic-each 3");
    on_trial(host, 2).await?;
    for _ in 0..100 {
        client.run("hello").await?.answered_by("tried")?;
        if page(host, "tried").await?["rolled_back"]["from"] == 2 {
            break;
        }
    }
    let page = page(host, "tried").await?;
    if page["rolled_back"]["code"] != "plugin.canary_worse" || !page["canary"].is_null() {
        return Err(format!("not taken back: {page}"));
    }
    if ask_many(&mut client, 20).await? != [1; 20] {
        return Err("it has runs though it was taken back".to_owned());
    }
    eventually("its end is counted", async || {
        let series = "agent_host_canaries_ended_total{plugin=\"tried\",end=\"rolled_back\"";
        let ended = Metrics::of(host).await?.sum(series);
        match ended as u64 == 1 && page["generation"] == 1 {
            true => Ok(()),
            false => Err(format!("{ended} ends are counted: {page}")),
        }
    })
    .await
}

twin! {
    a_version_that_fails_more(one_that_fails_more_gives_way) on setup("50%", "1h");
    faults ""; broken by "engine.canary.judge=off", says "not taken back"
}

/// At the end of its time it has everything, and the one before is kept for a while.
async fn one_that_fares_well_is_promoted(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut client = Client::connect(host, "alice").await?;
    write_version(host, "");
    eventually("it is on trial, or was", async || match page(host, "tried").await? {
        page if page["canary"]["generation"] == 2 || page["generation"] == 2 => Ok(()),
        page => Err(format!("not on trial: {page}")),
    })
    .await?;
    ask_many(&mut client, 5).await?;
    eventually("it is promoted", async || match page(host, "tried").await? {
        page if page["generation"] == 2 && page["former"] == 1 && page["canary"].is_null() => Ok(()),
        page => Err(format!("not promoted: {page}")),
    })
    .await?;
    if ask_many(&mut client, 10).await? != [2; 10] {
        return Err("it has not everything".to_owned());
    }
    host.says(&["\"end\":\"promoted\""]).await.map(drop)
}

twin! {
    a_version_that_fares_well(one_that_fares_well_is_promoted) on setup("50%", "3s");
    faults ""; broken by "engine.canary.promote=off", says "not promoted"
}

#[tokio::test]
async fn operators_promote_it_take_it_back_and_change_its_share() {
    let host = setup("50%", "1h").start();
    ready(&host).await.unwrap();
    let none = operate(&host, &["plugins", "promote", "tried"]);
    assert!(none.contains("plugin.no_canary") && none.contains("canary.share"), "{none}");
    write_version(&host, "");
    on_trial(&host, 2).await.unwrap();
    let said = operate(&host, &["config", "set", "plugins.tried.canary.share=0.5%"]);
    assert!(said.contains("\"50%\" -> \"0.5%\""), "{said}");
    assert_eq!(page(&host, "tried").await.unwrap()["canary"]["share"], "0.5%");
    let said = operate(&host, &["plugins", "promote", "tried"]);
    assert!(said.contains("generation 2 serves"), "{said}");
    write_version(&host, "empty");
    on_trial(&host, 3).await.unwrap();
    let back = order(&host, "tried", "rollback").await.unwrap();
    assert_eq!(
        (&back["generation"], &back["rolled_back"]["code"]),
        (&json!(2), &json!("plugin.rolled_back"))
    );
    let mut client = Client::connect(&host, "alice").await.unwrap();
    assert_eq!(ask_many(&mut client, 10).await.unwrap(), [2; 10]);
}

/// Kills what was not there before; the host's other workers stay.
fn kill_all_but(host: &Host, others: &BTreeSet<u32>) {
    for worker in host.worker_ids().into_iter().filter(|worker| !others.contains(worker)) {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_raw(i32::try_from(worker).unwrap()).unwrap(), Signal::KILL);
    }
}

#[tokio::test]
async fn kill_9_of_the_one_on_trial_takes_it_back_and_of_the_other_changes_nothing() {
    let host = setup("50%", "1h").start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let old: BTreeSet<u32> = host.worker_ids().into_iter().collect();
    write_version(&host, "");
    on_trial(&host, 2).await.unwrap();
    kill_all_but(&host, &old);
    eventually("it is taken back", async || match page(&host, "tried").await? {
        page if page["rolled_back"]["code"] == "plugin.crashed" && page["verdict"] == "healthy" => Ok(()),
        page => Err(page.to_string()),
    })
    .await
    .unwrap();
    assert_eq!(ask_many(&mut client, 10).await.unwrap(), [1; 10]);

    // The same again, by name.
    order(&host, "tried", "reload").await.unwrap();
    on_trial(&host, 3).await.unwrap();
    let new: BTreeSet<u32> = host.worker_ids().into_iter().filter(|id| !old.contains(id)).collect();
    kill_all_but(&host, &new);
    eventually("the other is there again", async || match page(&host, "tried").await? {
        page if page["generation"] == 4 && page["state"] == "healthy" => Ok(()),
        page => Err(page.to_string()),
    })
    .await
    .unwrap();
    assert_eq!(page(&host, "tried").await.unwrap()["canary"]["generation"], 3, "it goes on");
    let answered: BTreeSet<u64> = ask_many(&mut client, 60).await.unwrap().into_iter().collect();
    assert_eq!(answered, BTreeSet::from([3, 4]));
    // What was on trial is there to be started from, though others came after it.
    order(&host, "tried", "promote").await.unwrap();
    kill_all_but(&host, &BTreeSet::new());
    eventually("the promoted one is there again", async || match page(&host, "tried").await? {
        page if page["generation"] == 5 && page["state"] == "healthy" => Ok(()),
        // The one of before is kept: it takes over from the one that died, unless it died first.
        page if page["generation"] == 4 && page["rolled_back"]["from"] == 3 => Ok(()),
        page => Err(page.to_string()),
    })
    .await
    .unwrap();
    // The one of before may have died a moment after it took over: it is started again as well.
    eventually("it answers", async || {
        Client::connect(&host, "alice").await?.run("hello").await?.answered_by("tried")
    })
    .await
    .unwrap();
}

/// Nobody remembers a trial beyond the host: it starts with what is configured.
#[tokio::test]
async fn a_host_that_was_killed_during_a_trial_starts_with_what_is_configured() {
    let mut host = setup("50%", "1h").start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    write_version(&host, "");
    on_trial(&host, 2).await.unwrap();
    let (_, thread) = ask(&mut client).await.unwrap();
    let again = Setup::new().plugin(tried("50%", "1h").config("handle", "\"\"")).operated();
    host.start_again(&again);
    ready(&host).await.unwrap();
    let page = page(&host, "tried").await.unwrap();
    assert_eq!((&page["generation"], &page["canary"]), (&json!(1), &Value::Null), "{page}");
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let run = client.run_with("again", json!({ "thread_id": thread })).await.unwrap();
    run.answered_by("tried").unwrap();
}

#[tokio::test]
async fn switched_off_during_a_trial_it_comes_back_as_what_was_wanted() {
    let host = setup("50%", "1h").start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    write_version(&host, "");
    on_trial(&host, 2).await.unwrap();
    let off = order(&host, "tried", "disable").await.unwrap();
    assert_eq!((&off["verdict"], &off["canary"]), (&json!("disabled"), &Value::Null), "{off}");
    client.run("meanwhile").await.unwrap().answered_by_fallback("meanwhile").unwrap();
    let on = order(&host, "tried", "enable").await.unwrap();
    assert_eq!((&on["generation"], &on["canary"]), (&json!(3), &Value::Null), "{on}");
    assert_eq!(ask_many(&mut client, 5).await.unwrap(), [3; 5]);
}

#[tokio::test]
async fn another_version_takes_its_place_and_a_step_back_of_the_file_ends_it() {
    let host = setup("50%", "1h").start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    let file = first_file(&host);
    let first = std::fs::read_to_string(&file).unwrap();
    write_version(&host, "");
    on_trial(&host, 2).await.unwrap();
    // One that cannot be had changes nothing.
    put(&file, format!("{first}create = \"error\"\n"));
    eventually("it is refused", async || match &config(&host).await?["failure"]["code"] {
        code if code == "plugin.init_error" => Ok(()),
        code => Err(code.to_string()),
    })
    .await
    .unwrap();
    assert_eq!(page(&host, "tried").await.unwrap()["canary"]["generation"], 2);
    put(&file, format!("{first}drop = \"\"\n"));
    on_trial(&host, 4).await.unwrap();
    let answered: BTreeSet<u64> = ask_many(&mut client, 60).await.unwrap().into_iter().collect();
    assert_eq!(answered, BTreeSet::from([1, 4]));
    put(&file, &first);
    holds(&host, "plugins.tried.config.drop", &Value::Null).await.unwrap();
    let page = page(&host, "tried").await.unwrap();
    assert_eq!((&page["generation"], &page["canary"]), (&json!(1), &Value::Null), "{page}");
    assert_eq!(ask_many(&mut client, 10).await.unwrap(), [1; 10]);
}

/// Two libraries in the host's own folder, the first of which is tried against on half of the threads.
fn two_libraries() -> Setup {
    let bytes = |library: PathBuf| std::fs::read(library).unwrap();
    let plugin = Plugin::at("tried", "one.so")
        .key("canary", "{ share = \"50%\", for = \"1h\" }")
        .key("restart", "{ max = 100, within = \"1d\" }")
        .key("rollback_window", "\"0s\"");
    let setup = Setup::new().plugin(plugin).operated();
    setup
        .file("plugins/one.so", bytes(artifacts::misbehaving()))
        .file("plugins/two.so", bytes(artifacts::echo()))
}

/// What was on trial is what is started again once it serves, however often the one beside it was, and whatever lies at
/// its path by then.
async fn a_restart_after_a_trial_reads_no_file(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let first: BTreeSet<u32> = host.worker_ids().into_iter().collect();
    edit(&first_file(host), "one.so", "two.so");
    on_trial(host, 2).await?;
    let tried: BTreeSet<u32> = host.worker_ids().into_iter().filter(|id| !first.contains(id)).collect();
    let digest = page(host, "tried").await?["canary"]["digest"].clone();
    for generation in [3, 4, 5] {
        kill_all_but(host, &tried);
        eventually("the one beside it is there again", async || match page(host, "tried").await? {
            page if page["generation"] == generation && page["state"] == "healthy" => Ok(()),
            page => Err(page.to_string()),
        })
        .await?;
    }
    std::fs::remove_file(host.dir().join("plugins/two.so")).map_err(|e| e.to_string())?;
    let promoted = order(host, "tried", "promote").await?;
    if promoted["generation"] != 2 || promoted["digest"] != digest {
        return Err(format!("another one was promoted: {promoted}"));
    }
    kill_all_but(host, &BTreeSet::new());
    let settled = eventually("it is started again", async || match page(host, "tried").await? {
        page if page["state"] == "healthy" && page["generation"] == 6 => Ok(page),
        // It crashed, and is to be started; any other code is what came of that.
        page if page["state"] == "failed" && page["code"] != "plugin.crashed" => Ok(page),
        page => Err(page.to_string()),
    });
    match settled.await? {
        page if page["state"] == "healthy" && page["digest"] == digest => Ok(()),
        page => Err(format!("not from its own bytes: {page}")),
    }
}

twin! {
    restarted_after_a_trial(a_restart_after_a_trial_reads_no_file) on two_libraries();
    faults ""; broken by "runtime.shelf=off", says "plugin.not_found"
}
