//! The doors over the real engine, with no plugin configured: the incident's clients, served by the fallback.

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    ports::{
        BoxFuture,
        clock::SystemClock,
        instance::{Fault, PluginRuntime, PluginSpec, Stage, Started},
        progress::Progress,
        tools::{ToolCall, ToolError, ToolHost},
    },
    service::ServiceTable,
};
use agent_host_engine::{Engine, Parts};
use agent_host_store::MemoryStore;
use agent_plugin_protocol::{Code, Generation, call::ToolInfo};
use serde_json::{Value, json};
use tokio_tungstenite::{connect_async, tungstenite::client::IntoClientRequest};

use super::support::*;
use crate::Gateway;

/// There are no plugins, so nothing is started.
struct Nothing;

impl PluginRuntime for Nothing {
    fn start(
        &self,
        _spec: Arc<PluginSpec>,
        _generation: Generation,
        _available: Arc<[String]>,
        _progress: Progress,
    ) -> BoxFuture<'static, Result<Started, Fault>> {
        Box::pin(async { Err(Fault::new(Stage::Load, Code::PluginLoadFailed, "none in this test")) })
    }
}

impl ToolHost for Nothing {
    fn list(&self) -> Vec<ToolInfo> {
        Vec::new()
    }

    fn call(&self, _call: ToolCall) -> BoxFuture<'_, Result<Value, ToolError>> {
        Box::pin(std::future::pending())
    }
}

async fn host() -> (Gateway, Engine) {
    let parts = Parts {
        process: Arc::new(Nothing),
        in_process: None,
        store: Arc::new(MemoryStore::new()),
        tools: Arc::new(Nothing),
        network: Arc::new(agent_host_core::ports::network::NoNetwork),
        clock: Arc::new(SystemClock),
        services: tokio::sync::watch::Sender::new(Arc::new(ServiceTable::new([]))).subscribe(),
    };
    let engine = Engine::start(agent_host_engine::Settings::default(), parts);
    let gateway = Gateway::start(
        rules(settings(), SystemClock),
        engine.clone(),
        None,
        crate::admin::Operated::default(),
    )
    .await
    .unwrap();
    (gateway, engine)
}

async fn connect(gateway: &Gateway, user: &str) -> (Client, Value) {
    let mut request = format!("ws://{}/ws", gateway.public_addr()).into_client_request().unwrap();
    let bearer = format!("Bearer {}", token_of(user, Duration::from_secs(60)));
    request.headers_mut().insert("authorization", bearer.parse().unwrap());
    let mut client = Client(connect_async(request).await.unwrap().0);
    let welcome = client.frame().await;
    (client, welcome)
}

/// The next frame that is not about the service.
async fn said(client: &mut Client) -> Value {
    loop {
        let frame = client.frame().await;
        if frame["type"] != "service_status" {
            return frame;
        }
    }
}

async fn events(client: &mut Client) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    while events.last().is_none_or(|e| e["type"] != "agent_completed") {
        events.push(said(client).await);
    }
    events
}

#[tokio::test]
async fn a_host_without_plugins_answers_honestly_and_resumes() {
    let (gateway, engine) = host().await;
    let (mut client, welcome) = connect(&gateway, "u1").await;
    assert_eq!((&welcome["type"], &welcome["service"]["level"]), (&json!("welcome"), &json!("fallback")));

    client.send(r#"{"type":"user_message","id":"m1","content":"hello"}"#).await;
    let accepted = said(&mut client).await;
    assert_eq!((&accepted["type"], &accepted["seq"]), (&json!("accepted"), &json!(1)));
    let live = events(&mut client).await;
    let types: Vec<&str> = live.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(
        (types[0], types[1], types[types.len() - 1]),
        ("user_message", "agent_started", "agent_completed")
    );
    assert!(live.iter().enumerate().all(|(i, e)| e["seq"] == json!(i + 1)));
    assert_eq!(live.last().unwrap()["payload"]["status"], "degraded");

    // Cut without a goodbye, and resumed: the same events from the same position.
    drop(client);
    let (mut client, _) = connect(&gateway, "u1").await;
    let subscribe =
        json!({"type":"subscribe","thread_id":accepted["thread_id"],"after_seq":1,"epoch":accepted["epoch"]});
    client.send(&subscribe.to_string()).await;
    assert_eq!(said(&mut client).await["recovered"], true);
    assert_eq!(events(&mut client).await, live[1..]);

    // Another user's guess.
    let (mut other, _) = connect(&gateway, "u2").await;
    other.send(&subscribe.to_string()).await;
    assert_eq!(said(&mut other).await["code"], "thread.not_found");

    // Leaving.
    let (_, done) = tokio::join!(
        async {
            while said(&mut client).await["type"] != "going_away" {}
            assert_eq!(client.close_code().await, Some(1012));
            assert_eq!(other.close_code().await, Some(1012));
            while client.closed().await.is_some() {}
            while other.closed().await.is_some() {}
        },
        async {
            engine.drain(Duration::from_millis(100)).await;
            gateway.shutdown(Duration::from_secs(10)).await
        }
    );
    assert!(done);
}
