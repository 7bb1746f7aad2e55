//! All client connections in one thread over epoll, so that the generator is leaner than what it measures.

use std::{
    io::{self, Read},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use rustix::event::{Timespec, epoll};

use crate::{
    connection::{Connection, Target},
    error::{Attempt, Error},
    wire::{self, Opcode},
};

/// The open connections, by their number.
pub struct Reactor {
    epoll: OwnedFd,
    connections: Vec<Option<Connection>>,
    ready: Vec<epoll::Event>,
    buffer: Vec<u8>,
    /// Connections made so far: it chooses the source address.
    made: usize,
}

/// What a turn of the reactor gives for each text frame: the connection's number, the connection, the payload.
pub trait OnText: FnMut(usize, &mut Connection, &[u8]) -> Result<(), Error> {}
impl<F: FnMut(usize, &mut Connection, &[u8]) -> Result<(), Error>> OnText for F {}

impl Reactor {
    /// Without connections.
    ///
    /// # Errors
    /// No epoll.
    pub fn new() -> Result<Self, Error> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).attempt("cannot make an epoll")?;
        Ok(Self {
            epoll,
            connections: Vec::new(),
            ready: Vec::with_capacity(512),
            buffer: vec![0; 1 << 16],
            made: 0,
        })
    }

    /// Opens connections until there are `count`, and reads their first frames.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn open(&mut self, target: &Target, count: usize) -> Result<(), Error> {
        while self.connections.len() < count {
            self.add(target)?;
            if self.made.is_multiple_of(100) {
                self.turn(Duration::ZERO, |_, _, _| Ok(()))?;
            }
        }
        self.settle(Duration::from_millis(100))
    }

    /// Opens one connection more; its first frames are still to be read.
    ///
    /// # Errors
    /// As [`Connection::open`].
    pub fn add(&mut self, target: &Target) -> Result<(), Error> {
        let connection = Connection::open(target, self.made)?;
        let data = epoll::EventData::new_u64(self.connections.len() as u64);
        epoll::add(&self.epoll, &connection.stream, data, epoll::EventFlags::IN)
            .attempt("cannot watch a socket")?;
        self.made += 1;
        self.connections.push(Some(connection));
        Ok(())
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.iter().flatten().count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A connection by its number.
    ///
    /// # Errors
    /// It is closed.
    pub fn connection(&mut self, number: usize) -> Result<&mut Connection, Error> {
        let connection = self.connections.get_mut(number).and_then(Option::as_mut);
        connection.ok_or_else(|| Error::Closed(format!("number {number} is closed")))
    }

    /// Waits for what comes, at most `timeout`, and hands out its text frames; pings are answered here. Says how many
    /// sockets had something.
    ///
    /// # Errors
    /// A connection that was not told to close ended, or `on_text` failed.
    pub fn turn(&mut self, timeout: Duration, mut on_text: impl OnText) -> Result<usize, Error> {
        self.ready.clear();
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.ready), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).attempt("cannot wait"),
        }
        for event in &self.ready {
            let number = event.data.u64() as usize;
            let Some(slot) = self.connections.get_mut(number) else { continue };
            let Some(connection) = slot else { continue };
            if !read(connection, &mut self.buffer, |connection, text| on_text(number, connection, text))? {
                *slot = None;
            }
        }
        Ok(self.ready.len())
    }

    /// Reads and forgets what comes, until nothing came for `quiet`, or for ten times that: among thousands of
    /// connections there is always one that is pinged.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn settle(&mut self, quiet: Duration) -> Result<(), Error> {
        let begun = Instant::now();
        while begun.elapsed() < quiet * 10 && self.turn(quiet, |_, _, _| Ok(()))? > 0 {}
        Ok(())
    }

    /// Closes all connections by the handshake, and waits for the server's half.
    ///
    /// # Errors
    /// As [`turn`](Self::turn), or the server does not answer within 10 s.
    pub fn close(&mut self) -> Result<(), Error> {
        self.connections.iter_mut().flatten().try_for_each(Connection::close)?;
        let begun = Instant::now();
        while !self.is_empty() {
            self.turn(Duration::from_millis(100), |_, _, _| Ok(()))?;
            if begun.elapsed() > Duration::from_secs(10) {
                return Err(Error::Late(format!("{} connections were not closed", self.len())));
            }
        }
        self.connections.clear();
        Ok(())
    }
}

/// Reads once and hands out the whole text frames; `false` is the end of a connection that was to end.
fn read(
    connection: &mut Connection,
    buffer: &mut [u8],
    mut on_text: impl FnMut(&mut Connection, &[u8]) -> Result<(), Error>,
) -> Result<bool, Error> {
    let read = match connection.stream.read(buffer) {
        Ok(0) if connection.closing => return Ok(false),
        Ok(0) => return Err(Error::Closed("without a close frame".to_owned())),
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
        Err(_) if connection.closing => return Ok(false),
        Err(error) => return Err(error).attempt("cannot read"),
    };
    let mut rest = std::mem::take(&mut connection.rest);
    let whole = rest.is_empty();
    if !whole {
        rest.extend_from_slice(&buffer[..read]);
    }
    let bytes = if whole { &buffer[..read] } else { rest.as_slice() };
    let mut at = 0;
    while let Some(frame) = wire::parse(&bytes[at..]) {
        let payload = &bytes[at..][frame.payload.clone()];
        at += frame.payload.end;
        match frame.opcode {
            Opcode::Text => on_text(connection, payload)?,
            Opcode::Ping => connection.send(&wire::encode(Opcode::Pong, payload))?,
            Opcode::Close if connection.closing => {}
            Opcode::Close => return Err(Error::Closed(describe(payload))),
            Opcode::Pong | Opcode::Other => {}
        }
    }
    connection.rest = bytes[at..].to_vec();
    Ok(true)
}

fn describe(close: &[u8]) -> String {
    let code = close.first_chunk().map(|code| u16::from_be_bytes(*code)).unwrap_or_default();
    format!("{code} {}", String::from_utf8_lossy(close.get(2..).unwrap_or_default()))
}
