//! The table: what is sent, which section of RFC 6455 demands what, and so what has to be answered.

use super::wire::{BINARY, CLOSE, CONTINUATION, Frame, Length, PING, PONG, Pace, Said, TEXT};

/// One exchange on a connection of its own.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) group: &'static str,
    pub(super) name: String,
    /// Of RFC 6455.
    pub(super) section: &'static str,
    pub(super) sent: Vec<u8>,
    pub(super) pace: Pace,
    /// What an echo says, whole. Without a close, the client closes with 1000 and is answered so.
    pub(super) demanded: Vec<Said>,
    /// Where this host does other than one might read the section, and why.
    pub(super) note: &'static str,
}

impl Case {
    /// The same, sent byte by byte.
    fn slowly(mut self) -> Self {
        self.name.push_str(", byte by byte");
        Self { pace: Pace::ByteByByte, ..self }
    }

    fn note(self, note: &'static str) -> Self {
        Self { note, ..self }
    }
}

fn case(
    group: &'static str,
    name: impl Into<String>,
    section: &'static str,
    frames: &[Frame],
    demanded: &[Said],
) -> Case {
    let mut sent: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
    let mut demanded = demanded.to_vec();
    if !matches!(demanded.last(), Some(Said::Close(_))) {
        sent.extend(close(1000, b"").bytes());
        demanded.push(Said::Close(Some(1000)));
    }
    Case { group, name: name.into(), section, sent, pace: Pace::AtOnce, demanded, note: "" }
}

/// All of them.
pub(super) fn all(limit: usize) -> Vec<Case> {
    let groups = [
        sizes(),
        pings(),
        reserved(),
        kinds(),
        fragments(),
        text(),
        closes(),
        masks(),
        lengths(),
        limits(limit),
    ];
    groups.into_iter().flatten().collect()
}

fn new(kind: u8, payload: impl Into<Vec<u8>>) -> Frame {
    Frame::new(kind, payload)
}

fn close(code: u16, reason: &[u8]) -> Frame {
    Frame::new(CLOSE, [&code.to_be_bytes(), reason].concat())
}

fn said(kind: u8, payload: impl Into<Vec<u8>>) -> Said {
    let payload = payload.into();
    match kind {
        TEXT => Said::Text(payload),
        BINARY => Said::Binary(payload),
        PONG => Said::Pong(payload),
        _ => unreachable!("an echo says nothing else"),
    }
}

const FAILED: Said = Said::Close(Some(1002));
const NOT_UTF8: Said = Said::Close(Some(1007));
const TOO_LARGE: Said = Said::Close(Some(1009));

fn sizes() -> Vec<Case> {
    let group = "Messages of all sizes";
    let mut cases = Vec::new();
    for (kind, what) in [(TEXT, "text"), (BINARY, "binary")] {
        for size in [0, 1, 125, 126, 127, 128, 65_535, 65_536] {
            // No byte of text, so that text is seen to be text.
            let payload = vec![if kind == TEXT { b'*' } else { 0xfe }; size];
            let name = format!("{what} of {size} bytes");
            let whole = case(group, name, "5.2, 5.6", &[new(kind, payload.clone())], &[said(kind, payload)]);
            if size == 128 {
                cases.push(whole.clone().slowly());
            }
            cases.push(whole);
        }
    }
    let many: Vec<Frame> = (0..100).map(|n| new(TEXT, format!("message {n}"))).collect();
    let answers: Vec<Said> = (0..100).map(|n| said(TEXT, format!("message {n}"))).collect();
    cases.push(case(group, "a hundred messages in one write, answered in order", "5.4", &many, &answers));
    cases
}

