//! The incident replayed: each of its four dependencies fails, alone and with another, after a valid token. Never a 500,
//! the right level, and healed without a restart when it returns.

use crate::{
    client::Client,
    harness::{Host, Plugin, Setup, eventually, http, tokens},
    scenario::ready,
};

/// The incident's dependencies, by what they are here: three services, and the supervisor plugin.
pub(crate) const SERVICES: [&str; 3] = ["llm", "threads", "events"];

pub(crate) fn faults(of: &[&str]) -> String {
    of.iter().map(|name| format!("services.{name}=error\n")).collect()
}

async fn welcome(host: &Host) -> serde_json::Value {
    let answer = http::upgrade(host.address, Some(&tokens::of("alice"))).await.unwrap();
    assert_eq!(answer.status, 101, "{answer:?}");
    Client::connect(host, "alice").await.unwrap().welcome["service"].clone()
}

fn missing(service: &serde_json::Value) -> Vec<String> {
    let all = service["missing"].as_array().unwrap().iter();
    let mut names: Vec<String> = all.map(|m| m["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Waits until the welcome names exactly these as missing, and answers its service part.
async fn until_missing(host: &Host, names: &[&str]) -> serde_json::Value {
    let mut wanted: Vec<&str> = names.to_vec();
    wanted.sort_unstable();
    let wanted = &wanted;
    let found = eventually("the welcome names what is missing", async || {
        let service = welcome(host).await;
        if missing(&service) == *wanted { Ok(service) } else { Err(service.to_string()) }
    });
    found.await.unwrap()
}

#[tokio::test]
async fn each_dependency_of_the_incident_may_be_missing_alone_and_in_pairs_and_heals() {
    let host = Setup::echo().failpoints("").start();
    ready(&host).await.unwrap();
    let singles = SERVICES.iter().map(|name| vec![*name]);
    let pairs = (0..SERVICES.len())
        .flat_map(|a| (a + 1..SERVICES.len()).map(move |b| vec![SERVICES[a], SERVICES[b]]));
    for gone in singles.chain(pairs) {
        host.inject(&faults(&gone));
        let service = until_missing(&host, &gone).await;
        assert_eq!(service["level"], "partial", "{service}");
        Client::connect(&host, "alice")
            .await
            .unwrap()
            .run("hello")
            .await
            .unwrap()
            .answered_by("echo")
            .unwrap();
        host.inject("");
        let service = until_missing(&host, &[]).await;
        assert_eq!(service["level"], "full", "{service}");
    }
}

#[tokio::test]
async fn the_supervisor_may_be_missing_with_each_of_them() {
    let broken = Plugin::at("chooser", "/nowhere/libchooser.so").key("kind", "\"supervisor\"");
    let host = Setup::echo().plugin(broken).failpoints("").start();
    ready(&host).await.unwrap();
    for gone in std::iter::once(None).chain(SERVICES.map(Some)) {
        let gone: Vec<&str> = gone.into_iter().collect();
        host.inject(&faults(&gone));
        let names: Vec<&str> = gone.iter().copied().chain(["chooser"]).collect();
        let service = until_missing(&host, &names).await;
        assert_eq!(service["level"], "partial", "{service}");
        Client::connect(&host, "alice")
            .await
            .unwrap()
            .run("hello")
            .await
            .unwrap()
            .answered_by("echo")
            .unwrap();
    }
}

#[tokio::test]
async fn an_agent_that_requires_a_service_falls_with_it_and_comes_back_with_it() {
    let needy = Plugin::echo().key("requires", "[\"threads\"]");
    let host = Setup::new().plugin(needy).failpoints("").start();
    ready(&host).await.unwrap();
    host.inject(&faults(&["threads"]));
    let service = until_missing(&host, &["echo", "threads"]).await;
    assert_eq!(service["level"], "fallback", "{service}");
    assert!(service.to_string().contains("plugin.dependency_missing"), "{service}");
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.run("hello there").await.unwrap().answered_by_fallback("hello there").unwrap();
    host.inject("");
    let service = until_missing(&host, &[]).await;
    assert_eq!(service["level"], "full", "{service}");
    client.run("hello again").await.unwrap().answered_by("echo").unwrap();
}

#[tokio::test]
async fn a_plugin_that_starts_without_its_service_comes_alive_when_it_returns() {
    let needy = Plugin::echo().key("requires", "[\"threads\"]");
    let host = Setup::new().plugin(needy).failpoints(&faults(&["threads"])).start();
    ready(&host).await.unwrap();
    let service = until_missing(&host, &["echo", "threads"]).await;
    assert_eq!(service["level"], "fallback", "{service}");
    host.heal();
    until_missing(&host, &[]).await;
    Client::connect(&host, "alice").await.unwrap().run("hello").await.unwrap().answered_by("echo").unwrap();
}
