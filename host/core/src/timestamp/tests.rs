use std::time::Duration;

use proptest::prelude::*;
use time::format_description::well_known::Rfc3339;

use super::*;

#[test]
fn times_are_written_with_milliseconds_in_utc() {
    let cases = [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_767_225_600_042, "2026-01-01T00:00:00.042Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (253_402_300_800_000, "9999-12-31T23:59:59.999Z"),
    ];
    for (millis, expected) in cases {
        let at = UNIX_EPOCH + Duration::from_millis(millis);
        assert_eq!(rfc3339(at), expected);
        assert_eq!(unix_millis(at), i64::try_from(millis).unwrap());
    }
}

#[test]
fn times_before_1970_are_rounded_down_as_all_others() {
    assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_millis(1)), "1969-12-31T23:59:59.999Z");
    assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_nanos(1)), "1969-12-31T23:59:59.999Z");
    assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_nanos(999_999)), "1970-01-01T00:00:00.000Z");
}

#[test]
fn a_time_beyond_the_calendar_is_the_nearest_one_inside() {
    assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(1 << 60)), "9999-12-31T23:59:59.999Z");
    assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1 << 60)), "0001-01-01T00:00:00.000Z");
}

proptest! {
    #[test]
    fn a_time_is_read_back_as_it_was_and_texts_sort_as_times(a in 0u64..250_000_000_000_000, b in 0u64..250_000_000_000_000) {
        let at = |ms| UNIX_EPOCH + Duration::from_millis(ms);
        let read = OffsetDateTime::parse(&rfc3339(at(a)), &Rfc3339).unwrap();
        prop_assert_eq!(SystemTime::from(read), at(a));
        prop_assert_eq!(rfc3339(at(a)).cmp(&rfc3339(at(b))), a.cmp(&b));
    }
}
