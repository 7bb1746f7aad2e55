//! Events that a plugin emits, made so that the host accepts them.

use std::{borrow::Cow, pin::Pin};

use agent_plugin_protocol::event::{MAX_EVENT_BYTES, MessageDelta, Thinking, emit_kind};

use crate::{Context, EmitError, call::Call};

/// Text of one event. JSON makes of one byte six at most, so that this stays below `MAX_EVENT_BYTES`.
const MAX_TEXT_BYTES: usize = MAX_EVENT_BYTES / 8;

/// A thought that is emitted when awaited; see [`Context::thinking`].
#[must_use = "await it, or nothing is emitted"]
pub struct ThinkingEvent<'a> {
    ctx: &'a Context,
    thinking: Thinking<'a>,
}

impl<'a> ThinkingEvent<'a> {
    pub(crate) fn new(ctx: &'a Context, text: &'a str) -> Self {
        let text = Cow::Borrowed(head(text));
        Self { ctx, thinking: Thinking { text, step: None, progress: None } }
    }

    /// Which step it is, from 1.
    pub fn step(mut self, step: u32) -> Self {
        self.thinking.step = Some(step);
        self
    }

    /// How far the work is: 0.0 to 1.0; what lies outside is brought inside, and what is no number is left out.
    pub fn progress(mut self, progress: f64) -> Self {
        self.thinking.progress = (!progress.is_nan()).then(|| progress.clamp(0.0, 1.0));
        self
    }
}

impl<'a> IntoFuture for ThinkingEvent<'a> {
    type Output = Result<(), EmitError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let payload = serde_json::to_vec(&self.thinking).unwrap_or_default();
            self.ctx.call().emit(emit_kind::THINKING, payload).await
        })
    }
}

/// Emits `text` in as many events as it needs.
pub(crate) async fn delta(call: &Call, message_id: &str, text: &str) -> Result<(), EmitError> {
    let mut rest = text;
    while !rest.is_empty() {
        let piece = head(rest);
        rest = &rest[piece.len()..];
        let event = MessageDelta { message_id: Cow::Borrowed(message_id), text: Cow::Borrowed(piece) };
        let payload = serde_json::to_vec(&event).unwrap_or_default();
        call.emit(emit_kind::MESSAGE_DELTA, payload).await?;
    }
    Ok(())
}

/// As much of the text's beginning as one event may hold, in whole characters.
fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_BYTES)]
}

#[cfg(test)]
mod tests {
    use agent_plugin_protocol::event::Emitted;

    use super::*;

    #[test]
    fn the_longest_text_fits_into_one_event() {
        for text in ["\u{1}".repeat(MAX_TEXT_BYTES + 1), "é".repeat(MAX_TEXT_BYTES)] {
            let event =
                Thinking { text: Cow::Borrowed(head(&text)), step: Some(u32::MAX), progress: Some(0.1) };
            let payload = serde_json::to_vec(&event).unwrap();
            assert!(Emitted::decode(emit_kind::THINKING, &payload).is_ok());
        }
    }
}
