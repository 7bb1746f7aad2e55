//! A range of internet addresses, as operators write it: `10.0.0.0/8`, `2001:db8::/32`, or one address.

use std::{fmt, net::IpAddr, str::FromStr};

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    /// How many bits are alike.
    bits: u8,
}

/// A text that names no range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a range is written address/bits, as in 10.0.0.0/8, and nothing behind the bits is set")]
pub struct NoRange;

impl AddressRange {
    /// Whether it holds that address. An IPv4 address in IPv6's clothes is itself.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(other)) => {
                masked(first.to_bits().into(), 32, self.bits) == masked(other.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(first), IpAddr::V6(other)) => {
                masked(first.to_bits(), 128, self.bits) == masked(other.to_bits(), 128, self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// The first `bits` of a number of `width` bits; the others are 0.
fn masked(number: u128, width: u32, bits: u8) -> u128 {
    let behind = width.saturating_sub(bits.into());
    number.checked_shr(behind).and_then(|kept| kept.checked_shl(behind)).unwrap_or(0)
}

impl FromStr for AddressRange {
    type Err = NoRange;

    fn from_str(text: &str) -> Result<Self, NoRange> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let first: IpAddr = address.parse().map_err(|_| NoRange)?;
        let (width, number) = match first {
            IpAddr::V4(four) => (32, u128::from(four.to_bits())),
            IpAddr::V6(six) => (128, six.to_bits()),
        };
        let bits = bits.map_or(Ok(width), |bits| bits.parse::<u8>().map_err(|_| NoRange))?;
        // Bits behind the range are a slip: who writes 10.1.0.0/8 means something else.
        let whole = bits <= width && masked(number, width.into(), bits) == number;
        whole.then_some(Self { first, bits }).ok_or(NoRange)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_begins_as_it_does() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
            ("192.168.1.7", "192.168.1.7", "192.168.1.6"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            let parsed: AddressRange = range.parse().unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{range} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{range} {outside}");
        }
        assert_eq!("10.0.0.1".parse::<AddressRange>().unwrap().to_string(), "10.0.0.1/32");
    }

    #[test]
    fn what_is_no_range_is_none() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.1.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "host/8",
            "2001:db8::1/32",
            "10.0.0/8",
        ] {
            assert_eq!(text.parse::<AddressRange>(), Err(NoRange), "{text}");
        }
    }
}
