//! The wire between host and worker: length-prefixed frames, as a pure codec.
//!
//! ```text
//! u32 length of what follows · u8 kind · u64 id · body        (little endian)
//! ```
//! `id` is the call's, or 0. Bodies are JSON bytes, some after a fixed head. Both sides are the same program, but the
//! worker shares its process with foreign code: the host takes any bytes for possible.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The version of this wire, negotiated in the first frames.
pub(crate) const PROTOCOL: u32 = 1;

/// Largest body. Events are bounded far below, completions and answers may hold whole documents.
pub(crate) const MAX_BODY: usize = 8 * 1024 * 1024;

/// Kind and id.
const HEAD: usize = 1 + 8;

/// Room for the fixed heads and a method's name around a payload of [`MAX_BODY`].
const MAX_FRAME: usize = MAX_BODY + HEAD + 1024;

/// Longest name of a method.
const MAX_METHOD: usize = 256;

/// From the host to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToWorker {
    /// The first frame, a [`crate::hello::HostHello`]; the library's descriptor comes with it.
    Hello(Bytes),
    /// Begin a call.
    Invoke { call: u64, deadline_ms: u64, method: String, payload: Bytes },
    /// The answer to a request.
    Respond { call: u64, request: u64, answer: Bytes },
    /// So many events were consumed.
    Credit { call: u64, events: u32 },
    /// Please stop.
    Cancel { call: u64 },
    /// Take no new calls.
    Drain,
    /// Drop the author's value and end.
    Destroy,
}

/// From a worker to the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FromWorker {
    /// The first frame, a [`crate::hello::WorkerHello`].
    Hello(Bytes),
    /// The library is loaded.
    Loaded,
    /// The library could not be loaded, a [`crate::hello::LoadFailed`].
    LoadFailed(Bytes),
    /// The instance lives, a `Created`.
    Created(Bytes),
    /// It could not be created, a `CreateError`.
    CreateFailed(Bytes),
    /// An event of a call.
    Emit { call: u64, kind: u32, payload: Bytes },
    /// A call's last word.
    Complete { call: u64, payload: Bytes },
    /// The plugin asks the host.
    Request { call: u64, request: u64, method: String, payload: Bytes },
    /// `invoke` answered otherwise than with "accepted": the number.
    Rejected { call: u64, status: u32 },
    /// A log line.
    Log(Bytes),
    /// The plugin's runtime lives.
    Heartbeat,
    /// So many outputs for calls that were not open were dropped since the last such frame.
    Dropped { outputs: u64 },
    /// The author's value was dropped; the worker ends now.
    Destroyed,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Longer or shorter than any frame.
    #[error("a frame of {0} bytes")]
    Length(usize),
    /// A kind that this side does not take.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    /// The body does not fit its kind.
    #[error("a frame of kind {0} with a malformed body")]
    Body(u8),
}

impl ToWorker {
    /// Appends the frame.
    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::Hello(body) => frame(out, 1, 0, &[body]),
            Self::Invoke { call, deadline_ms, method, payload } => {
                let method = cut(method);
                let head = (method.len() as u16).to_le_bytes();
                frame(out, 2, *call, &[&deadline_ms.to_le_bytes(), &head, method.as_bytes(), payload]);
            }
            Self::Respond { call, request, answer } => {
                frame(out, 3, *call, &[&request.to_le_bytes(), answer]);
            }
            Self::Credit { call, events } => frame(out, 4, *call, &[&events.to_le_bytes()]),
            Self::Cancel { call } => frame(out, 5, *call, &[]),
            Self::Drain => frame(out, 6, 0, &[]),
            Self::Destroy => frame(out, 7, 0, &[]),
        }
    }

    /// Takes the next whole frame off the front; `None` where more bytes are needed.
    pub(crate) fn decode(from: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let Some((kind, call, mut body)) = take(from)? else { return Ok(None) };
        let body = &mut body;
        let decoded = match kind {
            1 => Some(Self::Hello(rest(body))),
            2 => (|| {
                let deadline_ms = body.try_get_u64_le().ok()?;
                Some(Self::Invoke { call, deadline_ms, method: method(body)?, payload: rest(body) })
            })(),
            3 => {
                body.try_get_u64_le().ok().map(|request| Self::Respond { call, request, answer: rest(body) })
            }
            4 => body.try_get_u32_le().ok().map(|events| Self::Credit { call, events }),
            5 => Some(Self::Cancel { call }),
            6 => Some(Self::Drain),
            7 => Some(Self::Destroy),
            other => return Err(FrameError::Kind(other)),
        };
        decoded.map(Some).ok_or(FrameError::Body(kind))
    }
}

