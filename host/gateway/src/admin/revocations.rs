//! Revokes tokens, to the end, and notes it.

use std::{sync::Arc, time::Duration};

use agent_host_telemetry::happening::TokensRevoked;
use agent_plugin_protocol::Code;
use axum::{body::Body, response::Response};
use http::{StatusCode, request::Parts};

use super::{
    audit::{self, Operator},
    body,
    door::Admin,
    pages,
    view::{RevocationOrder, RevocationPart},
};
use crate::{problem::Problem, revoked::NotRevoked};

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
    let revocation = body::read::<RevocationOrder>(body, "revocation", NOTHING)
        .await?
        .revocation(now)
        .map_err(|why| pages::bad_request(why, NOTHING))?;
    let told = RevocationPart::from(&revocation);
    let revoked = Arc::clone(&admin.revoked);
    let task = move || {
        let ended = revoked.revoke(revocation.clone(), now);
        let outcome = match &ended {
            Ok(()) => "revoked",
            Err(NotRevoked::NotKept(_)) => "until the host ends",
            // It is in force nowhere: its line is that of a refusal.
            Err(NotRevoked::Full(_)) => return ended,
        };
        let (of, name) = audit::of_revoked(&revocation.revoked);
        let (operator, token) = operator.words();
        TokensRevoked { operator, token, from, of, name, outcome }.emit();
        ended
    };
    match admin.tasks.spawn_blocking(task).await {
        Ok(Ok(())) => Ok(pages::json(&told)),
        Ok(Err(error @ NotRevoked::Full(_))) => Err(not_done(&error)),
        Ok(Err(error @ NotRevoked::NotKept(_))) => Ok(audit::noted(not_done(&error))),
        Err(_) => Err(unavailable(Code::HostInternal, Code::HostInternal.meaning().to_owned())),
    }
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
