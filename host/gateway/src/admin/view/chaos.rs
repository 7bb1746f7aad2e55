//! Injected faults, as operators order and see them.

use std::time::SystemTime;

use agent_host_core::{
    chaos::{Kind, Row, Share},
    ports::chaos::{Chaos, Injected},
    service::ServiceName,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{millis, time};

/// A fault to inject. What it does not take is refused: it would not be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultOrder {
    /// Which, by its name.
    #[schemars(extend("enum" = names()))]
    pub fault: String,
    /// To which plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// To which service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = services()))]
    pub service: Option<String>,
    /// To how many of a hundred, 1 to 100; left out, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u64>,
    /// How late, from `10ms` to `60s`; left out, `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// How often it is done again, from `100ms` to `60s`; left out, it is done once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<String>,
    /// For how long, from `1s` to `10m`; left out, `30s`. It is undone by itself then.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasting: Option<String>,
}

/// A fault that was injected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InjectedPart {
    /// Its number in this life of the host.
    pub id: u32,
    /// Its name.
    pub fault: String,
    /// To which plugin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// To which service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// To how many of a hundred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<u64>,
    /// How late, where it makes anything late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// How often it is done again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// Since when.
    pub since: String,
    /// When it ends by itself; 0 once it has ended.
    pub left_ms: u64,
    /// How often it has hit something.
    pub hits: u64,
    /// How it ended, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["done", "expired", "stopped"]))]
    pub ended: Option<String>,
    /// When it ended, if it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// A kind of fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FaultKindPart {
    /// As it is ordered.
    pub fault: String,
    /// What is done.
    pub does: String,
    /// What the host owes its users meanwhile.
    pub holds: String,
    /// What an order must say.
    pub needs: Vec<String>,
    /// What it may say, beside `for`.
    pub takes: Vec<String>,
}

/// Whether faults may be injected, and which are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChaosPage {
    /// Whether they may: `[chaos] enabled`, which is set in files only.
    pub enabled: bool,
    /// Those in force.
    pub active: Vec<InjectedPart>,
    /// The last 16 that ended, the newest first.
    pub ended: Vec<InjectedPart>,
    /// When this host's process began to tell of faults, where they may be injected. Nothing is written down: what was in
    /// force before ended with the process before, and its log has the last word of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Those that there are.
    pub faults: Vec<FaultKindPart>,
}

/// That faults may be injected here, and which are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChaosStanding {
    /// Those in force, in a few words each.
    pub active: Vec<String>,
}

impl ChaosStanding {
    pub(crate) fn new(injected: &[Injected]) -> Self {
        let active = injected.iter().filter(|one| one.ended.is_none());
        Self { active: active.map(|one| one.fault.brief()).collect() }
    }
}

impl ChaosPage {
    /// `None`: this host injects none.
    pub(crate) fn new(chaos: Option<&dyn Chaos>) -> Self {
        let injected = chaos.map(Chaos::injected).unwrap_or_default();
        let (ended, active): (Vec<_>, Vec<_>) = injected.iter().partition(|one| one.ended.is_some());
        Self {
            enabled: chaos.is_some(),
            since: chaos.map(|chaos| time(chaos.since())),
            active: active.into_iter().map(InjectedPart::from).collect(),
            ended: ended.into_iter().map(InjectedPart::from).collect(),
            faults: Kind::ALL.iter().map(|kind| FaultKindPart::from(kind.row())).collect(),
        }
    }
}

impl From<&Injected> for InjectedPart {
    fn from(injected: &Injected) -> Self {
        let Injected { id, fault, since, left, hits, ended } = injected;
        let row = fault.kind.row();
        let delays = row.takes.contains(&agent_host_core::chaos::Word::Delay);
        Self {
            id: *id,
            fault: row.name.to_owned(),
            plugin: fault.plugin.as_ref().map(ToString::to_string),
            service: fault.service.map(|service| service.as_str().to_owned()),
            share: Some(u64::from(fault.share.percent())).filter(|_| fault.share != Share::ALL),
            delay_ms: delays.then(|| millis(fault.delay)),
            every_ms: fault.every.map(millis),
            since: time(SystemTime::clone(since)),
            left_ms: millis(*left),
            hits: *hits,
            ended: ended.map(|(how, _)| how.as_str().to_owned()),
            ended_at: ended.map(|(_, at)| time(at)),
        }
    }
}

impl From<Row> for FaultKindPart {
    fn from(row: Row) -> Self {
        let words = |words: &[agent_host_core::chaos::Word]| {
            words.iter().map(|word| word.as_str().to_owned()).collect()
        };
        Self {
            fault: row.name.to_owned(),
            does: row.does.to_owned(),
            holds: row.holds.to_owned(),
            needs: words(row.needs),
            takes: words(row.takes),
        }
    }
}

fn names() -> Vec<&'static str> {
    Kind::ALL.into_iter().map(Kind::name).collect()
}

fn services() -> Vec<&'static str> {
    ServiceName::ALL.into_iter().map(ServiceName::as_str).collect()
}
