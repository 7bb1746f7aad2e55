//! An operator deletes what somebody has stored: exactly that, for good, whoever is connected meanwhile.

use serde_json::{Value, json};

use crate::{
    client::Client,
    harness::{
        Host, PATIENCE, Setup, eventually,
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

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, meant: T) -> Result<(), String> {
    if found == meant { Ok(()) } else { Err(format!("{what}: {found:?}, not {meant:?}")) }
}

/// Only what is of the user, then only what is of the tenant, goes; a slip deletes nothing.
async fn what_was_named_goes_and_nothing_else(host: &Host) -> Result<(), String> {
    ready(host).await?;
    let mut ann = somebody(host, "acme", "ann+1&co").await?;
    let first = ann.run("hello").await?;
    ann.run("again").await?;
    let mut bob = somebody(host, "acme", "bob").await?;
    let kept = bob.run("hello").await?;
    somebody(host, "other", "ann+1&co").await?.run("hello").await?;

    for (query, status) in [
        ("", 400),
        ("?user=bob", 400),
        ("?tenant=", 400),
        ("?tenant=acme&user=", 400),
        ("?tenant=acme&usr=bob", 400),
        ("?tenant=acme&user=%zz", 400),
    ] {
        same(query, deleted(host, query).await?.status, status)?;
    }
    let none = deleted(host, "?tenant=acme&user=nobody").await?;
    same("of nobody", none.json()?["threads"].clone(), json!(0))?;
    same("nothing is deleted by a slip", stored(host)?.len(), 4)?;

    let told = host.operate(&["threads", "delete", "--tenant", "acme", "--user", "ann+1&co"]);
    let said = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    same("of a user", said, "deleted 2 threads of ann+1&co (acme)".to_owned())?;
    let left = |who: &[&str]| who.iter().map(|&who| who.to_owned()).collect::<Vec<_>>();
    same("after a user's", owners(host)?, left(&["acme/bob", "other/ann+1&co"]))?;

    // Whoever is connected stays so: the old conversation is gone, and a new one is begun.
    let subscribe = json!({ "type": "subscribe", "thread_id": first.thread(), "after_seq": 0 });
    ann.send(&subscribe).await?;
    ann.expect_error("thread.not_found").await?;
    ann.run("anew").await?;
    let again = bob.run_with("once more", json!({ "thread_id": kept.thread() })).await?;
    same("another's goes on", again.thread(), kept.thread())?;

    let forgotten = host.operate(&["threads", "delete", "--tenant", "acme"]);
    same("a tenant is not deleted by a forgotten option", forgotten.status.code(), Some(2))?;
    let told = host.operate(&["threads", "delete", "--tenant", "acme", "--all-users", "--output", "json"]);
    let told: Value = serde_json::from_slice(&told.stdout).map_err(|e| e.to_string())?;
    same("of a tenant", told, json!({ "tenant": "acme", "threads": 2 }))?;
    same("after a tenant's", owners(host)?, left(&["other/ann+1&co"]))?;

    eventually("it is noted", async || {
        let said = host.said();
        let mut lines = said.lines().filter(|line| line.contains("delete_threads"));
        match lines.any(|line| line.contains("acme/ann+1&co") && line.contains("2 threads")) {
            true => Ok(()),
            false => Err(format!("it is not noted: {said}")),
        }
    })
    .await
}

twin! {
    deleted_by_name(what_was_named_goes_and_nothing_else) on setup();
    faults ""; broken by "store.delete.user=off", says "of nobody";
    broken by "store.delete.tenant=off", says "deleted 3 threads of ann+1&co"
}

/// A word of the one whose threads are deleted: nobody else says it.
const WORD: &str = "quicksilver";

async fn as_client(host: &Host, user: &str, path: &str) -> Result<Answer, String> {
    let token = signed(&claims_with(user, json!({ "tenant": "acme" })), SECRET);
    http::get(host.address, path, &[("Authorization", &format!("Bearer {token}"))], PATIENCE).await
}

/// What was deleted is in no list, under no id, behind no message id, and in nobody's new conversation.
async fn what_was_deleted_is_nowhere(host: &Host) -> Result<(), String> {
    ready(host).await?;
    somebody(host, "acme", "bob").await?.run("hello").await?;
    let mut ann = somebody(host, "acme", "ann").await?;
    let message = json!({ "type": "user_message", "id": "said-before", "content": WORD });
    ann.send(&message).await?;
    let gone = ann.gather("said-before").await?;
    same("of ann", deleted(host, "?tenant=acme&user=ann").await?.json()?["threads"].clone(), json!(1))?;

    let (thread, events) = (gone.thread(), format!("/v1/threads/{}/events", gone.thread()));
    let page = as_client(host, "ann", "/v1/threads").await?;
    same("her list", page.json()?["threads"].clone(), json!([]))?;
    for path in [&format!("/v1/threads/{thread}"), &events] {
        same(path, as_client(host, "ann", path).await?.status, 404)?;
    }
    for command in ["show", "export"] {
        let told = cli_beside(host, &["threads", command, thread], &setup());
        let said = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
        if told.status.success() || said.contains(WORD) {
            return Err(format!("threads {command} still knows it: {said}"));
        }
    }
    // Somebody's new thread begins at its own begin, in whatever place of the file that was ann's.
    let mut carl = somebody(host, "acme", "carl").await?;
    let his = carl.run("good morning").await.map_err(|end| format!("carl's first words: {end}"))?;
    let page = as_client(host, "carl", &format!("/v1/threads/{}/events", his.thread())).await?;
    same("carl's thread is what was said in it", &page.json()?["events"], &json!(his.events))?;
    if page.body.contains(WORD) {
        return Err(format!("carl reads what ann said: {}", page.body));
    }
    // Her message's id stands for nothing any more.
    let mut ann = somebody(host, "acme", "ann").await?;
    ann.send(&message).await?;
    let anew = ann.gather("said-before").await?;
    same("it is a new one", &anew.accepted["duplicate"], &json!(false))?;
    match anew.id() == gone.id() || anew.thread() == thread {
        false => Ok(()),
        true => Err(format!("it is the old one: {}", anew.accepted)),
    }
}

twin! {
    deleted_for_good(what_was_deleted_is_nowhere) on setup();
    faults ""; broken by "store.delete.rest=off", says "carl"
}

/// A host that is killed right after it said so has it deleted: it was on the disk by then, whatever else was not.
async fn what_was_deleted_does_not_come_back(setup: &Setup) -> Result<(), String> {
    let mut host = setup.start();
    ready(&host).await?;
    somebody(&host, "acme", "ann").await?.run(WORD).await?;
    let kept = somebody(&host, "acme", "bob").await?.run("hello").await?;
    same("of ann", deleted(&host, "?tenant=acme&user=ann").await?.status, 200)?;
    host.start_again(setup);
    ready(&host).await?;
    same("after a kill -9", owners(&host)?, vec!["acme/bob".to_owned()])?;
    let mut bob = somebody(&host, "acme", "bob").await?;
    bob.run_with("once more", json!({ "thread_id": kept.thread() })).await?;
    let mut carl = somebody(&host, "acme", "carl").await?;
    let his = carl.run("good morning").await.map_err(|end| format!("carl's first words: {end}"))?;
    let page = as_client(&host, "carl", &format!("/v1/threads/{}/events", his.thread())).await?;
    same("carl's thread is what was said in it", &page.json()?["events"], &json!(his.events))
}

#[tokio::test]
async fn deleted_and_killed_it_does_not_come_back() {
    what_was_deleted_does_not_come_back(&setup()).await.unwrap();
    let broken = setup().failpoints("store.delete.journal=off");
    let objection = what_was_deleted_does_not_come_back(&broken).await.unwrap_err();
    assert!(objection.contains("after a kill -9"), "red for another reason: {objection}");
}
