//! Judges a request to the admin API, and sees to it that nobody is let in, and nothing refused, without a trace.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    ports::{chaos::Chaos, clock::Clock},
};
use agent_host_telemetry::{happening::OperatorGuessed, series};
use agent_plugin_protocol::Code;
use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, Uri, header, request::Parts};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    audit::{self, Operator},
    bundle, chaos,
    configuration::{self, Configuration},
    connections, events, log_level,
    names::Names,
    openapi,
    operation::{Operation, Scope, Unknown},
    orders, page, pages, revocations, rotation, threads,
    undertaking::{self, Undertakings},
};
use crate::{
    auth::{AuthError, TokenSource, permits},
    guesses::{Guesses, TooMany},
    host::Host,
    open::OpenConnections,
    problem::Problem,
    revoked::RevokedTokens,
    rotation::Rotation,
    rules::Rules,
    server::MetricsPage,
};

/// What the admin API needs.
pub(crate) struct Admin<H> {
    pub(crate) host: Arc<H>,
    pub(crate) clock: Arc<dyn Clock>,
    /// When this host began.
    pub(crate) since: SystemTime,
    /// Orders that were begun are in here: they are finished though their client may leave.
    pub(crate) tasks: TaskTracker,
    /// The users' tokens that are refused.
    pub(crate) revoked: Arc<RevokedTokens>,
    /// Who owns the configuration, where this host has one.
    pub(crate) configuration: Option<Arc<dyn Configuration>>,
    /// What injects faults, where this host allows it.
    pub(crate) chaos: Option<Arc<dyn Chaos>>,
    pub(crate) open: Arc<OpenConnections>,
    pub(crate) rotation: Arc<Rotation>,
    /// Ends what would go on for ever.
    pub(crate) stop: CancellationToken,
    pub(crate) metrics: MetricsPage,
    /// Orders that go on though nobody waits.
    pub(crate) undertakings: Undertakings,
    /// A place for each who watches what happens.
    pub(crate) watchers: Arc<Semaphore>,
    /// Whose tokens are good, and by which names this API is reached.
    pub(crate) rules: Arc<Rules>,
    listens_on: IpAddr,
    guesses: Guesses,
}

/// A request that may be answered.
struct Admitted<'a> {
    operation: Operation,
    /// What its path names.
    id: Option<&'a str>,
    operator: Option<Operator>,
}

/// One that may not. The operator is known only if the token was good.
struct Refused {
    problem: Problem,
    operator: Option<Operator>,
}

/// A refusal of somebody who is not known.
impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { problem, operator: None }
    }
}

