//! The loop of one connection: between its socket and its conversation with the engine. It owns both; nothing else
//! writes to either.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use agent_host_core::{failpoint, failpoint::Action, identity::Principal};
use agent_host_engine::{Incoming, Outgoing, session::Problem};
use agent_host_telemetry::series;
use agent_plugin_protocol::{Code, EventKind, MessageId};
use secrecy::{ExposeSecret, SecretString};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::{
    close::Close,
    encode,
    expiry::{Due, Expiry},
    frames::ClientFrame,
    liveness::{Beat, Liveness},
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
    /// What the next write holds. Bounded by [`BURST`] and [`BURST_BYTES`]; then it is written before more is taken.
    out: Vec<Message>,
    /// How much that is of what may wait, in bytes.
    out_bytes: usize,
    /// Until when it may wait for more. `None`: nothing waits.
    held_until: Option<Instant>,
    /// Whether there is something in it that may not wait.
    urgent: bool,
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
/// Frames of one write; more wait for the next turn, so that what comes in is heard in between.
const BURST: usize = 256;
/// Bytes from which on a burst does not wait for more: one write more is little beside them.
const BURST_BYTES: usize = 4096;

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
            out: Vec::new(),
            out_bytes: 0,
            held_until: None,
            urgent: false,
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
        ending
    }

    /// What waited for more goes out before the close frame. Not to a client that does not read, or is gone.
    async fn last_burst(&mut self, ending: Ending) {
        match ending {
            Ending::ByClient(_) | Ending::Gone | Ending::ByHost(Close::Slow | Close::NoPong) => {}
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
            let wake = self.held_until.map_or(wake, |until| wake.min(until));
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
                Event::Dismissed if self.card.cut.load(Ordering::Relaxed) => return Err(Ending::Gone),
                Event::Dismissed => return Err(Ending::ByHost(Close::Dismissed)),
                Event::Revoked => {
                    revoked.set(self.shared.rules.revoked().next().cancelled_owned());
                    self.look_again()?;
                }
            }
        }
    }

    async fn received(&mut self, received: Result<Inbound, Broken>) -> Result<(), Ending> {
        self.liveness.heard();
        match received {
            Ok(Inbound::Close(code)) => return Err(Ending::ByClient(code)),
            Ok(Inbound::Binary(_)) => return Err(Ending::ByHost(Close::NotText)),
            Err(broken) => {
                if broken == Broken::TooLarge {
                    self.refuse(Code::FrameTooLarge, None, None);
                    self.flush().await?;
                }
                return Err(broken.close().map_or(Ending::Gone, Ending::ByHost));
            }
            Ok(Inbound::Control) => {
                self.count_frame()?;
                self.socket.answer().await.map_err(unwritten)?;
            }
            Ok(Inbound::Text(text)) => {
                self.count_frame()?;
                self.act(&text).await;
            }
        }
        self.settle().await
    }

    /// Acts on a text frame. Whatever is wrong with it, the client is told and the connection stays.
    async fn act(&mut self, text: &str) {
        // Where tests make this loop die: it must be seen to close 1011, not to vanish.
        if failpoint!("gateway.connection.frame").is_some() {
            return self.refuse(Code::HostInternal, None, None);
        }
        let now = self.shared.clock.now();
        if let Speech::Netra(codec) = &mut self.speech {
            return match codec.heard(text, Instant::now(), now) {
                netra::Heard::Say(frame) => self.push(frame),
                netra::Heard::SayAll(frames) => frames.into_iter().for_each(|frame| self.push(frame)),
                netra::Heard::Ask(frame, incoming) => {
                    if let Some(frame) = frame {
                        self.push(frame);
                    }
                    self.ask(incoming).await;
                }
                netra::Heard::Nothing => {}
            };
        }
        match ClientFrame::decode(text) {
            Ok(ClientFrame::Ask(incoming)) => self.ask(incoming).await,
            Ok(ClientFrame::AuthRefresh(token)) => self.refresh(&token).await,
            Ok(ClientFrame::Ping) => self.push(encode::pong()),
            Ok(ClientFrame::Pong) => {}
            Err(error) => {
                // Where tests make this loop die of nonsense.
                let _ = failpoint!("gateway.connection.nonsense");
                self.push(encode::frame_error(error));
            }
        }
    }

    async fn ask(&mut self, incoming: Incoming) {
        if let Incoming::Cancel { .. } = &incoming {
            // Where tests make this loop die of a cancellation.
            let _ = failpoint!("gateway.connection.cancel");
        }
        let id = message_id(&incoming);
        if id.is_some()
            && let Some(bucket) = &mut self.messages
            && let Err(wait) = bucket.take(Instant::now())
        {
            return self.refuse(Code::LimitRate, id, Some(wait));
        }
        let within = self.speech.answers_within(self.rules.settings.timing.handle);
        // Boxed: an idle connection does not keep the room for a message on its way.
        if timeout(within, Box::pin(self.conversation.handle(incoming))).await.is_err() {
            // It may have taken effect; the same id again finds out.
            self.refuse(Code::HostInternal, id, Some(Duration::from_secs(1)));
        }
    }

    /// Takes a new token of the same user.
    async fn refresh(&mut self, token: &SecretString) {
        let rules = self.shared.rules.now();
        // Boxed: an idle connection does not keep the room for it.
        let judged = Box::pin(rules.users.judge(token.expose_secret())).await;
        match judged {
            Ok(new) if new.scope == self.principal.scope => {
                self.expiry.refresh(new.expires_at);
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
                self.push(encode::problem(&problem));
            }
        }
    }

    /// Writes what the engine says, with whatever else it has already, in one burst.
    async fn deliver(&mut self, first: Option<Outgoing>) -> Result<(), Ending> {
        let first = first.ok_or(Ending::ByHost(Close::Slow))?;
        let mut again = Vec::new();
        again.extend(self.tell(&first));
        while self.out.len() < BURST {
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
        self.urgent |= !may_wait(told) && !frames.is_empty();
        for text in frames {
            self.out_bytes += text.len();
            self.out.push(Message::Text(text));
        }
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

    /// Does what is due. The token is judged at every look, so that a jump of the clock
    /// is noticed within one ping interval.
    fn check_timers(&mut self) -> Result<(), Ending> {
        let until_expiry = loop {
            match self.expiry.due(self.shared.clock.now()) {
                Due::Later(wait) => break wait,
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
                self.out.push(Message::Ping(Bytes::new()));
            }
        }
        // At least a millisecond: a timer of a rounded-down duration must not spin.
        self.judge_at = now + until_expiry.max(Duration::from_millis(1));
        Ok(())
    }

    /// Takes up what holds now. Its token has to hold by that; what it has used of its limits stays used.
    fn look_again(&mut self) -> Result<(), Ending> {
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

    /// Far more frames than any client of good will sends: not worth an answer each.
    fn count_frame(&mut self) -> Result<(), Ending> {
        let Some(bucket) = &mut self.frames else { return Ok(()) };
        bucket.take(Instant::now()).map_err(|_wait| Ending::ByHost(Close::Rate))
    }

    fn refuse(&mut self, code: Code, id: Option<MessageId>, retry_after: Option<Duration>) {
        let problem = Problem { id, retry_after, ..Problem::new(code) };
        let frame = match &mut self.speech {
            Speech::Native | Speech::None => encode::problem(&problem),
            Speech::Netra(codec) => codec.problem(&problem, self.shared.clock.now()),
        };
        self.push(frame);
    }

    fn push(&mut self, text: Utf8Bytes) {
        self.urgent = true;
        self.out.push(Message::Text(text));
    }

    /// Writes what may not wait, or has waited enough. On a busy host the first part of a run waits for the rest of it:
    /// a write costs more than all else that a burst does.
    async fn settle(&mut self) -> Result<(), Ending> {
        if self.out.is_empty() {
            return Ok(());
        }
        if !self.urgent && self.out.len() < BURST && self.out_bytes < BURST_BYTES {
            let now = Instant::now();
            match self.held_until {
                Some(until) if now < until => return Ok(()),
                None if pace::is_busy(now) => {
                    self.held_until = Some(now + pace::HOLD);
                    return Ok(());
                }
                Some(_) | None => {}
            }
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Ending> {
        if self.out.is_empty() {
            return Ok(());
        }
        (self.urgent, self.held_until, self.out_bytes) = (false, None, 0);
        pace::wrote(Instant::now());
        self.socket.send(&mut self.out).await.map_err(unwritten)
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

/// The id of what counts as a message for the rate limit.
fn message_id(incoming: &Incoming) -> Option<MessageId> {
    match incoming {
        Incoming::Message(message) => Some(message.id.clone()),
        Incoming::Answer { id, .. } => Some(id.clone()),
        Incoming::Subscribe { .. }
        | Incoming::Unsubscribe { .. }
        | Incoming::Cancel { .. }
        | Incoming::Ack { .. } => None,
    }
}

#[cfg(test)]
mod tests;
