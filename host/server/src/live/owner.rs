//! The task that owns the configuration: one thing after another, whoever asks.

mod switch;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use agent_host_config::{Loaded, Origin, Sources, edited};
use agent_host_core::{failpoint, failpoint::Action, timestamp::rfc3339};
use agent_host_engine::{ChangeError, Engine};
use agent_host_gateway::{
    admin::{
        configuration::NotChanged,
        view::{ChangePage, ConfigFailurePart},
    },
    rules::{Keys, Rules},
};
use agent_host_telemetry::happening::{ConfigApplied, ConfigRefused};
use agent_plugin_protocol::{Code, PluginId};
use serde_json::Value;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{Ask, InForce, Override, Owner, etag_of, files::Ready, plan, watch};
use crate::{configuration, settings};

/// The owner at work.
pub(super) struct Task {
    own: Owner,
    engine: Engine,
    /// What holds at the doors: put by this task only.
    rules: Arc<Rules>,
    watch: watch::Watch,
}

/// Texts that files are to have.
type Texts = BTreeMap<PathBuf, String>;

impl Task {
    pub(super) fn new(own: Owner, engine: Engine, rules: Arc<Rules>) -> Self {
        let watch = own.sources.dir.as_deref().map(watch::Watch::of).unwrap_or_default();
        Self { own, engine, rules, watch }
    }

