//! What is told of all slots: the status with its level and what is missing, and the details.

use std::{collections::BTreeSet, sync::Arc};

use agent_host_core::{
    level::{LevelFacts, Missing as CoreMissing, MissingKind, ServiceStatus},
    lifecycle::PluginState,
    service::{ServiceName, ServiceState},
};
use agent_plugin_protocol::{Code, PluginId, PluginKind};
use tokio::time::Instant;

use super::{Registry, is_healthy};
use crate::{
    details::Details,
    supervisor::slot::Slot,
    view::{Missing, PluginView, ServiceView, Status, requirement},
};

impl Registry {
    /// Every plugin in detail, as shown in that status.
    pub(in super::super) fn details(&mut self, status: &Status) -> Details {
        let now = Instant::now();
        let mut details = Vec::with_capacity(self.listed.len());
        for (index, view) in self.listed.iter().zip(&status.plugins) {
            if let Some(slot) = self.slots.get_mut(*index) {
                details.push(slot.detail(view.clone(), now));
            }
        }
        Details(details)
    }

    /// The status, as it is now.
    pub(in super::super) fn status(&self, leaving: bool) -> Arc<Status> {
        let starting = self.slots.iter().any(|slot| !slot.judged);
        let plugins: Vec<PluginView> = self.listed().map(|slot| slot.view(self.served_by(slot))).collect();
        let services = self.service_views();
        let mut missing = self.wanted_and_missing();
        for name in &self.required {
            missing.extend(requirement::missing(name, &plugins, &services, &missing));
        }
        let service = ServiceStatus::of(&LevelFacts {
            store_appends: self.store_works,
            fallback_works: self.fallback_works,
            healthy_agents: self.agents().filter(|slot| slot.state == PluginState::Healthy).count(),
            starting,
            missing,
        });
        Arc::new(Status {
            host: Arc::clone(&self.host),
            level: service.level,
            reason: service.reason,
            missing: service.missing.into_iter().map(told).collect(),
            plugins,
            services,
            durability: self.durability,
            starting,
            draining: leaving || self.draining,
        })
    }

    /// What is enabled, by whoever enabled it, and not healthy.
    fn wanted_and_missing(&self) -> Vec<CoreMissing> {
        let plugins = self.slots.iter().filter(|s| s.settings.enabled && s.state != PluginState::Healthy);
        let enabled = self.slots.iter().filter(|slot| slot.settings.enabled);
        let required: BTreeSet<ServiceName> = enabled
            .flat_map(|slot| &slot.settings.spec.requires)
            .filter_map(|word| ServiceName::parse(word))
            .collect();
        let services = self.services.iter();
        let services =
            services.filter_map(|(name, state)| missing_service(name, state, required.contains(&name)));
        plugins.map(missing_of).chain(services).chain(self.missing_history()).collect()
    }

    /// A store that works, but not with everything that it had.
    fn missing_history(&self) -> Option<CoreMissing> {
        let code = self.store_damage.filter(|_| self.store_works)?;
        let reason = code.meaning().to_owned();
        Some(CoreMissing {
            name: "store".to_owned(),
            kind: MissingKind::Store,
            code,
            reason,
            retry_after: None,
        })
    }

    fn service_views(&self) -> Vec<ServiceView> {
        let offered = self.services.iter().map(|(name, state)| {
            let (verdict, code, reason) = match state {
                ServiceState::Available => ("healthy", None, None),
                ServiceState::NotConfigured => ("disabled", None, None),
                ServiceState::Unavailable { code, reason } => ("failed", Some(*code), Some(reason.clone())),
            };
            ServiceView { name: name.as_str(), verdict, code, reason }
        });
        let store = (!self.store_works).then_some(Code::StoreUnavailable).or(self.store_damage);
        let fallback = (!self.fallback_works).then_some(Code::HostInternal);
        let own = [("store", store), ("fallback", fallback)].map(|(name, code)| ServiceView {
            name,
            verdict: if code.is_none() { "healthy" } else { "failed" },
            code,
            reason: None,
        });
        offered.chain(own).collect()
    }

    /// Who gets an agent's traffic while it gets none.
    fn served_by(&self, slot: &Slot) -> Option<String> {
        if slot.state == PluginState::Healthy || slot.settings.spec.kind == PluginKind::Supervisor {
            return None;
        }
        let healthy =
            |id: &&PluginId| self.agents().any(|s| s.settings.spec.id == **id && is_healthy(&s.route()));
        let substitute = slot.settings.substitutes.iter().find(healthy).cloned();
        let other = || self.agents().map(Slot::route).find(is_healthy).map(|entry| entry.id);
        let name = substitute.or_else(other).map(|id| id.to_string());
        Some(name.unwrap_or_else(|| "fallback".to_owned()))
    }
}

/// A service that should be there and is not. One that is not configured is missed where an enabled plugin is said to
/// require it.
fn missing_service(name: ServiceName, state: &ServiceState, required: bool) -> Option<CoreMissing> {
    let code = match state {
        ServiceState::Unavailable { code, .. } => *code,
        ServiceState::NotConfigured if required => Code::ServiceNotConfigured,
        ServiceState::Available | ServiceState::NotConfigured => return None,
    };
    Some(CoreMissing {
        name: name.as_str().to_owned(),
        kind: MissingKind::Service,
        code,
        // The code's own words: the reason may name addresses, and is the operator's.
        reason: code.meaning().to_owned(),
        retry_after: None,
    })
}

fn missing_of(slot: &Slot) -> CoreMissing {
    let code = slot.code();
    CoreMissing {
        name: slot.id(),
        kind: match slot.settings.spec.kind {
            PluginKind::Agent => MissingKind::Agent,
            PluginKind::Supervisor => MissingKind::Supervisor,
        },
        code,
        // The code's own words: a fault's reason may name paths, and is the operator's.
        reason: code.meaning().to_owned(),
        retry_after: slot.retry.map(|(_, pause)| pause),
    }
}

fn told(missing: CoreMissing) -> Missing {
    Missing {
        name: missing.name,
        kind: match missing.kind {
            MissingKind::Agent => "agent",
            MissingKind::Supervisor => "supervisor",
            MissingKind::Service => "service",
            MissingKind::Store => "store",
            MissingKind::Bus => "bus",
            MissingKind::Fallback => "fallback",
        },
        code: missing.code,
        reason: missing.reason,
        retry_after_ms: missing.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
    }
}
