//! Reads one value of the command line each; what is wrong with it ends with 2.

use std::time::Duration;

pub(super) fn key_and_value(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(key, _)| !key.is_empty());
    parts.map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| "write KEY=VALUE".to_owned())
}

pub(super) fn word(text: &str) -> Result<String, String> {
    let letters = !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if letters { Ok(text.to_owned()) } else { Err("write a verdict or a state, such as failed".to_owned()) }
}

pub(super) fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("write JSON: {error}"))
}

pub(super) fn lifetime(text: &str) -> Result<Duration, String> {
    let parsed = agent_host_config::parse_duration(text);
    // Claims count whole seconds.
    parsed.filter(|time| time.as_secs() > 0).ok_or_else(|| "write a time such as 15m, 1h or 30d".to_owned())
}

/// A connection's name is one part of a path.
pub(super) fn connection(text: &str) -> Result<String, String> {
    let name = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
    if name { Ok(text.to_owned()) } else { Err("write a name that `connections list` shows".to_owned()) }
}

/// A length of time, as the host reads it.
pub(super) fn span(text: &str) -> Result<String, String> {
    lifetime(text).map(|_| text.to_owned())
}
