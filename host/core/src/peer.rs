//! Decides which peers a plugin may reach: those that the operator named, and no private address behind a public name.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// A peer, as an operator or a plugin names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Host {
    Name(String),
    Address(IpAddr),
}

/// A text that names no peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a peer is written host:port, as in api.example.com:443")]
pub struct NoPeer;

/// The longest name that the domain system has.
const LONGEST_NAME: usize = 253;

impl FromStr for Peer {
    type Err = NoPeer;

    fn from_str(text: &str) -> Result<Self, NoPeer> {
        let (host, port) = text.rsplit_once(':').ok_or(NoPeer)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or(NoPeer)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match (bare, host.parse::<Ipv4Addr>()) {
            (Some(six), _) => Host::Address(six.parse::<Ipv6Addr>().map_err(|_| NoPeer)?.into()),
            (None, Ok(four)) => Host::Address(four.into()),
            (None, Err(_)) => Host::Name(name(host).ok_or(NoPeer)?),
        };
        Ok(Self { host, port })
    }
}

/// One spelling for each name: names do not differ by case, nor by the dot at their end.
fn name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    (plain && !text.is_empty() && text.len() <= LONGEST_NAME).then(|| text.to_ascii_lowercase())
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Address(address) => write!(f, "{}", SocketAddr::new(*address, self.port)),
        }
    }
}

impl Peer {
    /// Whether it is one of those that the operator wrote.
    pub fn is_listed(&self, list: &[String]) -> bool {
        list.iter().any(|listed| listed.parse().as_ref() == Ok(self))
    }

    /// The name to resolve, with the port; an address says where it is itself.
    pub fn target(&self) -> Target<'_> {
        match &self.host {
            Host::Name(name) => Target::Name(name, self.port),
            Host::Address(address) => Target::Address(SocketAddr::new(*address, self.port)),
        }
    }
}

/// What a peer is reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A name, to be resolved by the host.
    Name(&'a str, u16),
    /// An address, listed as such.
    Address(SocketAddr),
}

/// Whether a name may lead to that address: a public one, or one that the operator listed literally too.
pub fn may_lead_to(address: SocketAddr, list: &[String]) -> bool {
    let literal = Peer { host: Host::Address(address.ip()), port: address.port() };
    is_public(address.ip()) || literal.is_listed(list)
}

/// Whether an address is one of the internet's, reachable by everybody: neither this machine's, nor a private network's,
/// nor a cloud's metadata.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => is_public_v4(four),
        IpAddr::V6(six) => match embedded(six) {
            Some(four) => is_public_v4(four),
            // 2000::/3 is all that is given out; documentation and benchmarks lie in it.
            None => {
                let [first, second, ..] = six.segments();
                let special = first == 0x2001 && (second < 0x0200 || second == 0x0db8);
                first & 0xe000 == 0x2000 && !special && first != 0x3fff
            }
        },
    }
}

fn is_public_v4(four: Ipv4Addr) -> bool {
    let [a, b, c, _] = four.octets();
    let special = match a {
        // This network, loopback, private, multicast and reserved.
        0 | 10 | 127 | 224..=255 => true,
        // Carriers' own (and one cloud's metadata).
        100 => (64..128).contains(&b),
        // Link-local: the other clouds' metadata.
        169 => b == 254,
        172 => (16..32).contains(&b),
        192 => b == 168 || (b == 0 && (c == 0 || c == 2)) || (b == 88 && c == 99),
        // Benchmarks, documentation.
        198 => b == 18 || b == 19 || (b == 51 && c == 100),
        203 => b == 0 && c == 113,
        _ => false,
    };
    !special
}

/// The older address that a newer one leads to: mapped, compatible, translated (NAT64), 6to4.
fn embedded(six: Ipv6Addr) -> Option<Ipv4Addr> {
    let four = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match six.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => Some(four(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(four(high, low)),
        [0x2002, high, low, ..] => Some(four(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(text: &str) -> Peer {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn a_peer_has_one_spelling() {
        assert_eq!(peer("API.Example.com.:443"), peer("api.example.com:443"));
        assert_eq!(peer("[2001:DB8::1]:80").to_string(), "[2001:db8::1]:80");
        assert_eq!(peer("10.0.0.1:80").target(), Target::Address("10.0.0.1:80".parse().unwrap()));
        for wrong in [
            "", "a", "a:", "a:0", "a:65536", ":80", "a b:80", "a/b:80", "::1:80", "[a]:80", "ä.de:80",
            "a\n:80",
        ] {
            assert_eq!(wrong.parse::<Peer>(), Err(NoPeer), "{wrong:?}");
        }
    }

    #[test]
    fn only_what_is_written_is_listed() {
        let list = ["api.example.com:443".to_owned(), "10.0.0.5:5432".to_owned()];
        assert!(peer("API.example.com:443").is_listed(&list));
        for other in ["api.example.com:80", "example.com:443", "x.api.example.com:443", "10.0.0.6:5432"] {
            assert!(!peer(other).is_listed(&list), "{other}");
        }
        assert!(may_lead_to("10.0.0.5:5432".parse().unwrap(), &list), "listed literally");
        assert!(!may_lead_to("10.0.0.5:5433".parse().unwrap(), &list));
        assert!(may_lead_to("93.184.215.14:443".parse().unwrap(), &list));
    }

    #[test]
    fn what_is_not_the_internet_s_is_not_public() {
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.100.100.200",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.192",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "fec0::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in
            ["1.1.1.1", "93.184.215.14", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"]
        {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_peer_or_none(text in ".{0,60}") {
            if let Ok(peer) = text.parse::<Peer>() {
                prop_assert_eq!(peer.to_string().parse::<Peer>(), Ok(peer));
            }
        }
    }
}
