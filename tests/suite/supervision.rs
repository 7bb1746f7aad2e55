//! What keeps a plugin in order from outside: its three clocks, its breaker, its spare; and that a thousand crashes
//! leave nothing behind.

mod breaker;
mod clocks;
mod crowd;
mod rounds;
mod spares;
mod storm;

use std::time::Duration;

use serde_json::json;

use crate::{
    client::Client,
    harness::{Host, PATIENCE, clock::Moment, http},
};

/// A sample of the metrics page: the value of that series, 0 where there is none.
async fn metric(host: &Host, series: &str) -> Result<f64, String> {
    let page = http::get(host.admin, "/metrics", &[("Connection", "close")], PATIENCE).await?.body;
    let line = page.lines().find(|line| line.starts_with(series));
    Ok(line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok()).unwrap_or(0.0))
}

/// Asks a plugin until it answers by itself; its generation.
async fn served(client: &mut Client, plugin: &str) -> Result<u64, String> {
    served_in(client, plugin, &json!({ "agent": plugin })).await
}

/// The same with what else each message says, such as its thread.
async fn served_in(client: &mut Client, plugin: &str, more: &serde_json::Value) -> Result<u64, String> {
    let began = Moment::now();
    while began.elapsed() < 2 * PATIENCE {
        let run = client.run_with("are you back?", more.clone()).await?;
        match run.status() {
            "ok" => {
                run.answered_by(plugin)?;
                return run.completed()["responder"]["generation"].as_u64().ok_or("no generation".to_owned());
            }
            // It began to answer, and a clock that is short here ran out.
            "failed" if run.responder() == plugin => {}
            _ => run.answered_by_fallback("are you back?")?,
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Err(format!("{plugin} never came back"))
}
