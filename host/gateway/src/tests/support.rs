//! A gateway over a scripted host, tokens, and clients.

mod client;
mod pages;
mod script;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use agent_host_core::ports::clock::Clock;

pub(crate) use self::{
    client::{Client, body, exchange, upgrade},
    pages::{detail, event, plugin, status},
    script::Script,
};
use crate::{
    Gateway, MetricsPage, Settings,
    auth::{MintClaims, mint},
    rules::Rules,
};

pub(crate) const SECRET: &[u8] = b"the users' secret of many bytes!";
pub(crate) const ADMIN_SECRET: &[u8] = b"the operators' secret, so long!!";

/// The machine's time, plus what a test adds.
#[derive(Clone, Default)]
pub(crate) struct Shifted(Arc<Mutex<Duration>>);

impl Shifted {
    pub(crate) fn forward(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for Shifted {
    fn now(&self) -> SystemTime {
        SystemTime::now() + *self.0.lock().unwrap()
    }
}

pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.listen.set_port(0);
    settings.admin_listen.set_port(0);
    settings.auth.hs256_secrets = vec![SECRET.to_vec().into()];
    settings.admin.hs256_secrets = vec![ADMIN_SECRET.to_vec().into()];
    settings
}

/// A gateway over a script.
pub(crate) struct Doors {
    pub(crate) gateway: Gateway,
    pub(crate) script: Script,
    pub(crate) clock: Shifted,
    pub(crate) rules: Arc<Rules>,
}

/// Without a key set, and without revoked tokens.
pub(crate) fn rules(settings: Settings, clock: impl Clock) -> Arc<Rules> {
    Arc::new(Rules::new(settings, None, Arc::default(), Arc::new(clock)))
}

pub(crate) async fn open(change: impl FnOnce(&mut Settings)) -> Doors {
    let mut settings = settings();
    change(&mut settings);
    let (script, clock) = (Script::new(), Shifted::default());
    let page: MetricsPage = Some(Arc::new(|| "agent_host_upgrades_total 1\n".to_owned()));
    let rules = rules(settings, clock.clone());
    let gateway = Gateway::start(Arc::clone(&rules), script.clone(), page, crate::admin::Operated::default())
        .await
        .unwrap();
    Doors { gateway, script, clock, rules }
}

pub(crate) fn token_of(user: &str, lifetime: Duration) -> String {
    mint(&claims(user, lifetime), &SECRET.to_vec().into()).unwrap()
}

pub(crate) fn claims(user: &str, lifetime: Duration) -> MintClaims {
    MintClaims {
        user: user.to_owned(),
        tenant: None,
        permissions: Vec::new(),
        issuer: String::new(),
        audience: String::new(),
        issued_at: SystemTime::now(),
        lifetime,
    }
}

pub(crate) fn token() -> String {
    token_of("u1", Duration::from_secs(3600))
}
