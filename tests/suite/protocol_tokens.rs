//! The token of an open connection: warned of, refreshed, and the end at its end.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    client::{Client, End},
    harness::{Setup, tokens},
};

/// A token that ends so many seconds from now.
fn ending_in(user: &str, seconds: u64) -> String {
    let end = json!({ "exp": tokens::now() + seconds, "jti": format!("{user}-{seconds}") });
    tokens::signed(&tokens::claims_with(user, end), tokens::SECRET)
}

fn setup() -> Setup {
    Setup::echo().set("auth.leeway", "\"0s\"")
}

/// Reads to the end of the connection.
async fn end(client: &mut Client) -> End {
    loop {
        if let Err(end) = client.next().await {
            return end;
        }
    }
}

#[tokio::test]
async fn a_token_that_ends_is_warned_of_and_closes_with_4401() {
    let host = setup().start();
    let mut client = Client::with_token(&host, &ending_in("alice", 8)).await.unwrap();
    let warning = client.until("auth_expiring").await.unwrap();
    assert_eq!(warning["expires_at"], client.welcome["expires_at"]);
    assert_eq!(end(&mut client).await, End::Closed(4401));
}

#[tokio::test]
async fn a_refreshed_connection_lives_as_long_as_its_new_token() {
    let host = setup().start();
    let mut client = Client::with_token(&host, &ending_in("alice", 8)).await.unwrap();
    client.until("auth_expiring").await.unwrap();
    let (asked, token) = (Instant::now(), ending_in("alice", 16));
    client.send(&json!({ "type": "auth_refresh", "token": token })).await.unwrap();
    let refreshed = client.until("auth_refreshed").await.unwrap();
    assert_ne!(refreshed["expires_at"], client.welcome["expires_at"]);
    let warning = client.until("auth_expiring").await.unwrap();
    assert_eq!(warning["expires_at"], refreshed["expires_at"], "the new token ends soon as well");
    assert_eq!(end(&mut client).await, End::Closed(4401));
    // The second that `exp` was rounded down by, and not the old token's eight.
    assert!(asked.elapsed() > Duration::from_secs(9), "closed after {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_bad_new_token_is_refused_and_the_old_one_holds() {
    let host = setup().start();
    let mut client = Client::connect(&host, "alice").await.unwrap();
    for (token, code) in [
        (tokens::of("bob"), "permission.denied"),
        (tokens::signed(&tokens::claims("alice"), tokens::OTHER_SECRET), "auth.invalid"),
        ("hello".to_owned(), "auth.malformed"),
    ] {
        client.send(&json!({ "type": "auth_refresh", "token": token })).await.unwrap();
        let error = client.expect_error(code).await.unwrap();
        assert!(!error.to_string().contains(&token) || token.len() < 20, "{error}");
    }
    client.run("still alice").await.unwrap();
}