fn pings() -> Vec<Case> {
    let group = "Pings and pongs";
    let mut cases = Vec::new();
    for size in [0, 1, 125] {
        let payload = vec![0xfe; size];
        let frames = [new(PING, payload.clone())];
        cases.push(case(group, format!("a ping of {size} bytes"), "5.5.2", &frames, &[said(PONG, payload)]));
    }
    let slow =
        case(group, "a ping of 125 bytes", "5.5.2", &[new(PING, vec![1; 125])], &[said(PONG, [1; 125])]);
    cases.push(slow.slowly());
    for (kind, what) in [(PING, "ping"), (PONG, "pong")] {
        let frames = [new(kind, vec![0xfe; 126])];
        cases.push(case(group, format!("a {what} of 126 bytes"), "5.5", &frames, &[FAILED]));
        let frames = [new(kind, "x").more(), new(CONTINUATION, "y")];
        cases.push(case(group, format!("a {what} in pieces"), "5.5", &frames, &[FAILED]));
    }
    for size in [0, 125] {
        let frames = [new(PONG, vec![0xfe; size])];
        cases.push(case(
            group,
            format!("a pong of {size} bytes that nobody asked for"),
            "5.5.3",
            &frames,
            &[],
        ));
    }
    let ten: Vec<Frame> = (0..10).map(|n| new(PING, format!("ping {n}"))).collect();
    let answers: Vec<Said> = (0..10).map(|n| said(PONG, format!("ping {n}"))).collect();
    cases.push(case(group, "ten pings in one write, answered in order", "5.5.2, 5.5.3", &ten, &answers));
    cases
}

fn reserved() -> Vec<Case> {
    let group = "Reserved bits";
    let mut cases = Vec::new();
    for bits in 1..=7 {
        let frames = [new(TEXT, "fine"), new(TEXT, "not fine").reserved(bits), new(TEXT, "too late")];
        cases.push(case(
            group,
            format!("text with the bits {bits:03b}"),
            "5.2",
            &frames,
            &[said(TEXT, "fine"), FAILED],
        ));
    }
    for (kind, what) in [(BINARY, "binary"), (PING, "ping"), (PONG, "pong"), (CLOSE, "close")] {
        let payload: &[u8] = if kind == CLOSE { &[3, 232] } else { b"" };
        let frames = [new(kind, payload).reserved(4)];
        cases.push(case(group, format!("a {what} with the bits 100"), "5.2", &frames, &[FAILED]));
    }
    let frames = [new(TEXT, "a").more(), new(CONTINUATION, "b").reserved(2)];
    cases.push(case(group, "a continuation with the bits 010", "5.2", &frames, &[FAILED]));
    cases
}

fn kinds() -> Vec<Case> {
    let group = "Kinds of frames that are not defined";
    let mut cases = Vec::new();
    for kind in (3..=7).chain(11..=15) {
        for (size, payload) in [("empty", ""), ("with a payload", "x")] {
            let name = format!("kind {kind}, {size}");
            cases.push(case(group, name, "5.2", &[new(kind, payload)], &[FAILED]));
        }
        let frames = [new(TEXT, "fine"), new(kind, "x"), new(PING, "")];
        cases.push(case(
            group,
            format!("kind {kind} between others"),
            "5.2",
            &frames,
            &[said(TEXT, "fine"), FAILED],
        ));
    }
    cases
}

