//! The configuration of a host that serves, and the task that owns it: it notices edits, takes orders, and puts what
//! holds as a whole in force, or leaves all as it was and says why.

mod files;
mod journal;
mod memo;
mod owner;
mod plan;
mod watch;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use agent_host_config::{Loaded, Sources};
use agent_host_core::{
    failpoint,
    failpoint::Action,
    ports::{BoxFuture, clock::Clock},
    timestamp::rfc3339,
};
use agent_host_engine::{ControlError, Engine, view::PluginDetail};
use agent_host_gateway::{
    admin::{
        configuration::{Configuration, NotChanged},
        view::{ChangePage, ConfigFailurePart, ConfigPage, KeptPart, OverridePart, SettingPart},
    },
    rules::Rules,
};
use agent_plugin_protocol::{Code, PluginId};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch as channel};

pub(crate) use self::journal::{Finished, finish};
use self::memo::Memo;
use crate::notify::Manager;

/// Orders that may wait for the owner. Further ones wait at the sender, with their client.
const ORDERS: usize = 16;

/// The way to the owner.
#[derive(Clone)]
pub(crate) struct Live {
    asks: mpsc::Sender<Ask>,
    seen: channel::Receiver<Arc<InForce>>,
    /// Switches in no file that ended with the host before.
    ended_before: Arc<[OverridePart]>,
}

/// What is in force: written by the owner only.
#[derive(Debug, Clone)]
struct InForce {
    loaded: Loaded,
    etag: String,
    since: SystemTime,
    /// Keys that wait for a restart.
    pending: Vec<String>,
    /// Switches that stand in no file.
    overrides: BTreeMap<PluginId, Override>,
    failure: Option<ConfigFailurePart>,
}

/// A plugin's switch that stands in no file.
#[derive(Debug, Clone)]
struct Override {
    enabled: bool,
    /// What the files said when it was ordered: once they say something else, that holds.
    instead_of: bool,
    until: Option<(tokio::time::Instant, SystemTime)>,
    reason: String,
}

/// Where an order is answered.
type Answer<T, E = NotChanged> = oneshot::Sender<Result<T, E>>;

/// What the owner is asked.
enum Ask {
    Compare(Answer<ChangePage>),
    Reload(Answer<ChangePage>),
    /// What setting would change.
    Consider {
        if_match: Option<String>,
        set: BTreeMap<String, Value>,
        answer: Answer<ChangePage>,
    },
    Set {
        if_match: Option<String>,
        set: BTreeMap<String, Value>,
        answer: Answer<ChangePage>,
    },
    Toggle {
        plugin: PluginId,
        enabled: bool,
        lasting: Option<Duration>,
        answer: Answer<(PluginDetail, KeptPart), ControlError>,
    },
}

impl Live {
    /// The handle, and its owner's task to be run once there is an engine.
    pub(crate) fn new(
        loaded: &Loaded,
        sources: Sources,
        clock: Arc<dyn Clock>,
        manager: Manager,
    ) -> (Self, Owner) {
        let (asks, orders) = mpsc::channel(ORDERS);
        let first = InForce {
            etag: etag_of(loaded, &BTreeMap::new()),
            loaded: loaded.clone(),
            since: clock.now(),
            pending: Vec::new(),
            overrides: BTreeMap::new(),
            failure: None,
        };
        let (told, seen) = channel::channel(Arc::new(first));
        let memo = Memo::within(&loaded.config.store.path);
        let ended_before = memo.take(clock.now()).into();
        let owner = Owner { orders, told, started: loaded.values.clone(), sources, clock, manager, memo };
        (Self { asks, seen, ended_before }, owner)
    }

