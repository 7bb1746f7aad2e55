//! The small sections: `[store]`, `[drain]`, `[service]`, `[readiness]`, `[self_check]`, `[chaos]`, `[log]`.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf, time::Duration};

use agent_plugin_protocol::Code;

use super::Roster;
use crate::{
    error::did_you_mean,
    reader::Reader,
    value::{Bounded as _, Located, Word},
};

/// Where threads and events are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The folder for the store's files and the plugins' own folders.
    pub path: PathBuf,
    /// Whether that folder outlives the machine.
    pub durability: Durability,
    /// A commit that takes longer is one that may not end: what comes is refused at once, and the level falls.
    pub patience: Duration,
    /// Threads that were not used for so long are deleted; zero: none.
    pub retention: Duration,
    /// The same for the tenants that have a time of their own.
    pub tenant_retention: BTreeMap<String, Duration>,
}

/// Whether the store outlives the machine it runs on. The first two are only declared, so that welcome and `/ready` can
/// say it; the log is a file in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The folder is a real volume.
    Durable,
    /// The folder goes with the machine (a container's memory).
    Ephemeral,
    /// There is no file: threads end with the host. For tests and measurements.
    Memory,
}

/// How the host ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainConfig {
    /// How long running runs may take to end.
    pub grace: Duration,
}

/// How the service level is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// How long a level must hold before clients are told.
    pub settle: Duration,
}

/// What `/ready` asks for beyond being up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadinessConfig {
    /// Services (`agent`, `store`, …) or plugin ids without which `/ready` says 503; none: ready in every level.
    pub require: Vec<String>,
}

/// The host's look at itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfCheckConfig {
    /// How often; zero: never.
    pub interval: Duration,
}

/// Fault injection by operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChaosConfig {
    /// Whether `agent-host chaos` works.
    pub enabled: bool,
}

/// The host's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The least level that is written.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// A level of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the usual five")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// For people.
    Pretty,
}

impl LogLevel {
    /// The word in configuration and filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl Word for LogLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("json", Self::Json), ("pretty", Self::Pretty)];
}

impl Word for Durability {
    const WORDS: &'static [(&'static str, Self)] =
        &[("durable", Self::Durable), ("ephemeral", Self::Ephemeral), ("memory", Self::Memory)];
}

impl StoreConfig {
    pub(crate) fn read(r: &Reader<'_>) -> Self {
        let path: String = r.or("path", "data".to_owned());
        if path.is_empty() {
            r.error(Code::ConfigRange, "path", "is empty", Some("name a folder".to_owned()));
        }
        let path = r.cx.relative(path.into());
        r.show("path", &path.display().to_string());
        Self {
            path,
            durability: r.or("durability", Durability::Durable),
            patience: r.within("patience", Duration::from_secs(3), PATIENCE),
            retention: r.within("retention", Duration::ZERO, RETENTION),
            tenant_retention: tenant_retention(r),
        }
    }
}

/// How long a disk may be waited for: a client waits as long for the answer to its message.
const PATIENCE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60);

/// How long threads may be kept.
const RETENTION: RangeInclusive<Duration> = Duration::ZERO..=YEAR.saturating_mul(10);

fn tenant_retention(r: &Reader<'_>) -> BTreeMap<String, Duration> {
    const KEY: &str = "tenant_retention";
    let written: BTreeMap<String, Located<Duration>> = r.or(KEY, BTreeMap::new());
    for (tenant, Located { value, origin }) in &written {
        if !RETENTION.contains(value) {
            let (least, most) = (RETENTION.start().show(), RETENTION.end().show());
            let reason = format!("is {} for {tenant:?}; it may be {least} to {most}", value.show());
            r.error_at(Code::ConfigRange, KEY, origin.clone(), reason, None);
        }
    }
    written.into_iter().map(|(tenant, located)| (tenant, located.value)).collect()
}

impl DrainConfig {
    pub(crate) fn read(r: &Reader<'_>) -> Self {
        // 8 s: Cloud Run kills 10 s after SIGTERM.
        Self { grace: r.within("grace", Duration::from_secs(8), Duration::ZERO..=HOUR) }
    }
}

impl ServiceConfig {
    pub(crate) fn read(r: &Reader<'_>) -> Self {
        Self { settle: r.within("settle", Duration::from_secs(1), Duration::ZERO..=Duration::from_secs(60)) }
    }
}

impl ReadinessConfig {
    pub(crate) fn read(r: &Reader<'_>, roster: &Roster) -> Self {
        let written: Vec<Located<String>> = r.or("require", Vec::new());
        for Located { value, origin } in &written {
            let known = || SERVICES.into_iter().chain(roster.ids.iter().map(String::as_str));
            if !known().any(|name| name == value) {
                let hint = did_you_mean(value, known())
                    .unwrap_or_else(|| format!("one of {}, or a plugin's id", SERVICES.join(", ")));
                let reason = format!("names {value:?}, neither a service nor a plugin");
                r.error_at(Code::ConfigReference, "require", origin.clone(), reason, Some(hint));
            }
        }
        Self { require: written.into_iter().map(|located| located.value).collect() }
    }
}

impl SelfCheckConfig {
    pub(crate) fn read(r: &Reader<'_>) -> Self {
        Self { interval: r.within("interval", Duration::from_secs(30), Duration::ZERO..=HOUR) }
    }
}

impl ChaosConfig {
    pub(crate) fn read(r: &Reader<'_>) -> Self {
        Self { enabled: r.or("enabled", false) }
    }
}

impl LogConfig {
    pub(crate) fn read(r: &Reader<'_>) -> Self {
        Self { level: r.or("level", LogLevel::Info), format: r.or("format", LogFormat::Json) }
    }
}

/// What readiness may ask for, beside plugins.
const SERVICES: [&str; 11] = [
    "agent",
    "supervisor",
    "fallback",
    "store",
    "keys",
    "threads",
    "events",
    "llm",
    "tools",
    "delegate",
    "self_check",
];

const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);
