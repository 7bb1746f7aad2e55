//! Plays cases: one host, a plugin for each case, a user for each plugin, and other users who must not notice.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, task::JoinHandle};

use super::case::{Case, InProcess, Tier, What};
use crate::{
    client::{Client, Run},
    harness::{Host, PATIENCE, Plugin, Setup, artifacts, eventually, http, within},
    scenario::ready,
};

/// Larger files are not hashed: they are refused before anybody reads them.
const HASHED: u64 = 256 << 20;
/// Between two messages of another user, for each such user: together they send fifty a second.
const PACE: Duration = Duration::from_millis(20);
/// How a plugin is asked whether it is well.
const WELL: &str = "are you well?";

/// What came of a case.
#[derive(Debug, Clone)]
pub(crate) struct Played {
    pub(crate) name: String,
    pub(crate) row: u8,
    pub(crate) outcome: Outcome,
    /// The stable code that says why; empty where nothing failed.
    pub(crate) code: String,
    /// From the message to the end of its run.
    pub(crate) answered: Duration,
    /// From there until the plugin itself answered again, where it should.
    pub(crate) recovered: Option<Duration>,
}

/// What was made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was not let in; the fallback answered.
    Refused,
    /// It failed a run, which was completed, and is healthy again.
    Recovered,
    /// It said what is not so, and the client saw a whole run.
    Contained,
    /// It did what nobody could foresee, and was answered for.
    Survived,
    /// The host, the client or another user saw what they should not.
    Wrong(String),
}

/// A plugin pinned to a digest, in the host's own process.
pub(crate) fn pinned_to(plugin: Plugin, digest: &str) -> Plugin {
    plugin.key("isolation", "\"in-process\"").key("sha256", &format!("\"{digest}\""))
}

/// Plays the cases that this tier promises, all at once, beside so many other users.
pub(crate) async fn play(host: &mut Host, cases: &[Case], others: usize) -> Vec<Played> {
    let pid = host.pid();
    if let Err(objection) = ready(host).await {
        return cases.iter().map(|case| wrong(case, format!("the host is not ready: {objection}"))).collect();
    }
    let crowd = Crowd::of(host, others);
    let host_ref: &Host = host;
    // They connect one after another: a hundred at once is another test's business. Nobody waits for the rest, as who
    // says nothing for half a minute is taken for gone.
    let turn = &Semaphore::new(1);
    let all = cases.iter().map(|case| async move {
        let connected = {
            let _turn = turn.acquire().await;
            eventually("a user connects", async || Client::connect(host_ref, &case.name).await).await
        };
        let played = match connected {
            Ok(client) => one(host_ref, client, case).await,
            Err(objection) => Err(objection),
        };
        played.unwrap_or_else(|objection| wrong(case, objection))
    });
    let mut played = futures_util::future::join_all(all).await;
    let noticed = crowd.leave().await;
    if noticed.is_err() {
        // Which connections the host closed, and why, says more than what one client saw.
        let closed = metrics_of(host, "agent_host_connections_closed_total").await;
        println!("{noticed:?}; the host closed: {closed:?}");
    }
    let lived = host.is_running() && host.pid() == pid;
    for case in &mut played {
        if !lived {
            case.outcome = Outcome::Wrong("the host died".to_owned());
        } else if let Err(objection) = &noticed {
            case.outcome = Outcome::Wrong(format!("another user noticed: {objection}"));
        }
    }
    played
}

/// The lines of a metric.
async fn metrics_of(host: &Host, name: &str) -> Vec<String> {
    let page = http::get(host.admin, "/metrics", &[], PATIENCE).await;
    let page = page.map(|page| page.body).unwrap_or_default();
    page.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
}

/// A host with a plugin for each of the cases, and one that is sound.
pub(crate) fn setup(tier: Tier, cases: &[Case]) -> Setup {
    // Hundreds of others at once are this test's business, the agent's own limit is another's.
    let setup = Setup::new()
        .plugin(Plugin::echo().key("limits", "{ concurrent_runs = 10000 }"))
        .set("limits.messages_per_minute", "0")
        .set("limits.runs_at_once", "0")
        .set("limits.connections_per_user", "0");
    cases.iter().fold(setup, |setup, case| setup.plugin(in_tier(tier, case)))
}

/// The cases that a tier promises to live with.
pub(crate) fn promised(tier: Tier, cases: Vec<Case>) -> Vec<Case> {
    cases.into_iter().filter(|case| tier == Tier::Worker || case.in_process == InProcess::Same).collect()
}

fn in_tier(tier: Tier, case: &Case) -> Plugin {
    let plugin = case.plugin().clone();
    if tier == Tier::Worker {
        return plugin;
    }
    let library = match case.library() {
        Some((path, _)) => path.clone(),
        None => artifacts::misbehaving(),
    };
    pinned_to(plugin, &digest_of(&library))
}

