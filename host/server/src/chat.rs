//! `chat`: talks to a host from the terminal. Lines in, events out, over as many connections as it takes.

mod backoff;
mod conversation;
mod frame;
mod input;
pub(crate) mod link;
mod screen;
pub(crate) mod target;

use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
    time::Duration,
};

use agent_plugin_protocol::MessageId;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use self::{
    backoff::{Backoff, random},
    conversation::{Conversation, Effect},
    frame::Frame,
    link::{Closed, Socket, connect},
    screen::Screen,
    target::Target,
};
use crate::{
    cli::{ChatArgs, Output},
    exit::{Exit, Failure},
};

/// Talks until the input ends and everything is answered, or until it is told to end.
///
/// The exit status is 0 if every message got an answer, 1 if one did not, 69 if the host cannot be reached.
pub(crate) fn chat(args: &ChatArgs) -> Result<ExitCode, Failure> {
    let target = Target::new(args)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let answered = runtime.block_on(async { Chat::new(args, target)?.run().await })?;
    Ok(if answered { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A chat, whether connected or not.
struct Chat {
    target: Target,
    conversation: Conversation,
    screen: Screen,
    output: Output,
    /// A person at both ends of this program.
    prompts: bool,
    lines: mpsc::Receiver<String>,
    /// Whether there may be more lines.
    more: bool,
    interrupt: Signal,
    /// Whether Ctrl-C was pressed already, for the runs that are under way.
    cancelled: bool,
    /// When [`Conversation::again`] is due.
    again: Option<Instant>,
    /// The least pause before the next connection, as the host asked.
    pause: Duration,
    retry_for: Duration,
    /// Silence for so long is a dead connection.
    patience: Duration,
}

/// How a connection ended.
enum End {
    /// Everything was said.
    Done,
    /// It was lost; why.
    Lost(String),
}

impl Chat {
    fn new(args: &ChatArgs, target: Target) -> Result<Self, Failure> {
        let (typed, shown) = (io::stdin().is_terminal(), io::stdout().is_terminal());
        let colour = shown && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let interrupt = signal(SignalKind::interrupt());
        Ok(Self {
            target,
            conversation: Conversation::new(args.agent.clone(), args.thread.clone(), !typed),
            screen: Screen::new(colour),
            output: args.output,
            prompts: typed && shown && args.output == Output::Table,
            lines: input::lines(),
            more: true,
            interrupt: interrupt.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?,
            cancelled: false,
            again: None,
            pause: Duration::ZERO,
            retry_for: args.retry_for,
            patience: SILENCE,
        })
    }

    /// True if every message was answered.
    async fn run(mut self) -> Result<bool, Failure> {
        let mut backoff = Backoff::default();
        let mut lost: Option<Instant> = None;
        loop {
            let token = self.target.token()?;
            let connected = tokio::select! {
                connected = connect(&self.target.url, &token) => connected,
                _ = self.interrupt.recv() => return Ok(false),
            };
            match connected {
                Ok(socket) => {
                    lost = None;
                    match self.hold(socket, &mut backoff).await? {
                        End::Done => {
                            return Ok(self.conversation.is_idle() && !self.conversation.has_failed());
                        }
                        End::Lost(why) => self.note(&format!("connection lost ({why}); connecting again"))?,
                    }
                    self.conversation.disconnected();
                }
                Err(Closed::Refused(reason)) => return Err(Failure::new(Exit::Failed, reason)),
                Err(Closed::Unreachable { reason, not_before }) => {
                    let since = lost.filter(|since| since.elapsed() < self.retry_for);
                    if since.is_none() {
                        return Err(Failure::new(Exit::Unreachable, reason));
                    }
                    self.pause = not_before;
                }
            }
            let since = *lost.get_or_insert_with(Instant::now);
            let pause = backoff.next(std::mem::take(&mut self.pause), random());
            // The last try is at the end of the time, not long before it.
            let until = (Instant::now() + pause).min(since + self.retry_for);
            tokio::select! {
                () = sleep_until(until) => {}
                _ = self.interrupt.recv() => return Ok(false),
            }
        }
    }

    /// Serves one connection to its end.
    async fn hold(&mut self, mut socket: Socket, backoff: &mut Backoff) -> Result<End, Failure> {
        self.again = None;
        let mut heard = Instant::now();
        loop {
            if !self.more && self.conversation.is_idle() {
                // The host's answer to that is of no use any more.
                let _ = timeout(GOODBYE, socket.close(None)).await;
                return Ok(End::Done);
            }
            let due = self.again.unwrap_or_else(|| Instant::now() + self.patience);
            let effects = tokio::select! {
                () = sleep_until(heard + self.patience) => {
                    return Ok(End::Lost(format!("silent for {} s", self.patience.as_secs())));
                }
                message = socket.next() => match message {
                    None => return Ok(End::Lost("the host went away".to_owned())),
                    Some(Err(error)) => return Ok(End::Lost(error.to_string())),
                    Some(Ok(Message::Text(text))) => {
                        heard = Instant::now();
                        self.heard(text.as_str(), backoff)?
                    }
                    Some(Ok(Message::Close(frame))) => return closed(frame.map(|f| (f.code.into(), f.reason.to_string()))),
                    Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                        heard = Instant::now();
                        Vec::new()
                    }
                },
                line = self.lines.recv(), if self.more => match line {
                    Some(line) => self.conversation.say(MessageId::random(), line),
                    None => { self.more = false; Vec::new() }
                },
                () = sleep_until(due), if self.again.is_some() => {
                    self.again = None;
                    self.conversation.again()
                }
                _ = self.interrupt.recv() => match self.interrupted()? {
                    Some(effects) => effects,
                    None => return Ok(End::Done),
                },
            };
            for effect in effects {
                let Some(frame) = self.act(effect)? else { continue };
                match timeout(WRITE, socket.send(Message::text(frame))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Ok(End::Lost(error.to_string())),
                    Err(_) => return Ok(End::Lost("it takes nothing".to_owned())),
                }
            }
        }
    }

    /// One frame of the host.
    fn heard(&mut self, text: &str, backoff: &mut Backoff) -> Result<Vec<Effect>, Failure> {
        let read = serde_json::from_str::<Value>(text).and_then(|value| Ok((Frame::read(&value)?, value)));
        let (frame, value) = match read {
            Ok(read) => read,
            Err(error) => {
                self.note(&format!("the host said what is no frame: {error}"))?;
                return Ok(Vec::new());
            }
        };
        let mut before = Vec::new();
        match &frame {
            Frame::Welcome(welcome) => {
                backoff.reset();
                // Two pings may be late.
                self.patience = Duration::from_millis(welcome.ping_interval_ms).saturating_mul(2) + SLACK;
                self.show(&value, |screen| screen.welcome(welcome))?;
                let effects = self.conversation.connected(welcome.limits.frame_bytes);
                self.prompt()?;
                return Ok(effects);
            }
            Frame::ServiceStatus(service) => self.show(&value, |screen| screen.service(service))?,
            Frame::GoingAway { reconnect_after_ms } => {
                self.pause = Duration::from_millis(*reconnect_after_ms);
                self.show(&value, |screen| {
                    screen.note("the host is going away; connecting again when it is gone")
                })?;
            }
            Frame::AuthExpiring { expires_at } if self.target.renews() => {
                self.show(&value, |screen| {
                    screen.note(&format!("the token ends at {expires_at}; renewing it"))
                })?;
                let token = self.target.token()?;
                before.push(Effect::Send(json!({ "type": "auth_refresh", "token": token }).to_string()));
            }
            Frame::AuthExpiring { expires_at } => {
                self.show(&value, |screen| screen.note(&format!("the token ends at {expires_at}")))?;
            }
            // Shown only if it is new, and that the conversation knows.
            Frame::Event(_) | Frame::Error(_) => {}
            Frame::Accepted { .. } | Frame::Subscribed { .. } | Frame::Ping { .. } | Frame::Other => {
                self.show(&value, |_| String::new())?;
            }
        }
        let told = self.conversation.frame(frame);
        for effect in &told {
            match effect {
                Effect::Show(event) => self.show(&value, |screen| screen.event(event))?,
                Effect::Refused(refusal) => self.show(&value, |screen| screen.refusal(refusal))?,
                Effect::Send(_) | Effect::Note(_) | Effect::Again(_) | Effect::GiveUp(_) => {}
            }
        }
        if self.conversation.is_idle() {
            self.cancelled = false;
            self.prompt()?;
        }
        Ok(before.into_iter().chain(told).collect())
    }

    /// Does what was decided; gives what is to be sent.
    fn act(&mut self, effect: Effect) -> Result<Option<String>, Failure> {
        match effect {
            Effect::Send(frame) => return Ok(Some(frame)),
            Effect::Note(text) => self.note(&text)?,
            Effect::Again(pause) => self.again = Some(Instant::now() + pause),
            Effect::GiveUp(why) => return Err(Failure::new(Exit::Failed, why)),
            // Shown with their frame.
            Effect::Show(_) | Effect::Refused(_) => {}
        }
        Ok(None)
    }

    /// Ctrl-C: the runs under way first, and then the end.
    fn interrupted(&mut self) -> Result<Option<Vec<Effect>>, Failure> {
        let cancel = self.conversation.cancel();
        if cancel.is_empty() || std::mem::replace(&mut self.cancelled, true) {
            return Ok(None);
        }
        self.note("cancelling; once more ends")?;
        Ok(Some(cancel))
    }

    /// Writes what the frame looks like, or for programs the frame itself.
    fn show(&mut self, frame: &Value, text: impl FnOnce(&mut Screen) -> String) -> Result<(), Failure> {
        let text = match self.output {
            Output::Table => text(&mut self.screen),
            Output::Json => screen::json_line(frame),
        };
        write(io::stdout(), &text)
    }

    /// Says something of the client's own, which is no part of the conversation.
    fn note(&mut self, text: &str) -> Result<(), Failure> {
        let text = self.screen.note(text);
        write(io::stderr(), &text)
    }

    fn prompt(&self) -> Result<(), Failure> {
        if self.prompts { write(io::stdout(), "> ") } else { Ok(()) }
    }
}

/// 4500 and above: the same would happen again. 1009 comes for what was never said to be too large.
fn closed(frame: Option<(u16, String)>) -> Result<End, Failure> {
    let (code, reason) = frame.unwrap_or((1005, String::new()));
    match code {
        1000 => Ok(End::Done),
        4500..=4999 | 1002 | 1003 | 1007 | 1009 => {
            Err(Failure::new(Exit::Failed, format!("the host closed the connection: {code} {reason}")))
        }
        _ => Ok(End::Lost(format!("{code} {reason}").trim_end().to_owned())),
    }
}

/// Whoever reads may be gone: then there is nobody to talk for.
fn write(mut to: impl io::Write, text: &str) -> Result<(), Failure> {
    let written = to.write_all(text.as_bytes()).and_then(|()| to.flush());
    written.map_err(|error| Failure::new(Exit::Failed, format!("the output is gone: {error}")))
}

/// Without a welcome; the host promises it within a second.
const SILENCE: Duration = Duration::from_secs(10);
/// Beyond two pings.
const SLACK: Duration = Duration::from_secs(8);
const WRITE: Duration = Duration::from_secs(10);
const GOODBYE: Duration = Duration::from_secs(1);
