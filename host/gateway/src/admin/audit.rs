//! Who asked, and the one line that an order leaves in the log: carried out, failed, or refused.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::SystemTime,
};

use agent_host_core::{failpoint, failpoint::Action, identity::Principal, revocation::Revoked, sanitise};
use agent_host_telemetry::{
    happening::{HostOrdered, OperatorOrdered, OrderFailed, OrderRefused},
    series,
};
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;

use super::operation::Operation;
use crate::{accept::Peer, problem::Problem, rules::InForce};

/// Who holds the token of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operator {
    name: String,
    token: String,
    principal: Arc<Principal>,
}

impl From<Principal> for Operator {
    fn from(principal: Principal) -> Self {
        let token = principal.token_id.as_deref().unwrap_or(NOBODY);
        Self { name: shown(&principal.scope.user), token: shown(token), principal: Arc::new(principal) }
    }
}

impl Operator {
    /// Whether the token holds no more: it has run out, or by these rules it would not be let in.
    pub(crate) fn is_over(&self, rules: &InForce, now: SystemTime) -> bool {
        now >= self.principal.expires_at || rules.operators.check_standing(&self.principal).is_err()
    }

    /// The name and the token's id, as they are shown.
    pub(crate) fn words(&self) -> (String, String) {
        (self.name.clone(), self.token.clone())
    }
}

/// What is revoked, as it is shown: of what kind, and its name.
pub(crate) fn of_revoked(revoked: &Revoked) -> (&'static str, String) {
    match revoked {
        Revoked::Token(id) => ("token", shown(id)),
        Revoked::User { scope, .. } => ("user", shown(&format!("{}/{}", scope.tenant, scope.user))),
    }
}

/// Where a request comes from.
pub(crate) fn address(parts: &Parts) -> IpAddr {
    // Every connection has a peer; a request that was made without one is the host's own.
    parts.extensions.get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0.ip())
}

/// Where from, with the port: as an address is shown in a line.
pub(crate) fn from(parts: &Parts) -> String {
    parts.extensions.get::<Peer>().map_or_else(|| NOBODY.to_owned(), |peer| peer.0.to_string())
}

/// The line of an order that was admitted: it leaves one, which says how it ended.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    operator: Operator,
    from: String,
    operation: Operation,
    /// Which plugin, or what else it is about.
    about: String,
}

impl Line {
    pub(crate) fn new(operator: &Operator, parts: &Parts, operation: Operation, about: &str) -> Self {
        Self { operator: operator.clone(), from: from(parts), operation, about: shown(about) }
    }

    /// It was carried out; `outcome` is how things are now.
    pub(crate) fn done(self, outcome: &str) {
        if !is_kept() {
            return;
        }
        let Self { operator: Operator { name: operator, token, .. }, from, operation, about } = self;
        let (order, outcome) = (operation.name(), outcome.to_owned());
        match operation {
            Operation::Order(_) => {
                OperatorOrdered { operator, token, from, order, plugin: about, outcome }.emit();
            }
            _ => HostOrdered { operator, token, from, order, about, outcome }.emit(),
        }
    }

    /// It was refused: nothing was done.
    pub(crate) fn refused(self, problem: &Problem) {
        if !is_kept() {
            return;
        }
        let plugin = match self.operation {
            Operation::Order(_) => self.about,
            _ => NOBODY.to_owned(),
        };
        OrderRefused {
            operator: self.operator.name,
            token: self.operator.token,
            from: self.from,
            order: self.operation.name().to_owned(),
            plugin,
            code: problem.code(),
            reason: shown(problem.detail()),
        }
        .emit();
    }

    /// It was tried, and what it is for is not so.
    pub(crate) fn failed(self, problem: &Problem) {
        if !is_kept() {
            return;
        }
        OrderFailed {
            operator: self.operator.name,
            token: self.operator.token,
            from: self.from,
            order: self.operation.name(),
            about: self.about,
            code: problem.code(),
            reason: sanitise::line(problem.detail(), 300),
        }
        .emit();
    }
}

/// Answers with a refusal whose line is written already, and counts it.
pub(crate) fn noted(problem: Problem) -> Response {
    series::admin_refused(problem.status().as_u16());
    problem.into_response()
}

/// Notes an order that was refused before it was begun. What it was is told as far as the request says it.
pub(crate) fn refused(operator: Option<&Operator>, parts: &Parts, problem: &Problem) {
    if !is_kept() {
        return;
    }
    let found = Operation::meant(&parts.method, parts.uri.path());
    let order = match found {
        Some((operation, _)) => operation.name().to_owned(),
        None => shown(&format!("{} {}", parts.method, parts.uri.path())),
    };
    let of_plugin = Operation::of_path(parts.uri.path()).find(|(one, _)| one.path().starts_with(PLUGINS));
    let plugin = of_plugin.and_then(|(_, plugin)| plugin).map(shown);
    OrderRefused {
        operator: operator.map_or_else(|| NOBODY.to_owned(), |operator| operator.name.clone()),
        token: operator.map_or_else(|| NOBODY.to_owned(), |operator| operator.token.clone()),
        from: from(parts),
        order,
        plugin: plugin.unwrap_or_else(|| NOBODY.to_owned()),
        code: problem.code(),
        reason: shown(problem.detail()),
    }
    .emit();
}

/// For a broken twin: a host that keeps no record.
fn is_kept() -> bool {
    failpoint!("gateway.admin_audit") != Some(Action::Off)
}

/// A name of a token, or a path, is the sender's.
fn shown(text: &str) -> String {
    sanitise::line(text, 100)
}

/// Below it, `{id}` is a plugin's.
const PLUGINS: &str = "/admin/v1/plugins/";

/// In place of a name that is not known: a token that is no good tells nothing.
const NOBODY: &str = "-";
