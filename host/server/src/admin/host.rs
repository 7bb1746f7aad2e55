//! Commands about the host itself: `log-level`, `drain` and `undrain`, `support-bundle`.

use std::{fs::OpenOptions, io::Write as _, os::unix::fs::OpenOptionsExt as _};

use agent_host_gateway::admin::view::{LogLevelOrder, LogLevelPage, StatusPage};
use time::OffsetDateTime;

use super::{
    DEBUG, READ, TOGGLE,
    link::{Method, ask},
    show,
    target::Target,
    words::{clock, shown},
};
use crate::{
    cli::{LogLevelArgs, StatusArgs, SupportArgs},
    exit::{Exit, Failure, say},
};

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

/// `drain` and `undrain`
pub(crate) fn rotation(args: &StatusArgs, out: bool) -> Result<(), Failure> {
    let target = Target::new(&args.admin, TOGGLE)?;
    let path = if out { "/admin/v1/drain" } else { "/admin/v1/undrain" };
    let answer = ask(&target, Method::Post, path)?;
    show(&args.admin, &answer.json, || {
        Ok(if answer.read::<StatusPage>()?.out_of_rotation {
            "out of rotation: it is not ready and opens no new connections; what is open goes on".to_owned()
        } else {
            "in rotation".to_owned()
        })
    })
}

/// `support-bundle`
pub(crate) fn support_bundle(args: &SupportArgs) -> Result<(), Failure> {
    let target = Target::new(&args.admin, DEBUG)?;
    let answer = ask(&target, Method::Get, "/admin/v1/support-bundle")?;
    let file = args.file.display();
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file).and_then(|mut out| {
            writeln!(out, "{:#}", answer.json)?;
            out.sync_all()
        });
    written.map_err(|error| Failure::new(Exit::Failed, format!("cannot write {file}: {error}")))?;
    say(&format!(
        "{file}: how the host fares and is set up, without secrets and people; look at it before you send it"
    ))
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
