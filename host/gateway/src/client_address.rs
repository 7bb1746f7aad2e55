//! Where a client really is: its own address, or what trusted proxies say of it.

use std::net::IpAddr;

use agent_host_core::address_range::AddressRange;
use http::HeaderMap;

/// What proxies add to, each at the end.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address behind the trusted proxies: from the right, the first that none of them has. A header is believed only as
/// far as trusted hands wrote it; what a client wrote itself stands further left. What is no address ends the walk at
/// the last that was one.
pub(crate) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[AddressRange]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|range| range.contains(address));
    let mut nearest = peer;
    let lines: Vec<&str> =
        headers.get_all(FORWARDED_FOR).iter().map(|line| line.to_str().unwrap_or_default()).collect();
    let mut hops = lines.iter().flat_map(|line| line.split(',')).map(str::trim).rev();
    while is_trusted(nearest) {
        match hops.next().and_then(address) {
            Some(hop) => nearest = hop,
            None => break,
        }
    }
    nearest
}

/// An entry of the header: an address, perhaps with a port.
fn address(entry: &str) -> Option<IpAddr> {
    let bare =
        entry.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(entry, |(inside, _)| inside);
    let address = bare.parse::<IpAddr>().ok();
    address.or_else(|| entry.parse::<std::net::SocketAddr>().ok().map(|socket| socket.ip()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn seen(peer: &str, lines: &[&'static str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
        }
        let trusted: Vec<AddressRange> = trusted.iter().map(|range| range.parse().unwrap()).collect();
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn only_trusted_hands_are_believed() {
        let ours = ["10.0.0.0/8"];
        for (peer, lines, address) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &[][..], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            // What the client claimed stands left of what our proxy saw.
            ("10.0.0.1", &["192.0.2.66, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["192.0.2.66", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ] {
            assert_eq!(seen(peer, lines, &ours), address, "{peer} {lines:?}");
        }
        assert_eq!(seen("10.0.0.1", &["198.51.100.1"], &[]), "10.0.0.1", "nobody is trusted unless named");
    }
}
