//! Takes the host out of rotation, and back.
//!
//! Out, it is not ready and opens no new connections, so that whatever spreads the load goes elsewhere. What is open
//! goes on, with its runs and new messages: whoever wants that ended too ends the host, whose drain tells every client
//! where it stands. In memory: the next start is in rotation.

use std::time::Duration;

use agent_plugin_protocol::Code;
use axum::{body::Body, response::Response};
use http::{StatusCode, request::Parts};

use super::{
    audit::{Line, Operator},
    door::Admin,
    operation::Operation,
    orders, pages,
};
use crate::{host::Host, problem::Problem};

/// `POST /admin/v1/drain` and `POST /admin/v1/undrain`; answered with the status as it is then.
///
/// # Errors
/// If the host is going away: it does not come back into rotation.
pub(crate) async fn set<H: Host>(
    admin: &Admin<H>,
    parts: &Parts,
    body: Body,
    operator: &Operator,
    out: bool,
) -> Result<Response, Problem> {
    orders::check(parts, body, &[]).await?;
    let operation = if out { Operation::Drain } else { Operation::Undrain };
    if !out && admin.host.is_draining() {
        let code = Code::HostDraining;
        let detail = "the host is going away, and does not come back into rotation".to_owned();
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail, code.remedy().to_owned())
            .retry_after(Duration::from_secs(2)));
    }
    Line::new(operator, parts, operation, "host").done(match (admin.rotation.set(out), out) {
        (true, true) => "out of rotation",
        (true, false) => "in rotation",
        (false, _) => "was so before",
    });
    pages::status(admin, None)
}
