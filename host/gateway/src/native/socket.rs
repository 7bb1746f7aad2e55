//! The transport: a WebSocket with small buffers, one flush for each burst, and closes that clients see as such.
//!
//! Built on tungstenite without axum's wrapper, which hides the typed errors (which of 1002, 1007 and 1009 is it?) and
//! the stream below, needed to half-close and read on after a frame that is too large.

use std::time::Duration;

use agent_host_core::{failpoint, failpoint::Action};
use futures_util::{SinkExt, StreamExt, stream::FusedStream};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Bytes, Error, Message, Utf8Bytes,
        error::ProtocolError,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

use super::close::Close;
use crate::surface::Surface;

/// One client's socket.
pub(crate) struct Socket<T> {
    stream: WebSocketStream<T>,
    write_within: Duration,
    close_within: Duration,
    /// Whose close codes its client knows.
    surface: Surface,
}

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Inbound {
    /// A text frame.
    Text(Utf8Bytes),
    /// A binary message, which this protocol has not.
    Binary(
        #[cfg_attr(not(feature = "failpoints"), allow(dead_code, reason = "only the echo sends it back"))]
        Bytes,
    ),
    /// A native ping or pong: a sign of life. Pings are answered below.
    Control,
    /// The client closes, with this code. Its reply is queued: see [`Socket::finish`].
    Close(Option<u16>),
}

/// Why nothing more comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A frame or message above the limit.
    TooLarge,
    /// Text that is not UTF-8.
    NotUtf8,
    /// Not the WebSocket protocol.
    Protocol,
    /// The connection is gone.
    Gone,
}

impl Broken {
    /// What its client is told. `None`: there is nobody left to be told.
    pub(crate) const fn close(self) -> Option<Close> {
        match self {
            Self::TooLarge => Some(Close::TooLarge),
            Self::NotUtf8 => Some(Close::NotUtf8),
            Self::Protocol => Some(Close::Protocol),
            Self::Gone => None,
        }
    }
}

/// Why a write did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwritten {
    /// The client did not read within the deadline.
    Stuck,
    /// The connection is gone.
    Gone,
}

/// Reads of this size: axum's default of 128 KiB for each connection is memory without use for small frames. What is
/// longer gets the room it needs when it comes.
const READ_BUFFER: usize = 1024;
/// Writes are gathered up to this size; a burst is flushed at its end anyway.
const WRITE_BUFFER: usize = 4096;
/// What is read and dropped of a client that is still sending after its close: about the largest thing that anyone
/// sends by mistake, in a bounded time.
const DISCARD_BYTES: usize = 256 * 1024 * 1024;

impl<T: AsyncRead + AsyncWrite + Unpin> Socket<T> {
    /// Takes over a stream after its handshake.
    pub(crate) async fn new(
        stream: T,
        frame_bytes: usize,
        write_within: Duration,
        close_within: Duration,
        surface: Surface,
    ) -> Self {
        let limit = match failpoint!("gateway.socket.limit") {
            Some(Action::Off) => None,
            _ => Some(frame_bytes),
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .accept_unmasked_frames(failpoint!("gateway.socket.mask") == Some(Action::Off))
            .max_message_size(limit)
            .max_frame_size(limit);
        let stream = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        Self { stream, write_within, close_within, surface }
    }

    /// What comes in next. Cancel safe.
    pub(crate) async fn recv(&mut self) -> Result<Inbound, Broken> {
        match self.stream.next().await {
            Some(Ok(Message::Text(text))) => Ok(Inbound::Text(text)),
            Some(Ok(Message::Binary(bytes))) => Ok(Inbound::Binary(bytes)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(Inbound::Control),
            Some(Ok(Message::Close(frame))) => Ok(Inbound::Close(frame.map(|f| f.code.into()))),
            Some(Err(error)) => Err(broken(&error)),
            None => Err(Broken::Gone),
        }
    }

    /// Writes a burst with one flush, and empties it. Not cancel safe: half of it may be written.
    pub(crate) async fn send(&mut self, burst: &mut Vec<Message>) -> Result<(), Unwritten> {
        let stream = &mut self.stream;
        let write = async {
            for message in burst.drain(..) {
                stream.feed(message).await?;
            }
            stream.flush().await
        };
        match timeout(self.write_within, write).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Unwritten::Gone),
            Err(_) => Err(Unwritten::Stuck),
        }
    }

    /// Writes what is owed for a ping, before more is read: else the pongs of a client that pings and does not read
    /// would pile up. Not cancel safe: half of it may be written.
    pub(crate) async fn answer(&mut self) -> Result<(), Unwritten> {
        if failpoint!("gateway.socket.answer") == Some(Action::Off) {
            return Ok(());
        }
        self.send(&mut Vec::new()).await
    }

    /// Ends what the client closed: its reply is flushed before the stream goes, or it would see 1006.
    pub(crate) async fn finish(mut self) {
        // On timeout the client is not reading; there is nobody to be polite to.
        let _ = timeout(self.close_within, async {
            while let Some(Ok(_)) = self.stream.next().await {}
            self.stream.get_mut().shutdown().await
        })
        .await;
    }

    /// Closes from our side: the close frame, then whatever still comes in until the client has answered, in a
    /// bounded time. Without that reading, unread bytes would turn our close into a reset, and the client sees 1006.
    pub(crate) async fn close(mut self, why: Close) {
        let frame = CloseFrame {
            code: why.code_on(self.surface).into(),
            reason: Utf8Bytes::from_static(why.reason()),
        };
        let sent = timeout(self.close_within, self.stream.send(Message::Close(Some(frame)))).await;
        if !matches!(sent, Ok(Ok(()))) {
            return;
        }
        let _ = timeout(self.close_within, async {
            // After an error nothing more is decoded, so the client's answer would not be seen.
            let mut answered = !self.stream.is_terminated();
            while answered {
                match self.stream.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => answered = false,
                    None => break,
                }
            }
            let raw = self.stream.get_mut();
            raw.shutdown().await?;
            if answered { Ok(()) } else { discard(raw).await }
        })
        .await;
    }
}

/// Reads and drops, until the client is done or has had enough.
async fn discard<T: AsyncRead + Unpin>(stream: &mut T) -> std::io::Result<()> {
    let mut waste = vec![0; 16 * 1024];
    let mut left = DISCARD_BYTES;
    while left > 0 {
        match stream.read(&mut waste).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}

fn broken(error: &Error) -> Broken {
    match error {
        Error::Capacity(_) => Broken::TooLarge,
        Error::Utf8(_) => Broken::NotUtf8,
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Broken::Gone,
        Error::Protocol(_) => Broken::Protocol,
        // I/O and closed states; the other variants belong to clients' handshakes.
        _ => Broken::Gone,
    }
}
