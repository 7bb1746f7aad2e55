//! The wire of the platform that this host replaces, as its clients speak it: a codec over the same engine, and nothing
//! more. What the engine says is turned into that platform's frames, and its clients' frames into the engine's words.
//!
//! `codec` keeps what one connection has to remember, `handshake` how one of the second version begins, `pulse` when a
//! silence is broken, `frames` reads what clients say, `encode` writes what is no event, `events` what is one, `names`
//! calls what is missing as that platform did. `http` serves its paths beside the WebSocket.

mod codec;
mod encode;
mod events;
mod frames;
mod handshake;
pub(crate) mod http;
mod names;
mod pulse;

pub(crate) use codec::{ANSWER_WITHIN, Codec, Heard, Told};
