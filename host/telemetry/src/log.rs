//! Sets up the log: JSON or pretty, on stderr, filtered by level; and says there what is no happening.

use std::{
    any::Any,
    backtrace::Backtrace,
    io::{self, Write},
    panic::PanicHookInfo,
    sync::OnceLock,
    thread,
    time::Duration,
};

use serde_json::json;
use tracing_subscriber::{
    EnvFilter,
    fmt::{
        self, MakeWriter,
        format::Writer,
        time::{FormatTime as _, SystemTime},
    },
};

use crate::lines::Lines;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// How lines get to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through a bounded queue: whoever logs never waits, and a line without room is dropped and counted.
    Queue,
    /// Each is written by whoever logs, who waits for whoever reads: where no queue can be had.
    Direct,
}

/// The queue of this process, once there is one.
static LINES: OnceLock<Lines> = OnceLock::new();

/// How long the end of the process waits for the lines that still wait.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long a thread that panics waits for its words to be out: if the panic ends the process, they are the last.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// Begins to log. `level` is a filter in `tracing`'s words (`info`, `agent_host=debug,info`); a plain `debug` or
/// `trace` holds for the host and its plugins only. A panic becomes a line of the log too.
///
/// A second call changes nothing: the first log of a process stays.
///
/// # Errors
/// If there is no queue to be had; nothing is logged then, and it can be installed the other [`Way`].
pub fn install(format: Format, level: &str, way: Way) -> io::Result<()> {
    if way == Way::Queue {
        queue()?;
    }
    let filter = EnvFilter::try_new(ours(level)).unwrap_or_else(|_| EnvFilter::new("info"));
    // A line that cannot be written is lost: to say so on the same stderr would be a panic, and the host's end.
    let lines = fmt::fmt().with_env_filter(filter).with_writer(To(way)).log_internal_errors(false);
    let installed = match format {
        Format::Json => lines.json().flatten_event(true).try_init(),
        Format::Pretty => lines.try_init(),
    };
    if installed.is_ok() && way == Way::Queue {
        // The standard hook would hold the lock of stderr for as long as nobody reads.
        std::panic::set_hook(Box::new(move |info| panicked(format, info)));
    }
    // The only error is that a log is installed already, which is what is wanted.
    Ok(())
}

/// Says something on stderr that is no happening: why a command failed, that a signal came. It goes through the queue,
/// behind the lines that wait, and this waits until it is out, but never long.
pub fn say(text: &str) {
    match queue() {
        Ok(lines) => {
            lines.push(format!("{text}\n").as_bytes());
            lines.flush(FAREWELL);
        }
        // Without a thread or a descriptor there is only this; a closed stderr is no failure of what is said.
        Err(_) => drop(writeln!(io::stderr(), "{text}")),
    }
}

/// Waits until the lines that wait are out, but never long: for the end of the process.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(FAREWELL);
    }
}

/// How many lines of this process were dropped.
pub(crate) fn dropped() -> u64 {
    LINES.get().map_or(0, Lines::dropped)
}

fn queue() -> io::Result<&'static Lines> {
    match LINES.get() {
        Some(lines) => Ok(lines),
        None => {
            let lines = Lines::to_stderr()?;
            // Of two threads that come together one finds the other's queue; its own ends with it.
            Ok(LINES.get_or_init(|| lines))
        }
    }
}

/// Where the formatter writes.
#[derive(Debug, Clone, Copy)]
struct To(Way);

impl<'a> MakeWriter<'a> for To {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        match self.0 {
            Way::Queue => LINES.get().map_or(Line::Direct, Line::Queue),
            Way::Direct => Line::Direct,
        }
    }
}

/// Takes one line: the formatter hands each over in one piece.
enum Line {
    Queue(&'static Lines),
    Direct,
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Self::Queue(lines) => lines.push(line),
            Self::Direct => io::stderr().write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the standard hook says, as a line of the log. It goes past `tracing`, in which the panic may have been.
fn panicked(format: Format, info: &PanicHookInfo<'_>) {
    let Some(lines) = LINES.get() else { return };
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let (thread, backtrace) = (thread::current(), Backtrace::force_capture().to_string());
    let (name, message) = (thread.name().unwrap_or("<unnamed>"), text_of(info.payload()));
    let mut now = String::new();
    // Writing to a `String` cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut now));
    let line = match format {
        Format::Json => json!({
            "timestamp": now, "level": "ERROR", "message": "a thread panicked", "target": "agent_host",
            "thread": name, "place": place, "panic": message, "backtrace": backtrace,
        })
        .to_string(),
        Format::Pretty => format!("{now} ERROR thread '{name}' panicked at {place}: {message}\n{backtrace}"),
    };
    lines.push(format!("{}\n", line.trim_end()).as_bytes());
    if !lines.is_stuck() {
        lines.flush(LAST_WORDS);
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}

/// What a plain level means. Libraries below the host show whole frames and headers in their `debug` and `trace`,
/// people's text and tokens with them: those never go into a log.
fn ours(level: &str) -> String {
    match level {
        "debug" | "trace" => format!("info,agent_host={level},plugin={level}"),
        _ => level.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_level_is_not_that_of_the_libraries_below() {
        assert_eq!(ours("trace"), "info,agent_host=trace,plugin=trace");
        assert_eq!(ours("warn"), "warn");
        assert_eq!(ours("agent_host=debug,info"), "agent_host=debug,info");
        assert!(EnvFilter::try_new(ours("debug")).is_ok());
    }
}
