//! A connection is its token's: it is warned of its end, ends with it, and goes by a new one from when that is taken.
//! Each with a host that does not. The times are a token's own, and a stall may outlive a short one: then it is refused at
//! the door, rightly, and one that lives longer is tried.

use serde_json::json;
use tokio::time::timeout;

use crate::{
    client::Client,
    harness::{Host, PATIENCE, Setup, tokens},
};

/// Seconds that a token lives, for a machine that is more and more busy.
const LIVES: [u64; 3] = [4, 12, 36];

fn setup() -> Setup {
    Setup::echo().set("auth.leeway", "\"0s\"")
}

/// A token of Alice's that ends so many seconds from now.
fn living(seconds: u64) -> String {
    let end = json!({ "exp": tokens::now() + seconds, "jti": format!("alice-{seconds}") });
    tokens::signed(&tokens::claims_with("alice", end), tokens::SECRET)
}

/// It is closed with 4401, or that is objected.
async fn is_ended(client: &mut Client, objection: &str) -> Result<(), String> {
    match timeout(PATIENCE, client.attend()).await {
        Ok(end) if end.contains("Closed(4401)") => Ok(()),
        Ok(end) => Err(format!("ended otherwise: {end}")),
        Err(_) => Err(objection.to_owned()),
    }
}

/// One that ends within the time of a warning (30 s) is warned of at once.
async fn the_end_is_told_beforehand(host: &Host) -> Result<(), String> {
    let mut client = Client::with_token(host, &living(25)).await?;
    match timeout(PATIENCE, client.until("auth_expiring")).await {
        Ok(Ok(warning)) if warning["expires_at"] == client.welcome["expires_at"] => Ok(()),
        other => Err(format!("not warned of the token's end: {other:?}")),
    }
}

async fn a_token_s_end_is_its_connection_s(host: &Host) -> Result<(), String> {
    let mut refused = String::new();
    for life in LIVES {
        match Client::with_token(host, &living(life)).await {
            Ok(mut client) => return is_ended(&mut client, "still open after its token's end").await,
            Err(refusal) => refused = refusal,
        }
    }
    Err(refused)
}

/// The first lives for an hour, the second for a moment: it is the second that counts.
async fn a_new_token_is_what_counts(host: &Host) -> Result<(), String> {
    let mut client = Client::connect(host, "alice").await?;
    for life in LIVES {
        client.send(&json!({ "type": "auth_refresh", "token": living(life) })).await?;
        loop {
            match client.next().await? {
                frame if frame["type"] == "auth_refreshed" => {
                    return is_ended(&mut client, "goes on by the token before").await;
                }
                frame if frame["type"] == "error" => break,
                _ => {}
            }
        }
    }
    Err("no new token was taken".to_owned())
}

twin! {
    warned_of(the_end_is_told_beforehand) on setup();
    faults ""; broken by "gateway.expiry_told=off", says "not warned of the token's end"
}

twin! {
    ended_with(a_token_s_end_is_its_connection_s) on setup();
    faults ""; broken by "gateway.expiry_ends=off", says "still open after its token's end"
}

twin! {
    refreshed(a_new_token_is_what_counts) on setup();
    faults ""; broken by "gateway.refreshed=off", says "goes on by the token before"
}
