//! The client's half of WebSocket framing, no more of it than a load generator needs.

use std::ops::Range;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// Text, the only data this protocol has.
    Text,
    /// The peer is going.
    Close,
    /// The peer wants a [`Opcode::Pong`].
    Ping,
    /// A sign of life.
    Pong,
    /// Nothing that a server of ours sends: binary, continuation or reserved.
    Other,
}

/// A whole frame at the begin of the bytes that were parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// What it carries.
    pub opcode: Opcode,
    /// Where the payload is.
    pub payload: Range<usize>,
}

/// The server's frame that `bytes` begin with; `None` if it is not whole yet.
pub fn parse(bytes: &[u8]) -> Option<Parsed> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (start, length): (usize, usize) = match second & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    let payload = start..start.checked_add(length)?;
    (bytes.len() >= payload.end).then(|| Parsed { opcode: opcode(first), payload })
}

/// A client's frame. The mask is zero: the server does the work of unmasking all the same, the generator does not.
pub fn encode(opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(0x80 | bits(opcode));
    match payload.len() {
        length @ 0..=125 => frame.push(MASKED | length as u8),
        length @ 126..=0xffff => {
            frame.push(MASKED | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(MASKED | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn opcode(first: u8) -> Opcode {
    match first & 0x0f {
        1 => Opcode::Text,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        _ => Opcode::Other,
    }
}

fn bits(opcode: Opcode) -> u8 {
    match opcode {
        Opcode::Text => 1,
        Opcode::Close => 8,
        Opcode::Ping => 9,
        Opcode::Pong => 10,
        Opcode::Other => 2,
    }
}

const MASKED: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's frame is a client's without the mask.
    fn server(payload: &[u8]) -> Vec<u8> {
        let mut frame = encode(Opcode::Text, payload);
        let mask = frame.len() - payload.len() - 4;
        frame.drain(mask..mask + 4);
        frame[1] &= 0x7f;
        frame
    }

    #[test]
    fn a_frame_is_found_when_it_is_whole_and_not_before() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let frame = server(&payload);
            assert_eq!(parse(&frame[..frame.len() - 1]), None);
            let more = [frame.as_slice(), b"more"].concat();
            let parsed = parse(&more).unwrap();
            assert_eq!((parsed.opcode, parsed.payload.end), (Opcode::Text, frame.len()));
            assert_eq!(more[parsed.payload], payload);
        }
    }
}
