//! For how long an order holds: a length of time between a second and what the order allows.

use std::time::Duration;

use agent_host_core::duration;

const SHORTEST: Duration = Duration::from_secs(1);

/// Reads one, as in `10m`; `None`: it is none, or out of bounds.
pub(crate) fn read(text: &str, longest: Duration) -> Option<Duration> {
    duration::parse(text.trim()).filter(|lasting| (SHORTEST..=longest).contains(lasting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_second_at_least_and_no_longer_than_allowed() {
        let day = Duration::from_secs(86_400);
        assert_eq!(read(" 10m", day), Some(Duration::from_secs(600)));
        assert_eq!(read("1d", day), Some(day));
        for wrong in ["0s", "999ms", "2d", "10", "", "soon"] {
            assert_eq!(read(wrong, day), None, "{wrong}");
        }
    }
}
