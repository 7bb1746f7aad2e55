//! Problem documents (RFC 9457): how this host says no over HTTP, with the stable code.

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
    headers: HeaderMap,
    body: ProblemBody,
}

#[derive(Debug, Clone, Serialize)]
struct ProblemBody {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
    hint: String,
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
        };
        Self { status, headers: HeaderMap::new(), body }
    }

    pub(crate) fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Serialising plain strings does not fail; an empty body would still carry the right status.
        let body = serde_json::to_vec(&self.body).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
