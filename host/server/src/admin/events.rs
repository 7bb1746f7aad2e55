//! `events`: what happened at a host, and what happens, one line each.

use std::{
    io::{self, Write as _},
    thread,
    time::Duration,
};

use agent_host_core::{failpoint, failpoint::Action};
use agent_host_telemetry::log;
use serde::Deserialize;
use serde_json::Value;
use time::{OffsetDateTime, UtcDateTime};

use super::{
    DEBUG,
    link::{Watched, watch},
    target::Target,
    words::shown,
};
use crate::{
    cli::{EventsArgs, Output},
    exit::Failure,
    safe,
};

/// `events`. With `--follow` it goes on after its connection, its token or the host has ended, from where it was: what
/// happened meanwhile is told, or that it is not kept any more.
pub(crate) fn events(args: &EventsArgs) -> Result<(), Failure> {
    let mut seen = Seen::default();
    let mut pause = SHORTEST;
    loop {
        // Anew for each connection: a token that is made holds for two minutes only, and a file may have another.
        let target = Target::new(&args.admin, DEBUG)?;
        let path = format!("/admin/v1/events?since={}&follow={}", seen.after(), args.follow);
        let (mut gone, before) = (false, seen.lines);
        let ended = watch(&target, &path, |line| {
            let Some(text) = seen.line(line, args.admin.output) else { return true };
            // A reader that has seen enough of it ends the watch.
            gone = writeln!(io::stdout(), "{text}").is_err();
            !gone
        });
        let why = match ended {
            Watched::Refused(failure) => return Err(failure),
            Watched::Lost(failure) if !args.follow || !seen.was_there() => return Err(failure),
            Watched::Ended if gone || !args.follow => return Ok(()),
            Watched::Lost(failure) => Some(failure),
            Watched::Ended => None,
        };
        if seen.lines > before {
            pause = SHORTEST;
        }
        if pause == SHORTEST
            && let Some(why) = why
        {
            log::say(&format!("{why}; trying again, as long as it takes"));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST);
    }
}

/// Between two tries.
const SHORTEST: Duration = Duration::from_millis(200);
/// A host that begins anew is there within seconds.
const LONGEST: Duration = Duration::from_secs(5);

/// How far the stream was seen.
#[derive(Debug, Default)]
struct Seen {
    /// The id of the last event; `None`: none yet.
    last: Option<String>,
    /// The id of the event that is coming.
    next: Option<String>,
    /// How many lines there were.
    lines: u64,
}

impl Seen {
    /// What there is to ask for.
    fn after(&self) -> &str {
        // Off for a broken twin: a reader that begins anew each time.
        let forgets = failpoint!("server.events_after") == Some(Action::Off);
        self.last.as_deref().filter(|_| !forgets).unwrap_or("0")
    }

    /// Whether a host has said anything yet.
    fn was_there(&self) -> bool {
        self.lines > 0
    }

    /// What is to be printed for a line of the stream. Before the first event of another process of the host, that there is
    /// a seam: nobody can tell what the one before it did last.
    fn line(&mut self, line: &str, output: Output) -> Option<String> {
        self.lines += 1;
        if let Some(id) = line.strip_prefix("id:") {
            // It goes into a path: an id that is none is asked for from the begin.
            let id = id.trim();
            let plain = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            self.next = plain.then(|| id.to_owned());
            return None;
        }
        let data = line.strip_prefix("data:")?.trim();
        let text = match output {
            Output::Json => safe::json(data),
            Output::Table => in_words(data),
        };
        // A gap that the host tells of has no id.
        let Some(id) = self.next.take() else { return Some(text) };
        let process = |id: &str| id.split('-').next().map(str::to_owned);
        let other = self.last.as_deref().is_some_and(|last| process(last) != process(&id));
        self.last = Some(id);
        match (other, output) {
            (false, _) => Some(text),
            (true, Output::Json) => Some(format!("{{\"restarted\":true}}\n{text}")),
            (true, Output::Table) => Some(format!("{RESTARTED}\n{text}")),
        }
    }
}

const RESTARTED: &str =
    "… from here on it is another process of the host; what the one before it did at its end may be missing";

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
    fn it_is_known_how_far_the_stream_was_seen_and_where_another_process_begins() {
        let mut seen = Seen::default();
        let mut said = |line: &str| (seen.line(line, Output::Json), seen.after().to_owned());
        assert_eq!(said("id: 7-1"), (None, "0".to_owned()));
        assert_eq!(said(r#"data: {"a":1}"#), (Some(r#"{"a":1}"#.to_owned()), "7-1".to_owned()));
        // One that came half has not been seen.
        assert_eq!(said("id: 7-2").1, "7-1");
        assert_eq!(said(": still here"), (None, "7-1".to_owned()));
        assert_eq!(said("id: 8-1").0, None);
        assert_eq!(said("data: {}"), (Some("{\"restarted\":true}\n{}".to_owned()), "8-1".to_owned()));
        assert_eq!(said(r#"data: {"missed":2}"#), (Some(r#"{"missed":2}"#.to_owned()), "8-1".to_owned()));
        said("id: 8-1&follow=false");
        assert_eq!(said("data: {}").1, "8-1");
    }

    #[test]
    fn an_event_is_one_safe_line() {
        let data = r#"{"id":"1-1","at_ms":0,"event":"PluginFailed","level":"WARN","fields":{"plugin":"a","reason":"\u001b[2Jno\nmore"}}"#;
        assert_eq!(in_words(data), "1970-01-01 00:00:00 WARN PluginFailed plugin=a reason=no more");
        assert!(in_words(r#"{"missed":3}"#).contains("3 more"));
        assert!(in_words("not JSON").contains("00:00:00"));
    }
}
