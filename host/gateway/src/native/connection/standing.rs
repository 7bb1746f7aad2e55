//! What a connection stands on: its token's time and standing, its client's signs of life, and the rules in force.

use std::{sync::Arc, time::Duration};

use agent_host_core::{failpoint, failpoint::Action};
use agent_host_engine::session::Problem;
use agent_plugin_protocol::Code;
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{Connection, Ending, buckets};
use crate::{
    host::Conversation,
    jitter,
    limits::TokenBucket,
    native::{close::Close, encode, expiry::Due, liveness::Beat, speech::Speech},
    netra,
};

impl<T: AsyncRead + AsyncWrite + Unpin, C: Conversation> Connection<'_, T, C> {
    /// Takes a new token of the same user.
    pub(super) async fn refresh(&mut self, token: &SecretString) {
        let rules = self.shared.rules.now();
        // Boxed: an idle connection does not keep the room for it.
        let judged = Box::pin(rules.users.judge(token.expose_secret())).await;
        match judged {
            Ok(new) if new.scope == self.principal.scope => {
                // Off for a broken twin: a host that says yes, and goes by the token before.
                if failpoint!("gateway.refreshed") != Some(Action::Off) {
                    self.expiry.refresh(new.expires_at);
                }
                self.judge_at = Instant::now();
                self.push(encode::auth_refreshed(new.expires_at));
                let new = Arc::new(new);
                self.refreshed = Some(Arc::clone(&new));
                self.conversation.refresh(new);
            }
            Ok(_) => {
                let mut problem = Problem::new(Code::PermissionDenied);
                problem.message = "the new token is another user's".to_owned();
                self.push(encode::problem(&problem));
            }
            Err(error) => {
                let mut problem = Problem::new(error.code);
                problem.message = error.detail;
                // For a broken twin: a host that quotes what it refuses.
                if failpoint!("gateway.quiet_frames") == Some(Action::Off) {
                    problem.message = format!("{}: {}", problem.message, token.expose_secret());
                }
                self.push(encode::problem(&problem));
            }
        }
    }

    /// Does what is due. The token is judged at every look, so that a jump of the clock
    /// is noticed within one ping interval.
    pub(super) fn check_timers(&mut self) -> Result<(), Ending> {
        let until_expiry = loop {
            match self.expiry.due(self.shared.clock.now()) {
                Due::Later(wait) => break wait,
                // Both off for broken twins: a host that says nothing, and one that judges a token at the door only.
                Due::Warn if failpoint!("gateway.expiry_told") == Some(Action::Off) => {}
                Due::End if failpoint!("gateway.expiry_ends") == Some(Action::Off) => break AN_HOUR,
                Due::Warn => self.push(match &self.speech {
                    Speech::Native | Speech::None => encode::auth_expiring(self.expiry.expires_at()),
                    Speech::Netra(_) => netra::Codec::expiring(self.shared.clock.now()),
                }),
                Due::End => return Err(Ending::ByHost(Close::Expired)),
            }
        };
        let now = Instant::now();
        match self.liveness.beat(now, || jitter::within(&self.rules.settings.timing.ping)) {
            Beat::Rest => {}
            Beat::Dead => return Err(Ending::ByHost(Close::NoPong)),
            Beat::Ping => {
                // With what it names: positions of events that the client has not got yet would look like a loss.
                self.push(match &self.speech {
                    Speech::Native | Speech::None => encode::ping(&self.conversation.positions()),
                    Speech::Netra(_) => netra::Codec::ping(self.shared.clock.now()),
                });
                self.out.ping();
            }
        }
        // At least a millisecond: a timer of a rounded-down duration must not spin.
        self.judge_at = now + until_expiry.max(Duration::from_millis(1));
        Ok(())
    }

    /// Takes up what holds now. Its token has to hold by that; what it has used of its limits stays used.
    pub(super) fn look_again(&mut self) -> Result<(), Ending> {
        let rules = self.shared.rules.now();
        if !Arc::ptr_eq(&rules, &self.rules) {
            let (messages, frames) = buckets(&rules.settings.limits, Instant::now());
            self.messages = TokenBucket::in_place_of(self.messages.take(), messages);
            self.frames = TokenBucket::in_place_of(self.frames.take(), frames);
            self.expiry.change_leeway(rules.users.leeway());
            self.judge_at = Instant::now();
            self.rules = rules;
        }
        self.check_standing()
    }

    /// Whether the token that the connection stands on still holds.
    fn check_standing(&self) -> Result<(), Ending> {
        // For a broken twin: a host that asks only at the door.
        if failpoint!("gateway.revoked_sockets") == Some(Action::Off) {
            return Ok(());
        }
        let principal = self.refreshed.as_deref().unwrap_or(self.principal);
        self.rules.users.check_standing(principal).map_err(|error| match error.code {
            Code::AuthRevoked => Ending::ByHost(Close::Revoked),
            _ => Ending::ByHost(Close::KeyWithdrawn),
        })
    }
}

/// Longer than any test.
const AN_HOUR: Duration = Duration::from_secs(3600);