/// The digest of a file, as far as it is one.
fn digest_of(library: &Path) -> String {
    let regular = std::fs::metadata(library).is_ok_and(|it| it.is_file() && it.len() <= HASHED);
    let bytes = if regular { std::fs::read(library).unwrap_or_default() } else { Vec::new() };
    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn one(host: &Host, mut client: Client, case: &Case) -> Result<Played, String> {
    match &case.what {
        What::Start { codes, .. } => refused(host, case, codes).await,
        What::Any { .. } => survived(&mut client, case).await,
        What::Deed { message, codes, .. } => recovered(&mut client, case, message, codes).await,
        What::Lie { message, .. } => contained(&mut client, case, message).await,
    }
}

/// It is named as missing, with its code, and its messages are answered honestly by the fallback.
async fn refused(host: &Host, case: &Case, codes: &[&str]) -> Result<Played, String> {
    // Where a hundred begin at once, one may fail as its time is over before its deed. It is tried again.
    let (code, mut client) = within(3 * PATIENCE, "it is refused for its own reason", async || {
        let client = Client::connect(host, &case.name).await?;
        let mut missing = client.welcome["service"]["missing"].as_array().into_iter().flatten();
        let own =
            missing.find(|one| one["name"] == case.name.as_str()).ok_or("the welcome does not name it")?;
        let code = own["code"].as_str().unwrap_or_default();
        // What may be tried again has perhaps spent its budget by now: the log says on what.
        let spent = code == "plugin.quarantined";
        let code = if spent { spent_on(host, &case.name)? } else { code.to_owned() };
        if codes.contains(&code.as_str()) {
            Ok((code, client))
        } else {
            Err(format!("expected one of {codes:?}, got {code}"))
        }
    })
    .await?;
    let (run, answered) = ask(&mut client, case, WELL).await?;
    run.answered_by_fallback(WELL)?;
    Ok(played(case, Outcome::Refused, code, answered, None))
}

/// The code of the failures that brought a plugin into quarantine.
fn spent_on(host: &Host, plugin: &str) -> Result<String, String> {
    let said = host.said();
    let told = said.lines().filter(|line| line.contains("PluginQuarantined"));
    let mut told = told.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let told =
        told.find(|told| told["plugin"] == plugin).ok_or("quarantined, and the log does not say so")?;
    told["code"].as_str().map(str::to_owned).ok_or(format!("quarantined, for no reason: {told}"))
}

/// Whatever it is, its message is answered.
async fn survived(client: &mut Client, case: &Case) -> Result<Played, String> {
    let (run, answered) = ask(client, case, WELL).await?;
    let code = run.codes().first().map_or_else(String::new, |code| (*code).to_owned());
    Ok(played(case, Outcome::Survived, code, answered, None))
}

/// The run says by its code what happened, and the plugin answers again.
async fn recovered(
    client: &mut Client,
    case: &Case,
    message: &str,
    codes: &[&str],
) -> Result<Played, String> {
    let (run, answered) = ask(client, case, message).await?;
    if !["failed", "degraded"].contains(&run.status()) {
        return Err(format!("it ended as if all were well: {}", run.completed()));
    }
    let said = run.codes();
    let code = said.iter().find(|code| codes.contains(code));
    let code = code.ok_or_else(|| format!("expected one of {codes:?}, got {said:?}"))?;
    let code = (*code).to_owned();
    let took = answers_again(client, case).await?;
    Ok(played(case, Outcome::Recovered, code, answered, Some(took)))
}

/// The client saw a whole run (it holds every run against that), and the plugin answers the next message.
async fn contained(client: &mut Client, case: &Case, message: &str) -> Result<Played, String> {
    let (run, answered) = ask(client, case, message).await?;
    let code = run.codes().first().map_or_else(String::new, |code| (*code).to_owned());
    let took = answers_again(client, case).await?;
    Ok(played(case, Outcome::Contained, code, answered, Some(took)))
}

async fn ask(client: &mut Client, case: &Case, message: &str) -> Result<(Run, Duration), String> {
    let began = Instant::now();
    let run = client.run_with(message, json!({ "agent": case.name })).await?;
    Ok((run, began.elapsed()))
}

/// How long it takes until the plugin itself answers.
async fn answers_again(client: &mut Client, case: &Case) -> Result<Duration, String> {
    let began = Instant::now();
    loop {
        let (run, _) = ask(client, case, WELL).await?;
        match run.status() {
            "ok" => return run.answered_by(&case.name).map(|()| began.elapsed()),
            _ if began.elapsed() > 3 * PATIENCE => {
                return Err(format!("it never answered again: {}", run.completed()));
            }
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

fn played(
    case: &Case,
    outcome: Outcome,
    code: String,
    answered: Duration,
    recovered: Option<Duration>,
) -> Played {
    Played { name: case.name.clone(), row: case.row, outcome, code, answered, recovered }
}

fn wrong(case: &Case, objection: String) -> Played {
    played(case, Outcome::Wrong(objection), String::new(), Duration::ZERO, None)
}

/// Other users, on a sound agent, who count what they get.
struct Crowd {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    people: Vec<JoinHandle<Result<(), String>>>,
}

impl Crowd {
    fn of(host: &Host, people: usize) -> Self {
        let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let address = host.address;
        let people = u32::try_from(people).unwrap_or(u32::MAX);
        let pace = PACE * people;
        let people = (0..people).map(|number| {
            let (over, answered) = (Arc::clone(&over), Arc::clone(&answered));
            tokio::spawn(async move {
                let user = format!("other-{number}");
                let mut client =
                    eventually("another user connects", async || Client::at(address, &user).await).await?;
                client = client.one_of_many();
                // Not all at once: each begins at its own time within the first round.
                client.idle(PACE * number).await?;
                while !over.load(Ordering::Relaxed) {
                    client.run_with("hello", json!({ "agent": "echo" })).await?.answered_by("echo")?;
                    answered.fetch_add(1, Ordering::Relaxed);
                    client.idle(pace).await?;
                }
                client.close().await.map(drop)
            })
        });
        let people = people.collect();
        Self { over, answered, people }
    }

    async fn leave(self) -> Result<(), String> {
        let expected = self.people.len();
        if expected > 0 {
            let all = async || match self.answered.load(Ordering::Relaxed) {
                some if some >= expected => Ok(()),
                some => Err(format!("{some} answers to {expected} people")),
            };
            eventually("others are answered", all).await?;
        }
        self.over.store(true, Ordering::Relaxed);
        for person in self.people {
            person.await.map_err(|e| e.to_string())??;
        }
        Ok(())
    }
}
