//! Sends each message back: what the conformance suite of RFC 6455 talks to. Only in builds with fault injection.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message;

use super::{
    socket::{Inbound, Socket},
    task::Shared,
};
use crate::surface::Surface;

/// Echoes until either side closes, over the same socket as a conversation's, with the same limits and closes.
pub(crate) async fn echo<T: AsyncRead + AsyncWrite + Unpin>(stream: T, shared: Arc<Shared>) {
    let rules = shared.rules.now();
    let (timing, bytes) = (&rules.settings.timing, rules.settings.limits.frame_bytes);
    let mut socket = Socket::new(stream, bytes, timing.write, timing.close, Surface::Native).await;
    loop {
        let message = match socket.recv().await {
            Ok(Inbound::Text(text)) => Message::Text(text),
            Ok(Inbound::Binary(bytes)) => Message::Binary(bytes),
            Ok(Inbound::Control) => match socket.answer().await {
                Ok(()) => continue,
                Err(_) => return,
            },
            Ok(Inbound::Close(_)) => return socket.finish().await,
            Err(broken) => {
                let Some(why) = broken.close() else { return };
                return socket.close(why).await;
            }
        };
        if socket.send(&mut vec![message]).await.is_err() {
            return;
        }
    }
}
