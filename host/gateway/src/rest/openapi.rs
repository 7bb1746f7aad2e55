//! The REST surface as a document for machines: OpenAPI 3.1 at `/openapi.json`, made once, from the table of operations
//! and the types.

use std::sync::OnceLock;

use axum::response::Response;
use http::HeaderMap;
use schemars::SchemaGenerator;
use serde_json::{Value, json};

use super::{
    LARGEST_PAGE, PAGE,
    operation::Operation,
    page::{AgentList, Cancelling, EventList, IssuedTicket, ThreadList, ThreadPage},
};
use crate::document::{
    Page,
    openapi::{About, OpenApi, content, reference},
};

/// Answers `GET /openapi.json`.
pub(crate) async fn answer(headers: HeaderMap) -> Response {
    static PAGE: OnceLock<Page> = OnceLock::new();
    PAGE.get_or_init(|| Page::new(&document())).answer(&headers)
}

/// The whole document.
fn document() -> Value {
    let mut api = OpenApi::new();
    for operation in Operation::ALL {
        let (name, summary) = words(operation);
        let described = json!({
            "operationId": name,
            "summary": summary,
            "parameters": parameters(operation),
            "security": [{ "user": [] }],
        });
        let success = success(operation, api.schemas());
        api.add((&operation.method(), operation.path()), described, success, refusals(operation));
    }
    api.document(&About {
        title: "agent-host",
        description: "Beside the WebSocket (/asyncapi.json): tickets for browsers, a user's threads and their \
            history, and the end of a run. What belongs to another user is answered as what does not exist. Ignore \
            fields that you do not know.",
        token: "user",
    })
}

fn words(operation: Operation) -> (&'static str, &'static str) {
    match operation {
        Operation::IssueTicket => {
            ("issueTicket", "A ticket that opens one WebSocket within 30 s: GET /ws?ticket=…")
        }
        Operation::ListAgents => {
            ("listAgents", "The agents that can be asked for, and the level of the service.")
        }
        Operation::ListThreads => ("listThreads", "The user's threads, the newest first."),
        Operation::ShowThread => ("showThread", "One thread."),
        Operation::DeleteThread => {
            ("deleteThread", "Deletes a thread with everything in it; not while a run goes on.")
        }
        Operation::ReadEvents => {
            ("readEvents", "A thread's log from a position on, as frames of the socket.")
        }
        Operation::CancelRun => {
            ("cancelRun", "Cancels a run: its agent_completed follows, whatever the agent does.")
        }
    }
}

fn parameters(operation: Operation) -> Value {
    let named = |name: &str, what: &str| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" }, "description": what });
    let limit = json!({
        "name": "limit", "in": "query", "required": false,
        "schema": { "type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": PAGE },
    });
    let after = |schema: Value, what: &str| json!({ "name": "after", "in": "query", "required": false, "schema": schema, "description": what });
    match operation {
        Operation::IssueTicket | Operation::ListAgents => json!([]),
        Operation::ListThreads => {
            json!([after(json!({ "type": "string" }), "The last thread of the page before."), limit])
        }
        Operation::ShowThread | Operation::DeleteThread => json!([named("thread", "The thread's id.")]),
        Operation::ReadEvents => json!([
            named("thread", "The thread's id."),
            after(
                json!({ "type": "integer", "minimum": 0, "default": 0 }),
                "Events behind this `seq`; 0: from the start."
            ),
            limit,
        ]),
        Operation::CancelRun => json!([named("run", "The run's id.")]),
    }
}

fn success(operation: Operation, schemas: &mut SchemaGenerator) -> (&'static str, Value) {
    let (status, description, schema) = match operation {
        Operation::IssueTicket => ("201", "The ticket.", reference::<IssuedTicket>(schemas)),
        Operation::ListAgents => ("200", "The agents, as they are now.", reference::<AgentList>(schemas)),
        Operation::ListThreads => ("200", "The threads.", reference::<ThreadList>(schemas)),
        Operation::ShowThread => ("200", "The thread.", reference::<ThreadPage>(schemas)),
        Operation::DeleteThread => return ("204", json!({ "description": "It is gone." })),
        Operation::ReadEvents => ("200", "The events.", reference::<EventList>(schemas)),
        Operation::CancelRun => ("202", "It is being cancelled.", reference::<Cancelling>(schemas)),
    };
    (status, json!({ "description": description, "content": content(schema) }))
}

/// The statuses with which it may be refused.
fn refusals(operation: Operation) -> &'static [&'static str] {
    match operation {
        Operation::IssueTicket | Operation::ListAgents | Operation::ListThreads => {
            &["400", "401", "403", "503"]
        }
        Operation::ShowThread | Operation::CancelRun => &["401", "403", "404", "503"],
        Operation::DeleteThread => &["401", "403", "404", "409", "503"],
        Operation::ReadEvents => &["400", "401", "403", "404", "503"],
    }
}
