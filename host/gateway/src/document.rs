//! A description for machines as it is served: JSON, made once, with a name for caches.

pub(crate) mod openapi;

use std::fmt::Write as _;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The document with its name for caches.
pub(crate) struct Page {
    body: Bytes,
    etag: HeaderValue,
}

impl Page {
    /// The page of that document.
    pub(crate) fn new(document: &Value) -> Self {
        let mut body = serde_json::to_string_pretty(document).unwrap_or_default();
        body.push('\n');
        let mut etag = String::from("\"");
        for byte in Sha256::digest(body.as_bytes()).iter().take(16) {
            // Writing to a String does not fail.
            let _ = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        let etag = HeaderValue::from_str(&etag).unwrap_or_else(|_| HeaderValue::from_static("\"0\""));
        Self { body: body.into(), etag }
    }

    /// The page, or that the client has it.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> Response {
        let cached = headers.get_all(header::IF_NONE_MATCH).iter().any(|known| names(known, &self.etag));
        let always = [
            (header::ETAG, self.etag.clone()),
            // It changes with the host's version: ask, but do not fetch again.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        if cached {
            return (StatusCode::NOT_MODIFIED, always).into_response();
        }
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (always, json, self.body.clone()).into_response()
    }
}

fn names(known: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(known), Ok(etag)) = (known.to_str(), etag.to_str()) else { return false };
    known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == "*" || one == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(if_none_match: Option<&HeaderValue>) -> Response {
        let mut headers = HeaderMap::new();
        headers.extend(if_none_match.map(|etag| (header::IF_NONE_MATCH, etag.clone())));
        Page::new(&serde_json::json!({ "a": 1 })).answer(&headers)
    }

    #[test]
    fn who_has_it_need_not_fetch_it_again() {
        let first = get(None);
        assert_eq!(first.status(), StatusCode::OK);
        let etag = first.headers()[header::ETAG].clone();
        assert_eq!(get(Some(&etag)).status(), StatusCode::NOT_MODIFIED);
        let weak = HeaderValue::from_str(&format!("\"x\", W/{}", etag.to_str().unwrap())).unwrap();
        assert_eq!(get(Some(&weak)).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(get(Some(&HeaderValue::from_static("\"x\""))).status(), StatusCode::OK);
    }
}
