//! Sets up the log: JSON or pretty, on stderr, filtered by level.

use tracing_subscriber::{EnvFilter, fmt};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// Begins to log. `level` is a filter in `tracing`'s words (`info`, `agent_host=debug,info`).
///
/// A second call changes nothing: the first log of a process stays.
pub fn install(format: Format, level: &str) {
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let installed = match format {
        Format::Json => lines.json().flatten_event(true).try_init(),
        Format::Pretty => lines.try_init(),
    };
    // The only error is that a log is installed already, which is what is wanted.
    drop(installed);
}
