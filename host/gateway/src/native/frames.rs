//! What a client may say: decodes one text frame, or says exactly what is wrong with it.

use agent_host_engine::{Incoming, session::Message};
use agent_plugin_protocol::{Code, Epoch, MessageId, PluginId, RunId, Seq, ThreadId};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Map, Value, error::Category, value::RawValue};

/// A frame of a client.
#[derive(Debug)]
pub(crate) enum ClientFrame {
    /// For the engine.
    Ask(Incoming),
    /// A new token for this connection.
    AuthRefresh(SecretString),
    /// Wants a pong.
    Ping,
    /// Answers our ping.
    Pong,
}

/// What is wrong with a frame. The connection stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FrameError {
    /// `frame.…`, or `agent.unknown`.
    pub(crate) code: Code,
    /// Names the field.
    pub(crate) message: String,
    /// The client's id, if the frame had a usable one.
    pub(crate) id: Option<MessageId>,
}

/// Every type of frame, for the error that names them.
pub(super) const TYPES: [&str; 9] = [
    "user_message",
    "subscribe",
    "unsubscribe",
    "cancel",
    "interrupt_response",
    "ack",
    "auth_refresh",
    "ping",
    "pong",
];

impl ClientFrame {
    /// Decodes one text frame. Unknown fields are ignored.
    pub(crate) fn decode(text: &str) -> Result<Self, FrameError> {
        let head = head(text)?;
        let id = head.message_id();
        let body = Body { text, id: id.clone() };
        let Some(kind) = head.kind else {
            return Err(FrameError {
                code: Code::FrameInvalid,
                message: "the field `type` is missing".to_owned(),
                id,
            });
        };
        match &*kind {
            "user_message" => body.parse::<UserMessage>()?.into_incoming(id).map(Self::Ask),
            "subscribe" => body.parse::<Subscribe>().map(|it| Self::Ask(it.into())),
            "unsubscribe" => body.parse::<Unsubscribe>().map(|it| Self::Ask(it.into())),
            "cancel" => body.parse::<Cancel>().map(|it| Self::Ask(it.into())),
            "interrupt_response" => body.parse::<InterruptResponse>().map(|it| Self::Ask(it.into())),
            "ack" => body.parse::<Ack>().map(|it| Self::Ask(it.into())),
            "auth_refresh" => body.parse::<AuthRefresh>().map(|it| Self::AuthRefresh(it.token.into())),
            "ping" => Ok(Self::Ping),
            "pong" => Ok(Self::Pong),
            other => Err(FrameError {
                code: Code::FrameUnknownType,
                message: format!(
                    "the type {:?} is not known; known are {}",
                    shortened(other),
                    TYPES.join(", ")
                ),
                id,
            }),
        }
    }
}

/// What is read of any frame, before its type is known.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

impl Head<'_> {
    /// The id, if it is a usable one: to be named in the error.
    fn message_id(&self) -> Option<MessageId> {
        serde_json::from_str(self.id?.get()).ok()
    }
}

/// The frame's text, read once more as what its type says.
struct Body<'a> {
    text: &'a str,
    id: Option<MessageId>,
}

impl Body<'_> {
    fn parse<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        serde_json::from_str(self.text).map_err(|e| match e.classify() {
            Category::Data => wrong_field::<T>(self.text, self.id.clone()),
            // What a first look passes over: a lone surrogate, nesting too deep.
            Category::Syntax | Category::Eof | Category::Io => not_json(&e, self.id.clone()),
        })
    }
}

/// Reads what is read of any frame.
fn head(text: &str) -> Result<Head<'_>, FrameError> {
    // Of an array, fields would be read by their place.
    if !text.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok() {
        let message = "a frame is one JSON object with a `type`".to_owned();
        return Err(FrameError { code: Code::FrameInvalid, message, id: None });
    }
    serde_json::from_str(text).map_err(|e| match e.classify() {
        Category::Data => FrameError {
            code: Code::FrameInvalid,
            message: format!("a frame is one JSON object with a `type`: {}", shortened(&e.to_string())),
            id: None,
        },
        Category::Syntax | Category::Eof | Category::Io => not_json(&e, None),
    })
}

fn not_json(error: &serde_json::Error, id: Option<MessageId>) -> FrameError {
    FrameError { code: Code::FrameInvalidJson, message: shortened(&error.to_string()), id }
}