/// Answers any request below `/admin/v1`.
pub(crate) async fn answer<H: Host>(State(admin): State<Arc<Admin<H>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut response = match respond(&admin, &parts, body).await {
        Ok(response) => response,
        Err(refused) => admin.refuse(&parts, refused).into_response(),
    };
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn respond<H: Host>(admin: &Arc<Admin<H>>, parts: &Parts, body: Body) -> Result<Response, Refused> {
    let Admitted { operation, id, operator } = admin.judge(parts)?;
    let id = id.unwrap_or_default();
    let query = parts.uri.query();
    let answered = match (operation, &operator) {
        (Operation::Describe, _) => Ok(openapi::answer(&parts.headers)),
        (Operation::Page, _) => Ok(page::answer()),
        (Operation::Status, _) => pages::status(admin, query),
        (Operation::ListPlugins, _) => pages::list(admin, query),
        (Operation::ShowPlugin, _) => pages::show(admin, id, query),
        (Operation::Order(order), Some(operator)) => {
            orders::answer(admin, order, id, parts, body, operator.clone()).await
        }
        (Operation::ListRevoked, _) => revocations::list(admin, query),
        (Operation::Revoke, Some(operator)) => {
            revocations::revoke(admin, parts, body, operator.clone(), audit::from(parts)).await
        }
        (Operation::ShowConfig, _) => configuration::show(admin, query),
        (Operation::ConfigSchema, _) => configuration::schema(admin, query),
        (Operation::DiffConfig, _) => configuration::diff(admin, query).await,
        (Operation::ValidateConfig, _) => configuration::validate(admin, parts, body).await,
        (Operation::ReloadConfig, Some(operator)) => {
            configuration::reload(admin, parts, body, operator).await
        }
        (Operation::SetConfig, Some(operator)) => configuration::set(admin, parts, body, operator).await,
        (Operation::LogLevel, _) => log_level::show(admin, query),
        (Operation::SetLogLevel, Some(operator)) => log_level::set(admin, parts, body, operator).await,
        (Operation::ListConnections, _) => connections::list(admin, parts),
        (Operation::CloseConnection, Some(operator)) => {
            connections::close(admin, parts, body, id, operator).await
        }
        (Operation::DeleteThreads, Some(operator)) => {
            threads::delete(admin, parts, body, operator.clone()).await
        }
        (Operation::Events, Some(operator)) => events::answer(admin, parts, operator),
        (Operation::SupportBundle, _) => bundle::answer(admin, query),
        (Operation::ListUndertaken, _) => undertaking::list(admin, query),
        (Operation::ShowUndertaken, _) => undertaking::show(admin, id, query),
        (Operation::Drain, Some(operator)) => rotation::set(admin, parts, body, operator, true).await,
        (Operation::Undrain, Some(operator)) => rotation::set(admin, parts, body, operator, false).await,
        (Operation::ShowChaos, _) => chaos::show(admin, query),
        (Operation::BeginFault, Some(operator)) => chaos::begin(admin, parts, body, operator).await,
        (Operation::EndFault, Some(operator)) => chaos::end(admin, parts, body, operator, Some(id)).await,
        (Operation::EndFaults, Some(operator)) => chaos::end(admin, parts, body, operator, None).await,
        // Each of these takes a scope, and so an operator; if ever one does not, it is not carried out.
        (
            Operation::Order(_)
            | Operation::Revoke
            | Operation::ReloadConfig
            | Operation::SetConfig
            | Operation::SetLogLevel
            | Operation::CloseConnection
            | Operation::DeleteThreads
            | Operation::Events
            | Operation::Drain
            | Operation::Undrain
            | Operation::BeginFault
            | Operation::EndFault
            | Operation::EndFaults,
            None,
        ) => Err(unauthorized(Code::AuthMissing, "this takes a token")),
    };
    answered.map_err(|problem| Refused { problem, operator })
}

impl<H: Host> Admin<H> {
    /// For a listener at `listens_on`.
    pub(crate) fn new(rules: &Arc<Rules>, host: Arc<H>, tasks: TaskTracker, listens_on: IpAddr) -> Self {
        Self {
            host,
            since: rules.clock().now(),
            tasks,
            revoked: Arc::clone(rules.revoked()),
            configuration: None,
            chaos: None,
            open: Arc::default(),
            rotation: Arc::default(),
            stop: CancellationToken::new(),
            metrics: None,
            undertakings: Undertakings::default(),
            watchers: Arc::new(Semaphore::new(events::WATCHERS)),
            listens_on,
            guesses: Guesses::default(),
            clock: Arc::clone(rules.clock()),
            rules: Arc::clone(rules),
        }
    }

    /// Whose configuration it shows and changes.
    pub(crate) fn configuring(self, configuration: Option<Arc<dyn Configuration>>) -> Self {
        Self { configuration, ..self }
    }

    /// What it injects faults with.
    pub(crate) fn injecting(self, chaos: Option<Arc<dyn Chaos>>) -> Self {
        Self { chaos, ..self }
    }

    /// Which connections it shows, which rotation it decides, and what ends its streams.
    pub(crate) fn beside(
        self,
        open: Arc<OpenConnections>,
        rotation: Arc<Rotation>,
        stop: CancellationToken,
    ) -> Self {
        Self { open, rotation, stop, ..self }
    }

    /// What goes into a support bundle.
    pub(crate) fn bundling(self, metrics: MetricsPage) -> Self {
        Self { metrics, ..self }
    }

    /// In the order of cost, and so that a page that lured a browser learns nothing.
    fn judge<'a>(&self, parts: &'a Parts) -> Result<Admitted<'a>, Refused> {
        // For a broken twin: a host that answers whatever page asks, by whatever name.
        if failpoint!("gateway.admin_names") != Some(Action::Off) {
            let rules = self.rules.now();
            let names = Names { listens_on: self.listens_on, configured: &rules.settings.admin_hosts };
            names.check(&parts.uri, &parts.headers).map_err(misdirected)?;
        }
        let (operation, id) = route(parts).map_err(|unknown| no_operation(&parts.uri, &unknown))?;
        let operator = match operation.scope() {
            Some(scope) => Some(self.operator(parts, scope)?),
            None => None,
        };
        Ok(Admitted { operation, id, operator })
    }

    /// Whose token it is, if it permits that.
    fn operator(&self, parts: &Parts, scope: Scope) -> Result<Operator, Refused> {
        let refuse = |error: AuthError| self.no_token(error);
        // For a broken twin: a host that logs what opens its doors.
        if failpoint!("gateway.quiet_tokens") == Some(Action::Off) {
            tracing::info!(headers = ?parts.headers, "a request to the admin API");
        }
        // Never in the URL: it is not even looked at.
        let nowhere = Uri::default();
        let token = match TokenSource::find(&parts.headers, &nowhere).map_err(refuse)? {
            TokenSource::Jwt(token) => token,
            TokenSource::Ticket(_) => {
                return Err(unauthorized(Code::AuthTicketInvalid, "no ticket here").into());
            }
        };
        let principal = self.rules.now().operators.verify(&token).map_err(refuse)?;
        let operator = Operator::from(principal.clone());
        // For a broken twin: a host that takes every operator for one who may do everything.
        let checked = failpoint!("gateway.admin_scopes") != Some(Action::Off);
        if checked && !permits(&principal, scope.as_str()) {
            let detail = format!("the token does not permit {}", scope.as_str());
            let hint = format!("`agent-host token mint --config DIR --user NAME --scope {}`", scope.as_str());
            let problem = Problem::new(StatusCode::FORBIDDEN, Code::PermissionDenied, detail, hint);
            return Err(Refused { problem, operator: Some(operator) });
        }
        Ok(operator)
    }

    fn no_token(&self, error: AuthError) -> Refused {
        let hint = if !self.rules.now().settings.admin.hs256_secrets.is_empty() {
            "send `Authorization: Bearer TOKEN` with an admin token: `agent-host token mint --scope admin:read …`"
        } else {
            "this host has no admin key, so that no token is good: set `admin.hs256_secret`"
        };
        challenge(error.code, error.detail, hint.to_owned()).into()
    }

    /// Counts a refusal, and writes its line. Who is not known is held to a rate: of the answers and of the lines.
    fn refuse(&self, parts: &Parts, refused: Refused) -> Problem {
        let Refused { mut problem, operator } = refused;
        let counted = match operator {
            Some(_) => Ok(()),
            None => {
                let per_minute = self.rules.now().settings.limits.auth_failures_per_minute;
                self.guesses.count(audit::address(parts), per_minute, Instant::now())
            }
        };
        match counted {
            Ok(()) if is_order(parts) => audit::refused(operator.as_ref(), parts, &problem),
            Ok(()) => {}
            Err(TooMany { retry_after, first }) => {
                if first {
                    OperatorGuessed { from: audit::from(parts), retry_after_ms: retry_after.as_millis() }
                        .emit();
                }
                problem = too_many(retry_after);
            }
        }
        series::admin_refused(problem.status().as_u16());
        problem
    }
}

