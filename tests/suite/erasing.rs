//! An operator deletes what somebody has stored: exactly that, for good, whoever is connected meanwhile.

use serde_json::{Value, json};

use crate::{
    client::Client,
    harness::{
        Host, PATIENCE, Setup,
        host::cli_beside,
        http::{self, Answer},
        tokens::{SECRET, claims_with, operator, signed},
    },
    scenario::ready,
};

fn setup() -> Setup {
    Setup::echo().operated().set("limits.messages_per_minute", "0")
}

async fn deleted(host: &Host, query: &str) -> Result<Answer, String> {
    let bearer = format!("Bearer {}", operator(&["admin:config"]));
    let path = format!("/admin/v1/threads{query}");
    http::request(host.admin, "DELETE", &path, &[("Authorization", &bearer)], PATIENCE).await
}

/// Somebody's client; `+` and `&` in the name are for the query.
async fn somebody(host: &Host, tenant: &str, user: &str) -> Result<Client, String> {
    Client::with_token(host, &signed(&claims_with(user, json!({ "tenant": tenant })), SECRET)).await
}

/// The threads of all, as the log has them beside a running host.
fn stored(host: &Host) -> Result<Vec<Value>, String> {
    let listed = cli_beside(host, &["threads", "list", "--output", "json"], &setup());
    if !listed.status.success() {
        return Err(format!("{listed:?}"));
    }
    serde_json::from_slice(&listed.stdout).map_err(|e| e.to_string())
}

fn owners(host: &Host) -> Result<Vec<String>, String> {
    let word = |thread: &Value, field: &str| thread[field].as_str().unwrap_or_default().to_owned();
    let mut owners: Vec<String> = stored(host)?
        .iter()
        .map(|thread| format!("{}/{}", word(thread, "tenant"), word(thread, "user")))
        .collect();
    owners.sort();
    Ok(owners)
}

#[tokio::test]
async fn what_a_user_or_a_tenant_stored_is_deleted_and_nothing_else() {
    let host = setup().start();
    ready(&host).await.unwrap();
    let mut ann = somebody(&host, "acme", "ann+1&co").await.unwrap();
    let first = ann.run("hello").await.unwrap();
    ann.run("again").await.unwrap();
    let mut bob = somebody(&host, "acme", "bob").await.unwrap();
    let kept = bob.run("hello").await.unwrap();
    somebody(&host, "other", "ann+1&co").await.unwrap().run("hello").await.unwrap();

    for (query, status) in [
        ("", 400),
        ("?user=bob", 400),
        ("?tenant=", 400),
        ("?tenant=acme&user=", 400),
        ("?tenant=acme&usr=bob", 400),
        ("?tenant=acme&user=%zz", 400),
        ("?tenant=acme&user=nobody", 200),
    ] {
        let answer = deleted(&host, query).await.unwrap();
        assert_eq!(answer.status, status, "{query}: {answer:?}");
    }
    assert_eq!(stored(&host).unwrap().len(), 4, "nothing is deleted by a slip");

    let told = host.operate(&["threads", "delete", "--tenant", "acme", "--user", "ann+1&co"]);
    assert!(told.status.success(), "{told:?}");
    assert_eq!(String::from_utf8_lossy(&told.stdout).trim(), "deleted 2 threads of ann+1&co (acme)");
    assert_eq!(owners(&host).unwrap(), ["acme/bob", "other/ann+1&co"]);

    // Whoever is connected stays so: the old conversation is gone, and a new one is begun.
    let subscribe = json!({ "type": "subscribe", "thread_id": first.thread(), "after_seq": 0 });
    ann.send(&subscribe).await.unwrap();
    ann.expect_error("thread.not_found").await.unwrap();
    ann.run("anew").await.unwrap();
    let again = bob.run_with("once more", json!({ "thread_id": kept.thread() })).await.unwrap();
    assert_eq!(again.thread(), kept.thread());

    let forgotten = host.operate(&["threads", "delete", "--tenant", "acme"]);
    assert_eq!(
        forgotten.status.code(),
        Some(2),
        "a tenant is not deleted by a forgotten option: {forgotten:?}"
    );
    let told = host.operate(&["threads", "delete", "--tenant", "acme", "--all-users", "--output", "json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told, json!({ "tenant": "acme", "threads": 2 }));
    assert_eq!(owners(&host).unwrap(), ["other/ann+1&co"]);

    let lines: Vec<String> =
        host.said().lines().filter(|line| line.contains("delete_threads")).map(str::to_owned).collect();
    assert!(
        lines.iter().any(|line| line.contains("acme/ann+1&co") && line.contains("2 threads")),
        "{lines:?}"
    );
}