/// Reads the frame again, slowly, for the name of the field that is wrong.
fn wrong_field<T: DeserializeOwned>(text: &str, id: Option<MessageId>) -> FrameError {
    let mut json = serde_json::Deserializer::from_str(text);
    let message = match serde_path_to_error::deserialize::<_, T>(&mut json) {
        // Both readings refuse the same frames.
        Ok(_) => Code::FrameInvalid.meaning().to_owned(),
        Err(e) => match e.path().to_string().as_str() {
            "." => shortened(&e.inner().to_string()),
            path => format!("the field `{}`: {}", shortened(path), shortened(&e.inner().to_string())),
        },
    };
    FrameError { code: Code::FrameInvalid, message, id }
}

/// Errors quote what the client sent: not more than so much of it.
fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// A message to an agent. `id` is its idempotency key: send the same again until it is accepted.
#[derive(Deserialize, JsonSchema)]
pub(super) struct UserMessage {
    // Checked here, where an unusable id is an error; `Head` only wants it for the error frame.
    id: Option<MessageId>,
    /// None: a new thread.
    thread_id: Option<ThreadId>,
    #[schemars(with = "Option<PluginId>")]
    agent: Option<String>,
    #[schemars(required, with = "String", regex(pattern = r"\S"))]
    content: Option<String>,
    metadata: Option<Map<String, Value>>,
}

impl UserMessage {
    fn into_incoming(self, id: Option<MessageId>) -> Result<Incoming, FrameError> {
        let content = self.content.unwrap_or_default();
        if content.trim().is_empty() {
            let message = "the message has no text: put it in `content`".to_owned();
            return Err(FrameError { code: Code::FrameEmptyContent, message, id });
        }
        let agent = match self.agent {
            None => None,
            // A name that no agent may have is the name of no agent.
            Some(name) => Some(PluginId::new(&name).map_err(|_| FrameError {
                code: Code::AgentUnknown,
                message: format!("no agent is named {:?}", shortened(&name)),
                id,
            })?),
        };
        Ok(Incoming::Message(Message {
            id: self.id.unwrap_or_else(MessageId::random),
            thread: self.thread_id,
            given: None,
            agent,
            content,
            metadata: self.metadata.unwrap_or_default(),
        }))
    }
}

/// Replays a thread after `after_seq` (0: from its start), then tells what happens in it.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Subscribe {
    thread_id: ThreadId,
    after_seq: Option<Seq>,
    epoch: Option<Epoch>,
}

impl From<Subscribe> for Incoming {
    fn from(it: Subscribe) -> Self {
        Self::Subscribe { thread: it.thread_id, after: it.after_seq.unwrap_or(Seq::START), epoch: it.epoch }
    }
}

/// Tells no more of that thread.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Unsubscribe {
    thread_id: ThreadId,
}

impl From<Unsubscribe> for Incoming {
    fn from(it: Unsubscribe) -> Self {
        Self::Unsubscribe { thread: it.thread_id }
    }
}

/// Asks to stop a run: it ends `cancelled`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Cancel {
    run_id: RunId,
}

impl From<Cancel> for Incoming {
    fn from(it: Cancel) -> Self {
        Self::Cancel { run: it.run_id }
    }
}

/// Answers the question that ended a run: begins a new one.
#[derive(Deserialize, JsonSchema)]
pub(super) struct InterruptResponse {
    id: Option<MessageId>,
    run_id: RunId,
    interrupt_id: String,
    #[serde(default)]
    response: Value,
}

impl From<InterruptResponse> for Incoming {
    fn from(it: InterruptResponse) -> Self {
        Self::Answer {
            id: it.id.unwrap_or_else(MessageId::random),
            run: it.run_id,
            interrupt: it.interrupt_id,
            response: it.response,
        }
    }
}

/// The client has everything up to `seq`. Optional; decides nothing.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Ack {
    thread_id: ThreadId,
    seq: Seq,
}

impl From<Ack> for Incoming {
    fn from(it: Ack) -> Self {
        Self::Ack { thread: it.thread_id, seq: it.seq }
    }
}

/// A new token of the same user, before the old one expires.
#[derive(Deserialize, JsonSchema)]
pub(super) struct AuthRefresh {
    token: String,
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
