//! Lengths of time as people write them: `250ms`, `8s`, `10m`, `1h`, `30d`.

use std::time::Duration;

/// The units, the largest first, in milliseconds.
pub const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads one; `None` without a unit, or beyond what can be counted.
pub fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_a_unit() {
        for (text, millis) in [("250ms", 250), ("8s", 8000), ("10 m", 600_000), ("1h", 3_600_000), ("0d", 0)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "8", "s", "-8s", "8 weeks", "1.5h", "99999999999999999999s", "213503982335d"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
