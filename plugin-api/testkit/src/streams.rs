//! A run's connections to the kit's scripted peers.

use std::collections::BTreeMap;

use agent_plugin_api::{
    Value,
    protocol::{
        call::{Answer, request},
        net::{CHUNK, Connect, OfStream, Opened, Read, Write},
    },
};

use crate::desk::{Desk, Peer, error, ok, parse};

/// See the module.
#[derive(Default)]
pub(crate) struct Streams {
    last: u64,
    open: BTreeMap<u64, Stream>,
}

struct Stream {
    peer: Peer,
    /// What the peer sent and nobody has read yet.
    unread: Vec<u8>,
}

impl Streams {
    /// Answers a request of the network's; `None`: it is none.
    pub(crate) fn answer(
        &mut self,
        desk: &Desk,
        method: &str,
        payload: &[u8],
    ) -> Option<Result<Answer, Answer>> {
        Some(match method {
            request::NET_CONNECT => self.connect(desk, payload),
            request::NET_READ => self.read(payload),
            request::NET_WRITE => self.write(payload),
            request::NET_FINISH => parse::<OfStream>(payload).map(|_| ok(&Value::Null)),
            request::NET_CLOSE => parse::<OfStream>(payload).map(|of| {
                self.open.remove(&of.stream);
                ok(&Value::Null)
            }),
            _ => return None,
        })
    }

    fn connect(&mut self, desk: &Desk, payload: &[u8]) -> Result<Answer, Answer> {
        let peer = desk.peer(&parse::<Connect>(payload)?.peer)?;
        self.last += 1;
        self.open.insert(self.last, Stream { peer, unread: Vec::new() });
        Ok(ok(&Opened { stream: self.last }))
    }

    fn read(&mut self, payload: &[u8]) -> Result<Answer, Answer> {
        let stream = self.stream(parse::<OfStream>(payload)?.stream)?;
        let rest = stream.unread.split_off(stream.unread.len().min(CHUNK));
        Ok(ok(&Read { bytes: std::mem::replace(&mut stream.unread, rest) }))
    }

    fn write(&mut self, payload: &[u8]) -> Result<Answer, Answer> {
        let Write { stream, bytes } = parse(payload)?;
        let stream = self.stream(stream)?;
        stream.unread.extend((stream.peer)(&bytes));
        Ok(ok(&Value::Null))
    }

    fn stream(&mut self, number: u64) -> Result<&mut Stream, Answer> {
        self.open.get_mut(&number).ok_or_else(|| error("network.broken", "the connection is no more"))
    }
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.open.keys()).finish()
    }
}