impl FromWorker {
    /// Appends the frame.
    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        match self {
            Self::Hello(body) => frame(out, 65, 0, &[body]),
            Self::Loaded => frame(out, 66, 0, &[]),
            Self::LoadFailed(body) => frame(out, 67, 0, &[body]),
            Self::Created(body) => frame(out, 68, 0, &[body]),
            Self::CreateFailed(body) => frame(out, 69, 0, &[body]),
            Self::Emit { call, kind, payload } => encode_emit(out, *call, *kind, payload),
            Self::Complete { call, payload } => encode_complete(out, *call, payload),
            Self::Request { call, request, method, payload } => {
                encode_request(out, *call, *request, method, payload);
            }
            Self::Rejected { call, status } => frame(out, 73, *call, &[&status.to_le_bytes()]),
            Self::Log(body) => encode_log(out, body),
            Self::Heartbeat => frame(out, 75, 0, &[]),
            Self::Destroyed => frame(out, 76, 0, &[]),
            Self::Dropped { outputs } => frame(out, 77, 0, &[&outputs.to_le_bytes()]),
        }
    }

    /// Takes the next whole frame off the front; `None` where more bytes are needed.
    pub(crate) fn decode(from: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        let Some((kind, call, mut body)) = take(from)? else { return Ok(None) };
        let body = &mut body;
        let decoded = match kind {
            65 => Some(Self::Hello(rest(body))),
            66 => Some(Self::Loaded),
            67 => Some(Self::LoadFailed(rest(body))),
            68 => Some(Self::Created(rest(body))),
            69 => Some(Self::CreateFailed(rest(body))),
            70 => body.try_get_u32_le().ok().map(|kind| Self::Emit { call, kind, payload: rest(body) }),
            71 => Some(Self::Complete { call, payload: rest(body) }),
            72 => (|| {
                let request = body.try_get_u64_le().ok()?;
                Some(Self::Request { call, request, method: method(body)?, payload: rest(body) })
            })(),
            73 => body.try_get_u32_le().ok().map(|status| Self::Rejected { call, status }),
            74 => Some(Self::Log(rest(body))),
            75 => Some(Self::Heartbeat),
            76 => Some(Self::Destroyed),
            77 => body.try_get_u64_le().ok().map(|outputs| Self::Dropped { outputs }),
            other => return Err(FrameError::Kind(other)),
        };
        decoded.map(Some).ok_or(FrameError::Body(kind))
    }
}

/// [`FromWorker::Emit`] of borrowed bytes: the plugin's buffer is copied once, into the outbox.
pub(crate) fn encode_emit(out: &mut impl BufMut, call: u64, kind: u32, payload: &[u8]) {
    frame(out, 70, call, &[&kind.to_le_bytes(), payload]);
}

/// [`FromWorker::Complete`] of borrowed bytes.
pub(crate) fn encode_complete(out: &mut impl BufMut, call: u64, payload: &[u8]) {
    frame(out, 71, call, &[payload]);
}

/// [`FromWorker::Request`] of borrowed bytes.
pub(crate) fn encode_request(out: &mut impl BufMut, call: u64, request: u64, method: &str, payload: &[u8]) {
    let method = cut(method);
    let head = (method.len() as u16).to_le_bytes();
    frame(out, 72, call, &[&request.to_le_bytes(), &head, method.as_bytes(), payload]);
}

/// [`FromWorker::Log`] of borrowed bytes.
pub(crate) fn encode_log(out: &mut impl BufMut, line: &[u8]) {
    frame(out, 74, 0, &[line]);
}

fn frame(out: &mut impl BufMut, kind: u8, id: u64, parts: &[&[u8]]) {
    let length = HEAD + parts.iter().map(|part| part.len()).sum::<usize>();
    // Both sides bound their payloads, so the length fits; a frame that does not is refused by the reader.
    out.put_u32_le(u32::try_from(length).unwrap_or(u32::MAX));
    out.put_u8(kind);
    out.put_u64_le(id);
    for part in parts {
        out.put_slice(part);
    }
}

