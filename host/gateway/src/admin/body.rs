//! Reads what an order says in its body: JSON, bounded in size and time, and nothing that is not known.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::pages;
use crate::problem::Problem;

/// Three names of 256 bytes, each byte escaped, and the rest.
const BODY_BYTES: usize = 8 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(5);

/// Reads a body as what it is to be. `hint` is what follows from a mistake.
///
/// Cancel safe: nothing was done.
pub(crate) async fn read<T: DeserializeOwned>(body: Body, what: &str, hint: &str) -> Result<T, Problem> {
    let bytes = whole(body, hint).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| pages::bad_request(format!("the body is no {what}: {error}"), hint))
}

/// The same; `None`: there is none, or an empty object.
///
/// Cancel safe: nothing was done.
pub(crate) async fn read_any(body: Body, what: &str, hint: &str) -> Result<Option<Value>, Problem> {
    let bytes = whole(body, hint).await?;
    if matches!(bytes.trim_ascii(), b"" | b"{}") {
        return Ok(None);
    }
    let read = serde_json::from_slice(&bytes).map(Some);
    read.map_err(|error| pages::bad_request(format!("the body is no {what}: {error}"), hint))
}

async fn whole(body: Body, hint: &str) -> Result<Bytes, Problem> {
    match timeout(BODY_WITHIN, to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Problem::of_http(
            StatusCode::PAYLOAD_TOO_LARGE,
            "http.too_large",
            format!("the body is longer than {BODY_BYTES} bytes, or broke off"),
            hint.to_owned(),
        )),
        Err(_) => Err(Problem::of_http(
            StatusCode::REQUEST_TIMEOUT,
            "http.timeout",
            format!("the body did not come within {} s", BODY_WITHIN.as_secs()),
            hint.to_owned(),
        )),
    }
}
