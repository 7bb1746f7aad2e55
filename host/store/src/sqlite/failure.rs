//! What SQLite says, as the host's codes.

use agent_host_core::ports::store::StoreError;
use agent_plugin_protocol::Code;
use rusqlite::{Error, ErrorCode};

/// Why an operation on the file failed.
pub(super) fn failure(doing: &str, error: &Error) -> StoreError {
    let code = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Code::StoreFull,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Code::StoreCorrupt,
        _ => Code::StoreUnavailable,
    };
    StoreError { code, reason: format!("{doing}: {error}") }
}

/// A file that is not readable as what it should be.
pub(super) fn corrupt(reason: impl Into<String>) -> StoreError {
    StoreError { code: Code::StoreCorrupt, reason: reason.into() }
}
