//! Reads the address of something that the host fetches: https, or http on this machine, and never with a password.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// An address that the host may fetch from.
///
/// Plain http goes no further than this machine: by `localhost`, or by a literal loopback address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAddress {
    secure: bool,
    host: WebHost,
    port: u16,
    /// Path and query, as they go into the request.
    path: String,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebHost {
    /// A name, to be resolved; lower case, without a dot at its end.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Why a text is no such address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoWebAddress {
    /// Anybody on the way could put in what they like.
    #[error("is not an https address")]
    Plain,
    /// It would be in logs.
    #[error("holds a user's name or a password")]
    Password,
    /// A fragment is for browsers.
    #[error("has a fragment (`#…`)")]
    Fragment,
    /// No host, no port that is one, or a character that no address has.
    #[error("is no address")]
    Malformed,
}

/// Longer ones are mistakes.
const LONGEST: usize = 2048;
/// The longest name that the domain system has.
const LONGEST_NAME: usize = 253;

impl WebAddress {
    /// Whether it is fetched over TLS. If not, it is on this machine.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Who is asked.
    pub fn host(&self) -> &WebHost {
        &self.host
    }

    /// At which port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// For what: path and query.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `host[:port]`, as the header `Host` has it.
    pub fn authority(&self) -> String {
        let usual = if self.secure { 443 } else { 80 };
        if self.port == usual { self.host.to_string() } else { format!("{}:{}", self.host, self.port) }
    }
}

impl FromStr for WebAddress {
    type Err = NoWebAddress;

    fn from_str(text: &str) -> Result<Self, NoWebAddress> {
        if text.len() > LONGEST || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(NoWebAddress::Malformed);
        }
        let (scheme, rest) = text.split_once("://").ok_or(NoWebAddress::Plain)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(NoWebAddress::Plain),
        };
        if rest.contains('#') {
            return Err(NoWebAddress::Fragment);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err(NoWebAddress::Password);
        }
        let (host, port) = host_and_port(authority).ok_or(NoWebAddress::Malformed)?;
        if !secure && !host.is_this_machine() {
            return Err(NoWebAddress::Plain);
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { secure, host, port: port.unwrap_or(if secure { 443 } else { 80 }), path })
    }
}

/// Without the query, which may hold what is not for logs.
impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

impl WebHost {
    /// Whether it can be nothing but this machine; what the name `localhost` leads to is looked at again.
    pub fn is_this_machine(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::Address(address) => address.is_loopback(),
        }
    }
}

impl fmt::Display for WebHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(four)) => write!(f, "{four}"),
            Self::Address(IpAddr::V6(six)) => write!(f, "[{six}]"),
        }
    }
}

fn host_and_port(authority: &str) -> Option<(WebHost, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(six) => {
            let (six, port) = six.split_once(']')?;
            (WebHost::Address(six.parse::<Ipv6Addr>().ok()?.into()), port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let address = host.parse::<Ipv4Addr>().ok().map(|four| WebHost::Address(four.into()));
            (address.or_else(|| name(host).map(WebHost::Name))?, port)
        }
    };
    let port = match port {
        "" => None,
        port => Some(port.strip_prefix(':')?.parse().ok().filter(|port| *port > 0)?),
    };
    Some((host, port))
}

/// A name whose last part is no number: `127.1` is an address to some resolvers, and a name to none.
fn name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|b| b.is_ascii_digit()) || last.to_ascii_lowercase().starts_with("0x");
    let good = text.len() <= LONGEST_NAME && text.split('.').all(label) && !number;
    good.then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<String, NoWebAddress> {
        let address: WebAddress = text.parse()?;
        Ok(format!("{} {} {}", address.authority(), address.port(), address.path()))
    }

    #[test]
    fn an_address_says_whom_to_ask_for_what() {
        for (text, expected) in [
            ("https://Issuer.Example.com/keys?v=1", "issuer.example.com 443 /keys?v=1"),
            ("HTTPS://issuer.example:8443", "issuer.example:8443 8443 /"),
            ("https://issuer.example.?a", "issuer.example 443 /?a"),
            ("https://[2001:DB8::1]:80/x", "[2001:db8::1]:80 80 /x"),
            ("http://localhost:80/x", "localhost 80 /x"),
            ("http://127.0.0.2:9/x", "127.0.0.2:9 9 /x"),
            ("http://[::1]", "[::1] 80 /"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn plain_http_goes_no_further_than_this_machine() {
        for text in [
            "http://issuer.example/keys",
            "http://localhost.example/keys",
            "http://127.0.0.1.example/keys",
            "http://10.0.0.1/keys",
            "http://0.0.0.0/keys",
            "ftp://localhost/keys",
            "file:///etc/passwd",
            "issuer.example/keys",
            "",
        ] {
            assert_eq!(read(text), Err(NoWebAddress::Plain), "{text}");
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (text, why) in [
            ("http://localhost:80@evil.example/keys", NoWebAddress::Password),
            ("https://user:password@issuer.example/keys", NoWebAddress::Password),
            ("https://issuer.example/keys#1", NoWebAddress::Fragment),
            ("https://issuer.example\\@evil.example/", NoWebAddress::Password),
            ("https://issuer.example\\x/", NoWebAddress::Malformed),
            ("https:///keys", NoWebAddress::Malformed),
            ("https://issuer.example:0/", NoWebAddress::Malformed),
            ("https://issuer.example:99999/", NoWebAddress::Malformed),
            ("https://issuer.example:/", NoWebAddress::Malformed),
            ("https://a..b/", NoWebAddress::Malformed),
            ("https://127.1/", NoWebAddress::Malformed),
            ("https://0x7f000001/", NoWebAddress::Malformed),
            ("https://::1/", NoWebAddress::Malformed),
            ("https://issuer.example/a b", NoWebAddress::Malformed),
            ("https://issuer.example/\r\nHost: x", NoWebAddress::Malformed),
        ] {
            assert_eq!(read(text), Err(why), "{text}");
        }
    }

    #[test]
    fn what_is_shown_has_no_query() {
        let address: WebAddress = "https://issuer.example/keys?key=secret".parse().unwrap();
        assert_eq!(address.to_string(), "https://issuer.example/keys");
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_none(text in "(https?://)?[a-z0-9.:@/?#\\[\\]-]{0,40}") {
            if let Ok(address) = text.parse::<WebAddress>() {
                prop_assert_eq!(address.to_string().parse::<WebAddress>().map(|a| a.authority()), Ok(address.authority()));
                prop_assert!(address.is_secure() || address.host().is_this_machine());
            }
        }
    }
}
