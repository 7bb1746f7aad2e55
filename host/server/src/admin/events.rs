//! `events`: what happened at a host, and what happens, one line each.

use std::io::{self, Write as _};

use serde::Deserialize;
use serde_json::Value;
use time::{OffsetDateTime, UtcDateTime};

use super::{DEBUG, link::watch, target::Target, words::shown};
use crate::{
    cli::{EventsArgs, Output},
    exit::{Exit, Failure},
    safe,
};

/// `events`
pub(crate) fn events(args: &EventsArgs) -> Result<(), Failure> {
    let target = Target::new(&args.admin, DEBUG)?;
    let path = format!("/admin/v1/events?since=0&follow={}", args.follow);
    let mut gone = false;
    watch(&target, &path, |line| {
        let Some(data) = line.strip_prefix("data:") else { return true };
        let text = match args.admin.output {
            Output::Json => safe::json(data.trim()),
            Output::Table => in_words(data.trim()),
        };
        // A reader that has seen enough of it ends the watch.
        gone = writeln!(io::stdout(), "{text}").is_err();
        !gone
    })?;
    if args.follow && !gone {
        let why = "the host ended the stream: it goes away, or the token has expired";
        return Err(Failure::new(Exit::Unreachable, why));
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Event {
    at_ms: u64,
    event: String,
    level: String,
    fields: serde_json::Map<String, Value>,
    missed: Option<u64>,
}

fn in_words(data: &str) -> String {
    let event: Event = serde_json::from_str(data).unwrap_or_default();
    if let Some(missed) = event.missed {
        return format!("… {missed} more, which this host does not keep any more");
    }
    let at = UtcDateTime::from_unix_timestamp(i64::try_from(event.at_ms / 1000).unwrap_or_default());
    let at = at.map_or_else(
        |_| "--:--:--".to_owned(),
        |at| {
            let (date, time) = (at.date(), at.time());
            let day =
                if date == OffsetDateTime::now_utc().date() { String::new() } else { format!("{date} ") };
            format!("{day}{:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())
        },
    );
    let fields: Vec<String> = event
        .fields
        .iter()
        .map(|(name, value)| {
            format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        })
        .collect();
    shown(&format!("{at} {} {} {}", event.level, event.event, fields.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_safe_line() {
        let data = r#"{"id":"1-1","at_ms":0,"event":"PluginFailed","level":"WARN","fields":{"plugin":"a","reason":"\u001b[2Jno\nmore"}}"#;
        assert_eq!(in_words(data), "1970-01-01 00:00:00 WARN PluginFailed plugin=a reason=no more");
        assert!(in_words(r#"{"missed":3}"#).contains("3 more"));
        assert!(in_words("not JSON").contains("00:00:00"));
    }
}
