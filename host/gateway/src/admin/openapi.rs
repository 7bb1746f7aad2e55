//! The admin API as a document for machines: OpenAPI 3.1, made once, from the table of operations and the types.

use std::sync::OnceLock;

use axum::response::Response;
use http::{HeaderMap, Method};
use schemars::SchemaGenerator;
use serde_json::{Value, json};

use super::{
    operation::Operation,
    view::{
        ChangePage, ChaosPage, ConfigOrder, ConfigPage, ConnectionList, ConnectionPart, DeletedPart,
        FaultOrder, ForesightPage, InjectedPart, LogLevelOrder, LogLevelPage, OperationList, OperationPage,
        PluginList, PluginPage, RevocationList, RevocationOrder, RevocationPart, StatusPage,
    },
};
use crate::document::{
    Page,
    openapi::{About, OpenApi, content, reference},
};

/// Answers `GET /admin/v1/openapi.json`.
pub(crate) fn answer(headers: &HeaderMap) -> Response {
    static PAGE: OnceLock<Page> = OnceLock::new();
    PAGE.get_or_init(|| Page::new(&document())).answer(headers)
}

/// The whole document.
pub(super) fn document() -> Value {
    let mut api = OpenApi::new();
    for operation in Operation::ALL.iter().copied() {
        let described = describe(operation, api.schemas());
        let success = ("200", success(operation, api.schemas()));
        api.add((operation.method(), operation.path()), described, success, refusals(operation));
    }
    let mut document = api.document(&About {
        title: "agent-host admin API",
        description: "For operators: how the host and its plugins fare, and orders to them. Tokens are made with the \
            keys and the audience of [admin]; a user's token is none. Every order, carried out or refused, leaves a \
            line in the log. Ignore fields that you do not know.",
        token: "operator",
    });
    if let Some(document) = document.as_object_mut() {
        document.insert("servers".to_owned(), json!([{ "url": "http://127.0.0.1:9901" }]));
    }
    document
}

fn describe(operation: Operation, schemas: &mut SchemaGenerator) -> Value {
    let scope = operation.scope();
    let mut described = json!({
        "operationId": operation.name(),
        "summary": summary(operation),
        "parameters": parameters(operation),
        // An empty list is: no token.
        "security": scope.map(|scope| json!({ "operator": [scope.as_str()] })).into_iter().collect::<Vec<_>>(),
    });
    let body = match operation {
        Operation::Revoke => Some(reference::<RevocationOrder>(schemas)),
        Operation::SetConfig | Operation::ValidateConfig => Some(keys(schemas)),
        Operation::SetLogLevel => Some(reference::<LogLevelOrder>(schemas)),
        Operation::BeginFault => Some(reference::<FaultOrder>(schemas)),
        _ => None,
    };
    if let (Some(schema), Some(described)) = (body, described.as_object_mut()) {
        let required = operation != Operation::ValidateConfig;
        described
            .insert("requestBody".to_owned(), json!({ "required": required, "content": content(schema) }));
    }
    if let (true, Some(described)) = (can_go_on(operation), described.as_object_mut()) {
        let goes_on = json!({
            "description": "It goes on, and can be looked up at `Location` until it is `done` or `failed`.",
            "content": content(reference::<OperationPage>(schemas)),
        });
        described.insert("responses".to_owned(), json!({ "202": goes_on }));
    }
    described
}

/// Keys to be set: by their names, or nested.
fn keys(schemas: &mut SchemaGenerator) -> Value {
    json!({ "anyOf": [
        reference::<ConfigOrder>(schemas),
        {
            "type": "object",
            "description": "The same as nested tables, as a file has them. What is left out stays; `null` takes a key out.",
            "examples": [{ "limits": { "runs_at_once": 5 } }],
        },
    ] })
}

/// Whether it may be answered before it has ended.
fn can_go_on(operation: Operation) -> bool {
    matches!(operation, Operation::Order(_) | Operation::ReloadConfig | Operation::SetConfig)
}

/// The header by which a client says how long it waits, where it does not if it says nothing.
fn waits() -> Value {
    prefer(
        "`wait`: answer when it has ended, with the page or the problem that the operation has then; `wait=10`: the same, and \
         202 if it goes on after so many seconds. Left out: 202 at once.",
    )
}

/// The same, where it waits if it says nothing.
fn waits_not() -> Value {
    prefer(
        "`respond-async`: answer 202 at once; GET /admin/v1/operations/{id} says how it goes. `wait=10`: answer 202 if it goes \
         on after so many seconds. Left out: answered when it has ended.",
    )
}

