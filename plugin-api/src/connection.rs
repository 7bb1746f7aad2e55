//! A connection to a peer, made by the host: a stream of bytes like any other.

use std::{
    fmt, io,
    pin::Pin,
    task::{Context as Waking, Poll, ready},
};

use agent_plugin_protocol::{
    call::request,
    net::{CHUNK, Connect, OfStream, Opened, Read, Write},
};
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{Context, RequestError};

/// A connection to a peer that the operator allowed; see [`Context::connect`].
///
/// It is plain TCP, for a TLS library of the author's choice to wrap. It ends with the call that opened it, and is closed
/// when it is dropped. Reads and writes wait for the peer; what is written is sent on [`flush`], or with the next write.
///
/// [`flush`]: tokio::io::AsyncWriteExt::flush
pub struct Connection {
    ctx: Context,
    stream: u64,
    reading: Option<BoxFuture<'static, Result<Read, RequestError>>>,
    /// What was read and not yet taken, and how much of it was.
    read: (Vec<u8>, usize),
    /// One write under way; the next waits for it.
    writing: Option<BoxFuture<'static, Result<(), RequestError>>>,
    finishing: Option<BoxFuture<'static, Result<(), RequestError>>>,
}

impl Connection {
    pub(crate) async fn open(ctx: &Context, peer: &str) -> Result<Self, RequestError> {
        let connect = Connect { peer: peer.to_owned() };
        let Opened { stream } = ctx.call().request(request::NET_CONNECT, &connect).await?;
        Ok(Self {
            ctx: ctx.clone(),
            stream,
            reading: None,
            read: (Vec::new(), 0),
            writing: None,
            finishing: None,
        })
    }

    fn ask_to_read(&self) -> BoxFuture<'static, Result<Read, RequestError>> {
        let (ctx, stream) = (self.ctx.clone(), self.stream);
        Box::pin(async move { ctx.call().request(request::NET_READ, &OfStream { stream }).await })
    }

    fn ask_to_write(&self, bytes: Vec<u8>) -> BoxFuture<'static, Result<(), RequestError>> {
        let (ctx, stream) = (self.ctx.clone(), self.stream);
        Box::pin(async move { ctx.call().request(request::NET_WRITE, &Write { stream, bytes }).await })
    }

    fn ask_to_finish(&self) -> BoxFuture<'static, Result<(), RequestError>> {
        let (ctx, stream) = (self.ctx.clone(), self.stream);
        Box::pin(async move { ctx.call().request(request::NET_FINISH, &OfStream { stream }).await })
    }

    /// Waits for the write that is under way.
    fn poll_written(&mut self, waking: &mut Waking<'_>) -> Poll<io::Result<()>> {
        if let Some(writing) = &mut self.writing {
            let written = ready!(writing.as_mut().poll(waking));
            self.writing = None;
            written.map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.1 == self.read.0.len() {
            let mut reading = self.reading.take().unwrap_or_else(|| self.ask_to_read());
            match reading.as_mut().poll(waking) {
                Poll::Ready(Ok(read)) => self.read = (read.bytes, 0),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(error))),
                Poll::Pending => {
                    self.reading = Some(reading);
                    return Poll::Pending;
                }
            }
        }
        let (bytes, taken) = &mut self.read;
        let rest = bytes.get(*taken..).unwrap_or_default();
        let now = rest.len().min(into.remaining());
        into.put_slice(&rest[..now]);
        *taken += now;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        waking: &mut Waking<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_written(waking))?;
        let now = bytes.len().min(CHUNK);
        if now > 0 {
            self.writing = Some(self.ask_to_write(bytes[..now].to_vec()));
            // So that it is on its way; its end is waited for by the next write or flush.
            if let Poll::Ready(Err(error)) = self.poll_written(waking) {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(now))
    }

    fn poll_flush(mut self: Pin<&mut Self>, waking: &mut Waking<'_>) -> Poll<io::Result<()>> {
        self.poll_written(waking)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, waking: &mut Waking<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_written(waking))?;
        let mut finishing = self.finishing.take().unwrap_or_else(|| self.ask_to_finish());
        match finishing.as_mut().poll(waking) {
            Poll::Ready(finished) => Poll::Ready(finished.map_err(broken)),
            Poll::Pending => {
                self.finishing = Some(finishing);
                Poll::Pending
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.ctx.call().tell(request::NET_CLOSE, &OfStream { stream: self.stream });
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("stream", &self.stream).finish_non_exhaustive()
    }
}

fn broken(error: RequestError) -> io::Error {
    io::Error::other(error)
}
