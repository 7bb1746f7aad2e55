//! The WebSocket wire by hand: frames as no client library would write them, and a reader that forgives nothing.

use std::{fmt, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::harness::{PATIENCE, http};

/// The kinds of frames, by their number.
pub(super) const CONTINUATION: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// How a frame's length is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// In as few bytes as it takes, as the standard demands.
    Shortest,
    /// In these two bytes.
    Two(u16),
    /// In these eight bytes.
    Eight(u64),
}

/// A client's frame.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    kind: u8,
    last: bool,
    reserved: u8,
    mask: Option<[u8; 4]>,
    length: Length,
    payload: Vec<u8>,
}

impl Frame {
    /// A whole and lawful one.
    pub(super) fn new(kind: u8, payload: impl Into<Vec<u8>>) -> Self {
        // The mask of the standard's examples.
        let mask = Some([0x37, 0xfa, 0x21, 0x3d]);
        Self { kind, last: true, reserved: 0, mask, length: Length::Shortest, payload: payload.into() }
    }

    /// Of a message that goes on.
    pub(super) fn more(self) -> Self {
        Self { last: false, ..self }
    }

    /// With these three reserved bits, the first of them 4.
    pub(super) fn reserved(self, reserved: u8) -> Self {
        Self { reserved, ..self }
    }

    /// Masked with this, or not at all.
    pub(super) fn mask(self, mask: Option<[u8; 4]>) -> Self {
        Self { mask, ..self }
    }

    /// With its length written so.
    pub(super) fn length(self, length: Length) -> Self {
        Self { length, ..self }
    }

    /// As it is on the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.last) << 7 | self.reserved << 4 | self.kind];
        let masked = u8::from(self.mask.is_some()) << 7;
        let length = match (self.length, self.payload.len()) {
            (Length::Shortest, short @ 0..=125) => return self.rest(bytes, masked | short as u8, &[]),
            (Length::Shortest, middle @ 126..=0xffff) => Length::Two(middle as u16),
            (Length::Shortest, long) => Length::Eight(long as u64),
            (written, _) => written,
        };
        bytes = match length {
            Length::Two(length) => self.rest(bytes, masked | 126, &length.to_be_bytes()),
            Length::Eight(length) => self.rest(bytes, masked | 127, &length.to_be_bytes()),
            Length::Shortest => unreachable!("decided above"),
        };
        bytes
    }

    fn rest(&self, mut bytes: Vec<u8>, short: u8, length: &[u8]) -> Vec<u8> {
        bytes.push(short);
        bytes.extend_from_slice(length);
        bytes.extend(self.mask.iter().flatten());
        let mask = self.mask.unwrap_or_default();
        bytes.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }
}

/// What a server said.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Said {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
    /// The stream ended, and no close frame came before.
    Cut,
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "text of {}", text.len()),
            Self::Binary(bytes) => write!(f, "binary of {}", bytes.len()),
            Self::Ping(bytes) => write!(f, "ping of {}", bytes.len()),
            Self::Pong(bytes) => write!(f, "pong of {}", bytes.len()),
            Self::Close(Some(code)) => write!(f, "close {code}"),
            Self::Close(None) => f.write_str("close without code"),
            Self::Cut => f.write_str("cut"),
        }
    }
}

/// How the bytes go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// All at once.
    AtOnce,
    /// Each byte by itself.
    ByteByByte,
}

/// An open connection.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    /// What came in and was not read yet.
    pub(super) buffer: Vec<u8>,
}