fn prefer(description: &str) -> Value {
    json!({
        "name": "Prefer", "in": "header", "required": false,
        "schema": { "type": "string", "examples": ["wait", "wait=10", "respond-async"] },
        "description": description,
    })
}

/// The parameter by which nothing is done.
fn dry_run() -> Value {
    json!({
        "name": "dry_run", "in": "query", "required": false, "schema": { "type": "boolean", "default": false },
        "description": "Only says what would happen; nothing is done.",
    })
}

fn summary(operation: Operation) -> &'static str {
    use agent_host_engine::PluginOrder;
    match operation {
        Operation::Describe => "This document.",
        Operation::Page => "The same as a page for people, which needs no network.",
        Operation::Status => "The service level, what is missing, and the plugins by verdict.",
        Operation::ListPlugins => "Every configured plugin, its verdict first.",
        Operation::ShowPlugin => "All there is to know of one plugin.",
        Operation::Order(PluginOrder::Enable) => {
            "Switches it on and starts it, and says so in the file that said otherwise."
        }
        Operation::Order(PluginOrder::Disable) => {
            "Switches it off, in the file that said otherwise too: its runs finish, new ones go elsewhere, connections stay."
        }
        Operation::Order(PluginOrder::Drain) => {
            "Takes it out of rotation for now, in no file: its runs finish, new ones go elsewhere, and it ends; enable, reset or reload brings it back."
        }
        Operation::Order(PluginOrder::Reload) => {
            "Reads its file again: the new generation takes over once it is healthy; one that fails leaves the old."
        }
        Operation::Order(PluginOrder::Reset) => {
            "Forgets quarantine, spent restarts and the breaker, and starts it if it does not run."
        }
        Operation::Order(PluginOrder::Promote) => "Gives the generation that is on trial everything.",
        Operation::Order(PluginOrder::Rollback) => {
            "Takes back the generation that is on trial; else goes back to the one that served before, while it is kept."
        }
        Operation::Order(PluginOrder::Probe) => "Asks it for a self-test now.",
        Operation::ShowConfig => {
            "The configuration in force: each key with its value and where that came from."
        }
        Operation::ConfigSchema => "The JSON schema of a configuration file.",
        Operation::DiffConfig => "What the files, as they are now, would change. Nothing is loaded.",
        Operation::ValidateConfig => {
            "The same: 200 if they hold, 422 with places and remedies if not. With a body: what setting its keys would change."
        }
        Operation::ReloadConfig => {
            "Puts the files, as they are now, in force: all of it, or nothing. It happens by itself when a file changes."
        }
        Operation::SetConfig => {
            "Sets keys (limits, routing, a plugin's switch, limits and own configuration), and writes them into the files that \
                said otherwise, comments kept. All of it, or nothing. `If-Match` with an older ETag is refused with 412."
        }
        Operation::ListRevoked => "The users' tokens that are refused though they would be good.",
        Operation::Revoke => {
            "Refuses a token, or all that a user was given so far, from now on; closes their connections. It outlives \
                the host."
        }
        Operation::LogLevel => "Which lines the log has.",
        Operation::SetLogLevel => {
            "Changes which lines the log has: for a time, or until the host ends or `log.level` says otherwise."
        }
        Operation::ListConnections => "Who is connected, in the order in which they came.",
        Operation::CloseConnection => {
            "Closes a connection with 4406 (older wire: 1001). Its client may come back; runs go on."
        }
        Operation::Events => {
            "What happens, as it happens: server-sent events, of every happening from INFO on. Ends with its token. Who \
                reads too slowly gets `missed` with how many."
        }
        Operation::Drain => {
            "Takes the host out of rotation: not ready, no new connections; what is open goes on. Until `undrain` or a \
                restart."
        }
        Operation::Undrain => "Takes it back into rotation.",
        Operation::ListUndertaken => {
            "Orders to plugins and to the configuration: those that go on and the last that ended, the newest first."
        }
        Operation::ShowUndertaken => {
            "One of them: how far it is, and what came of it. Its steps are what happened to what it is about. What was \
                begun is finished: an order is undone by its opposite."
        }
        Operation::SupportBundle => {
            "How the host fares and is set up, in one document for whoever helps: without secrets, people's names and \
                addresses, plugins' own configuration and what they printed."
        }
        Operation::ShowChaos => {
            "Whether faults may be injected here, which there are, which are in force, and the last that ended."
        }
        Operation::BeginFault => {
            "Injects a fault, for a time: it is undone by itself. Refused with `chaos.disabled` unless the host's files say \
                `[chaos] enabled = true`, which the API cannot set."
        }
        Operation::EndFault => "Ends an injected fault now.",
        Operation::EndFaults => "Ends all of them now.",
        Operation::DeleteThreads => {
            "Deletes all that a tenant, or one user of it, has stored, for good: threads, events, plugins' state. Who is \
                connected stays; a run that is going on ends unheard. Tokens stay good: revoke them first."
        }
    }
}

