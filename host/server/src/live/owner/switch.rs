//! Switches of plugins: kept in a file where one can say so, else laid over the files until their time is over.

use std::{collections::BTreeMap, time::Duration};

use agent_host_config::{Loaded, Origin};
use agent_host_core::{failpoint, failpoint::Action, timestamp::rfc3339};
use agent_host_engine::{ControlError, PluginOrder, view::PluginDetail};
use agent_host_gateway::admin::{configuration::NotChanged, view::KeptPart};
use agent_plugin_protocol::PluginId;
use serde_json::Value;
use tokio::time::Instant;

use super::{InForce, Override, Task, Texts, plan, write_beside};

impl Task {
    /// Switches a plugin, and keeps that.
    pub(super) async fn toggle(
        &mut self,
        plugin: &PluginId,
        enabled: bool,
        lasting: Option<Duration>,
    ) -> Result<(PluginDetail, KeptPart), ControlError> {
        let order = if enabled { PluginOrder::Enable } else { PluginOrder::Disable };
        let detail = self.engine.control(plugin, order).await?;
        if let Some(kept) = self.said_already(plugin, enabled).await {
            return Ok((detail, kept));
        }
        let kept = match lasting {
            Some(lasting) => self.keep_in_memory(plugin, enabled, Some(lasting), "it was ordered for a time"),
            None => match self.keep_in_file(plugin, enabled).await {
                Ok(file) => KeptPart { file: Some(file), ..KeptPart::default() },
                Err(reason) => self.keep_in_memory(plugin, enabled, None, &reason),
            },
        };
        Ok((detail, kept))
    }

    /// Where the files say so by themselves: none is changed, and what was laid over them for this plugin is taken back.
    async fn said_already(&mut self, plugin: &PluginId, enabled: bool) -> Option<KeptPart> {
        // Off for a broken twin: a host that writes down whatever it is told.
        if failpoint!("server.said_already") == Some(Action::Off) {
            return None;
        }
        let (now, key) = (self.in_force(), key_of(plugin));
        let mut overrides = now.overrides.clone();
        overrides.remove(plugin);
        let files = self.load(Texts::new(), &overrides).await.ok();
        let say = |files: &Loaded| files.config.plugins.get(plugin).is_some_and(|one| one.enabled == enabled);
        let origins = match files {
            Some(files) if !say(&files) => return None,
            Some(files) if plan::differences(&now.loaded, &files).iter().all(|one| one.key == key) => {
                let origins = files.origins.clone();
                self.tell(files, overrides);
                origins
            }
            // They hold another edit, or do not hold: that is put in force, or refused, when it is noticed.
            Some(_) | None if said(&now, plugin) == enabled => {
                self.lay_over(overrides);
                now.loaded.origins.clone()
            }
            Some(_) | None => return None,
        };
        let file = match origins.get(&key) {
            Some(Origin::File(place)) => Some(place.path().display().to_string()),
            Some(Origin::Default | Origin::Path(_) | Origin::Variable(_) | Origin::CommandLine(_)) | None => {
                None
            }
        };
        Some(KeptPart { already: true, file, ..KeptPart::default() })
    }

    /// The file that says so from now on; an error: why none does.
    async fn keep_in_file(&mut self, plugin: &PluginId, enabled: bool) -> Result<String, String> {
        let now = self.in_force();
        let key = key_of(plugin);
        let set = BTreeMap::from([(key.clone(), Value::from(enabled))]);
        let reason = |wrong: NotChanged| wrong.reason;
        let texts = self.texts_with(&now.loaded, &set).await.map_err(reason)?;
        let file = texts.keys().next().map(|file| file.display().to_string()).unwrap_or_default();
        let mut overrides = now.overrides.clone();
        overrides.remove(plugin);
        let loaded = self.load(texts.clone(), &overrides).await.map_err(reason)?;
        let others = plan::differences(&now.loaded, &loaded);
        if others.iter().any(|change| change.key != key) {
            return Err("the files hold another edit that is not in force".to_owned());
        }
        let ready = write_beside(texts).await.map_err(reason)?;
        self.put(ready).await.map_err(reason)?;
        self.tell(loaded, overrides);
        Ok(file)
    }

    fn keep_in_memory(
        &mut self,
        plugin: &PluginId,
        enabled: bool,
        lasting: Option<Duration>,
        reason: &str,
    ) -> KeptPart {
        let now = self.in_force();
        let mut overrides = now.overrides.clone();
        let instead_of = said(&now, plugin);
        let until = lasting.map(|lasting| (Instant::now() + lasting, self.own.clock.now() + lasting));
        let one = Override { enabled, instead_of, until, reason: reason.to_owned() };
        overrides.insert(plugin.clone(), one);
        self.lay_over(overrides);
        let until = until.map(|(_, at)| rfc3339(at));
        KeptPart { until, reason: Some(reason.to_owned()), ..KeptPart::default() }
    }

    /// Switches that were ordered for a time which is over.
    pub(super) async fn end_overrides(&mut self) {
        let now = self.in_force();
        let over = |one: &Override| one.until.is_some_and(|(at, _)| at <= Instant::now());
        let mut overrides = now.overrides.clone();
        overrides.retain(|_, one| !over(one));
        for (plugin, one) in now.overrides.iter().filter(|(_, one)| over(one)) {
            let order = if one.instead_of { PluginOrder::Enable } else { PluginOrder::Disable };
            if let Err(error) = self.engine.control(plugin, order).await {
                tracing::warn!(%plugin, %error, "a switch that was ordered for a time could not be taken back");
            }
        }
        self.lay_over(overrides);
    }

    /// The switches that hold against the files as they are now: of a plugin of which they say something new, none does.
    pub(super) async fn still_meant(&self) -> BTreeMap<PluginId, Override> {
        let mut overrides = self.in_force().overrides.clone();
        if let Ok(plain) = self.load(Texts::new(), &BTreeMap::new()).await {
            overrides.retain(|id, one| {
                plain.config.plugins.get(id).is_some_and(|plugin| plugin.enabled == one.instead_of)
            });
        }
        overrides
    }

    /// Other switches over the same files: what was wrong with those still is.
    fn lay_over(&mut self, overrides: BTreeMap<PluginId, Override>) {
        let now = self.in_force();
        // Off for a broken twin: a host that takes a switch for the repair of its files.
        let forgets = failpoint!("server.config_failure_kept") == Some(Action::Off);
        let failure = now.failure.clone().filter(|_| !forgets);
        let mut loaded = now.loaded.clone();
        for (id, one) in &mut loaded.config.plugins {
            one.enabled = overrides.get(id).map_or_else(|| said(&now, id), |over| over.enabled);
        }
        self.put_in_force(loaded, overrides, failure);
    }
}

/// What the files in force say of its switch.
fn said(now: &InForce, plugin: &PluginId) -> bool {
    let laid_over = now.overrides.get(plugin).map(|one| one.instead_of);
    let plain = || now.loaded.config.plugins.get(plugin).is_none_or(|plugin| plugin.enabled);
    laid_over.unwrap_or_else(plain)
}

fn key_of(plugin: &PluginId) -> String {
    format!("plugins.{plugin}.enabled")
}
