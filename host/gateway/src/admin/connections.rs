//! Shows who is connected, and closes a connection.

use axum::{body::Body, response::Response};
use http::{StatusCode, request::Parts};

use super::{
    audit::{Line, Operator},
    door::Admin,
    operation::Operation,
    orders, pages,
    view::{ConnectionList, ConnectionPart},
};
use crate::{host::Host, open::Card, problem::Problem, rest::query::Query};

/// `GET /admin/v1/connections[?after=&limit=&user=&tenant=]`
pub(crate) fn list<H: Host>(admin: &Admin<H>, parts: &Parts) -> Result<Response, Problem> {
    let hint = "see /admin/v1/openapi.json";
    let wrong = |why: String| pages::bad_request(why, hint);
    let query = Query::read(&parts.uri, &["after", "limit", "user", "tenant"]).map_err(wrong)?;
    let after = query.number("after", 0, 0, u64::MAX).map_err(wrong)?;
    let limit = query.number("limit", USUAL, 1, MOST).map_err(wrong)?;
    let name = |name| query.name(name).map_err(wrong);
    let (user, tenant) = (name("user")?, name("tenant")?);
    let is = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let fits = |card: &Card| is(&user, &card.scope.user) && is(&tenant, &card.scope.tenant);
    let (page, more) = admin.open.page(after, usize::try_from(limit).unwrap_or(usize::MAX), fits);
    let next = page.last().filter(|_| more).map(|(number, _)| *number);
    let connections =
        page.iter().map(|(_, card)| ConnectionPart::new(card, admin.host.runs_of(&card.scope))).collect();
    Ok(pages::json(&ConnectionList { connections, open: admin.open.len(), next }))
}

/// `DELETE /admin/v1/connections/{id}`. Its client is told by the close, and may come back: who shall stay away has his
/// tokens revoked.
pub(crate) async fn close<H: Host>(
    admin: &Admin<H>,
    parts: &Parts,
    body: Body,
    id: &str,
    operator: &Operator,
) -> Result<Response, Problem> {
    orders::check(parts, body, &[]).await?;
    let card = admin.open.find(id).ok_or_else(|| {
        let shown: String = id.chars().take(80).collect();
        Problem::of_http(
            StatusCode::NOT_FOUND,
            "http.not_found",
            format!("no connection {shown:?} is open"),
            "GET /admin/v1/connections lists those that are".to_owned(),
        )
    })?;
    Line::new(operator, parts, Operation::CloseConnection, id).done("closing");
    card.dismissed.notify_one();
    Ok(pages::json(&ConnectionPart::new(&card, admin.host.runs_of(&card.scope))))
}

const USUAL: u64 = 100;
/// About 300 KiB of JSON.
const MOST: u64 = 1000;