    /// Serves until the host ends.
    pub(super) async fn run(mut self) {
        // Without the signal there are still the files and the API.
        let mut hangup = signal(SignalKind::hangup()).ok();
        let mut often = interval(watch::EVERY);
        often.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let over = self.in_force().overrides.values().filter_map(|one| one.until).map(|(at, _)| at).min();
            tokio::select! {
                ask = self.own.orders.recv() => match ask {
                    Some(ask) => self.answer(ask).await,
                    None => return,
                },
                () = hung_up(&mut hangup) => drop(self.reload().await),
                _ = often.tick(), if self.own.sources.dir.is_some() => self.look().await,
                () = async { sleep_until(over.unwrap_or_else(Instant::now)).await }, if over.is_some() => {
                    self.end_overrides().await;
                }
            }
            self.note().await;
        }
    }

    async fn answer(&mut self, ask: Ask) {
        // Whoever asked may be gone; what was ordered is done.
        match ask {
            Ask::Compare(answer) => drop(answer.send(self.compare().await)),
            Ask::Reload(answer) => drop(answer.send(self.reload().await)),
            Ask::Consider { if_match, set, answer } => drop(answer.send(self.consider(if_match, &set).await)),
            Ask::Set { if_match, set, answer } => drop(answer.send(self.set(if_match, set).await)),
            Ask::Toggle { plugin, enabled, lasting, answer } => {
                let toggled = self.toggle(&plugin, enabled, lasting).await;
                // Before anybody relies on it.
                self.note().await;
                drop(answer.send(toggled));
            }
        }
    }

    /// Notes for the next host what stands in no file, if that is something else than before.
    async fn note(&mut self) {
        let switches = super::in_memory(&self.in_force().overrides);
        if self.own.memo.holds(&switches) {
            return;
        }
        let mut memo = self.own.memo.clone();
        let noted = tokio::task::spawn_blocking(move || {
            memo.note(switches);
            memo
        });
        // It does not panic; if it ever does, the next change is noted.
        if let Ok(memo) = noted.await {
            self.own.memo = memo;
        }
    }

    async fn look(&mut self) {
        let Some(dir) = self.own.sources.dir.clone() else { return };
        let mut watch = std::mem::take(&mut self.watch);
        let looked = tokio::task::spawn_blocking(move || (watch.look(&dir), watch)).await;
        // It does not panic; if it ever does, the watch begins anew.
        let Ok((changed, watch)) = looked else { return };
        self.watch = watch;
        if changed {
            drop(self.reload().await);
        }
    }

    /// What the files would change.
    async fn compare(&self) -> Result<ChangePage, NotChanged> {
        let now = self.in_force();
        let loaded = self.load(Texts::new(), &now.overrides).await?;
        let warnings = configuration::warnings(&loaded.config);
        let changes = plan::differences(&now.loaded, &loaded);
        Ok(ChangePage { etag: now.etag.clone(), changes, warnings })
    }

    /// Puts the files in force, as they are now, and tells the service manager from when to when.
    async fn reload(&mut self) -> Result<ChangePage, NotChanged> {
        self.own.manager.reloading();
        let outcome = self.reload_files().await;
        self.own.manager.reloaded(outcome.as_ref().err().map(|wrong| wrong.reason.as_str()));
        outcome
    }

    async fn reload_files(&mut self) -> Result<ChangePage, NotChanged> {
        let overrides = self.still_meant().await;
        let outcome = match self.load(Texts::new(), &overrides).await {
            Ok(loaded) => self.apply(loaded, overrides).await,
            Err(wrong) => Err(wrong),
        };
        if let Err(wrong) = &outcome {
            self.failed(wrong);
        }
        outcome
    }

    /// What setting keys would change, if it may be done: all that [`Self::set`] asks before it does anything.
    async fn consider(
        &self,
        if_match: Option<String>,
        set: &BTreeMap<String, Value>,
    ) -> Result<ChangePage, NotChanged> {
        let now = self.in_force();
        let (_, loaded) = self.prepared(if_match, set).await?;
        let warnings = configuration::warnings(&loaded.config);
        let changes = plan::differences(&now.loaded, &loaded);
        Ok(ChangePage { etag: now.etag.clone(), changes, warnings })
    }

    /// Sets keys, in force and in their files.
    async fn set(
        &mut self,
        if_match: Option<String>,
        set: BTreeMap<String, Value>,
    ) -> Result<ChangePage, NotChanged> {
        let now = self.in_force();
        let (texts, loaded) = self.prepared(if_match, &set).await?;
        let ready = write_beside(texts).await?;
        let page = self.apply(loaded, now.overrides.clone()).await?;
        if let Err(wrong) = self.put(ready).await {
            // What no file says does not hold. What was in force a moment ago can be again; if not, the page shows it.
            // Off for a broken twin: a host that goes on with what is in no file.
            if failpoint!("server.config_revert") != Some(Action::Off) {
                drop(self.apply(now.loaded.clone(), now.overrides.clone()).await);
            }
            return Err(wrong);
        }
        Ok(page)
    }

    /// The files with those keys set, and the configuration that they make: it holds as a whole.
    async fn prepared(
        &self,
        if_match: Option<String>,
        set: &BTreeMap<String, Value>,
    ) -> Result<(Texts, Loaded), NotChanged> {
        let now = self.in_force();
        if if_match.is_some_and(|etag| etag != now.etag) {
            let reason =
                format!("the configuration in force is {}, not the one that was looked at", now.etag);
            return Err(NotChanged { code: Code::ConfigStaleEtag, reason });
        }
        if let Some(key) = set.keys().find(|key| !plan::may_be_set(key)) {
            let reason = format!("`{key}` cannot be set through the API");
            return Err(NotChanged { code: Code::ConfigFilesOnly, reason });
        }
        let texts = self.texts_with(&now.loaded, set).await?;
        let loaded = self.load(texts.clone(), &now.overrides).await?;
        Ok((texts, loaded))
    }

    /// Loads and checks a configuration as a whole. `overrides` are laid over it, where their plugins are in it.
    async fn load(
        &self,
        replaced: Texts,
        overrides: &BTreeMap<PluginId, Override>,
    ) -> Result<Loaded, NotChanged> {
        let sources = Sources { replaced, ..self.own.sources.clone() };
        let overrides: Vec<(PluginId, bool)> =
            overrides.iter().map(|(plugin, one)| (plugin.clone(), one.enabled)).collect();
        let work = move || {
            let mut loaded = configuration::load_from(sources)?;
            for (plugin, enabled) in overrides {
                if let Some(one) = loaded.config.plugins.get_mut(&plugin) {
                    one.enabled = enabled;
                }
            }
            Ok(loaded)
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(super::gone()))
    }

    /// Puts a configuration that holds in force: all of it, or nothing.
    async fn apply(
        &mut self,
        loaded: Loaded,
        overrides: BTreeMap<PluginId, Override>,
    ) -> Result<ChangePage, NotChanged> {
        let now = self.in_force();
        let changes = plan::differences(&now.loaded, &loaded);
        // Off for a broken twin: doors that hold to what may still be refused.
        if failpoint!("server.config_order") == Some(Action::Off) {
            self.rules.put(settings::gateway(&loaded.config), keys(&now.loaded, &loaded));
        }
        self.engine.configure(settings::engine(&loaded.config)).await.map_err(refused)?;
        // Only now: what the engine refuses holds nowhere. From here on nothing can fail.
        self.rules.put(settings::gateway(&loaded.config), keys(&now.loaded, &loaded));
        if let Err(error) = agent_host_telemetry::log::set_level(loaded.config.log.level.as_str()) {
            tracing::warn!(%error, "the level of the log was not changed");
        }
        let pending = plan::pending(&self.own.started, &loaded.values);
        if !changes.is_empty() {
            let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
            ConfigApplied { changed: bounded(&keys), not_live: bounded(&pending) }.emit();
        }
        let etag = self.tell(loaded, overrides);
        Ok(ChangePage { etag, changes, warnings: Vec::new() })
    }

    /// What is in force from now on.
    fn tell(&mut self, loaded: Loaded, overrides: BTreeMap<PluginId, Override>) -> String {
        self.put_in_force(loaded, overrides, None)
    }

    fn put_in_force(
        &mut self,
        loaded: Loaded,
        overrides: BTreeMap<PluginId, Override>,
        failure: Option<ConfigFailurePart>,
    ) -> String {
        let etag = etag_of(&loaded, &overrides);
        let now = self.in_force();
        // Since when it is so: what is as it was is so for as long as before.
        let since = if now.etag == etag { now.since } else { self.own.clock.now() };
        let pending = plan::pending(&self.own.started, &loaded.values);
        let in_force = InForce { loaded, etag: etag.clone(), since, pending, overrides, failure };
        self.own.told.send_replace(Arc::new(in_force));
        etag
    }

    fn failed(&mut self, wrong: &NotChanged) {
        let (code, reason) = (wrong.code.to_string(), wrong.reason.clone());
        ConfigRefused { code: code.clone(), reason: reason.clone() }.emit();
        let at = rfc3339(self.own.clock.now());
        let mut in_force = InForce::clone(&self.in_force());
        in_force.failure = Some(ConfigFailurePart { at, code, reason });
        self.own.told.send_replace(Arc::new(in_force));
    }

    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.own.told.borrow())
    }

    /// The files' texts with those keys set: each in the file that sets it, else where its plugin is, else in the main one.
    async fn texts_with(&self, loaded: &Loaded, set: &BTreeMap<String, Value>) -> Result<Texts, NotChanged> {
        let edit = |(key, value): (&String, &Value)| {
            let file = self.file_of(loaded, key).map_err(unwritable)?;
            Ok((file, key.clone(), value.clone()))
        };
        let edits = set.iter().map(edit).collect::<Result<Vec<_>, NotChanged>>()?;
        // A file may lie behind a network: whoever else asks this task waits, and no other task.
        let read = tokio::task::spawn_blocking(move || texts_of(edits));
        read.await.unwrap_or_else(|_| Err(super::gone()))
    }

    fn file_of(&self, loaded: &Loaded, key: &str) -> Result<PathBuf, String> {
        let file = |key: &str| match loaded.origins.get(key) {
            Some(Origin::File(place)) => Some(place.path().to_owned()),
            Some(Origin::Default | Origin::Path(_) | Origin::Variable(_) | Origin::CommandLine(_)) | None => {
                None
            }
        };
        if let Some(stronger @ (Origin::Variable(_) | Origin::CommandLine(_))) = loaded.origins.get(key) {
            return Err(format!("`{key}` is set by {stronger}, which is stronger than any file"));
        }
        let of_plugin = || {
            let id = key.strip_prefix("plugins.")?.split('.').next()?;
            file(&format!("plugins.{id}.path"))
        };
        let main = || self.own.sources.dir.as_ref().map(|dir| dir.join("host.toml"));
        let found = file(key).or_else(of_plugin).or_else(main);
        found.ok_or_else(|| "this host was started without a configuration folder".to_owned())
    }

    async fn put(&mut self, ready: Vec<Ready>) -> Result<(), NotChanged> {
        let dir = self.own.sources.dir.clone();
        let put = tokio::task::spawn_blocking(move || Ready::put_all(ready, dir.as_deref()));
        let put = put.await.map_err(|_| super::gone())?;
        if let Some(dir) = &self.own.sources.dir {
            self.watch.known(dir);
        }
        put.map_err(|error| unwritable(format!("the file cannot be replaced: {error}")))
    }
}

