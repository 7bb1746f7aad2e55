//! The incident's four dependencies in each shipped profile, over that platform's own wire: each alone, and every two,
//! after a valid token. Never a 500, named as its clients know them, and well again without a restart.

use serde_json::json;

use super::{client::Version, conformance::Greeted, v2::spoken};
use crate::{
    harness::{Host, Plugin, Setup, artifacts, eventually, profile::Profile},
    incident::{SERVICES, faults},
    scenario::ready,
};

/// What the three services were called there.
const THEIRS: [(&str, &str); 3] =
    [("llm", "llm_manager"), ("threads", "thread_service"), ("events", "websocket_bridge")];
const SUPERVISOR: &str = "agent_supervisor";
/// Where the supervisor's library is put when it returns.
const LIBRARY: &str = "plugins/chooser.so";

fn theirs(service: &str) -> &'static str {
    THEIRS.iter().find(|(name, _)| *name == service).map(|(_, theirs)| *theirs).expect("one of the three")
}

/// Nothing, each of them, every two.
fn combinations() -> Vec<Vec<&'static str>> {
    let singles = SERVICES.iter().map(|name| vec![*name]);
    let pairs = (0..SERVICES.len())
        .flat_map(|a| (a + 1..SERVICES.len()).map(move |b| vec![SERVICES[a], SERVICES[b]]));
    std::iter::once(Vec::new()).chain(singles).chain(pairs).collect()
}

/// Both versions are let in, told what is missing, and answered by the agent.
async fn are_served_without(host: &Host, theirs: &[&str]) -> Result<(), String> {
    let mut wanted = theirs.to_vec();
    wanted.sort_unstable();
    for version in Version::BOTH {
        let mut greeted = eventually("what is missing is told", async || {
            let greeted = match Greeted::of(host, version, "alice").await {
                // It would be one again.
                Err(refused) if refused.contains("refused with 500") => return Ok(Err(refused)),
                other => other?,
            };
            let mut told = greeted.missing();
            told.sort_unstable();
            match told == wanted {
                true => Ok(Ok(greeted)),
                false => Err(format!("{version:?} is told of {told:?}, not {wanted:?}")),
            }
        })
        .await??;
        // Named as a supervisor is told of whom to ask.
        let completed = greeted.ask(&json!({ "type": "chat", "content": "@echo hello" })).await?;
        if completed["agent_name"] != "echo" || completed["payload"]["status"] != "completed" {
            return Err(format!("{version:?} without {wanted:?}: {completed}"));
        }
    }
    Ok(())
}

/// The three services, in every combination of at most two.
async fn services_come_and_go(host: &Host) -> Result<(), String> {
    ready(host).await?;
    for gone in combinations() {
        host.inject(&faults(&gone));
        are_served_without(host, &gone.iter().map(|name| theirs(name)).collect::<Vec<_>>()).await?;
        host.inject("");
        are_served_without(host, &[]).await?;
    }
    Ok(())
}

/// The supervisor, alone and with each of the three; then its library is there.
async fn the_supervisor_comes_back(host: &Host) -> Result<(), String> {
    ready(host).await?;
    for gone in combinations().into_iter().filter(|gone| gone.len() < 2) {
        host.inject(&faults(&gone));
        let named: Vec<&str> = gone.iter().map(|name| theirs(name)).chain([SUPERVISOR]).collect();
        are_served_without(host, &named).await?;
        host.inject("");
    }
    let library = host.folder().join(LIBRARY);
    let coming = library.with_extension("coming");
    std::fs::copy(artifacts::supervisor(), &coming).map_err(|e| e.to_string())?;
    std::fs::rename(coming, library).map_err(|e| e.to_string())?;
    are_served_without(host, &[]).await
}

fn with_services() -> Setup {
    spoken(Setup::echo())
}

/// Where the supervisor's library should be there is half of one.
fn with_a_supervisor() -> Setup {
    let chooser = Plugin::at("chooser", "chooser.so").key("kind", "\"supervisor\"");
    with_services().plugin(chooser).file(LIBRARY, *b"half a library")
}

async fn holds_in(profile: Profile) {
    let host = profile.over(with_services()).failpoints("").start();
    services_come_and_go(&host).await.unwrap_or_else(|wrong| panic!("{profile:?}: {wrong}"));
    let host = profile.over(with_a_supervisor()).failpoints("").start();
    the_supervisor_comes_back(&host).await.unwrap_or_else(|wrong| panic!("{profile:?}: {wrong}"));
}

#[tokio::test]
async fn each_and_every_two_may_be_missing_in_the_defaults() {
    holds_in(Profile::Dev).await;
}

#[tokio::test]
async fn each_and_every_two_may_be_missing_in_staging() {
    holds_in(Profile::Staging).await;
}

#[tokio::test]
async fn each_and_every_two_may_be_missing_in_production() {
    holds_in(Profile::Production).await;
}

/// A service that nobody configured is named too, where an agent is said to require it.
#[tokio::test]
async fn what_was_never_configured_is_named_where_it_is_required() {
    let needy = Plugin::misbehaving("needy").key("requires", "[\"llm\"]");
    let host = spoken(Setup::echo().plugin(needy)).start();
    ready(&host).await.unwrap();
    are_served_without(&host, &["llm_manager", "needy"]).await.unwrap();
}

/// And the host that builds on the fly is found out in each profile, by the same scenarios.
#[tokio::test]
async fn a_host_that_builds_on_the_fly_is_found_out_in_each_profile() {
    for profile in Profile::ALL {
        let on_the_fly = "gateway.builds_nothing=off";
        let host = profile.over(with_services()).failpoints(on_the_fly).start();
        let found = services_come_and_go(&host).await.expect_err("content with a broken host");
        assert!(found.contains("500: Internal Server Error: llm_manager"), "{profile:?}: {found}");
        let host = profile.over(with_a_supervisor()).failpoints(on_the_fly).start();
        let found = the_supervisor_comes_back(&host).await.expect_err("content with a broken host");
        assert!(found.contains("500: Internal Server Error: agent_supervisor"), "{profile:?}: {found}");
    }
}
