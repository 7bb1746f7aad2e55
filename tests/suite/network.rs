//! The way out: a plugin reaches the peers that its operator names, through the host, and nothing else.

use std::time::Duration;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{
    client::Client,
    harness::{Host, PATIENCE, Plugin, Setup, artifacts, eventually, http},
    scenario::ready,
};

/// A peer on this machine, and how it is written.
pub(crate) async fn peer() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = listener.local_addr().unwrap().to_string();
    (listener, name)
}

/// Answers each connection with what it said, in capitals.
pub(crate) fn shouts(listener: TcpListener) {
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut text = String::new();
            if socket.read_to_string(&mut text).await.is_ok() {
                let _ = socket.write_all(text.to_uppercase().as_bytes()).await;
            }
        }
    });
}

fn with_network(peers: &[&str]) -> Setup {
    let plugin = Plugin::misbehaving("bad").key("network", &json!(peers).to_string());
    Setup::new().plugin(plugin).set("limits.messages_per_minute", "0")
}

async fn asked(host: &Host, what: &str) -> Result<String, String> {
    ready(host).await?;
    let run = Client::connect(host, "alice").await?.run(what).await?;
    run.answered_by("bad")?;
    Ok(run.text().to_owned())
}

/// The next connection, which is there within patience.
async fn accepted(listener: &TcpListener) -> TcpStream {
    tokio::time::timeout(PATIENCE, listener.accept()).await.expect("a connection comes").unwrap().0
}

/// The other end closes the connection within patience.
async fn closes(mut socket: TcpStream) {
    let mut rest = Vec::new();
    let end = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest));
    // A reset is an end too.
    let _ = end.await.expect("the connection is closed");
}

#[tokio::test]
async fn a_peer_that_is_named_is_reached_in_both_tiers() {
    let (listener, name) = peer().await;
    shouts(listener);
    let digest = Sha256::digest(std::fs::read(artifacts::misbehaving()).unwrap());
    let pin: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let trusted = Plugin::misbehaving("bad")
        .key("network", &json!([name]).to_string())
        .key("isolation", "\"in-process\"")
        .key("sha256", &format!("\"{pin}\""));
    for setup in [with_network(&[&name]), Setup::new().plugin(trusted)] {
        assert_eq!(asked(&setup.start(), &format!("!net {name}")).await.unwrap(), "PING\n");
    }
}

/// A peer that nobody named is refused, in words that say what to write.
async fn an_unnamed_peer_is_refused(host: &Host) -> Result<(), String> {
    let said = asked(host, "!net 127.0.0.1:9").await?;
    match said.contains("network.denied") && said.contains("network = [\"127.0.0.1:9\"]") {
        true => Ok(()),
        false => Err(format!("it was told: {said}")),
    }
}

twin! {
    a_peer_that_is_not_named(an_unnamed_peer_is_refused) on with_network(&["127.0.0.1:10"]);
    faults ""; broken by "services.network=off", says "network.unreachable"
}

#[tokio::test]
async fn a_refusal_is_logged_once_and_counted_each_time() {
    let host = with_network(&[]).start();
    for _ in 0..3 {
        an_unnamed_peer_is_refused(&host).await.unwrap();
    }
    eventually("the metric counts three", async || {
        let page = http::get(host.admin, "/metrics", &[], Duration::from_secs(2)).await?;
        let counted = "agent_host_peers_refused_total{plugin=\"bad\"} 3";
        if page.body.contains(counted) { Ok(()) } else { Err(page.body) }
    })
    .await
    .unwrap();
    let said = host.says(&["tried 127.0.0.1:9"]).await.unwrap();
    assert_eq!(said.lines().filter(|line| line.contains("tried 127.0.0.1:9")).count(), 1, "{said}");
}

#[tokio::test]
async fn a_name_does_not_lead_into_a_private_network_unless_the_address_is_named_too() {
    let (listener, address) = peer().await;
    shouts(listener);
    let (_, port) = address.rsplit_once(':').unwrap();
    let name = format!("localhost:{port}");
    let said = asked(&with_network(&[&name]).start(), &format!("!net {name}")).await.unwrap();
    assert!(said.contains("network.denied") && said.contains("not public"), "{said}");
    let host = with_network(&[&name, &address]).start();
    assert_eq!(asked(&host, &format!("!net {name}")).await.unwrap(), "PING\n");
}

#[tokio::test]
async fn a_connection_ends_with_its_run_and_with_its_process() {
    let (listener, name) = peer().await;
    let host = with_network(&[&name]).start();
    ready(&host).await.unwrap();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    client.say(&format!("!net-hold {name}"), json!({})).await.unwrap();
    let run = client.expect("accepted").await.unwrap()["run_id"].clone();
    client.until("agent_thinking").await.unwrap();
    let socket = accepted(&listener).await;
    client.send(&json!({ "type": "cancel", "run_id": run })).await.unwrap();
    client.until("agent_completed").await.unwrap();
    closes(socket).await;
}

#[tokio::test]
async fn connections_and_what_waits_in_them_have_limits() {
    let (listener, name) = peer().await;
    // What is poured is given up soon, everything else is not.
    let clocks = "{ init = \"20s\", tool = \"3s\", idle = \"20s\", run = \"60s\" }";
    let plugin =
        Plugin::misbehaving("bad").key("network", &json!([name]).to_string()).key("timeouts", clocks);
    let host = Setup::new().plugin(plugin).set("limits.messages_per_minute", "0").start();
    let said = asked(&host, &format!("!net-many {name}")).await.unwrap();
    assert!(said.starts_with("16: ") && said.contains("network.limit"), "{said}");

    // A peer that reads nothing: the plugin waits, and nothing piles up but the kernel's own buffers.
    let said = asked(&host, &format!("!net-pour {name}")).await.unwrap();
    assert!(said.contains("plugin.timeout_tool"), "{said}");
    drop(listener);
    let said = asked(&host, &format!("!net {name}")).await.unwrap();
    assert!(said.contains("network.unreachable"), "{said}");
}