fn fragments() -> Vec<Case> {
    let group = "Messages in pieces";
    let mut cases = Vec::new();
    let (go_on, last) = (|text: &str| new(CONTINUATION, text).more(), |text: &str| new(CONTINUATION, text));
    for (kind, what) in [(TEXT, "text"), (BINARY, "binary")] {
        let first = |text: &str| new(kind, text).more();
        let mut add = |name: &str, section, frames: &[Frame], demanded: &[Said]| {
            cases.push(case(group, format!("{what} {name}"), section, frames, demanded));
        };
        add("in two pieces", "5.4", &[first("ab"), last("cd")], &[said(kind, "abcd")]);
        add("in three", "5.4", &[first("a"), go_on("b"), last("c")], &[said(kind, "abc")]);
        add("in three empty ones", "5.4", &[first(""), go_on(""), last("")], &[said(kind, "")]);
        add("whose middle is all", "5.4", &[first(""), go_on("mid"), last("")], &[said(kind, "mid")]);
        add(
            "with a ping between",
            "5.4, 5.5",
            &[first("a"), new(PING, "p"), last("b")],
            &[said(PONG, "p"), said(kind, "ab")],
        );
        add(
            "with pings and a pong between",
            "5.4, 5.5",
            &[first("a"), new(PING, "1"), go_on("b"), new(PONG, "unasked"), new(PING, "2"), last("c")],
            &[said(PONG, "1"), said(PONG, "2"), said(kind, "abc")],
        );
        add(
            "with a close between",
            "5.5.1",
            &[first("a"), close(1000, b""), last("b")],
            &[Said::Close(Some(1000))],
        );
        add("interrupted by another message", "5.4", &[first("a"), new(TEXT, "b")], &[FAILED]);
        add("interrupted by another in pieces", "5.4", &[first("a"), first("b"), last("c")], &[FAILED]);
        add(
            "in pieces, twice",
            "5.4",
            &[first("a"), last("b"), first("c"), last("d")],
            &[said(kind, "ab"), said(kind, "cd")],
        );
    }
    let mut many = vec![new(TEXT, "").more()];
    many.extend((0..2000).map(|_| go_on("x")));
    many.push(last(""));
    cases.push(case(group, "text in two thousand pieces", "5.4", &many, &[said(TEXT, "x".repeat(2000))]));
    let frames = [new(TEXT, "a").more(), new(PING, "p"), last("b")];
    let slow =
        case(group, "text with a ping between", "5.4, 5.5", &frames, &[said(PONG, "p"), said(TEXT, "ab")]);
    cases.push(slow.slowly());
    for (name, frame) in
        [("the last piece", last("x")), ("a piece", go_on("x")), ("an empty piece", last(""))]
    {
        cases.push(case(group, format!("{name} of nothing"), "5.4", std::slice::from_ref(&frame), &[FAILED]));
        let frames = [new(TEXT, "whole"), frame];
        cases.push(case(
            group,
            format!("{name} after a whole message"),
            "5.4",
            &frames,
            &[said(TEXT, "whole"), FAILED],
        ));
    }
    cases
}

/// Text that is UTF-8, and such as is not.
const VALID: &[(&str, &[u8])] = &[
    ("of two, three and four bytes each", "κόσμε \u{800} \u{10000}".as_bytes()),
    ("U+0000", b"\x00"),
    ("U+007F and U+0080", b"\x7f\xc2\x80"),
    ("U+07FF and U+0800", b"\xdf\xbf\xe0\xa0\x80"),
    ("U+D7FF and U+E000, around the surrogates", b"\xed\x9f\xbf\xee\x80\x80"),
    ("U+FFFD, U+FFFE and U+FFFF", b"\xef\xbf\xbd\xef\xbf\xbe\xef\xbf\xbf"),
    ("U+10000 and U+10FFFF, the last", b"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"),
    ("a byte order mark", b"\xef\xbb\xbf"),
];
const INVALID: &[(&str, &[u8])] = &[
    ("a continuation byte alone", b"a\x80b"),
    ("the last continuation byte alone", b"\xbf"),
    ("0xFE", b"\xfe"),
    ("0xFF", b"\xff"),
    ("two bytes where the second lacks", b"ab\xc3"),
    ("three bytes where the third lacks", b"ab\xe2\x82"),
    ("four bytes where the fourth lacks", b"ab\xf0\x9f\x98"),
    ("three bytes where the third is another's", b"\xe2\x82x"),
    ("U+002F in two bytes", b"\xc0\xaf"),
    ("U+002F in three", b"\xe0\x80\xaf"),
    ("U+002F in four", b"\xf0\x80\x80\xaf"),
    ("U+0000 in two bytes", b"\xc0\x80"),
    ("U+007F in two bytes", b"\xc1\xbf"),
    ("the surrogate U+D800", b"\xed\xa0\x80"),
    ("the surrogate U+DFFF", b"\xed\xbf\xbf"),
    ("a pair of surrogates", b"\xed\xa0\x80\xed\xb0\x80"),
    ("U+110000, beyond the last", b"\xf4\x90\x80\x80"),
    ("five bytes", b"\xf8\x88\x80\x80\x80"),
    ("six bytes", b"\xfc\x84\x80\x80\x80\x80"),
];

