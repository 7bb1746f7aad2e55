//! The loop of one connection: between its socket and its conversation with the engine. It owns both; nothing else
//! writes to either. `hearing` is what its client says, `standing` what it stands on.

mod hearing;
mod standing;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use agent_host_core::{failpoint, failpoint::Action, identity::Principal};
use agent_host_engine::{Incoming, Outgoing};
use agent_host_telemetry::series;
use agent_plugin_protocol::EventKind;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    burst::Burst,
    close::Close,
    encode,
    expiry::Expiry,
    liveness::Liveness,
    pace,
    socket::{Broken, Inbound, Socket, Unwritten},
    speech::Speech,
    task::Shared,
};
use crate::{
    host::Conversation, jitter, limits::TokenBucket, netra, open::Card, rules::InForce, settings::Limits,
};

/// One connection while it is open.
pub(crate) struct Connection<'a, T, C> {
    socket: &'a mut Socket<T>,
    conversation: C,
    speech: Speech,
    shared: &'a Shared,
    /// What holds for it, until it is woken by an exchange.
    rules: Arc<InForce>,
    principal: &'a Principal,
    /// Of the token that was sent since, if one was: the connection stands on that.
    refreshed: Option<Arc<Principal>>,
    stop: &'a CancellationToken,
    card: &'a Card,
    liveness: Liveness,
    expiry: Expiry,
    /// When the token is to be judged again.
    judge_at: Instant,
    messages: Option<TokenBucket>,
    frames: Option<TokenBucket>,
    /// What the next write holds.
    out: Burst,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client closed it, with this code.
    ByClient(Option<u16>),
    /// It is gone.
    Gone,
    /// This host closes it.
    ByHost(Close),
    /// This host cuts it, as a network would: a fault on an operator's order.
    Cut,
}

impl Ending {
    /// Whether the client is gone by no act of this host: it left, or broke off, or gave no sign of life.
    const fn is_loss(self) -> bool {
        match self {
            Self::ByClient(_) | Self::Gone | Self::ByHost(Close::NoPong) => true,
            Self::ByHost(_) | Self::Cut => false,
        }
    }
}

/// What can happen to a connection.
enum Event {
    Received(Result<Inbound, Broken>),
    Told(Option<Outgoing>),
    TimerFired,
    Stopped,
    /// An operator wants it closed.
    Dismissed,
    /// Further tokens are revoked, a key is withdrawn, or other rules hold.
    Revoked,
}

/// When a client is asked to come back that was not told before that the host goes.
const GOODBYE: Duration = Duration::from_secs(1);

impl<'a, T: AsyncRead + AsyncWrite + Unpin, C: Conversation> Connection<'a, T, C> {
    pub(crate) fn new(
        socket: &'a mut Socket<T>,
        conversation: C,
        speech: Speech,
        shared: &'a Shared,
        principal: &'a Principal,
        (stop, card): (&'a CancellationToken, &'a Card),
    ) -> Self {
        let (rules, now) = (shared.rules.now(), Instant::now());
        let timing = &rules.settings.timing;
        let (messages, frames) = buckets(&rules.settings.limits, now);
        Self {
            socket,
            conversation,
            speech,
            shared,
            principal,
            refreshed: None,
            stop,
            card,
            liveness: Liveness::new(now + jitter::within(&timing.ping), timing.pong),
            expiry: Expiry::new(principal.expires_at, timing.expiry_warning, rules.users.leeway()),
            judge_at: now,
            messages,
            frames,
            out: Burst::default(),
            rules,
        }
    }

    /// Welcomes the client, then serves it until either side ends it.
    pub(crate) async fn run(&mut self, welcome: Vec<Utf8Bytes>, accepted: Instant) -> Ending {
        if matches!(self.speech, Speech::None) {
            return Ending::ByHost(Close::NoSubprotocol);
        }
        for frame in welcome {
            self.push(frame);
        }
        let ending = match self.converse(accepted).await {
            Ok(never) => match never {},
            Err(ending) => ending,
        };
        self.last_burst(ending).await;
        if ending.is_loss() {
            self.conversation.lost();
        }
        ending
    }

    /// What waited for more goes out before the close frame. Not to a client that does not read, or is gone.
    async fn last_burst(&mut self, ending: Ending) {
        match ending {
            Ending::ByClient(_)
            | Ending::Gone
            | Ending::Cut
            | Ending::ByHost(Close::Slow | Close::NoPong) => {}
            // An error: it is gone, as the close will find out.
            Ending::ByHost(_) => drop(self.flush().await),
        }
    }

