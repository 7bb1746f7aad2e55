//! What a client says: each frame is counted, understood, and asked of the engine or answered.

use std::time::Duration;

use agent_host_core::failpoint;
use agent_host_engine::{Incoming, session::Problem};
use agent_plugin_protocol::{Code, MessageId};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout},
};

use super::{Connection, Ending, unwritten};
use crate::{
    host::Conversation,
    native::{
        close::Close,
        encode,
        frames::ClientFrame,
        socket::{Broken, Inbound},
        speech::Speech,
    },
    netra,
};

impl<T: AsyncRead + AsyncWrite + Unpin, C: Conversation> Connection<'_, T, C> {
    pub(super) async fn received(&mut self, received: Result<Inbound, Broken>) -> Result<(), Ending> {
        self.liveness.heard();
        match received {
            Ok(Inbound::Close(code)) => return Err(Ending::ByClient(code)),
            Ok(Inbound::Binary(_)) => return Err(Ending::ByHost(Close::NotText)),
            Err(broken) => {
                if broken == Broken::TooLarge {
                    self.refuse(Code::FrameTooLarge, None, None);
                    self.flush().await?;
                }
                return Err(broken.close().map_or(Ending::Gone, Ending::ByHost));
            }
            Ok(Inbound::Control) => {
                self.count_frame()?;
                self.socket.answer().await.map_err(unwritten)?;
            }
            Ok(Inbound::Text(text)) => {
                self.count_frame()?;
                self.act(&text).await;
            }
        }
        self.settle().await
    }

    /// Acts on a text frame. Whatever is wrong with it, the client is told and the connection stays.
    async fn act(&mut self, text: &str) {
        // Where tests make this loop die: it must be seen to close 1011, not to vanish.
        if failpoint!("gateway.connection.frame").is_some() {
            return self.refuse(Code::HostInternal, None, None);
        }
        let now = self.shared.clock.now();
        if let Speech::Netra(codec) = &mut self.speech {
            return match codec.heard(text, Instant::now(), now) {
                netra::Heard::Say(frame) => self.push(frame),
                netra::Heard::SayAll(frames) => frames.into_iter().for_each(|frame| self.push(frame)),
                netra::Heard::Ask(frame, incoming) => {
                    if let Some(frame) = frame {
                        self.push(frame);
                    }
                    self.ask(incoming).await;
                }
                netra::Heard::Nothing => {}
            };
        }
        match ClientFrame::decode(text) {
            Ok(ClientFrame::Ask(incoming)) => self.ask(incoming).await,
            Ok(ClientFrame::AuthRefresh(token)) => self.refresh(&token).await,
            Ok(ClientFrame::Ping) => self.push(encode::pong()),
            Ok(ClientFrame::Pong) => {}
            Err(error) => {
                // Where tests make this loop die of nonsense.
                let _ = failpoint!("gateway.connection.nonsense");
                self.push(encode::frame_error(error));
            }
        }
    }

    pub(super) async fn ask(&mut self, incoming: Incoming) {
        if let Incoming::Cancel { .. } = &incoming {
            // Where tests make this loop die of a cancellation.
            let _ = failpoint!("gateway.connection.cancel");
        }
        let id = message_id(&incoming);
        if id.is_some()
            && let Some(bucket) = &mut self.messages
            && let Err(wait) = bucket.take(Instant::now())
        {
            return self.refuse(Code::LimitRate, id, Some(wait));
        }
        let within = self.speech.answers_within(self.rules.settings.timing.handle);
        // Boxed: an idle connection does not keep the room for a message on its way.
        if timeout(within, Box::pin(self.conversation.handle(incoming))).await.is_err() {
            // It may have taken effect; the same id again finds out.
            self.refuse(Code::HostInternal, id, Some(Duration::from_secs(1)));
        }
    }

    /// Far more frames than any client of good will sends: not worth an answer each.
    fn count_frame(&mut self) -> Result<(), Ending> {
        let Some(bucket) = &mut self.frames else { return Ok(()) };
        bucket.take(Instant::now()).map_err(|_wait| Ending::ByHost(Close::Rate))
    }

    fn refuse(&mut self, code: Code, id: Option<MessageId>, retry_after: Option<Duration>) {
        let problem = Problem { id, retry_after, ..Problem::new(code) };
        let frame = match &mut self.speech {
            Speech::Native | Speech::None => encode::problem(&problem),
            Speech::Netra(codec) => codec.problem(&problem, self.shared.clock.now()),
        };
        self.push(frame);
    }
}

/// The id of what counts as a message for the rate limit.
fn message_id(incoming: &Incoming) -> Option<MessageId> {
    match incoming {
        Incoming::Message(message) => Some(message.id.clone()),
        Incoming::Answer { id, .. } => Some(id.clone()),
        Incoming::Subscribe { .. }
        | Incoming::Unsubscribe { .. }
        | Incoming::Cancel { .. }
        | Incoming::Ack { .. } => None,
    }
}