fn text() -> Vec<Case> {
    let group = "Text is UTF-8";
    let mut cases = Vec::new();
    for (name, bytes) in VALID {
        cases.push(case(group, *name, "8.1", &[new(TEXT, *bytes)], &[said(TEXT, *bytes)]));
    }
    for (name, bytes) in INVALID {
        cases.push(case(group, *name, "8.1", &[new(TEXT, *bytes)], &[NOT_UTF8]));
    }
    // "κόσμε😀" at each place, within each of its letters too.
    let word = "κό😀".as_bytes();
    for at in 1..word.len() {
        let (front, back) = word.split_at(at);
        let frames = [new(TEXT, front).more(), new(CONTINUATION, back)];
        let name = format!("a word cut after {at} of its {} bytes", word.len());
        cases.push(case(group, name, "5.6, 8.1", &frames, &[said(TEXT, word)]));
    }
    let bytewise: Vec<Frame> = word.iter().map(|byte| new(CONTINUATION, [*byte]).more()).collect();
    let mut frames = vec![new(TEXT, "").more()];
    frames.extend(bytewise);
    frames.push(new(CONTINUATION, ""));
    cases.push(case(group, "a word, each byte a piece", "5.6, 8.1", &frames, &[said(TEXT, word)]));
    let frames = [new(TEXT, "ab\u{20ac}").more(), new(CONTINUATION, b"\xe2\x82")];
    cases.push(case(group, "a letter that lacks its end, in the last piece", "8.1", &frames, &[NOT_UTF8]));
    let frames = [new(TEXT, b"\xe2\x82").more(), new(CONTINUATION, b"x")];
    cases.push(case(group, "a letter that goes on wrongly in the next piece", "8.1", &frames, &[NOT_UTF8]));
    // Nothing comes after the piece: it has to be judged when it is there.
    let mut fast =
        case(group, "wrong in the first of many pieces, and judged there", "8.1", &[], &[NOT_UTF8]);
    fast.sent = new(TEXT, b"ab\xed\xa0\x80cd").more().bytes();
    cases.push(fast);
    let late =
        case(group, "wrong at the start of a frame", "8.1", &[new(TEXT, b"\xff rest of it")], &[NOT_UTF8]);
    cases.push(late.slowly().note(
        "judged when the frame is there, not before its end: a frame is bounded, and the standard does not say when",
    ));
    let frames = [new(BINARY, b"\xed\xa0\x80")];
    cases.push(case(
        group,
        "the same bytes are fine as binary",
        "5.6",
        &frames,
        &[said(BINARY, b"\xed\xa0\x80")],
    ));
    cases
}