    fn ask<T: Send + 'static, E: Send + 'static>(
        &self,
        ask: impl FnOnce(Answer<T, E>) -> Ask,
        nobody: impl FnOnce() -> E + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>> {
        let (answer, answered) = oneshot::channel();
        let (asks, ask) = (self.asks.clone(), ask(answer));
        Box::pin(async move {
            // An error of either: the owner ended, as at the end of the host.
            match asks.send(ask).await {
                Ok(()) => answered.await.unwrap_or_else(|_| Err(nobody())),
                Err(_) => Err(nobody()),
            }
        })
    }
}

/// What the owner's task is made of.
pub(crate) struct Owner {
    orders: mpsc::Receiver<Ask>,
    told: channel::Sender<Arc<InForce>>,
    started: agent_host_config::Values,
    sources: Sources,
    clock: Arc<dyn Clock>,
    manager: Manager,
    memo: Memo,
}

impl Owner {
    /// Owns the configuration until the host ends.
    pub(crate) async fn run(self, engine: Engine, rules: Arc<Rules>) {
        owner::Task::new(self, engine, rules).run().await;
    }
}

impl Configuration for Live {
    fn page(&self) -> ConfigPage {
        let seen = self.seen.borrow();
        let ordered = |key: &str| {
            let id = key.strip_prefix("plugins.")?.strip_suffix(".enabled")?;
            seen.overrides.iter().find(|(plugin, _)| plugin.as_str() == id).map(|(_, one)| one.enabled)
        };
        let settings = seen.loaded.settings().map(|setting| {
            let part = match ordered(setting.key) {
                Some(enabled) => SettingPart { value: enabled.into(), origin: "order".to_owned() },
                None => SettingPart { value: setting.value.clone(), origin: setting.origin.to_string() },
            };
            (setting.key.to_owned(), part)
        });
        ConfigPage {
            etag: seen.etag.clone(),
            since: rfc3339(seen.since),
            profile: seen.loaded.profile.clone(),
            files: seen.loaded.files.iter().map(|file| file.display().to_string()).collect(),
            settings: settings.collect(),
            pending_restart: seen.pending.clone(),
            in_memory: in_memory(&seen.overrides),
            ended_with_host: self.ended_before.to_vec(),
            failure: seen.failure.clone(),
        }
    }

    fn etag(&self) -> String {
        self.seen.borrow().etag.clone()
    }

    fn failure(&self) -> Option<ConfigFailurePart> {
        // Off for a broken twin: a host whose health pages know nothing of its files.
        if failpoint!("server.config_failure_told") == Some(Action::Off) {
            return None;
        }
        self.seen.borrow().failure.clone()
    }

    fn schema(&self) -> Value {
        agent_host_config::schema()
    }

    fn compare(&self) -> BoxFuture<'static, Result<ChangePage, NotChanged>> {
        self.ask(Ask::Compare, gone)
    }

    fn reload(&self) -> BoxFuture<'static, Result<ChangePage, NotChanged>> {
        self.ask(Ask::Reload, gone)
    }

    fn set(
        &self,
        if_match: Option<String>,
        set: BTreeMap<String, Value>,
    ) -> BoxFuture<'static, Result<ChangePage, NotChanged>> {
        self.ask(|answer| Ask::Set { if_match, set, answer }, gone)
    }

    fn consider(
        &self,
        if_match: Option<String>,
        set: BTreeMap<String, Value>,
    ) -> BoxFuture<'static, Result<ChangePage, NotChanged>> {
        self.ask(|answer| Ask::Consider { if_match, set, answer }, gone)
    }

    fn toggle(
        &self,
        plugin: PluginId,
        enabled: bool,
        lasting: Option<Duration>,
    ) -> BoxFuture<'static, Result<(PluginDetail, KeptPart), ControlError>> {
        self.ask(|answer| Ask::Toggle { plugin, enabled, lasting, answer }, || ControlError::Unanswered)
    }
}

/// Switches that stand in no file, as they are shown.
fn in_memory(overrides: &BTreeMap<PluginId, Override>) -> Vec<OverridePart> {
    overrides.iter().map(|(plugin, one)| one.shown(plugin)).collect()
}

impl Override {
    fn shown(&self, plugin: &PluginId) -> OverridePart {
        OverridePart {
            key: format!("plugins.{plugin}.enabled"),
            value: self.enabled.into(),
            until: self.until.map(|(_, at)| rfc3339(at)),
            reason: self.reason.clone(),
        }
    }
}

/// The owner is gone.
fn gone() -> NotChanged {
    NotChanged { code: Code::HostInternal, reason: Code::HostInternal.meaning().to_owned() }
}

/// A word for what is in force, another for anything else.
fn etag_of(loaded: &Loaded, overrides: &BTreeMap<PluginId, Override>) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    for (key, value) in &loaded.values {
        (key, value.to_string()).hash(&mut hasher);
    }
    for (plugin, one) in overrides {
        (plugin.as_str(), one.enabled).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}
