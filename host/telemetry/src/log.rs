//! Sets up the log: JSON or pretty, on stderr, filtered by level, written by a thread of its own.

use tracing_subscriber::{EnvFilter, fmt, fmt::MakeWriter};

pub use crate::lines::flush;
use crate::{happening::Panicked, lines::Lines};

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
    /// Through a bounded queue: whoever logs never waits.
    Queued,
    /// Whoever logs writes, and waits for whoever reads.
    Direct,
}

/// Begins to log. `level` is a filter in `tracing`'s words (`info`, `agent_host=debug,info`); a plain `debug` or
/// `trace` holds for the host and its plugins only.
///
/// A second call changes nothing: the first log of a process stays.
pub fn install(format: Format, level: &str, way: Way) {
    match Lines::to_stderr() {
        Ok(lines) if way == Way::Queued => {
            begin(format, level, lines);
            tell_panics();
        }
        // Without a thread for it: slower, and as true.
        Ok(_) | Err(_) => begin(format, level, std::io::stderr),
    }
}

fn begin(format: Format, level: &str, writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
    let filter = EnvFilter::try_new(ours(level)).unwrap_or_else(|_| EnvFilter::new("info"));
    // A line that cannot be written is lost: to say so on the same stderr would be a panic, and the host's end.
    let lines = fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
    let installed = match format {
        Format::Json => lines.json().flatten_event(true).try_init(),
        Format::Pretty => lines.try_init(),
    };
    // The only error is that a log is installed already, which is what is wanted.
    drop(installed);
}

/// Panics are told in the log: the standard hook writes to stderr itself, and waits where nobody reads.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, ToString::to_string);
        let message = panic.payload_as_str().unwrap_or("not a text").to_owned();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_owned();
        // Costs nothing unless `RUST_BACKTRACE` asks for it.
        let backtrace = std::backtrace::Backtrace::capture();
        let backtrace = match backtrace.status() {
            std::backtrace::BacktraceStatus::Captured => backtrace.to_string(),
            _ => String::new(),
        };
        Panicked { place, thread, message, backtrace }.emit();
    }));
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