fn closes() -> Vec<Case> {
    let group = "Closes";
    let mut cases = Vec::new();
    let closing =
        |name: String, section, frames: &[Frame], answer| case(group, name, section, frames, &[answer]);
    for code in (1000..=1003).chain(1007..=1013).chain([3000, 3999, 4000, 4999]) {
        cases.push(closing(
            format!("code {code}"),
            "7.4.1, 7.4.2",
            &[close(code, b"")],
            Said::Close(Some(code)),
        ));
    }
    for code in [0, 999, 1004, 1005, 1006, 1014, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        let case = closing(format!("code {code}"), "7.4.1, 7.4.2", &[close(code, b"")], FAILED);
        cases.push(match code {
            1014 => case.note("registered with IANA later, for gateways; no client's word"),
            _ => case,
        });
    }
    cases.push(closing("without code".into(), "5.5.1", &[new(CLOSE, "")], Said::Close(None)));
    cases.push(closing("of one byte".into(), "5.5.1", &[new(CLOSE, [3])], FAILED));
    for (name, reason) in
        [("with a reason", "bye".to_owned()), ("with a reason of 123 bytes", "*".repeat(123))]
    {
        let frames = [close(1000, reason.as_bytes())];
        cases.push(closing(name.into(), "5.5.1", &frames, Said::Close(Some(1000))));
    }
    let frames = [close(1000, "*".repeat(124).as_bytes())];
    cases.push(closing("with a reason of 124 bytes".into(), "5.5", &frames, FAILED));
    let frames = [close(1000, b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80")];
    cases.push(closing("with a reason that is not UTF-8".into(), "5.5.1, 8.1", &frames, NOT_UTF8));
    cases.push(closing("in pieces".into(), "5.5", &[close(1000, b"").more()], FAILED));
    for (name, after) in
        [("text", new(TEXT, "late")), ("a ping", new(PING, "late")), ("another close", close(1001, b""))]
    {
        let frames = [close(1000, b""), after];
        cases.push(closing(format!("then {name}"), "5.5.1, 1.4", &frames, Said::Close(Some(1000))));
    }
    let frames = [new(TEXT, "last words"), close(1000, b"")];
    cases.push(case(
        group,
        "right after a message",
        "5.5.1",
        &frames,
        &[said(TEXT, "last words"), Said::Close(Some(1000))],
    ));
    cases
}

fn masks() -> Vec<Case> {
    let group = "Masks";
    let mut cases = Vec::new();
    for (name, mask) in [("of zeros", [0; 4]), ("of ones", [0xff; 4])] {
        let frames = [new(TEXT, "masked").mask(Some(mask))];
        cases.push(case(group, format!("a mask {name}"), "5.3", &frames, &[said(TEXT, "masked")]));
    }
    for (kind, what) in [(TEXT, "text"), (BINARY, "binary"), (PING, "a ping"), (CLOSE, "a close")] {
        let frames = [new(kind, "").mask(None)];
        cases.push(case(group, format!("{what} without a mask"), "5.1", &frames, &[FAILED]));
    }
    let frames = [new(TEXT, "a").more(), new(CONTINUATION, "b").mask(None)];
    cases.push(case(group, "a piece without a mask", "5.1", &frames, &[FAILED]));
    cases
}

fn lengths() -> Vec<Case> {
    let group = "Lengths";
    const LENIENT: &str = "the duty is the sender's: which length is meant is plain, so it is read";
    let mut cases = Vec::new();
    for (name, length) in [("two", Length::Two(5)), ("eight", Length::Eight(5))] {
        let frames = [new(TEXT, "hello").length(length)];
        let name = format!("5 in {name} bytes, more than it takes");
        cases.push(case(group, name, "5.2", &frames, &[said(TEXT, "hello")]).note(LENIENT));
    }
    let frames = [new(BINARY, vec![7; 300]).length(Length::Eight(300))];
    let long =
        case(group, "300 in eight bytes, more than it takes", "5.2", &frames, &[said(BINARY, vec![7; 300])]);
    cases.push(long.note(LENIENT));
    let frames = [new(PING, "p").length(Length::Two(1))];
    cases
        .push(case(group, "a ping of 1 in two bytes", "5.2, 5.5", &frames, &[said(PONG, "p")]).note(LENIENT));
    for (name, length) in [("2^63, its first bit set", 1 << 63), ("2^64 - 1", u64::MAX)] {
        let frames = [new(TEXT, "").length(Length::Eight(length))];
        let big = case(group, format!("a length of {name}"), "5.2", &frames, &[TOO_LARGE]);
        cases
            .push(big.note("it is above the limit as well, and said to be: the connection fails either way"));
    }
    let frames = [new(BINARY, "").length(Length::Eight(1 << 62))];
    cases.push(case(
        group,
        "a length of 2^62 is refused before anything of it comes",
        "7.4.1",
        &frames,
        &[TOO_LARGE],
    ));
    cases
}

fn limits(limit: usize) -> Vec<Case> {
    let group = "The limit of this host";
    let mut cases = Vec::new();
    let of = |size: usize| vec![b'*'; size];
    let mut add = |name: &str, frames: &[Frame], demanded: &[Said]| {
        cases.push(case(group, name, "7.4.1, 10.4", frames, demanded));
    };
    add("a message at the limit", &[new(TEXT, of(limit))], &[said(TEXT, of(limit))]);
    add("one byte above it", &[new(TEXT, of(limit + 1))], &[TOO_LARGE]);
    add("one byte above it, binary", &[new(BINARY, of(limit + 1))], &[TOO_LARGE]);
    let half = limit / 2;
    add(
        "at the limit, in two pieces",
        &[new(TEXT, of(half)).more(), new(CONTINUATION, of(limit - half))],
        &[said(TEXT, of(limit))],
    );
    let pieces = [new(TEXT, of(half)).more(), new(CONTINUATION, of(limit - half + 1))];
    add("one byte above it, in two pieces", &pieces, &[TOO_LARGE]);
    let mut endless = vec![new(TEXT, of(1024)).more()];
    endless.extend((0..limit / 1024).map(|_| new(CONTINUATION, of(1024)).more()));
    add("a message without end, refused at the limit", &endless, &[TOO_LARGE]);
    cases
}
