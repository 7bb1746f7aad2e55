//! A key set at one moment: what was fetched last, and what that is worth.

use std::time::Instant;

use agent_host_core::{identity::KeyPrint, key_set::Standing};
use jsonwebtoken::Algorithm;
use serde::Serialize;

use crate::auth::jwk::{PassedOver, SetKey};

/// What was fetched last.
#[derive(Debug)]
pub(crate) struct Now {
    pub(crate) standing: Standing,
    /// Those of the last set that was fetched.
    pub(crate) keys: std::sync::Arc<[SetKey]>,
    pub(crate) passed_over: Vec<PassedOver>,
    /// When that was.
    pub(crate) fetched: Option<Instant>,
    /// Fetches that failed since.
    pub(crate) failures: u32,
    /// Why the last fetch failed, if it did; for operators.
    pub(crate) reason: Option<String>,
}

impl Default for Now {
    fn default() -> Self {
        Self {
            standing: Standing::Absent,
            keys: [].into(),
            passed_over: Vec::new(),
            fetched: None,
            failures: 0,
            reason: None,
        }
    }
}

/// As `/ready?verbose` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct KeySetView {
    pub(crate) state: &'static str,
    /// Keys that verify tokens now.
    pub(crate) keys: usize,
    /// Of the last fetch that succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age_seconds: Option<u64>,
    /// Fetches that failed since.
    pub(crate) failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

impl Now {
    /// The keys that a token of that algorithm may be signed with: those of the name, or all if it names none. None where
    /// the set does not hold.
    pub(crate) fn find(&self, algorithm: Algorithm, name: Option<&str>) -> impl Iterator<Item = &SetKey> {
        let holds = self.standing.holds();
        self.keys.iter().filter(move |key| {
            let named = name.is_none() || key.name.as_deref() == name;
            holds && key.key.algorithm == algorithm && named
        })
    }

    /// Whether that key is one of the last set.
    pub(crate) fn has(&self, print: KeyPrint) -> bool {
        self.keys.iter().any(|key| key.print == print)
    }

    pub(crate) fn view(&self, from: &str, now: Instant) -> KeySetView {
        KeySetView {
            state: self.standing.as_str(),
            keys: if self.standing.holds() { self.keys.len() } else { 0 },
            age_seconds: self.fetched.map(|at| now.saturating_duration_since(at).as_secs()),
            failures: self.failures,
            from: Some(from.to_owned()),
            reason: self.reason.clone(),
        }
    }
}

impl KeySetView {
    /// Without what only operators may see.
    pub(crate) fn for_everybody(self) -> Self {
        Self { from: None, reason: None, ..self }
    }
}