fn parameters(operation: Operation) -> Value {
    use agent_host_engine::PluginOrder;
    match operation {
        Operation::Describe
        | Operation::Page
        | Operation::Status
        | Operation::ListRevoked
        | Operation::ShowConfig
        | Operation::ConfigSchema
        | Operation::DiffConfig
        | Operation::ValidateConfig
        | Operation::Revoke
        | Operation::LogLevel
        | Operation::SetLogLevel
        | Operation::Drain
        | Operation::Undrain
        | Operation::SupportBundle
        | Operation::ListUndertaken
        | Operation::ShowChaos
        | Operation::BeginFault
        | Operation::EndFaults => json!([]),
        Operation::EndFault => json!([{
            "name": "id", "in": "path", "required": true, "schema": { "type": "integer", "minimum": 1 },
            "description": "The fault's number, as it was told when it began.",
        }]),
        Operation::ReloadConfig | Operation::SetConfig => json!([dry_run(), waits_not()]),
        Operation::ShowUndertaken => json!([{
            "name": "id", "in": "path", "required": true, "schema": { "type": "string" },
            "description": "The operation's name, as the order was answered.",
        }]),
        Operation::ListConnections => json!([
            {
                "name": "after", "in": "query", "required": false, "schema": { "type": "integer", "minimum": 0 },
                "description": "What the page before says as `next`.",
            },
            {
                "name": "limit", "in": "query", "required": false,
                "schema": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 },
                "description": "How many at most.",
            },
            {
                "name": "user", "in": "query", "required": false, "schema": { "type": "string" },
                "description": "Only this user's.",
            },
            {
                "name": "tenant", "in": "query", "required": false, "schema": { "type": "string" },
                "description": "Only this tenant's.",
            },
        ]),
        Operation::DeleteThreads => json!([
            {
                "name": "tenant", "in": "query", "required": true, "schema": { "type": "string" },
                "description": "Whose threads.",
            },
            {
                "name": "user", "in": "query", "required": false, "schema": { "type": "string" },
                "description": "Only this user's.",
            },
        ]),
        Operation::CloseConnection => json!([{
            "name": "id", "in": "path", "required": true, "schema": { "type": "string" },
            "description": "The connection's name, as it is listed.",
        }]),
        Operation::Events => json!([
            {
                "name": "since", "in": "query", "required": false, "schema": { "type": "string" },
                "description": "First what is kept after this event; 0: all that is kept. `Last-Event-ID` says the same.",
            },
            {
                "name": "follow", "in": "query", "required": false, "schema": { "type": "boolean", "default": true },
                "description": "Whether to go on after what is kept.",
            },
        ]),
        Operation::ListPlugins => json!([{
            "name": "state", "in": "query", "required": false, "schema": { "type": "string" },
            "description": "Only those with that verdict (healthy, failed, disabled) or in that state.",
        }]),
        Operation::Order(PluginOrder::Enable | PluginOrder::Disable) => json!([{
            "name": "id", "in": "path", "required": true, "schema": { "type": "string" },
            "description": "The plugin's name in the configuration.",
        }, {
            "name": "for", "in": "query", "required": false, "schema": { "type": "string", "examples": ["10m"] },
            "description": "How long it holds; left out: from now on, and the file that said otherwise says so.",
        }, dry_run(), waits()]),
        Operation::ShowPlugin => json!([{
            "name": "id", "in": "path", "required": true, "schema": { "type": "string" },
            "description": "The plugin's name in the configuration.",
        }]),
        Operation::Order(_) => json!([{
            "name": "id", "in": "path", "required": true, "schema": { "type": "string" },
            "description": "The plugin's name in the configuration.",
        }, dry_run(), waits()]),
    }
}

