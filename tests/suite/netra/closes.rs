//! How connections of that wire end: each close of the host's has the code that its clients know, in both versions.

use serde_json::{Value, json};

use super::{
    client::{Older, Version},
    conformance::Greeted,
    upgraded,
    v2::spoken,
};
use crate::{
    client::{BETWEEN, STILL_OPEN},
    harness::{
        Host, PATIENCE, Setup,
        tokens::{self, SECRET, claims_with, signed},
    },
    revocations::revoke,
    scenario::ready,
};

fn setup() -> Setup {
    spoken(Setup::echo()).operated().set("limits.auth_failures_per_minute", "0").set("auth.leeway", "\"0s\"")
}

fn token(jti: &str, seconds: u64) -> String {
    let issued = json!({ "jti": jti, "iat": tokens::now() - 10, "exp": tokens::now() + seconds });
    signed(&claims_with("alice", issued), SECRET)
}

async fn greeted(host: &Host, version: Version, token: &str) -> Result<Greeted, String> {
    let mut client = Older::with_token(host, version, token).await?;
    let greeting = match version {
        Version::V1 => client.greeting().await?,
        Version::V2 => client.handshake().await?.1,
    };
    Ok(Greeted { client, greeting })
}

/// The code of the close that comes, and the frames before it.
async fn closed(client: &mut Older) -> Result<(u16, Vec<Value>), String> {
    let mut frames = Vec::new();
    loop {
        match client.hear(PATIENCE).await? {
            Ok(frame) if frame["type"] == "agent_completed" => return Err("still open".to_owned()),
            Ok(frame) => frames.push(frame),
            Err(code) => return Ok((code, frames)),
        }
    }
}

/// The same of one that is asked whether it is there: a message that was there before the connection had heard of its end
/// may still be answered.
async fn asked_until_closed(client: &mut Older) -> Result<(u16, Vec<Value>), String> {
    let mut end = Err("nobody asked".to_owned());
    for _ in 0..STILL_OPEN {
        // One that is closed may not even take it.
        drop(client.say(&json!({ "type": "chat", "content": "am I still here?" })).await);
        end = closed(client).await;
        match &end {
            Err(objection) if objection == "still open" => tokio::time::sleep(BETWEEN).await,
            _ => break,
        }
    }
    end
}

/// A revoked token closes its connection with 1008, after which that client does not simply come back, and opens no other.
async fn a_revoked_token_closes_1008(host: &Host) -> Result<(), String> {
    ready(host).await?;
    for (version, jti) in Version::BOTH.into_iter().zip(["lost-1", "lost-2"]) {
        let (lost, kept) = (token(jti, 3600), token("kept", 3600));
        let mut client = greeted(host, version, &lost).await?.client;
        let mut other = greeted(host, version, &kept).await?.client;
        revoke(host, json!({ "jti": jti })).await?;
        // A connection that stays open goes on answering: so the twin ends.
        match asked_until_closed(&mut client).await {
            Ok((1008, _)) => {}
            end => return Err(format!("{version:?}: not closed with 1008: {end:?}")),
        }
        let offered = match version {
            Version::V1 => format!("jwt-auth, jwt.{lost}"),
            Version::V2 => format!("jwt.staging.{lost}"),
        };
        let again = upgraded(host, &offered).await?;
        if again.status != 403 {
            return Err(format!("{version:?}: a revoked token is let in: {again:?}"));
        }
        other.say(&json!({ "type": "chat", "content": "not me" })).await?;
        other.until("agent_completed").await?;
    }
    Ok(())
}

twin! {
    revoked(a_revoked_token_closes_1008) on setup();
    faults ""; broken by "gateway.revoked_sockets=off", says "still open"
}

#[tokio::test]
async fn a_token_that_ends_is_warned_of_and_closes_1008() {
    let host = setup().start();
    for version in Version::BOTH {
        let Greeted { mut client, greeting } = greeted(&host, version, &token("short", 8)).await.unwrap();
        let (code, told) = closed(&mut client).await.unwrap();
        let frames = [greeting, told].concat();
        assert_eq!(code, 1008, "{version:?}: {frames:?}");
        assert!(
            frames.iter().any(|frame| frame["data"]["event"] == "auth_expiring"),
            "{version:?}: {frames:?}"
        );
    }
}

/// A bug of the host's own is 1011, never 1000: its client comes back, and the next connection is well.
async fn a_bug_closes_1011(host: &Host) -> Result<(), String> {
    ready(host).await?;
    for version in Version::BOTH {
        let mut victim = greeted(host, version, &token("victim", 3600)).await?.client;
        let mut other = Greeted::of(host, version, "bob").await?;
        host.inject("gateway.connection.frame=panic");
        victim.say(&json!({ "type": "ping" })).await?;
        let end = closed(&mut victim).await?;
        host.inject("");
        if end.0 != 1011 {
            return Err(format!("{version:?}: closed with {end:?}"));
        }
        other.ask(&json!({ "type": "chat", "content": "not me" })).await?;
        Greeted::of(host, version, "alice").await?.ask(&json!({ "type": "chat", "content": "back" })).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_bug_of_the_host_closes_1011_and_only_its_own_connection() {
    let host = setup().failpoints("").start();
    a_bug_closes_1011(&host).await.unwrap();
}

/// Far more frames than any client sends.
#[tokio::test]
async fn a_flood_closes_1011() {
    let host = setup().start();
    for version in Version::BOTH {
        let mut client = greeted(&host, version, &token("flood", 3600)).await.unwrap().client;
        // The host closes in the midst of it.
        for _ in 0..5_000 {
            if client.say(&json!({ "type": "typing" })).await.is_err() {
                break;
            }
        }
        assert_eq!(closed(&mut client).await.map(|end| end.0), Ok(1011), "{version:?}");
    }
}
