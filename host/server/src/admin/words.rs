//! How things are said on a terminal: verdicts that stand out, times for people, and nothing that acts on the terminal.

use std::io::{self, IsTerminal as _};

use agent_host_core::sanitise;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Whether verdicts are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// A person reads it on a terminal.
    Coloured,
    /// Anything else.
    Plain,
}

impl Style {
    /// As stdout is.
    pub(super) fn of_stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && io::stdout().is_terminal() { Self::Coloured } else { Self::Plain }
    }

    /// A verdict, filled up to `width`: it is what the eye shall find first.
    pub(super) fn verdict(self, verdict: &str, width: usize) -> String {
        let text = format!("{:<width$}", shown(verdict));
        let code = match (self, verdict) {
            (Self::Plain, _) => return text,
            (Self::Coloured, "healthy") => "1;32",
            (Self::Coloured, "failed") => "1;31",
            (Self::Coloured, _) => "3;2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// One safe line of whatever came from a host, and so perhaps from a plugin.
pub(super) fn shown(text: &str) -> String {
    sanitise::line(text, 600)
}

/// The same, short enough for a column.
pub(super) fn brief(text: &str, most: usize) -> String {
    sanitise::line(text, most)
}

/// A host's time, as the clock of it: `14:02:11 UTC`, with the day where it is not that of `now`.
pub(super) fn clock(at: &str, now: OffsetDateTime) -> String {
    match OffsetDateTime::parse(at, &Rfc3339) {
        Ok(at) => {
            let (date, time) = (at.date(), at.time());
            let day = if date == now.date() { String::new() } else { format!("{date} ") };
            format!("{day}{:02}:{:02}:{:02} UTC", time.hour(), time.minute(), time.second())
        }
        Err(_) => shown(at),
    }
}

/// How long ago, roughly: `8 s`, `3 min`, `5 h`, `12 d`. Empty for a time that is none, or has not come.
pub(super) fn ago(at: &str, now: OffsetDateTime) -> String {
    let Ok(at) = OffsetDateTime::parse(at, &Rfc3339) else { return String::new() };
    match (now - at).whole_seconds() {
        ..0 => String::new(),
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// `1 run`, `2 runs`.
pub(super) fn count(number: u32, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// A length of time: `250 ms`, `8 s`, `3 min`.
pub(super) fn lasted(millis: u64) -> String {
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..120_000 => format!("{} s", millis / 1000),
        120_000..7_200_000 => format!("{} min", millis / 60_000),
        _ => format!("{} h", millis / 3_600_000),
    }
}

/// As a query has it.
pub(super) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-25T14:10:11.000Z";

    fn now() -> OffsetDateTime {
        OffsetDateTime::parse(NOW, &Rfc3339).unwrap()
    }

    #[test]
    fn times_are_for_people() {
        for (at, shown, before) in [
            ("2026-11-25T14:10:03.500Z", "14:10:03 UTC", "7 s"),
            ("2026-11-25T14:02:11.000Z", "14:02:11 UTC", "8 min"),
            ("2026-11-24T23:59:59.000Z", "2026-11-24 23:59:59 UTC", "14 h"),
            ("2026-01-01T00:00:00.000Z", "2026-01-01 00:00:00 UTC", "328 d"),
            ("2026-11-25T15:00:00.000Z", "15:00:00 UTC", ""),
            ("\u{1b}[2Jsoon", "soon", ""),
        ] {
            assert_eq!((clock(at, now()).as_str(), ago(at, now()).as_str()), (shown, before), "{at}");
        }
    }

    #[test]
    fn a_verdict_stands_out_on_a_terminal_only() {
        assert_eq!(Style::Plain.verdict("failed", 8), "failed  ");
        assert!(Style::Coloured.verdict("failed", 8).contains("\u{1b}[1;31mfailed  \u{1b}[0m"));
        assert_eq!(Style::Plain.verdict("\u{1b}[2Jx", 2), "x ");
    }

    #[test]
    fn a_query_takes_any_name() {
        assert_eq!(encoded("a b&ä"), "a%20b%26%C3%A4");
    }
}
