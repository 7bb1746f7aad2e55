//! The whole table, in both tiers: whatever a plugin is or does, the host serves on and every message is answered.

use crate::harness::PATIENCE;

use super::{
    case::{Case, Tier, What},
    play::{Outcome, play, promised, setup},
    table,
};

/// Other users beside the cases. The scoreboard has five hundred.
const OTHERS: usize = 20;

async fn holds(tier: Tier, which: fn(&Case) -> bool) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cases = promised(tier, table::all(folder.path()).into_iter().filter(which).collect());
    let mut host = setup(tier, &cases).start();
    let played = play(&mut host, &cases, OTHERS).await;
    let wrong = played.iter().filter_map(|case| match &case.outcome {
        Outcome::Wrong(objection) => Some(format!("{} ({}): {objection}", case.name, tier.name())),
        _ => None,
    });
    let wrong: Vec<String> = wrong.collect();
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{}\nthe host said:\n{}", wrong.join("\n"), host.said()))
    }
}

fn starts(case: &Case) -> bool {
    matches!(case.what, What::Start { .. } | What::Any { .. })
}

fn acts(case: &Case) -> bool {
    !starts(case)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_library_is_the_host_serves() {
    holds(Tier::Worker, starts).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_library_is_the_host_serves_where_it_is_to_be_loaded_into_the_host_itself() {
    holds(Tier::InProcess, starts).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_plugin_does_every_message_is_answered_and_it_is_well_again() {
    holds(Tier::Worker, acts).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_trusted_code_may_do_in_the_host_s_process_is_lived_with() {
    holds(Tier::InProcess, acts).await.unwrap();
}

/// Without the worker process as its fence, the same play turns red: the host dies of what a worker dies of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twin_is_red() {
    let cases: Vec<Case> = super::deeds::ends().into_iter().filter(|case| case.name == "segv").collect();
    let mut host = setup(Tier::InProcess, &cases).start();
    let played = play(&mut host, &cases, 1).await;
    // Whoever notices first says so: the other user, or who looks after the host.
    assert!(
        matches!(&played[0].outcome, Outcome::Wrong(_)) && host.ended(PATIENCE).await.is_ok(),
        "content with a host that died: {played:?}"
    );
}
