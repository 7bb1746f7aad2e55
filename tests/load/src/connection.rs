//! One client connection: upgraded with blocking calls, then driven without blocking by the reactor.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketType};

use crate::{
    error::{Attempt, Error},
    wire::{self, Opcode},
};

/// Where to connect, and as whom.
#[derive(Debug, Clone)]
pub struct Target {
    /// The public listener.
    pub address: SocketAddr,
    /// The bearer token; a floor asks for none.
    pub token: Option<String>,
}

/// An upgraded connection.
#[derive(Debug)]
pub struct Connection {
    pub(crate) stream: TcpStream,
    /// What came of a frame that is not whole yet.
    pub(crate) rest: Vec<u8>,
    /// Whether the close frame was sent: then the server's end is no fault.
    pub(crate) closing: bool,
}

impl Connection {
    /// Connects from a source address that is chosen by `number`, so that ports do not run out, and upgrades.
    ///
    /// # Errors
    /// Refused, or no answer within 10 s.
    pub fn open(target: &Target, number: usize) -> Result<Self, Error> {
        let mut stream = connect(target.address, number)?;
        stream.write_all(request(target).as_bytes()).attempt("cannot send the upgrade")?;
        read_head(&mut stream)?;
        stream.set_nonblocking(true).attempt("cannot make a socket non-blocking")?;
        Ok(Self { stream, rest: Vec::new(), closing: false })
    }

    /// Sends a whole frame. A server that reads has always room for one more, as each is far below a socket's buffer.
    ///
    /// # Errors
    /// The connection is gone, or the server has stopped reading.
    pub fn send(&mut self, frame: &[u8]) -> Result<(), Error> {
        let sent = self.stream.write(frame).attempt("cannot send a frame")?;
        if sent == frame.len() {
            return Ok(());
        }
        Err(Error::Closed("it does not read what it is sent".to_owned()))
    }

    /// Begins the close handshake.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn close(&mut self) -> Result<(), Error> {
        self.closing = true;
        self.send(&wire::encode(Opcode::Close, &1000_u16.to_be_bytes()))
    }
}

fn connect(address: SocketAddr, number: usize) -> Result<TcpStream, Error> {
    let host = (number / PORTS_EACH % SOURCES) as u8 + 2;
    let source = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), 0);
    let socket =
        rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).attempt("cannot make a socket")?;
    rustix::net::bind(&socket, &source).attempt("cannot bind a source address")?;
    rustix::net::connect(&socket, &address).attempt("cannot connect")?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).attempt("cannot set TCP_NODELAY")?;
    stream.set_read_timeout(Some(PATIENCE)).attempt("cannot set a timeout")?;
    Ok(stream)
}

fn request(target: &Target) -> String {
    let address = target.address;
    let bearer =
        target.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: agent-host.v1\r\n{bearer}\r\n"
    )
}

/// Takes the answer's head from the socket and no byte more, so that the first frames come to the reactor.
fn read_head(stream: &mut TcpStream) -> Result<(), Error> {
    let mut buffer = [0; 4096];
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let seen = match stream.peek(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            other => other.attempt("cannot read the upgrade's answer")?,
        };
        let bytes = &buffer[..seen];
        match bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            Some(end) if bytes.starts_with(b"HTTP/1.1 101") => {
                return stream.read_exact(&mut buffer[..end + 4]).attempt("cannot read the upgrade's answer");
            }
            Some(_) => return Err(Error::Refused(String::from_utf8_lossy(bytes).into_owned())),
            None if seen == 0 => return Err(Error::Refused("the connection was closed".to_owned())),
            None => {}
        }
    }
    Err(Error::Late("no answer to an upgrade".to_owned()))
}

const PATIENCE: Duration = Duration::from_secs(10);

/// Connections from one source address, out of about 28,000 ports that it has.
const PORTS_EACH: usize = 1000;

/// 127.0.0.2 and those after it.
const SOURCES: usize = 200;
