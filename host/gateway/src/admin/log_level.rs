//! Which lines the log has: shows it, and changes it, for a time or until further notice.

use std::time::Duration;

use agent_host_telemetry::log::{self, InForce, Level};
use agent_plugin_protocol::Code;
use axum::{body::Body, response::Response};
use http::{StatusCode, request::Parts};

use super::{
    audit::{Line, Operator},
    body,
    door::Admin,
    lasting,
    operation::Operation,
    pages,
    view::{LogLevelOrder, LogLevelPage},
};
use crate::problem::Problem;

/// `GET /admin/v1/log-level`
pub(crate) fn show<H>(admin: &Admin<H>, query: Option<&str>) -> Result<Response, Problem> {
    pages::parameters(query, &[])?;
    page(admin, log::level())
}

/// `PUT /admin/v1/log-level`
pub(crate) async fn set<H>(
    admin: &Admin<H>,
    parts: &Parts,
    body: Body,
    operator: &Operator,
) -> Result<Response, Problem> {
    pages::parameters(parts.uri.query(), &[])?;
    let order: LogLevelOrder = body::read(body, "level of the log", NOTHING).await?;
    let (level, lasting) = meant(&order).map_err(|why| pages::bad_request(why, NOTHING))?;
    // Before it is so, and said whatever the level: a log that is made quiet tells who made it so.
    let outcome = match &order.lasting {
        Some(lasting) => format!("for {}", lasting.trim()),
        None => "until further notice".to_owned(),
    };
    Line::new(operator, parts, Operation::SetLogLevel, level.as_str()).done(&outcome);
    page(admin, log::order_level(level, lasting))
}

fn meant(order: &LogLevelOrder) -> Result<(Level, Option<Duration>), String> {
    let level = Level::parse(&order.level)
        .ok_or_else(|| "`level` is one of error, warn, info, debug and trace".to_owned())?;
    let lasting = match &order.lasting {
        None => None,
        Some(text) => match lasting::read(text, LONGEST) {
            Some(lasting) => Some(lasting),
            None => {
                return Err("`for` is a time from 1s to 1d, such as 10m; left out, it is for good".to_owned());
            }
        },
    };
    Ok((level, lasting))
}

fn page<H>(admin: &Admin<H>, in_force: Option<InForce>) -> Result<Response, Problem> {
    match in_force {
        Some(in_force) => Ok(pages::json(&LogLevelPage::new(in_force, admin.clock.now()))),
        None => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::HostInternal,
            "the log of this process is not the host's own, so that its level cannot be changed".to_owned(),
            "look for StartStepFailed at the begin of the log, and restart the host".to_owned(),
        )
        .retry_after(Duration::from_secs(2))),
    }
}

/// A day: who needs it for longer writes it into the file.
const LONGEST: Duration = Duration::from_secs(86_400);

/// What follows from a mistake.
const NOTHING: &str = "send `{\"level\": \"debug\", \"for\": \"10m\"}`; nothing was changed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_of_five_and_holds_for_a_day_at_most() {
        let of = |level: &str, lasting: Option<&str>| {
            meant(&LogLevelOrder { level: level.to_owned(), lasting: lasting.map(str::to_owned) })
        };
        assert_eq!(of("debug", Some("10m")), Ok((Level::Debug, Some(Duration::from_secs(600)))));
        assert_eq!(of("error", None), Ok((Level::Error, None)));
        for (level, lasting) in [
            ("hyper=trace", None),
            ("off", None),
            ("", None),
            ("info", Some("0s")),
            ("info", Some("2d")),
            ("info", Some("10")),
        ] {
            assert!(of(level, lasting).is_err(), "{level} {lasting:?}");
        }
    }
}
