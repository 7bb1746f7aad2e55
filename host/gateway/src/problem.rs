//! Problem documents (RFC 9457): how this host says no over HTTP, with the stable code.

use std::time::Duration;

use agent_plugin_protocol::Code;
use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

/// A refusal over HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    // Boxed, so that a `Result` of it stays small: refusals are rare.
    headers: Box<HeaderMap>,
    body: Box<ProblemBody>,
}

/// What it says.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct ProblemBody {
    /// The code, as a URI.
    #[serde(rename = "type")]
    kind: String,
    /// What the code means.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// The stable code.
    code: &'static str,
    /// What happened here.
    detail: String,
    /// What to do.
    hint: String,
    /// When it is worth asking again, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

impl Problem {
    /// A refusal with a code of the one table.
    pub(crate) fn new(status: StatusCode, code: Code, detail: String, hint: String) -> Self {
        Self::build(status, code.as_str(), code.meaning(), detail, hint)
    }

    /// One of HTTP's own refusals.
    pub(crate) fn of_http(status: StatusCode, code: &'static str, detail: String, hint: String) -> Self {
        Self::build(status, code, status.canonical_reason().unwrap_or("refused"), detail, hint)
    }

    fn build(
        status: StatusCode,
        code: &'static str,
        title: &'static str,
        detail: String,
        hint: String,
    ) -> Self {
        let body = ProblemBody {
            kind: format!("urn:agent-host:code:{code}"),
            title,
            status: status.as_u16(),
            code,
            detail,
            hint,
            retry_after_ms: None,
        };
        Self { status, headers: Box::default(), body: Box::new(body) }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        self.body.code
    }

    /// All that it says.
    pub(crate) fn body(&self) -> &ProblemBody {
        &self.body
    }

    /// What happened, in one line.
    pub(crate) fn detail(&self) -> &str {
        &self.body.detail
    }

    pub(crate) fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl Problem {
    /// When it is worth asking again. The header tells it in whole seconds, rounded up: 0 would invite the client back
    /// at once.
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        self.body.retry_after_ms = Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
        let seconds = u16::try_from(after.as_millis().div_ceil(1000)).unwrap_or(u16::MAX).clamp(1, 3600);
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Serialising plain strings does not fail; an empty body would still carry the right status.
        let body = serde_json::to_vec(&self.body).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        *response.headers_mut() = *self.headers;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