/// The files as they are, with those keys set. Blocks on the disk.
fn texts_of(edits: Vec<(PathBuf, String, Value)>) -> Result<Texts, NotChanged> {
    let mut texts = Texts::new();
    for (file, key, value) in edits {
        let text = match texts.get(&file) {
            Some(text) => text.clone(),
            None => std::fs::read_to_string(&file)
                .map_err(|error| unwritable(format!("{} cannot be read: {error}", file.display())))?,
        };
        let new = edited(&text, &key, &value)
            .map_err(|error| unwritable(format!("`{key}` in {}: {error}", file.display())))?;
        texts.insert(file, new);
    }
    Ok(texts)
}

fn unwritable(reason: String) -> NotChanged {
    NotChanged { code: Code::ConfigUnwritable, reason }
}

async fn write_beside(texts: Texts) -> Result<Vec<Ready>, NotChanged> {
    let write = move || {
        texts
            .iter()
            .map(|(file, text)| {
                Ready::write(file, text.as_bytes()).map_err(|error| NotChanged {
                    code: Code::ConfigUnwritable,
                    reason: format!("{} cannot be written: {error}", file.display()),
                })
            })
            .collect()
    };
    tokio::task::spawn_blocking(write).await.unwrap_or_else(|_| Err(super::gone()))
}

/// The key set of another issuer, if it is to be another one. One that stays keeps what it has fetched.
fn keys(from: &Loaded, to: &Loaded) -> Keys {
    if from.config.auth.jwks == to.config.auth.jwks {
        Keys::AsBefore
    } else {
        Keys::These(settings::key_set(&to.config).map(Arc::new))
    }
}

async fn hung_up(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

fn refused(error: ChangeError) -> NotChanged {
    NotChanged { code: error.code(), reason: error.to_string() }
}

/// A list for one line.
fn bounded<T: AsRef<str>>(keys: &[T]) -> String {
    let most = keys.iter().take(20).map(T::as_ref).collect::<BTreeSet<_>>();
    let more = if keys.len() > 20 { ", …" } else { "" };
    format!("{}{more}", most.into_iter().collect::<Vec<_>>().join(", "))
}
