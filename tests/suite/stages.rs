//! A plugin that takes its time to start says how far it is, wherever it is shown.

use serde_json::{Value, json};

use crate::{
    admin::page,
    harness::{Host, PATIENCE, Plugin, Setup, eventually, http},
};

/// Its `create` does not return before the test is over.
fn slow() -> Setup {
    Setup::new().plugin(Plugin::bad_create("slow", "hang").key("timeouts", "{ init = \"1h\" }")).operated()
}

/// Everybody's view of it.
async fn in_ready(host: &Host) -> Result<Value, String> {
    let answer = http::get(host.address, "/ready?verbose", &[], PATIENCE).await?;
    Ok(answer.json()?["plugins"][0].clone())
}

async fn a_start_says_how_far_it_is(host: &Host) -> Result<(), String> {
    let shown = eventually("its library is loaded", async || match page(host, "slow").await? {
        shown if shown["state"] == "loaded" => Ok(shown),
        shown => Err(shown.to_string()),
    })
    .await?;
    if (&shown["code"], &shown["stage"]) != (&json!("plugin.starting"), &json!("init"))
        || !shown["reason"].as_str().is_some_and(|reason| reason.contains("create"))
    {
        return Err(format!("it is not said what it waits for: {shown}"));
    }
    let changes = shown["history"].as_array().into_iter().flatten();
    let states: Vec<_> = changes.map(|change| (change["from"].clone(), change["to"].clone())).collect();
    let expected =
        [("discovered", "verified"), ("verified", "loaded")].map(|(from, to)| (json!(from), json!(to)));
    if states != expected {
        return Err(format!("the history leaves stages out: {shown}"));
    }
    let everybody = in_ready(host).await?;
    if (&everybody["code"], &everybody["state"]) != (&json!("plugin.starting"), &json!("loaded")) {
        return Err(format!("everybody sees something else: {everybody}"));
    }
    Ok(())
}

twin! {
    starts_say_how_far_they_are(a_start_says_how_far_it_is) on slow();
    faults ""; broken by "engine.stages=off", says "\"state\":\"discovered\""
}
