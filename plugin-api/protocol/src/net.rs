//! Connections to peers that the operator allows: made by the host, used by a plugin within a call.
//!
//! A read answers as soon as there is something; a write answers when the bytes are with the network. One of each per
//! stream is under way at a time, so that a slow peer slows the plugin and fills nothing.

use serde::{Deserialize, Serialize};

/// Bytes that one read or write carries at most.
pub const CHUNK: usize = 32 * 1024;

/// Names a peer, `host:port`. Answered with an [`Opened`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// As the operator wrote it.
    pub peer: String,
}

/// A stream that is open until the call ends or it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// Its number within the call.
    pub stream: u64,
}

/// Names a stream: to read from it, to end what is written, or to close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfStream {
    /// Its number.
    pub stream: u64,
}

/// Bytes to write. Answered with null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Its number.
    pub stream: u64,
    /// At most [`CHUNK`].
    #[serde(with = "text")]
    pub bytes: Vec<u8>,
}

/// Bytes that were read; none at the end of what the peer sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// At most [`CHUNK`].
    #[serde(with = "text")]
    pub bytes: Vec<u8>,
}

/// Bytes as base64: payloads are JSON.
mod text {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_cross_as_text() {
        let write = Write { stream: 1, bytes: (0..=255).collect() };
        let json = serde_json::to_string(&write).unwrap();
        assert_eq!(serde_json::from_str::<Write>(&json).unwrap(), write);
        assert!(serde_json::from_str::<Read>(r#"{"bytes":"no base64!"}"#).is_err());
    }
}
