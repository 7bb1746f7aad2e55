//! The REST surface as a document for machines: OpenAPI 3.1 at `/openapi.json`, made once, from the table of operations
//! and the types.

use std::sync::OnceLock;

use axum::response::Response;
use http::HeaderMap;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    LARGEST_PAGE, PAGE,
    operation::Operation,
    page::{AgentList, Cancelling, EventList, IssuedTicket, ThreadList, ThreadPage},
};
use crate::{document::Page, problem::ProblemBody};

/// Answers `GET /openapi.json`.
pub(crate) async fn answer(headers: HeaderMap) -> Response {
    static PAGE: OnceLock<Page> = OnceLock::new();
    PAGE.get_or_init(|| Page::new(&document())).answer(&headers)
}

/// The whole document.
fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|it| {
        it.definitions_path = "/components/schemas".into();
        it.meta_schema = None;
    });
    let mut schemas = settings.for_serialize().into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for operation in Operation::ALL {
        let method = operation.method().as_str().to_ascii_lowercase();
        let at = paths.entry(operation.path()).or_insert_with(|| json!({}));
        if let Some(at) = at.as_object_mut() {
            at.insert(method, describe(operation, &mut schemas));
        }
    }
    let refusal = reference::<ProblemBody>(&mut schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "agent-host",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Beside the WebSocket (/asyncapi.json): tickets for browsers, a user's threads and their \
                history, and the end of a run. What belongs to another user is answered as what does not exist. Ignore \
                fields that you do not know.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": { "user": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" } },
            "responses": {
                "refused": {
                    "description": "Why not, with a stable code and what to do (RFC 9457).",
                    "content": { "application/problem+json": { "schema": refusal } },
                },
            },
            "schemas": schemas.take_definitions(true),
        },
    })
}

fn describe(operation: Operation, schemas: &mut SchemaGenerator) -> Value {
    let (name, summary) = words(operation);
    let mut responses = Map::new();
    let (status, success) = success(operation, schemas);
    responses.insert(status.to_owned(), success);
    for status in refusals(operation) {
        responses.insert((*status).to_owned(), json!({ "$ref": "#/components/responses/refused" }));
    }
    json!({
        "operationId": name,
        "summary": summary,
        "parameters": parameters(operation),
        "security": [{ "user": [] }],
        "responses": responses,
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
    (status, json!({ "description": description, "content": { "application/json": { "schema": schema } } }))
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

fn reference<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}
