//! The only ways in which a WebSocket upgrade can be refused. None of them is 500 (law 1): the type has no such value.

use std::time::Duration;

use agent_host_core::{failpoint, failpoint::Action};
use agent_plugin_protocol::Code;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::{auth::AuthError, problem::Problem, surface::Surface};

/// A key set is asked for again in that time.
const KEYS_RETRY: Duration = Duration::from_secs(5);

/// An upgrade refused, with the reason that the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UpgradeRefusal {
    status: RefusalStatus,
    code: Code,
    detail: String,
    hint: String,
}

/// The statuses of law 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RefusalStatus {
    /// 400: not a complete WebSocket request.
    BadRequest,
    /// 401: no valid token.
    Unauthorized,
    /// 403: the origin, or a permission.
    Forbidden,
    /// 429: the user's own limits. Always with `Retry-After`.
    TooMany(Duration),
    /// 503: the host. Always with `Retry-After`.
    Unavailable(Duration),
}

impl UpgradeRefusal {
    pub(crate) fn bad_request(code: Code) -> Self {
        Self::new(RefusalStatus::BadRequest, code)
    }

    pub(crate) fn unauthorized(code: Code) -> Self {
        Self::new(RefusalStatus::Unauthorized, code)
    }

    pub(crate) fn forbidden(code: Code) -> Self {
        Self::new(RefusalStatus::Forbidden, code)
    }

    pub(crate) fn too_many(code: Code, retry_after: Duration) -> Self {
        Self::new(RefusalStatus::TooMany(retry_after), code)
    }

    pub(crate) fn unavailable(code: Code, retry_after: Duration) -> Self {
        Self::new(RefusalStatus::Unavailable(retry_after), code)
    }

    /// A token that is no good; or one that cannot be judged yet, which is the host's trouble.
    pub(crate) fn of_token(error: AuthError) -> Self {
        match error.code {
            Code::AuthKeysUnavailable => Self::unavailable(error.code, KEYS_RETRY),
            code => Self::unauthorized(code).detail(error.detail),
        }
    }

    /// The same, as clients of that protocol understand it: the older wire says 403 of every token.
    pub(crate) fn on(self, surface: Surface) -> Self {
        // Off for a broken twin: a host whose refusals are those of the native protocol everywhere.
        if failpoint!("gateway.netra_refusal") == Some(Action::Off) {
            return self;
        }
        match (surface, self.status) {
            (Surface::NetraV1 | Surface::NetraV2, RefusalStatus::Unauthorized) => {
                Self { status: RefusalStatus::Forbidden, ..self }
            }
            (Surface::Native | Surface::NetraV1 | Surface::NetraV2, _) => self,
        }
    }

    /// A bug of ours, whatever it was.
    pub(crate) fn internal() -> Self {
        Self::unavailable(Code::HostInternal, Duration::from_secs(2))
    }

    fn new(status: RefusalStatus, code: Code) -> Self {
        Self { status, code, detail: code.meaning().to_owned(), hint: code.remedy().to_owned() }
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn status(&self) -> StatusCode {
        match self.status {
            RefusalStatus::BadRequest => StatusCode::BAD_REQUEST,
            RefusalStatus::Unauthorized => StatusCode::UNAUTHORIZED,
            RefusalStatus::Forbidden => StatusCode::FORBIDDEN,
            RefusalStatus::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            RefusalStatus::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for UpgradeRefusal {
    fn into_response(self) -> Response {
        let problem = Problem::new(self.status(), self.code, self.detail, self.hint);
        match self.status {
            RefusalStatus::BadRequest if self.code == Code::UpgradeVersion => {
                problem.with_header(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))
            }
            RefusalStatus::BadRequest | RefusalStatus::Forbidden => problem,
            RefusalStatus::Unauthorized => {
                problem.with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            RefusalStatus::TooMany(after) | RefusalStatus::Unavailable(after) => problem.retry_after(after),
        }
        .into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_one_of_the_laws_statuses_and_says_when_to_come_back() {
        let ms = Duration::from_millis(300);
        for (refusal, status, retry) in [
            (UpgradeRefusal::bad_request(Code::UpgradeMissingKey), 400, None),
            (UpgradeRefusal::unauthorized(Code::AuthExpired), 401, None),
            (UpgradeRefusal::forbidden(Code::OriginDenied), 403, None),
            (UpgradeRefusal::too_many(Code::LimitConnections, ms), 429, Some("1")),
            (UpgradeRefusal::unavailable(Code::HostDraining, ms * 10), 503, Some("3")),
            (UpgradeRefusal::internal(), 503, Some("2")),
        ] {
            let response = refusal.into_response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().get("retry-after").map(|v| v.to_str().unwrap()), retry);
            assert_eq!(response.headers()["content-type"], "application/problem+json");
        }
    }

    #[tokio::test]
    async fn the_body_says_when_to_come_back_to_the_millisecond() {
        let refusal = UpgradeRefusal::too_many(Code::LimitConnections, Duration::from_millis(300));
        for (refusal, after) in
            [(refusal, Some(300)), (UpgradeRefusal::unauthorized(Code::AuthExpired), None)]
        {
            let body = axum::body::to_bytes(refusal.into_response().into_body(), 4096).await.unwrap();
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(body["retry_after_ms"].as_u64(), after, "{body}");
        }
    }
}
