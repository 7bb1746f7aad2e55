//! Fuzzes the wire between host and worker: any bytes, in pieces of any size, are the same frames or the same error, and
//! never make a reader keep more than a frame. So it is with the lines that a worker prints.

use std::fmt::Debug;

use agent_host_fuzz::{Target, Trace};

use super::*;
use crate::words::Lines;

/// A side's frames: how they are read and written.
trait Wire: Clone + PartialEq + Debug {
    fn read(from: &mut BytesMut) -> Result<Option<Self>, FrameError>;
    fn write(&self, out: &mut BytesMut);
}

impl Wire for ToWorker {
    fn read(from: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        Self::decode(from)
    }

    fn write(&self, out: &mut BytesMut) {
        self.encode(out);
    }
}

impl Wire for FromWorker {
    fn read(from: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        Self::decode(from)
    }

    fn write(&self, out: &mut BytesMut) {
        self.encode(out);
    }
}

type Stream<F> = (Vec<F>, Option<FrameError>);

/// Reads what comes in pieces of this size, until an error.
fn stream<F: Wire>(wire: &[u8], piece: usize) -> Result<Stream<F>, String> {
    let (mut frames, mut buffer) = (Vec::new(), BytesMut::new());
    for bytes in wire.chunks(piece.max(1)) {
        buffer.extend_from_slice(bytes);
        loop {
            match F::read(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return Ok((frames, Some(error))),
            }
        }
        if buffer.capacity() > 2 * (MAX_FRAME + wire.len()) {
            return Err(format!("a buffer of {} bytes", buffer.capacity()));
        }
    }
    Ok((frames, None))
}

fn frames<F: Wire>(
    wire: &[u8],
    piece: usize,
    write: impl Fn(&F, &mut BytesMut),
) -> Result<Stream<F>, String> {
    let (whole, pieces) = (stream::<F>(wire, wire.len())?, stream::<F>(wire, piece)?);
    if whole != pieces {
        return Err(format!("at once {whole:?}, in pieces of {piece} {pieces:?}"));
    }
    for frame in &whole.0 {
        let mut written = BytesMut::new();
        write(frame, &mut written);
        let again = F::read(&mut written);
        if again != Ok(Some(frame.clone())) || !written.is_empty() {
            return Err(format!("{frame:?} is, once written, {again:?}"));
        }
    }
    Ok(whole)
}

/// What was printed, cut into lines: the same, however the pipe cut it; and bounded.
fn lines(printed: &[u8], piece: usize) -> Result<Vec<String>, String> {
    let cut = |piece: usize| {
        let mut lines = Lines::default();
        let mut all: Vec<String> = printed.chunks(piece.max(1)).flat_map(|bytes| lines.push(bytes)).collect();
        all.extend(lines.rest());
        all
    };
    let (whole, pieces) = (cut(printed.len()), cut(piece));
    if whole != pieces {
        return Err(format!("at once {whole:?}, in pieces of {piece} {pieces:?}"));
    }
    // A byte that is no UTF-8 becomes a character of three.
    match whole.iter().find(|line| line.len() > 3 * Lines::MOST || line.contains('\n')) {
        Some(line) => Err(format!("a line of {} bytes: {line:?}", line.len())),
        None => Ok(whole),
    }
}

/// The first byte chooses the size of the pieces.
fn judge(input: &[u8], write: impl Fn(&FromWorker, &mut BytesMut)) -> Result<Trace, String> {
    let mut trace = Trace::default();
    let Some((piece, wire)) = input.split_first() else { return Ok(trace) };
    let piece = usize::from(*piece);
    let (to, error) = frames::<ToWorker>(wire, piece, ToWorker::write)?;
    trace.saw(("to", kinds(&to), kind_of(error.as_ref())));
    let (from, error) = frames::<FromWorker>(wire, piece, write)?;
    trace.saw(("from", kinds(&from), kind_of(error.as_ref())));
    trace.counted("lines", lines(wire, piece)?.len());
    Ok(trace)
}

/// The kinds of the first frames: longer sequences bring about nothing that shorter ones do not.
fn kinds<F>(frames: &[F]) -> Vec<std::mem::Discriminant<F>> {
    frames.iter().take(3).map(std::mem::discriminant).collect()
}

fn kind_of(error: Option<&FrameError>) -> Option<std::mem::Discriminant<FrameError>> {
    error.map(std::mem::discriminant)
}

fn target<R>(run: impl FnOnce(Target<'_>) -> R) -> R {
    let some = Bytes::from_static(b"{\"some\":\"json\"}");
    let orders = [
        ToWorker::Hello(some.clone()),
        ToWorker::Invoke { call: 1, deadline_ms: 9, method: "run".into(), payload: some.clone() },
        ToWorker::Respond { call: 1, request: 2, answer: some.clone() },
        ToWorker::Credit { call: 1, events: 8 },
        ToWorker::Cancel { call: 1 },
        ToWorker::Drain,
        ToWorker::Destroy,
    ];
    let reports = [
        FromWorker::Hello(some.clone()),
        FromWorker::Loaded,
        FromWorker::LoadFailed(some.clone()),
        FromWorker::Created(some.clone()),
        FromWorker::CreateFailed(some.clone()),
        FromWorker::Emit { call: 1, kind: 3, payload: some.clone() },
        FromWorker::Complete { call: 1, payload: some.clone() },
        FromWorker::Request { call: 1, request: 2, method: "llm".into(), payload: some.clone() },
        FromWorker::Rejected { call: 1, status: 4 },
        FromWorker::Log(some),
        FromWorker::Heartbeat,
        FromWorker::Destroyed,
        FromWorker::Dropped { outputs: 5 },
    ];
    let begun = || BytesMut::from(&[7][..]);
    let seed = |write: &dyn Fn(&mut BytesMut)| {
        let mut wire = begun();
        write(&mut wire);
        wire.to_vec()
    };
    let mut seeds: Vec<Vec<u8>> = orders.iter().map(|order| seed(&|wire| order.encode(wire))).collect();
    seeds.extend(reports.iter().map(|report| seed(&|wire| report.encode(wire))));
    seeds.push(seed(&|wire| orders.iter().for_each(|order| order.encode(wire))));
    seeds.push(seed(&|wire| reports.iter().for_each(|report| report.encode(wire))));
    seeds.push(b"\x03one line\nanother\r\n\n\xff\xfe\n".to_vec());
    let words: &[&[u8]] = &[
        b"\x09\0\0\0",
        b"\x11\0\0\0",
        b"\xff\xff\xff\x7f",
        b"\0\0\x80\0",
        b"\x00\x01",
        b"\n",
        b"\x41",
        b"\x46",
        b"\x48",
        b"\x02",
        b"\x03",
    ];
    run(Target { name: "worker_frames", seeds: &seeds, words, longest: 8192 })
}

#[test]
fn fuzz_worker_frames_are_read_alike_however_they_are_cut() {
    target(|target| target.survives(|input| judge(input, FromWorker::write)));
}

/// A writer that takes a call for a request and a request for a call.
#[test]
fn fuzz_worker_frames_finds_swapped_numbers() {
    let swapped = |frame: &FromWorker, out: &mut BytesMut| match frame {
        FromWorker::Request { call, request, method, payload } => {
            encode_request(out, *request, *call, method, payload);
        }
        other => other.encode(out),
    };
    let found = target(|target| target.finds(|input| judge(input, swapped)));
    assert!(found.objection.contains("Request"), "{found:?}");
}
