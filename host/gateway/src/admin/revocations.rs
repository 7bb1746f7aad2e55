//! Revokes tokens, to the end, and notes it.

use std::{sync::Arc, time::Duration};

use agent_host_telemetry::happening::TokensRevoked;
use agent_plugin_protocol::Code;
use axum::{
    body::{Body, to_bytes},
    response::Response,
};
use http::{StatusCode, request::Parts};
use tokio::time::timeout;

use super::{
    audit::{self, Operator},
    door::Admin,
    pages,
    view::{RevocationOrder, RevocationPart},
};
use crate::{problem::Problem, revoked::NotRevoked};

/// Three names of 256 bytes, each byte escaped, and the rest.
const BODY_BYTES: usize = 8 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(5);

/// `GET /admin/v1/revocations`
pub(crate) fn list<H>(admin: &Admin<H>, query: Option<&str>) -> Result<Response, Problem> {
    pages::parameters(query, &[])?;
    Ok(pages::json(&admin.revoked.list(admin.clock.now())))
}

/// `POST /admin/v1/revocations`. What was begun is finished, and noted, though the client may have left.
///
/// # Errors
/// If it is not in force, or not for good: the refusal says which.
pub(crate) async fn revoke<H>(
    admin: &Admin<H>,
    parts: &Parts,
    body: Body,
    operator: Operator,
    from: String,
) -> Result<Response, Problem> {
    pages::parameters(parts.uri.query(), &[])?;
    let now = admin.clock.now();
    let revocation = read(body).await?.revocation(now).map_err(|why| pages::bad_request(why, NOTHING))?;
    let told = RevocationPart::from(&revocation);
    let revoked = Arc::clone(&admin.revoked);
    let task = move || {
        let ended = revoked.revoke(revocation.clone(), now);
        let outcome = match &ended {
            Ok(()) => "revoked",
            Err(NotRevoked::Full(_)) => "refused",
            Err(NotRevoked::NotKept(_)) => "until the host ends",
        };
        let (of, name) = audit::of_revoked(&revocation.revoked);
        let (operator, token) = operator.words();
        TokensRevoked { operator, token, from, of, name, outcome }.emit();
        ended
    };
    match admin.tasks.spawn_blocking(task).await {
        Ok(Ok(())) => Ok(pages::json(&told)),
        Ok(Err(error)) => Err(not_done(&error)),
        Err(_) => Err(unavailable(Code::HostInternal, Code::HostInternal.meaning().to_owned())),
    }
}

async fn read(body: Body) -> Result<RevocationOrder, Problem> {
    let bytes = match timeout(BODY_WITHIN, to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => {
            return Err(Problem::of_http(
                StatusCode::PAYLOAD_TOO_LARGE,
                "http.too_large",
                format!("the body is longer than {BODY_BYTES} bytes, or broke off"),
                NOTHING.to_owned(),
            ));
        }
        Err(_) => {
            return Err(Problem::of_http(
                StatusCode::REQUEST_TIMEOUT,
                "http.timeout",
                format!("the body did not come within {} s", BODY_WITHIN.as_secs()),
                NOTHING.to_owned(),
            ));
        }
    };
    serde_json::from_slice(&bytes)
        .map_err(|error| pages::bad_request(format!("the body is no revocation: {error}"), NOTHING))
}

fn not_done(error: &NotRevoked) -> Problem {
    match error {
        NotRevoked::Full(_) => Problem::new(
            StatusCode::CONFLICT,
            Code::HostCapacity,
            error.to_string(),
            "revoke by user instead, or change the key; give `until` so that they run out".to_owned(),
        ),
        NotRevoked::NotKept(_) => unavailable(Code::StoreUnavailable, error.to_string()),
    }
}

fn unavailable(code: Code, detail: String) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        code,
        detail,
        "see to `store.path`, then revoke it again".to_owned(),
    )
    .retry_after(Duration::from_secs(2))
}

/// What follows from a mistake.
const NOTHING: &str =
    "send `{\"jti\": …}` or `{\"user\": …}`, see /admin/v1/openapi.json; nothing was revoked";
