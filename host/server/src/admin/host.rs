//! Commands about the host itself: `log-level`.

use agent_host_gateway::admin::view::{LogLevelOrder, LogLevelPage};
use time::OffsetDateTime;

use super::{
    DEBUG, READ,
    link::{Method, ask},
    show,
    target::Target,
    words::{clock, shown},
};
use crate::{cli::LogLevelArgs, exit::Failure};

/// `log-level`
pub(crate) fn log_level(args: &LogLevelArgs) -> Result<(), Failure> {
    let scope = if args.level.is_some() { DEBUG } else { READ };
    let target = Target::new(&args.admin, scope)?;
    let method = match &args.level {
        None => Method::Get,
        Some(level) => {
            let order = LogLevelOrder { level: level.clone(), lasting: args.lasting.clone() };
            Method::Put(serde_json::to_string(&order).expect("words encode"))
        }
    };
    let answer = ask(&target, method, "/admin/v1/log-level")?;
    show(&args.admin, &answer.json, || Ok(level_in_words(&answer.read()?, OffsetDateTime::now_utc())))
}

fn level_in_words(page: &LogLevelPage, now: OffsetDateTime) -> String {
    let (level, configured) = (shown(&page.level), shown(&page.configured));
    match &page.until {
        Some(until) => format!(
            "the log is written from {level} on until {}, then from {configured} on",
            clock(until, now)
        ),
        None if level == configured => format!("the log is written from {level} on, as configured"),
        None => {
            format!("the log is written from {level} on until further notice; configured is {configured}")
        }
    }
}
