//! Times as every frame, log and view writes them: RFC 3339 in UTC with milliseconds.

use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

/// `2026-01-31T09:05:07.042Z`. Total: a time outside the years 0001 to 9999 is written as the nearest one inside.
pub fn rfc3339(at: SystemTime) -> String {
    rfc3339_bytes(at).iter().copied().map(char::from).collect()
}

/// The same as ASCII, without an allocation: every event's frame has one, and formatting it the general way cost more
/// than the rest of the frame.
pub fn rfc3339_bytes(at: SystemTime) -> [u8; 24] {
    let at = civil(at);
    let (date, time) = (at.date(), at.time());
    let mut out = *b"0000-00-00T00:00:00.000Z";
    digits(&mut out[0..4], date.year().unsigned_abs());
    digits(&mut out[5..7], u8::from(date.month()).into());
    digits(&mut out[8..10], date.day().into());
    digits(&mut out[11..13], time.hour().into());
    digits(&mut out[14..16], time.minute().into());
    digits(&mut out[17..19], time.second().into());
    digits(&mut out[20..23], time.millisecond().into());
    out
}

/// Fills `place` with the last digits of `number`.
fn digits(place: &mut [u8], mut number: u32) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Milliseconds since 1970, negative before.
pub fn unix_millis(at: SystemTime) -> i64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        // Rounded down, as after 1970, so that order is kept.
        Err(before) => {
            i64::try_from(before.duration().as_nanos().div_ceil(1_000_000)).map_or(i64::MIN, |ms| -ms)
        }
    }
}

fn civil(at: SystemTime) -> OffsetDateTime {
    /// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999Z in milliseconds since 1970.
    const RANGE: (i64, i64) = (-62_135_596_800_000, 253_402_300_799_999);
    let millis = unix_millis(at).clamp(RANGE.0, RANGE.1);
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
