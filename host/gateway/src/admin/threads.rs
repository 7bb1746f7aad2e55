//! Deletes what a user, or a whole tenant, has stored, to the end, and notes it.

use std::{sync::Arc, time::Duration};

use agent_host_core::identity::Scope;
use agent_plugin_protocol::Code;
use axum::{body::Body, response::Response};
use http::{StatusCode, request::Parts};

use super::{
    audit::{self, Line, Operator},
    door::Admin,
    operation::Operation,
    orders, pages,
    view::DeletedPart,
};
use crate::{host::Host, problem::Problem, rest::query::Query};

/// `DELETE /admin/v1/threads?tenant=[&user=]`. What was begun is finished, and noted, though the client may have left.
///
/// # Errors
/// If it says not whose: nothing is deleted then. Nor is anything if the store does not do it.
pub(crate) async fn delete<H: Host>(
    admin: &Arc<Admin<H>>,
    parts: &Parts,
    body: Body,
    operator: Operator,
) -> Result<Response, Problem> {
    orders::check(parts, body, &NAMES).await?;
    let wrong = |why: String| pages::bad_request(why, NOTHING);
    let query = Query::read(&parts.uri, &NAMES).map_err(wrong)?;
    let [tenant, user] = NAMES.map(|name| named(&query, name));
    let (tenant, user) = (tenant.map_err(wrong)?, user.map_err(wrong)?);
    let tenant = tenant.ok_or_else(|| wrong("it says not whose: there is no `tenant`".to_owned()))?;
    let whose = format!("{tenant}/{}", user.as_deref().unwrap_or("*"));
    let (doing, line) = (Arc::clone(admin), Line::new(&operator, parts, Operation::DeleteThreads, &whose));
    let task = async move {
        let deleted = match &user {
            Some(user) => {
                doing
                    .host
                    .delete_user(&Scope { tenant: tenant.as_str().into(), user: user.as_str().into() })
                    .await
            }
            None => doing.host.delete_tenant(&tenant).await,
        };
        match deleted {
            Ok(threads) => {
                line.done(&format!("{threads} threads"));
                Ok(DeletedPart { tenant, user, threads: threads as u64 })
            }
            Err(told) => {
                let problem = not_done(told.code);
                line.failed(&problem);
                Err(problem)
            }
        }
    };
    // The join fails where the runtime ends.
    let ended = admin.tasks.spawn(task).await.unwrap_or_else(|_| Err(not_done(Code::HostInternal)));
    Ok(ended.map_or_else(audit::noted, |deleted| pages::json(&deleted)))
}

/// A name that is there has something in it: an empty one is a slip of whoever made the query, and would be nobody.
fn named(query: &Query<'_>, name: &str) -> Result<Option<String>, String> {
    match query.name(name)? {
        Some(text) if text.is_empty() => Err(format!("`{name}` is empty")),
        named => Ok(named),
    }
}

fn not_done(code: Code) -> Problem {
    let detail = format!("nothing was deleted: {}", code.meaning());
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail, code.remedy().to_owned())
        .retry_after(Duration::from_secs(2))
}

const NAMES: [&str; 2] = ["tenant", "user"];

/// What follows from a mistake.
const NOTHING: &str = "say `tenant`, and `user` for one person of it; nothing was deleted";
