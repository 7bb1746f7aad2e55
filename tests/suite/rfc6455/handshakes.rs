//! The table of opening handshakes: what is asked, and which status the standard or HTTP demands.

use crate::harness::{
    Host,
    http::{self, Answer, UPGRADE, UPGRADE_WITHIN},
    tokens,
};

/// One request.
pub(super) struct Handshake {
    pub(super) name: &'static str,
    /// Of RFC 6455, if not said otherwise.
    pub(super) section: &'static str,
    method: &'static str,
    version: &'static str,
    /// Left out of a whole handshake.
    without: &'static [&'static str],
    with: &'static [(&'static str, &'static str)],
    body: &'static str,
    /// The status, and a header that has to be there with this value; an empty one: that must not be there.
    pub(super) demanded: (u16, Option<(&'static str, &'static str)>),
    pub(super) note: &'static str,
}

const fn asks(name: &'static str, section: &'static str, status: u16) -> Handshake {
    Handshake {
        name,
        section,
        method: "GET",
        version: "1.1",
        without: &[],
        with: &[],
        body: "",
        demanded: (status, None),
        note: "",
    }
}

const KEY: &str = "Sec-WebSocket-Key";
const VERSION: &str = "Sec-WebSocket-Version";
/// Why a version that is not spoken is no 426.
const NOT_426: &str =
    "the standard's 426 is an example (“such as”); here a request that is no handshake is a 400";

/// All of them.
pub(super) const ALL: &[Handshake] = &[
    Handshake {
        demanded: (101, Some(("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))),
        ..asks("whole", "4.2.2", 101)
    },
    Handshake {
        without: &["Connection"],
        with: &[("Connection", "keep-alive, UPGRADE")],
        ..asks("`Upgrade` among other words, in capitals", "4.2.1", 101)
    },
    Handshake {
        without: &["Upgrade"],
        with: &[("Upgrade", "WebSocket")],
        ..asks("`WebSocket` with capitals", "4.2.1", 101)
    },
    Handshake { without: &["Connection"], ..asks("without `Connection`", "4.2.1", 400) },
    Handshake { without: &["Upgrade"], ..asks("without `Upgrade`", "4.2.1", 400) },
    Handshake {
        without: &["Upgrade"],
        with: &[("Upgrade", "h2c")],
        ..asks("an upgrade to something else", "4.2.1", 400)
    },
    Handshake { without: &[KEY], ..asks("without a key", "4.2.1", 400) },
    Handshake { without: &[KEY], with: &[(KEY, "")], ..asks("an empty key", "4.2.1", 400) },
    Handshake {
        without: &[KEY],
        with: &[(KEY, "not base64 at all!!!!!==")],
        ..asks("a key that is no base64", "4.2.1", 400)
    },
    Handshake { without: &[KEY], with: &[(KEY, "c2hvcnQ=")], ..asks("a key of 5 bytes", "4.2.1", 400) },
    Handshake {
        without: &[KEY],
        with: &[(KEY, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")],
        ..asks("a key of 24 bytes", "4.2.1", 400)
    },
    Handshake {
        without: &[KEY],
        with: &[(KEY, "AQIDBAUGBwgJCgsMDQ4PEC==")],
        ..asks("the key of the standard's text, whose last bits are not zero", "4.1", 101)
    },
    Handshake { with: &[(KEY, "AQIDBAUGBwgJCgsMDQ4PEA==")], ..asks("two keys", "11.3.1", 400) },
    Handshake {
        without: &[VERSION],
        demanded: (400, Some(("sec-websocket-version", "13"))),
        ..asks("without a version", "4.2.1, 4.4", 400)
    },
    Handshake {
        without: &[VERSION],
        with: &[(VERSION, "12")],
        demanded: (400, Some(("sec-websocket-version", "13"))),
        note: NOT_426,
        ..asks("version 12", "4.2.2, 4.4", 400)
    },
    Handshake {
        without: &[VERSION],
        with: &[(VERSION, "14")],
        demanded: (400, Some(("sec-websocket-version", "13"))),
        note: NOT_426,
        ..asks("version 14", "4.2.2, 4.4", 400)
    },
    Handshake { with: &[(VERSION, "8")], ..asks("two versions", "11.3.5", 400) },
    Handshake { without: &["Host"], ..asks("without `Host`", "4.2.1", 400) },
    Handshake { version: "1.0", ..asks("HTTP/1.0", "4.2.1", 400) },
    Handshake { method: "POST", ..asks("POST", "4.2.1", 405) },
    Handshake {
        with: &[("Content-Length", "5")],
        body: "hello",
        note: "the standard is silent; the body is not taken for frames",
        ..asks("with a body", "4.2.1", 101)
    },
    Handshake {
        with: &[("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")],
        demanded: (101, Some(("sec-websocket-extensions", ""))),
        note: "compression is declined: no bomb, and no secret guessed by its length",
        ..asks("compression offered", "9.1", 101)
    },
    Handshake {
        with: &[("Sec-WebSocket-Extensions", "x; y=\"unclosed")],
        demanded: (101, Some(("sec-websocket-extensions", ""))),
        ..asks("extensions that are no list", "9.1", 101)
    },
];

/// The answer of this path.
pub(super) async fn ask(host: &Host, path: &str, handshake: &Handshake) -> Result<Answer, String> {
    let mut request = format!("{} {path} HTTP/{}\r\n", handshake.method, handshake.version);
    let authority = host.address.to_string();
    let own = [("Host", authority.as_str())];
    let bearer = format!("Bearer {}", tokens::of("alice"));
    let whole = own.iter().chain(UPGRADE).filter(|(name, _)| !handshake.without.contains(name));
    for (name, value) in whole.chain(handshake.with).chain(&[("Authorization", bearer.as_str())]) {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(handshake.body);
    http::send(host.address, request.as_bytes(), UPGRADE_WITHIN).await
}

/// Whether it is what was demanded.
pub(super) fn lawful(handshake: &Handshake, answer: &Answer) -> bool {
    let (status, header) = handshake.demanded;
    let named =
        header.is_none_or(|(name, value)| answer.header(name) == Some(value).filter(|v| !v.is_empty()));
    answer.status == status && named
}

/// In words.
pub(super) fn shown(answer: &Answer) -> String {
    match answer.code() {
        Ok(code) => format!("{} `{code}`", answer.status),
        Err(_) => answer.status.to_string(),
    }
}