impl Wire {
    /// Shakes hands at `path`.
    pub(super) async fn open(to: SocketAddr, path: &str, token: &str) -> Result<Self, String> {
        let mut stream = TcpStream::connect(to).await.map_err(|e| format!("connect: {e}"))?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {token}\r\n");
        for (name, value) in http::UPGRADE {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.map_err(|e| format!("write: {e}"))?;
        let mut buffer = Vec::new();
        let head = loop {
            if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            let read = timeout(PATIENCE, stream.read_buf(&mut buffer)).await.map_err(|_| "no answer")?;
            if read.map_err(|e| format!("read: {e}"))? == 0 {
                return Err("closed in the handshake".to_owned());
            }
        };
        let rest = buffer.split_off(head);
        if !buffer.starts_with(b"HTTP/1.1 101") {
            return Err(String::from_utf8_lossy(&buffer).into_owned());
        }
        Ok(Self { stream, buffer: rest })
    }

    /// Sends these bytes, and answers all that is said until the server ends the connection.
    pub(super) async fn exchange(mut self, bytes: &[u8], pace: Pace) -> Result<Vec<Said>, String> {
        let (mut read, mut write) = self.stream.split();
        let sending = async {
            let step = match pace {
                Pace::AtOnce => bytes.len().max(1),
                Pace::ByteByByte => 1,
            };
            for piece in bytes.chunks(step) {
                // The server may have had enough before all is out.
                if write.write_all(piece).await.is_err() {
                    break;
                }
            }
            // A server that has no reason to close sees the end: no test waits for it.
            let _ = write.shutdown().await;
        };
        let reading = async {
            // A reset comes after what was said, if at all.
            let _ = timeout(PATIENCE, read.read_to_end(&mut self.buffer)).await.map_err(|_| "not closed")?;
            Ok::<_, &str>(())
        };
        let ((), ended) = tokio::join!(sending, reading);
        ended?;
        parse(&self.buffer)
    }
}

/// Reads a server's frames. What breaks the standard is an objection.
pub(super) fn parse(mut bytes: &[u8]) -> Result<Vec<Said>, String> {
    let mut said = Vec::new();
    while let Some((one, rest)) = frame(bytes)? {
        bytes = rest;
        if matches!(said.last(), Some(Said::Close(_))) {
            return Err(format!("{one} after the close"));
        }
        said.push(one);
    }
    if !bytes.is_empty() {
        return Err(format!("half a frame at the end: {bytes:?}"));
    }
    if !matches!(said.last(), Some(Said::Close(_))) {
        said.push(Said::Cut);
    }
    Ok(said)
}

/// The first frame, and what comes after it. `None`: there is none, or not all of it.
pub(super) fn frame(bytes: &[u8]) -> Result<Option<(Said, &[u8])>, String> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0xf0 != 0x80 {
        return Err(format!("first byte {first:#x}: not whole, or reserved bits"));
    }
    if second & 0x80 != 0 {
        return Err("masked by the server".to_owned());
    }
    let (length, rest) = match (second, rest) {
        (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest),
        (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest)
        }
        (126 | 127, _) => return Ok(None),
        (short, rest) => (u64::from(*short), rest),
    };
    let least = match second {
        126 => 126,
        127 => 0x1_0000,
        _ => 0,
    };
    if length < least {
        return Err(format!("a length of {length} in more bytes than it takes"));
    }
    let Some((payload, rest)) = rest.split_at_checked(usize::try_from(length).unwrap()) else {
        return Ok(None);
    };
    Ok(Some((understood(first & 0xf, payload)?, rest)))
}

fn understood(kind: u8, payload: &[u8]) -> Result<Said, String> {
    let own = payload.to_vec();
    if kind >= CLOSE && payload.len() > 125 {
        return Err(format!("a control frame of {} bytes", payload.len()));
    }
    match (kind, payload) {
        (TEXT, _) if std::str::from_utf8(payload).is_err() => Err("text that is not UTF-8".to_owned()),
        (TEXT, _) => Ok(Said::Text(own)),
        (BINARY, _) => Ok(Said::Binary(own)),
        (PING, _) => Ok(Said::Ping(own)),
        (PONG, _) => Ok(Said::Pong(own)),
        (CLOSE, []) => Ok(Said::Close(None)),
        (CLOSE, [high, low, reason @ ..]) if std::str::from_utf8(reason).is_ok() => {
            Ok(Said::Close(Some(u16::from_be_bytes([*high, *low]))))
        }
        _ => Err(format!("frame {kind} of {payload:?}")),
    }
}
