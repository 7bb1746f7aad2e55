//! The JSON schema of every frame, made from the types that write and read them.
//!
//! What this host sends is described strictly: no field that is not named. What it takes is described as it is taken:
//! unknown fields are ignored.

use agent_plugin_protocol::{
    EventKind, RunId, Seq, ThreadId,
    event::{MessageDelta, Thinking},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, transform};
use serde::Serialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{encode::ServerFrame, frames};

/// All frames.
pub(crate) struct Frames {
    /// What this host sends.
    pub(crate) server: Vec<Frame>,
    /// What a client may send.
    pub(crate) client: Vec<Frame>,
    /// What the schemas refer to, below [`DEFINITIONS`].
    pub(crate) definitions: Map<String, Value>,
}

/// One type of frame.
pub(crate) struct Frame {
    /// Its `type`.
    pub(crate) kind: String,
    /// Draft 7, which AsyncAPI knows.
    pub(crate) schema: Schema,
}

/// Where in the document the definitions lie.
const DEFINITIONS: &str = "/components/schemas";

impl Frames {
    /// Describes every frame.
    pub(crate) fn describe() -> Self {
        let settings = || {
            SchemaSettings::draft07().with(|it| {
                it.definitions_path = DEFINITIONS.into();
                it.meta_schema = None;
            })
        };
        let mut written = settings().for_serialize().into_generator();
        let mut read = settings().for_deserialize().into_generator();

        let mut server = variants(&ServerFrame::json_schema(&mut written));
        server.extend(EventKind::ALL.iter().map(|kind| event(*kind, &mut written, &mut read)));
        let mut client = client(&mut read);

        let mut definitions = written.take_definitions(true);
        for schema in definitions.values_mut().filter_map(|value| <&mut Schema>::try_from(value).ok()) {
            strict(schema);
        }
        definitions.extend(read.take_definitions(true));
        for frame in &mut server {
            finish(&mut frame.schema, &mut written);
            strict(&mut frame.schema);
        }
        for frame in &mut client {
            finish(&mut frame.schema, &mut read);
        }
        Self { server, client, definitions }
    }
}

/// The variants of the tagged enum, each by itself, so that an error names a field and not a choice of ten.
fn variants(all: &Schema) -> Vec<Frame> {
    let one_of = all.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    one_of
        .filter_map(|variant| {
            let kind = variant.pointer("/properties/type/const")?.as_str()?.to_owned();
            Some(Frame { kind, schema: Schema::try_from(variant.clone()).ok()? })
        })
        .collect()
}

/// What [`super::encode::event`] writes by hand, as a type: a test holds the two equal.
#[derive(Serialize, JsonSchema)]
struct Event<'a> {
    #[serde(rename = "type")]
    #[schemars(with = "String")]
    kind: EventKind,
    /// The position in its thread: dense, from 1.
    seq: Seq,
    thread_id: &'a ThreadId,
    run_id: &'a RunId,
    /// Who: a plugin, `fallback`, `host`, or `user`.
    agent: &'a str,
    #[schemars(extend("format" = "date-time"))]
    time: String,
    #[schemars(with = "Value")]
    payload: &'a RawValue,
}

/// What a plugin emits goes out as it came in, so it is described as it is read.
fn event(kind: EventKind, written: &mut SchemaGenerator, read: &mut SchemaGenerator) -> Frame {
    let payload = match kind {
        EventKind::UserMessage => agent_host_engine::schema::user_message(written),
        EventKind::AgentThinking => read.subschema_for::<Thinking<'_>>(),
        EventKind::AgentMessageDelta => read.subschema_for::<MessageDelta<'_>>(),
        EventKind::AgentStarted
        | EventKind::ToolExecuting
        | EventKind::ToolCompleted
        | EventKind::AgentDelegated
        | EventKind::AgentReturned
        | EventKind::RunDegraded
        | EventKind::AgentCompleted => {
            agent_host_core::run_machine::schema::payload(kind, written).unwrap_or_default()
        }
    };
    let mut schema = Event::json_schema(written);
    schema.insert("description".to_owned(), kind.meaning().into());
    set_property(&mut schema, "type", json!({ "type": "string", "const": kind.as_str() }));
    set_property(&mut schema, "payload", payload.to_value());
    Frame { kind: kind.as_str().to_owned(), schema }
}

fn client(read: &mut SchemaGenerator) -> Vec<Frame> {
    let sign = |what: &str| schemars::json_schema!({ "type": "object", "description": what });
    let frames = [
        ("user_message", frames::UserMessage::json_schema(read)),
        ("subscribe", frames::Subscribe::json_schema(read)),
        ("unsubscribe", frames::Unsubscribe::json_schema(read)),
        ("cancel", frames::Cancel::json_schema(read)),
        ("interrupt_response", frames::InterruptResponse::json_schema(read)),
        ("ack", frames::Ack::json_schema(read)),
        ("auth_refresh", frames::AuthRefresh::json_schema(read)),
        ("ping", sign("Wants a `pong`.")),
        ("pong", sign("Answer to `ping`; any other frame is a sign of life as well.")),
    ];
    frames
        .into_iter()
        .map(|(kind, mut schema)| {
            set_property(&mut schema, "type", json!({ "type": "string", "const": kind }));
            require(&mut schema, "type");
            Frame { kind: kind.to_owned(), schema }
        })
        .collect()
}

fn set_property(schema: &mut Schema, name: &str, value: Value) {
    let properties = schema.ensure_object().entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        properties.insert(name.to_owned(), value);
    }
}

fn require(schema: &mut Schema, name: &str) {
    let required = schema.ensure_object().entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        required.push(name.into());
    }
}

/// What the generator does to definitions by itself.
fn finish(schema: &mut Schema, generator: &mut SchemaGenerator) {
    for transform in generator.transforms_mut() {
        transform.transform(schema);
    }
}

/// No field but those that are named, wherever fields are named; and a field that may be absent is never null.
fn strict(schema: &mut Schema) {
    use transform::Transform as _;
    transform::RecursiveTransform(|schema: &mut Schema| {
        let Some(object) = schema.as_object_mut() else { return };
        let required = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) else { return };
        for (name, property) in properties {
            if !required.iter().any(|it| it == name) {
                never_null(property);
            }
        }
        object.entry("additionalProperties").or_insert(false.into());
    })
    .transform(schema);
}

/// Takes null out of what an `Option` may be.
fn never_null(property: &mut Value) {
    let Some(object) = property.as_object_mut() else { return };
    if let Some(types) = object.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|it| it != "null");
    }
    if let Some(mut choices) = object.remove("anyOf") {
        if let Some(choices) = choices.as_array_mut() {
            choices.retain(|it| it.get("type").is_none_or(|it| it != "null"));
        }
        // `allOf`, not the reference itself, beside which draft 7 ignores everything.
        object.insert("allOf".to_owned(), choices);
    }
}

#[cfg(test)]
mod tests;
