//! A share of the runs, as operators write it (`"10%"`), and whose thread is in it.

use std::fmt;

use agent_plugin_protocol::{Generation, PluginId, ThreadId};
use sha2::{Digest, Sha256};

/// A share in hundredths of a percent; at most all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u16);

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// Everything.
    pub const ALL: Self = Self(WHOLE);

    /// So many percent; more than a hundred are a hundred.
    pub const fn percent(percent: u16) -> Self {
        if percent >= 100 { Self::ALL } else { Self(percent * 100) }
    }

    /// Reads `"10%"` or `"0.5%"`: up to two digits after the point, and not more than all.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_suffix('%')?.trim_end();
        let (whole, rest) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(rest) || whole.len() > 3 || rest.len() > 2 {
            return None;
        }
        let hundredths = format!("{rest:0<2}").parse::<u32>().ok()?;
        let share = whole.parse::<u32>().ok()? * 100 + hundredths;
        u16::try_from(share).ok().filter(|share| *share <= WHOLE).map(Self)
    }

    /// Whether it is nothing.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// In hundredths of a percent.
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// Between 0 and 1, for gauges.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }

    /// Whether that thread is among those that a generation with this share gets.
    ///
    /// Always the same for one thread and generation, on every host. Another generation draws anew, so that it is not
    /// always the same people who try what is new; and who is in a share is in every larger one.
    pub fn takes(self, thread: &ThreadId, plugin: &PluginId, generation: Generation) -> bool {
        let mut digest = Sha256::new();
        digest.update(b"agent-host.canary.v1");
        digest.update(generation.0.to_le_bytes());
        // An id has no NUL.
        digest.update(plugin.as_str());
        digest.update([0]);
        digest.update(thread.as_str());
        let digest: [u8; 32] = digest.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        // 2^64 is so much more than 10^4 that no remainder is favoured.
        let place = u64::from_le_bytes([a, b, c, d, e, f, g, h]) % u64::from(WHOLE);
        place < u64::from(self.0)
    }
}

/// All, in hundredths of a percent.
const WHOLE: u16 = 10_000;

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 100, self.0 % 100);
        match (rest, rest % 10) {
            (0, _) => write!(f, "{whole}%"),
            (_, 0) => write!(f, "{whole}.{}%", rest / 10),
            (_, _) => write!(f, "{whole}.{rest:02}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plugin() -> PluginId {
        PluginId::new("echo").unwrap()
    }

    fn thread(n: usize) -> ThreadId {
        ThreadId::new(&format!("thread-{n}")).unwrap()
    }

    #[test]
    fn a_share_is_written_in_percent() {
        for (text, share) in
            [("0%", 0), ("10%", 1000), ("100%", 10_000), ("0.5%", 50), ("12.25%", 1225), ("3 %", 300)]
        {
            assert_eq!(Share::parse(text), Some(Share(share)), "{text}");
        }
        for wrong in ["", "%", "10", "0.1", "101%", "100.01%", "-1%", "1.%", ".5%", "0.125%", "ten%", "9999%"]
        {
            assert_eq!(Share::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn so_many_threads_are_in_it_as_it_says() {
        for percent in [1, 10, 50, 99] {
            let share = Share::percent(percent);
            let taken = (0..20_000).filter(|n| share.takes(&thread(*n), &plugin(), Generation(2))).count();
            let expected = 200 * usize::from(percent);
            // Five deviations: sqrt(20000 * 0.5 * 0.5) is 71.
            assert!(taken.abs_diff(expected) < 355, "{percent} %: {taken}, not about {expected}");
        }
        assert!((0..1000).all(|n| !Share::NONE.takes(&thread(n), &plugin(), Generation(2))));
        assert!((0..1000).all(|n| Share::ALL.takes(&thread(n), &plugin(), Generation(2))));
    }

    #[test]
    fn another_generation_draws_anew() {
        let half = Share::percent(50);
        let drawn = |generation| {
            (0..1000).map(|n| half.takes(&thread(n), &plugin(), Generation(generation))).collect::<Vec<_>>()
        };
        assert_ne!(drawn(2), drawn(3));
        assert_eq!(drawn(2), drawn(2));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(hundredths in 0..=WHOLE) {
            prop_assert_eq!(Share::parse(&Share(hundredths).to_string()), Some(Share(hundredths)));
        }

        #[test]
        fn who_is_in_a_share_is_in_every_larger_one(one in 0..=WHOLE, other in 0..=WHOLE, n: usize) {
            let (small, large) = (Share(one.min(other)), Share(one.max(other)));
            let takes = |share: Share| share.takes(&thread(n), &plugin(), Generation(7));
            prop_assert!(!takes(small) || takes(large));
        }
    }
}
