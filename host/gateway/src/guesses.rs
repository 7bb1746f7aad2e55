//! Bounds what an address without a good token may make the host do: a refusal each, and a line in the log for it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::limits::TokenBucket;

/// Counts refusals by address. Only those without a good token are counted: an operator cannot be locked out by
/// somebody else behind the same address.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    /// The lock is held for a map operation, after a refusal only.
    addresses: Mutex<HashMap<IpAddr, Guesser>>,
}

#[derive(Debug)]
struct Guesser {
    bucket: TokenBucket,
    told: bool,
}

/// An address that has used up what it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// When it may try again.
    pub(crate) retry_after: Duration,
    /// Whether this is the first time since it had something left.
    pub(crate) first: bool,
}

/// Addresses remembered at once. Beyond it the one that was refused longest ago is forgotten.
const ADDRESSES: usize = 4096;
const MINUTE: Duration = Duration::from_secs(60);

impl Guesses {
    /// Counts a refusal. `per_minute` is how many an address has; 0: no limit.
    ///
    /// # Errors
    /// [`TooMany`] if the address has none left.
    pub(crate) fn count(&self, from: IpAddr, per_minute: u32, now: Instant) -> Result<(), TooMany> {
        let Some(full) = TokenBucket::new(per_minute, MINUTE, now) else { return Ok(()) };
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let from = network(from);
        if addresses.len() >= ADDRESSES && !addresses.contains_key(&from) {
            forget_oldest(&mut addresses);
        }
        let guesser = addresses.entry(from).or_insert_with(|| Guesser { bucket: full.clone(), told: false });
        if guesser.bucket.burst() != full.burst() {
            // Another number holds by now.
            guesser.bucket = full;
        }
        match guesser.bucket.take(now) {
            Ok(()) => {
                guesser.told = false;
                Ok(())
            }
            Err(retry_after) => {
                let first = !guesser.told;
                guesser.told = true;
                Err(TooMany { retry_after, first })
            }
        }
    }
}

fn forget_oldest(addresses: &mut HashMap<IpAddr, Guesser>) {
    let oldest = addresses.iter().min_by_key(|(_, guesser)| guesser.bucket.last_taken());
    if let Some(address) = oldest.map(|(address, _)| *address) {
        addresses.remove(&address);
    }
}

/// One customer's network: of an IPv6 address, whoever has it has the whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() >> 64 << 64).into(),
        four @ IpAddr::V4(_) => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_so_many_and_gets_them_back() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let from = address("10.0.0.1");
        assert_eq!((guesses.count(from, 2, now), guesses.count(from, 2, now)), (Ok(()), Ok(())));
        let firsts = [0, 1].map(|_| guesses.count(from, 2, now).map_err(|too_many| too_many.first));
        assert_eq!(firsts, [Err(true), Err(false)]);
        assert_eq!(guesses.count(address("10.0.0.2"), 2, now), Ok(()), "another has its own");
        let wait = guesses.count(from, 2, now).unwrap_err().retry_after;
        assert_eq!(guesses.count(from, 2, now + wait + Duration::from_micros(1)), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_counts_as_one_and_0_is_no_limit() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        assert!(guesses.count(address("2001:db8::1"), 1, now).is_ok());
        assert!(guesses.count(address("2001:db8::ffff:2"), 1, now).is_err());
        assert!(guesses.count(address("2001:db8:0:1::1"), 1, now).is_ok());
        assert!(guesses.count(address("10.0.0.1"), 1, now).is_ok());
        assert!(guesses.count(address("::ffff:10.0.0.1"), 1, now).is_err());
        let off = Guesses::default();
        assert!((0..1000).all(|_| off.count(address("10.0.0.1"), 0, now).is_ok()));
        assert!(off.addresses.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for i in 0..(ADDRESSES as u32 + 100) {
            let _ = guesses.count(IpAddr::from(i.to_be_bytes()), 1, now + Duration::from_nanos(i.into()));
        }
        let addresses = guesses.addresses.lock().unwrap();
        assert_eq!(addresses.len(), ADDRESSES);
        assert!(!addresses.contains_key(&address("0.0.0.0")), "the oldest went first");
    }
}