/// The operation of a request.
fn route(parts: &Parts) -> Result<(Operation, Option<&str>), Unknown> {
    // For a broken twin: a host that changes things by GET.
    if failpoint!("gateway.admin_methods") == Some(Action::Off)
        && let Some(found) = Operation::of_path(parts.uri.path()).find(|(one, _)| one.changes())
    {
        return Ok(found);
    }
    Operation::find(&parts.method, parts.uri.path())
}

/// Whether something was to be changed: by its path, or by a method that is for nothing else.
fn is_order(parts: &Parts) -> bool {
    Operation::meant(&parts.method, parts.uri.path()).is_some() || !parts.method.is_safe()
}

fn misdirected(code: Code) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, code.meaning().to_owned(), misdirected_hint(code).to_owned())
}

fn misdirected_hint(code: Code) -> &'static str {
    match code {
        Code::OriginDenied => "the admin API is for programs, and for pages that this listener serves itself",
        _ => code.remedy(),
    }
}

fn no_operation(uri: &Uri, unknown: &Unknown) -> Problem {
    // The path is the sender's: bounded, and JSON escapes the rest.
    let path: String = uri.path().chars().take(100).collect();
    match unknown {
        Unknown::Path => Problem::of_http(
            StatusCode::NOT_FOUND,
            "http.not_found",
            format!("nothing is served at {path}"),
            format!("{} describes what is", Operation::Describe.path()),
        ),
        Unknown::Method { allowed } => Problem::of_http(
            StatusCode::METHOD_NOT_ALLOWED,
            "http.method_not_allowed",
            format!("{path} takes {allowed} only"),
            format!("use {allowed}"),
        )
        .with_header(
            header::ALLOW,
            HeaderValue::try_from(allowed).unwrap_or(HeaderValue::from_static("GET")),
        ),
    }
}

fn unauthorized(code: Code, detail: &str) -> Problem {
    challenge(code, detail.to_owned(), code.remedy().to_owned())
}

fn challenge(code: Code, detail: String, hint: String) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, code, detail, hint)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

fn too_many(retry_after: Duration) -> Problem {
    let code = Code::LimitAuthFailures;
    let detail = "too many requests without a good token came from this address; a good one is still let in";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, code, detail.to_owned(), code.remedy().to_owned())
        .retry_after(retry_after)
}