fn success(operation: Operation, schemas: &mut SchemaGenerator) -> Value {
    let (description, schema) = match operation {
        Operation::Describe => ("The description.", json!({ "type": "object" })),
        Operation::Status => ("The host, as it is now.", reference::<StatusPage>(schemas)),
        Operation::ListPlugins => ("The plugins, as they are now.", reference::<PluginList>(schemas)),
        Operation::ShowPlugin => ("The plugin, as it is now.", reference::<PluginPage>(schemas)),
        Operation::ShowConfig => ("What is in force.", reference::<ConfigPage>(schemas)),
        Operation::ConfigSchema => ("The schema.", json!({ "type": "object" })),
        Operation::DiffConfig | Operation::ValidateConfig => {
            ("What would be changed.", reference::<ChangePage>(schemas))
        }
        Operation::ReloadConfig | Operation::SetConfig => {
            ("It is in force; this was changed.", reference::<ChangePage>(schemas))
        }
        Operation::ListRevoked => ("All that hold.", reference::<RevocationList>(schemas)),
        Operation::Revoke => ("It is so, and on disk.", reference::<RevocationPart>(schemas)),
        Operation::LogLevel => ("What holds now.", reference::<LogLevelPage>(schemas)),
        Operation::SetLogLevel => ("What holds from now on.", reference::<LogLevelPage>(schemas)),
        Operation::ListConnections => ("A page of them.", reference::<ConnectionList>(schemas)),
        Operation::CloseConnection => ("It is being closed.", reference::<ConnectionPart>(schemas)),
        Operation::DeleteThreads => ("They are gone.", reference::<DeletedPart>(schemas)),
        Operation::Drain | Operation::Undrain => {
            ("The host, as it is now.", reference::<StatusPage>(schemas))
        }
        Operation::ShowChaos => ("What there is and what is in force.", reference::<ChaosPage>(schemas)),
        Operation::BeginFault => ("It is in force, or done.", reference::<InjectedPart>(schemas)),
        Operation::EndFault | Operation::EndFaults => {
            ("What is in force now, and what has ended.", reference::<ChaosPage>(schemas))
        }
        Operation::Page => {
            return json!({
                "description": "The page.",
                "content": { "text/html": { "schema": { "type": "string" } } },
            });
        }
        Operation::SupportBundle => ("The document.", json!({ "type": "object" })),
        Operation::Events => {
            return json!({
                "description": "The stream. `data` is JSON: `id`, `at_ms`, `event`, `level`, `mark`, `message`, `fields`.",
                "content": { "text/event-stream": { "schema": { "type": "string" } } },
            });
        }
        Operation::Order(_) => {
            let (page, foresight) = (reference::<PluginPage>(schemas), reference::<ForesightPage>(schemas));
            let what = "With `Prefer: wait`: it is so, or this is how far it came in 30 s. With `dry_run`: what would happen.";
            (what, json!({ "anyOf": [page, foresight] }))
        }
        Operation::ListUndertaken => ("As they are now.", reference::<OperationList>(schemas)),
        Operation::ShowUndertaken => ("The operation, as it is now.", reference::<OperationPage>(schemas)),
    };
    json!({ "description": description, "content": content(schema) })
}

/// The statuses with which it may be refused.
fn refusals(operation: Operation) -> &'static [&'static str] {
    match (operation.scope(), operation.method() == Method::GET) {
        (None, _) => &["403", "405", "429", "503"],
        (Some(_), true) => &["400", "401", "403", "404", "405", "429", "503"],
        (Some(_), false) => {
            &["400", "401", "403", "404", "405", "408", "409", "412", "413", "422", "429", "503"]
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::{super::operation::Scope, *};

    #[test]
    fn every_operation_is_described_and_every_reference_leads_somewhere() {
        fn walk(at: &Value, whole: &Value) {
            if let Some(to) = at.get("$ref").and_then(Value::as_str) {
                assert!(whole.pointer(to.trim_start_matches('#')).is_some(), "{to}");
            }
            at.as_object().into_iter().flat_map(Map::values).for_each(|inner| walk(inner, whole));
            at.as_array().into_iter().flatten().for_each(|inner| walk(inner, whole));
        }
        let whole = document();
        walk(&whole, &whole);
        for operation in Operation::ALL.iter().copied() {
            let method = operation.method().as_str().to_ascii_lowercase();
            let described = &whole["paths"][operation.path()][&method];
            assert_eq!(described["operationId"], operation.name());
            let takes = described["security"][0]["operator"][0].as_str();
            assert_eq!(takes, operation.scope().map(Scope::as_str), "{operation:?}");
        }
        let paths = whole["paths"].as_object().unwrap();
        let described: usize = paths.values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(described, Operation::ALL.len());
    }

    #[test]
    fn a_plugin_is_described_with_its_verdict() {
        let whole = document();
        let verdict = &whole["components"]["schemas"]["PluginPage"]["properties"]["verdict"];
        assert_eq!(verdict["enum"], json!(["healthy", "failed", "disabled"]), "{verdict}");
    }
}
