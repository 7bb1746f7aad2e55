//! Where an event is in the table of all events: its thread in the high bits, its `seq` in the low ones.

use std::time::{Duration, SystemTime};

use agent_plugin_protocol::Seq;

/// A thread may have 268 million events, and there may be 34 thousand million threads.
const SEQ_BITS: u32 = 28;
/// The last `seq` that a thread can have.
pub(super) const LAST: u64 = (1 << SEQ_BITS) - 1;

/// The position of an event. Beyond the last possible one, it is that.
pub(super) fn of(thread: i64, seq: Seq) -> i64 {
    // Lossless: at most 28 bits.
    (thread << SEQ_BITS) | seq.0.min(LAST) as i64
}

/// Its thread.
pub(super) fn thread(position: i64) -> i64 {
    position >> SEQ_BITS
}

/// Its `seq`.
pub(super) fn seq(position: i64) -> Seq {
    Seq(position as u64 & LAST)
}

/// A time as it is kept: milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A kept time.
pub(super) fn time(millis: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_its_thread_and_seq_and_sorts_by_them() {
        for (row, n) in [(1, 1), (7, LAST), ((1 << 34) + 5, 42)] {
            let position = of(row, Seq(n));
            assert_eq!((thread(position), seq(position)), (row, Seq(n)));
            assert!(position > of(row - 1, Seq(LAST)) && position < of(row + 1, Seq(0)));
        }
        assert_eq!(of(3, Seq(u64::MAX)), of(3, Seq(LAST)));
    }

    #[test]
    fn times_are_kept_to_the_millisecond() {
        let then = SystemTime::UNIX_EPOCH + Duration::from_millis(1_800_000_000_123);
        assert_eq!(time(millis(then)), then);
        assert_eq!(time(-1), SystemTime::UNIX_EPOCH);
    }
}
