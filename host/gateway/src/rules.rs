//! What holds at the doors: the settings and whose tokens are believed, as one value that is exchanged as a whole.
//!
//! One writer, the owner of the configuration; everybody else looks at the value, which never changes. New connections,
//! requests and tokens are judged by the newest. An open connection keeps the one it has until it is woken, which it is
//! with each exchange, and is judged then: it closes if its token would not be let in any more.

use std::sync::Arc;

use agent_host_core::{failpoint, failpoint::Action, ports::clock::Clock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{KeySet, Verifier},
    revoked::RevokedTokens,
    settings::{Auth, Settings},
};

/// What holds, and the way to put something else in its place.
pub struct Rules {
    now: watch::Sender<Arc<InForce>>,
    clock: Arc<dyn Clock>,
    revoked: Arc<RevokedTokens>,
}

/// What holds at one moment.
pub(crate) struct InForce {
    pub(crate) settings: Settings,
    /// Judges users' tokens.
    pub(crate) users: Verifier,
    /// Judges operators'.
    pub(crate) operators: Verifier,
    /// The key set of another issuer, if there is one.
    pub(crate) keys: Option<Arc<KeySet>>,
}

/// Which key set of another issuer is believed from now on.
#[derive(Debug)]
pub enum Keys {
    /// The one that is: it stays fetched.
    AsBefore,
    /// This one, which has to be fetched; or none.
    These(Option<Arc<KeySet>>),
}

impl Rules {
    /// Those that a gateway begins with. Of `revoked`, no token is let in.
    pub fn new(
        settings: Settings,
        keys: Option<Arc<KeySet>>,
        revoked: Arc<RevokedTokens>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let first = InForce::new(settings, keys, &revoked, &clock);
        Self { now: watch::Sender::new(Arc::new(first)), clock, revoked }
    }

    /// Puts these in the place of what holds, at once and as a whole, and has every open connection look again. What is
    /// bound or counted once stays as it began: the listeners and the times.
    pub fn put(&self, settings: Settings, keys: Keys) {
        // For a broken twin: doors that say that they are as they were told to be.
        if failpoint!("gateway.rules") == Some(Action::Off) {
            return;
        }
        let now = self.now();
        let keys = match keys {
            Keys::AsBefore => now.keys.clone(),
            Keys::These(keys) => keys,
        };
        let begun = &now.settings;
        let settings = Settings {
            listen: begun.listen,
            admin_listen: begun.admin_listen,
            timing: begun.timing.clone(),
            ..settings
        };
        self.now.send_replace(Arc::new(InForce::new(settings, keys, &self.revoked, &self.clock)));
        // Only then: who is woken finds the new ones.
        self.revoked.look_again();
    }

    /// What holds now.
    pub(crate) fn now(&self) -> Arc<InForce> {
        Arc::clone(&self.now.borrow())
    }

    /// Told with each exchange; whoever looks sees the newest only.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<InForce>> {
        self.now.subscribe()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(crate) fn revoked(&self) -> &Arc<RevokedTokens> {
        &self.revoked
    }

    /// Keeps the key set fetched that holds, whichever that is, until `stop`.
    pub(crate) async fn keep_keys(self: Arc<Self>, stop: CancellationToken) {
        let mut rules = self.watch();
        loop {
            let keys = rules.borrow_and_update().keys.clone();
            let kept = async {
                match &keys {
                    Some(keys) => Arc::clone(keys).keep(Arc::clone(&self.revoked), stop.clone()).await,
                    None => stop.cancelled().await,
                }
            };
            let another = async {
                // The sender is this one's own.
                while rules.changed().await.is_ok() {
                    if !is_same(rules.borrow().keys.as_ref(), keys.as_ref()) {
                        return;
                    }
                }
            };
            tokio::select! {
                () = kept => return,
                () = another => {}
            }
        }
    }
}

impl InForce {
    fn new(
        settings: Settings,
        keys: Option<Arc<KeySet>>,
        revoked: &Arc<RevokedTokens>,
        clock: &Arc<dyn Clock>,
    ) -> Self {
        let users = Verifier::new(&settings.auth, Arc::clone(clock))
            .with_key_set(keys.clone())
            .without(Arc::clone(revoked));
        let operators = Verifier::new(&operators(&settings), Arc::clone(clock));
        Self { settings, users, operators, keys }
    }
}

/// The operators' own keys and audience. A key that signs users' tokens is none of them.
fn operators(settings: &Settings) -> Auth {
    let mut auth = settings.admin.clone();
    // For broken twins: a host that believes its users' key here too, and one that does not ask for whom a token is.
    if failpoint!("gateway.admin_keys") == Some(Action::Off) {
        auth.hs256_secrets.extend(settings.auth.hs256_secrets.iter().cloned());
    }
    if failpoint!("gateway.admin_audience") == Some(Action::Off) {
        auth.audience.clear();
    }
    auth
}

fn is_same(one: Option<&Arc<KeySet>>, other: Option<&Arc<KeySet>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
