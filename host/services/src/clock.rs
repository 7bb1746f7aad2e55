//! The tool `clock`: what time it is, by the host's injected clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent_host_core::{ports::tools::ToolError, timestamp};
use agent_plugin_protocol::call::ToolInfo;
use serde_json::{Value, json};

use crate::arguments::Arguments;

pub(crate) const NAME: &str = "clock";

/// From UTC−12 to UTC+14: what exists on Earth.
const OFFSETS: (i64, i64) = (-12 * 60, 14 * 60);

pub(crate) fn info() -> ToolInfo {
    ToolInfo {
        name: NAME.to_owned(),
        description: "Tells the current date and time as RFC 3339, in UTC or at a given offset.".to_owned(),
        input_schema: json!({
            "type": "object",
            "properties": {
                "utc_offset_minutes": {
                    "type": "integer", "minimum": OFFSETS.0, "maximum": OFFSETS.1,
                    "description": "minutes east of UTC; left out: UTC",
                },
            },
            "additionalProperties": false,
        }),
    }
}

pub(crate) fn call(arguments: &Value, now: SystemTime) -> Result<Value, ToolError> {
    let arguments = Arguments::read(arguments, &["utc_offset_minutes"])?;
    let offset = arguments.whole("utc_offset_minutes", OFFSETS.0, OFFSETS.1)?.unwrap_or(0);
    Ok(json!({ "time": at_offset(now, offset), "utc_offset_minutes": offset }))
}

/// The local time is the UTC time moved by the offset, with the offset in place of `Z`.
fn at_offset(now: SystemTime, minutes: i64) -> String {
    if minutes == 0 {
        return timestamp::rfc3339(now);
    }
    let distance = Duration::from_secs(minutes.unsigned_abs() * 60);
    let moved = if minutes < 0 { now.checked_sub(distance) } else { now.checked_add(distance) };
    let mut text = timestamp::rfc3339(moved.unwrap_or(UNIX_EPOCH));
    text.truncate(text.len() - 1);
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{text}{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: Value, expected: Option<&str>) {
        let now = UNIX_EPOCH + Duration::from_millis(1_767_225_600_042);
        let time = call(&arguments, now).map(|v| v["time"].as_str().unwrap().to_owned());
        assert_eq!(time.ok().as_deref(), expected, "{arguments}");
    }

    #[test]
    fn the_time_is_told_in_utc_or_at_an_offset() {
        check(json!({}), Some("2026-01-01T00:00:00.042Z"));
        check(Value::Null, Some("2026-01-01T00:00:00.042Z"));
        check(json!({"utc_offset_minutes": 330}), Some("2026-01-01T05:30:00.042+05:30"));
        check(json!({"utc_offset_minutes": -480}), Some("2025-12-31T16:00:00.042-08:00"));
        check(json!({"utc_offset_minutes": -30}), Some("2025-12-31T23:30:00.042-00:30"));
    }

    #[test]
    fn what_is_no_offset_is_refused() {
        for bad in [json!(900), json!(-721), json!(1.5), json!("60"), json!(true), json!(u64::MAX)] {
            check(json!({ "utc_offset_minutes": bad }), None);
        }
        check(json!({"zone": "UTC"}), None);
        check(json!([]), None);
    }
}