fn take(from: &mut BytesMut) -> Result<Option<(u8, u64, Bytes)>, FrameError> {
    let Some(head) = from.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if !(HEAD..=MAX_FRAME).contains(&length) {
        return Err(FrameError::Length(length));
    }
    if from.len() < 4 + length {
        from.reserve(4 + length - from.len());
        return Ok(None);
    }
    from.advance(4);
    let mut frame = from.split_to(length).freeze();
    let kind = frame.get_u8();
    Ok(Some((kind, frame.get_u64_le(), frame)))
}

fn rest(body: &mut Bytes) -> Bytes {
    std::mem::take(body)
}

fn method(body: &mut Bytes) -> Option<String> {
    let length = usize::from(body.try_get_u16_le().ok()?);
    if length > MAX_METHOD || length > body.len() {
        return None;
    }
    String::from_utf8(body.split_to(length).to_vec()).ok()
}

/// A method's name that fits; a longer one is no name that either side knows, so its beginning does as well.
fn cut(method: &str) -> &str {
    method.get(..method.floor_char_boundary(MAX_METHOD)).unwrap_or(method)
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..64).prop_map(Bytes::from)
    }

    fn to_worker() -> impl Strategy<Value = ToWorker> {
        let ids = (any::<u64>(), any::<u64>());
        prop_oneof![
            body().prop_map(ToWorker::Hello),
            (ids, ".{0,40}", body()).prop_map(|((call, deadline_ms), method, payload)| ToWorker::Invoke {
                call,
                deadline_ms,
                method,
                payload
            }),
            (any::<u64>(), any::<u64>(), body()).prop_map(|(call, request, answer)| ToWorker::Respond {
                call,
                request,
                answer
            }),
            (any::<u64>(), any::<u32>()).prop_map(|(call, events)| ToWorker::Credit { call, events }),
            any::<u64>().prop_map(|call| ToWorker::Cancel { call }),
            Just(ToWorker::Drain),
            Just(ToWorker::Destroy),
        ]
    }

    fn from_worker() -> impl Strategy<Value = FromWorker> {
        prop_oneof![
            body().prop_map(FromWorker::Hello),
            Just(FromWorker::Loaded),
            body().prop_map(FromWorker::LoadFailed),
            body().prop_map(FromWorker::Created),
            body().prop_map(FromWorker::CreateFailed),
            (any::<u64>(), any::<u32>(), body()).prop_map(|(call, kind, payload)| FromWorker::Emit {
                call,
                kind,
                payload
            }),
            (any::<u64>(), body()).prop_map(|(call, payload)| FromWorker::Complete { call, payload }),
            (any::<u64>(), any::<u64>(), ".{0,40}", body()).prop_map(|(call, request, method, payload)| {
                FromWorker::Request { call, request, method, payload }
            }),
            (any::<u64>(), any::<u32>()).prop_map(|(call, status)| FromWorker::Rejected { call, status }),
            body().prop_map(FromWorker::Log),
            Just(FromWorker::Heartbeat),
            Just(FromWorker::Destroyed),
            any::<u64>().prop_map(|outputs| FromWorker::Dropped { outputs }),
        ]
    }

    proptest! {
        #[test]
        fn orders_arrive_as_they_were_sent(frames in prop::collection::vec(to_worker(), 0..8), chunk in 1usize..40) {
            let mut wire = BytesMut::new();
            frames.iter().for_each(|frame| frame.encode(&mut wire));
            let (mut arrived, mut buffer) = (Vec::new(), BytesMut::new());
            for piece in wire.chunks(chunk) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = ToWorker::decode(&mut buffer).unwrap() {
                    arrived.push(frame);
                }
            }
            prop_assert_eq!(arrived, frames);
        }

        #[test]
        fn reports_arrive_as_they_were_sent(frames in prop::collection::vec(from_worker(), 0..8), chunk in 1usize..40) {
            let mut wire = BytesMut::new();
            frames.iter().for_each(|frame| frame.encode(&mut wire));
            let (mut arrived, mut buffer) = (Vec::new(), BytesMut::new());
            for piece in wire.chunks(chunk) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = FromWorker::decode(&mut buffer).unwrap() {
                    arrived.push(frame);
                }
            }
            prop_assert_eq!(arrived, frames);
        }

        #[test]
        fn any_bytes_give_a_frame_an_error_or_a_wait(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = FromWorker::decode(&mut buffer) {}
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = ToWorker::decode(&mut buffer) {}
        }
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_anything_is_reserved() {
        let mut buffer = BytesMut::from(&u32::MAX.to_le_bytes()[..]);
        assert_eq!(FromWorker::decode(&mut buffer), Err(FrameError::Length(u32::MAX as usize)));
    }
}
