//! How far the host is with reading its files again, against what the service manager was told of that.

use std::sync::{Mutex, PoisonError};

use agent_host_core::{failpoint, failpoint::Action};

/// Reloads as they are: written by the owner of the configuration, read by the teller.
#[derive(Debug, Default)]
pub(super) struct Reloads(Mutex<Reload>);

/// Reloads so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reload {
    begun: u64,
    ended: u64,
    /// Why the last one was refused.
    refused: Option<String>,
}

/// What the manager has to hear.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Begin,
    /// With what is amiss.
    End(Option<String>),
}

impl Reloads {
    pub(super) fn begin(&self) {
        self.change(|now| now.begun += 1);
    }

    pub(super) fn end(&self, refused: Option<String>) {
        // For a broken twin: a host that does not say that it is done.
        if failpoint!("server.notify.reloaded") == Some(Action::Off) {
            return;
        }
        self.change(|now| {
            now.ended += 1;
            now.refused = refused;
        });
    }

    pub(super) fn now(&self) -> Reload {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Reload)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Reload {
    /// What has to be told now, in order, of what was not; it counts as told. Reloads that went by in one are told as one.
    pub(super) fn due(&mut self, now: &Self) -> Vec<Due> {
        let mut due = Vec::new();
        if now.begun > self.begun {
            due.push(Due::Begin);
        }
        // One that goes on beside it would be cut off by the end of another.
        if now.ended > self.ended && now.ended == now.begun {
            due.push(Due::End(now.refused.clone()));
        }
        let ended = if now.ended == now.begun { now.ended } else { self.ended };
        *self = Self { ended, ..now.clone() };
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_beginning_has_its_end_and_what_went_by_in_one_is_one() {
        let (reloads, mut told) = (Reloads::default(), Reload::default());
        assert_eq!(told.due(&reloads.now()), []);
        reloads.begin();
        assert_eq!(told.due(&reloads.now()), [Due::Begin]);
        assert_eq!(told.due(&reloads.now()), [], "it is told once");
        reloads.end(Some("wrong".to_owned()));
        assert_eq!(told.due(&reloads.now()), [Due::End(Some("wrong".to_owned()))]);
        assert_eq!(told.due(&reloads.now()), []);
        for _ in 0..3 {
            reloads.begin();
            reloads.end(None);
        }
        assert_eq!(told.due(&reloads.now()), [Due::Begin, Due::End(None)]);
        reloads.begin();
        reloads.end(None);
        reloads.begin();
        assert_eq!(told.due(&reloads.now()), [Due::Begin], "one goes on");
        reloads.end(None);
        assert_eq!(told.due(&reloads.now()), [Due::End(None)]);
    }
}