    /// Turns until one of them is the last.
    async fn converse(&mut self, accepted: Instant) -> Result<std::convert::Infallible, Ending> {
        // For a broken twin: a host that says nothing before its plugins have started.
        while failpoint!("gateway.welcome_first") == Some(Action::Off) && self.conversation.status().starting
        {
            self.conversation.next().await;
        }
        self.flush().await?;
        if !self.principal.scope.is_self_check() {
            series::welcomed(accepted.elapsed());
        }
        let timer = sleep_until(Instant::now());
        // Kept over the turns: each wait that is made anew takes and gives back a place in the token's list.
        let stopped = self.stop.cancelled();
        let dismissed = self.card.dismissed.notified();
        // Waited for first and looked at then: what is revoked in between is in one of the two.
        let revoked = self.shared.rules.revoked().next().cancelled_owned();
        self.look_again()?;
        tokio::pin!(timer, stopped, dismissed, revoked);
        loop {
            // A sign of life puts the next look off, a new token too.
            let wake = self.liveness.wake_at().min(self.judge_at);
            let wake = self.out.held_until().map_or(wake, |until| wake.min(until));
            let wake = self.speech.wake_at().map_or(wake, |at| wake.min(at));
            if timer.deadline() != wake {
                timer.as_mut().reset(wake);
            }
            let event = tokio::select! {
                received = self.socket.recv() => Event::Received(received),
                told = self.conversation.next() => Event::Told(told),
                () = &mut timer => Event::TimerFired,
                () = &mut stopped => Event::Stopped,
                () = &mut dismissed => Event::Dismissed,
                () = &mut revoked => Event::Revoked,
            };
            match event {
                Event::Received(received) => self.received(received).await?,
                Event::Told(told) => self.deliver(told).await?,
                Event::TimerFired => {
                    if Instant::now() >= self.liveness.wake_at().min(self.judge_at) {
                        self.check_timers()?;
                    }
                    self.break_silence();
                    self.settle().await?;
                }
                Event::Stopped => {
                    self.say_goodbye();
                    return Err(Ending::ByHost(Close::Restarting));
                }
                Event::Dismissed if self.card.cut.load(Ordering::Relaxed) => return Err(Ending::Cut),
                Event::Dismissed => return Err(Ending::ByHost(Close::Dismissed)),
                Event::Revoked => {
                    revoked.set(self.shared.rules.revoked().next().cancelled_owned());
                    self.look_again()?;
                }
            }
        }
    }

    /// Writes what the engine says, with whatever else it has already, in one burst.
    async fn deliver(&mut self, first: Option<Outgoing>) -> Result<(), Ending> {
        let first = first.ok_or(Ending::ByHost(Close::Slow))?;
        let mut again = Vec::new();
        again.extend(self.tell(&first));
        while !self.out.is_full() {
            let Some(more) = self.conversation.try_next() else { break };
            again.extend(self.tell(&more));
        }
        for incoming in again {
            self.ask(incoming).await;
        }
        self.settle().await
    }

    /// Puts it among what is written next. Answers what is to be asked of the engine because of it.
    fn tell(&mut self, told: &Outgoing) -> Option<Incoming> {
        let (frames, again) = match &mut self.speech {
            Speech::Native | Speech::None => (vec![encode::outgoing(told)], None),
            Speech::Netra(codec) => {
                let netra::Told { frames, again } = codec.told(told, Instant::now(), self.shared.clock.now());
                (frames, again)
            }
        };
        let counted = !frames.is_empty() && !self.principal.scope.is_self_check();
        if let (Outgoing::Event(delivery), true) = (told, counted) {
            let delivered = match self.speech {
                Speech::Native | Speech::None => &self.shared.delivered,
                Speech::Netra(_) => self.shared.delivered_netra.by(self.speech.surface()),
            };
            delivered.count(&delivery.entry.event.agent);
        }
        self.out.add(frames, may_wait(told));
        again
    }

    /// The older wire's clients hear of a run, and of a message, before they give it up.
    fn break_silence(&mut self) {
        // For a broken twin: a host whose silence is its clients' to interpret.
        if failpoint!("gateway.netra_pulse") == Some(Action::Off) {
            return;
        }
        if let Speech::Netra(codec) = &mut self.speech {
            let frames = codec.due(Instant::now(), self.shared.clock.now());
            frames.into_iter().for_each(|frame| self.push(frame));
        }
    }

    /// The older wire says in a frame what native says by its close.
    fn say_goodbye(&mut self) {
        let now = self.shared.clock.now();
        if let Speech::Netra(codec) = &mut self.speech {
            for frame in codec.going_away(GOODBYE, now) {
                self.push(frame);
            }
        }
    }

    fn push(&mut self, text: Utf8Bytes) {
        self.out.push(text);
    }

    /// Writes what may not wait, or has waited enough.
    async fn settle(&mut self) -> Result<(), Ending> {
        let now = Instant::now();
        if self.out.is_due(now, || pace::is_busy(now)) { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Ending> {
        let Some(frames) = self.out.take() else { return Ok(()) };
        pace::wrote(Instant::now());
        self.socket.send(frames).await.map_err(unwritten)
    }
}

/// What one connection may say: messages, and frames of any kind.
fn buckets(limits: &Limits, now: Instant) -> (Option<TokenBucket>, Option<TokenBucket>) {
    let messages = TokenBucket::new(limits.messages_per_minute, Duration::from_secs(60), now);
    let frames = messages.as_ref().and_then(|_| {
        TokenBucket::new(limits.frames_per_second.saturating_mul(5), Duration::from_secs(5), now)
    });
    (messages, frames)
}

fn unwritten(why: Unwritten) -> Ending {
    match why {
        Unwritten::Stuck => Ending::ByHost(Close::Slow),
        Unwritten::Gone => Ending::Gone,
    }
}

/// Whether more of the same run is to follow at once: then a busy host may tell it together with that. The last word of
/// a run never waits, nor does what is no part of one.
fn may_wait(told: &Outgoing) -> bool {
    match told {
        Outgoing::Accepted(_) => true,
        Outgoing::Event(delivery) => delivery.entry.event.kind != EventKind::AgentCompleted,
        Outgoing::Subscribed(_)
        | Outgoing::Status { .. }
        | Outgoing::Problem(_)
        | Outgoing::GoingAway { .. } => false,
    }
}

#[cfg(test)]
mod tests;
