//! The task that owns one worker while it serves: orders in, frames out; frames in, outputs out; and its end.
//!
//! ```text
//! serving ──Stop──▶ stopping ──grace over──▶ killed
//!    │                  │
//!    └── flood, hang, broken frame, Kill, nobody left ──▶ killed        ended by itself ──▶ reaped
//! ```
//! However it ends: reaped, every open call told once, then `exit` set.

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    outcome::{Exit, ExitReport},
    ports::instance::{InstanceCommand, KillReason, Strike},
    sanitise,
};
use agent_host_telemetry::series;
use agent_plugin_protocol::call::{InvokeStatus, LogLine};
use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

use crate::{
    calls::OpenCalls,
    crash::desk::{Case, Desk},
    frames::{FromWorker, ToWorker},
    link::{Gone, Link},
    speaker::Speaker,
    words::Rate,
};

/// Heartbeats that an instance may miss.
pub(crate) const MISSED: u32 = 3;
/// Log lines a second that are passed on; further ones are counted.
pub(crate) const LOG_RATE: u32 = 200;

/// Owns a worker that was created and is about to be probed.
#[derive(Debug)]
pub(crate) struct Instance {
    speaker: Speaker,
    link: Link,
    /// Where a crash is looked into.
    desk: Desk,
    calls: OpenCalls,
    log_rate: Rate,
    /// Since when the heartbeat is missing, in beats.
    missed: u32,
    /// When a worker that was told to stop is killed.
    killed_at: Option<Instant>,
}

impl Instance {
    /// An instance over a worker whose `create` was answered.
    pub(crate) fn new(speaker: Speaker, link: Link, desk: Desk) -> Self {
        Self {
            speaker,
            link,
            desk,
            calls: OpenCalls::default(),
            log_rate: Rate::new(LOG_RATE),
            missed: 0,
            killed_at: None,
        }
    }

    /// Serves until the worker's end.
    pub(crate) async fn run(
        mut self,
        heartbeat: Duration,
        mut orders: mpsc::Receiver<InstanceCommand>,
        exit: watch::Sender<Option<Arc<ExitReport>>>,
    ) {
        let gone = self.serve(heartbeat, &mut orders).await;
        // What it still said counts: a completion sent before a crash is an answer.
        if gone == Gone::Ended {
            let _ = self.take_frames();
        }
        let Self { speaker: Speaker { plugin, generation, .. }, link, desk, mut calls, killed_at, .. } = self;
        let pid = link.pid();
        let (mut report, evidence) = link.end(gone).await;
        if killed_at.is_some() && report.exit == Exit::Status(0) {
            report.exit = Exit::Stopped;
        }
        if let Some(crash) = &mut report.crash {
            calls.name_in(crash);
        }
        count_late(&mut calls);
        tracing::debug!(%plugin, %generation, pid, exit = ?report.exit, "worker ended");
        let report = Arc::new(report);
        if let Some(evidence) = evidence {
            desk.take(Case { plugin, generation, report: Arc::clone(&report), evidence });
        }
        calls.lose_all(&report);
        // Orders that were on their way: their calls never began, and hear of the end too.
        orders.close();
        while let Ok(order) = orders.try_recv() {
            if let InstanceCommand::Invoke(invocation) = order {
                calls.open(&invocation);
            }
        }
        calls.lose_all(&report);
        exit.send_replace(Some(report));
    }

    async fn serve(&mut self, heartbeat: Duration, orders: &mut mpsc::Receiver<InstanceCommand>) -> Gone {
        let mut beat = interval_at(Instant::now() + heartbeat, heartbeat);
        // After a pause of the whole host one beat is missed, not as many as would have fitted.
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let killed_at = self.killed_at;
            let step = tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey_all(order, orders).await,
                    None => Err(Gone::Kill(Exit::Stopped)),
                },
                exchanged = self.link.exchange() => exchanged.and_then(|()| self.take_frames()),
                _ = beat.tick() => self.judge_heartbeat(),
                () = sleep_until(killed_at.unwrap_or_else(Instant::now)), if killed_at.is_some() =>
                    Err(Gone::Kill(Exit::Stopped)),
            };
            if let Err(gone) = step {
                return gone;
            }
        }
    }

    /// Obeys an order and whatever else comes until all tasks that are ready had their turn, so that the orders of
    /// many runs go out in one write.
    async fn obey_all(
        &mut self,
        order: InstanceCommand,
        orders: &mut mpsc::Receiver<InstanceCommand>,
    ) -> Result<(), Gone> {
        self.obey(order)?;
        tokio::task::yield_now().await;
        while let Ok(order) = orders.try_recv() {
            self.obey(order)?;
        }
        self.link.flush()
    }

    fn obey(&mut self, order: InstanceCommand) -> Result<(), Gone> {
        match order {
            InstanceCommand::Invoke(invocation) => {
                self.calls.open(&invocation);
                self.link.queue(&ToWorker::Invoke {
                    call: invocation.call.0,
                    // 0 means none on the border, so a deadline below a millisecond is one.
                    deadline_ms: u64::try_from(invocation.deadline.as_millis()).unwrap_or(u64::MAX).max(1),
                    method: invocation.method.to_owned(),
                    payload: invocation.payload,
                });
            }
            InstanceCommand::Respond { call, request, answer } => {
                self.calls.answered(call);
                self.link.queue(&ToWorker::Respond { call: call.0, request, answer });
            }
            InstanceCommand::Credit { call, events } => {
                self.calls.credit(call, events);
                if self.calls.is_open(call) {
                    self.link.queue(&ToWorker::Credit { call: call.0, events });
                }
            }
            InstanceCommand::Cancel { call } => self.link.queue(&ToWorker::Cancel { call: call.0 }),
            InstanceCommand::Abandon { call } => self.calls.abandon(call),
            InstanceCommand::Drain => self.link.queue(&ToWorker::Drain),
            InstanceCommand::Stop { grace } => {
                self.link.queue(&ToWorker::Drain);
                self.link.queue(&ToWorker::Destroy);
                self.killed_at = Some(Instant::now() + grace);
            }
            InstanceCommand::Kill(reason) => {
                return Err(Gone::Kill(match reason {
                    KillReason::Hung => Exit::Hung,
                    KillReason::Stopped => Exit::Stopped,
                }));
            }
            InstanceCommand::Strike(strike) => self.strike(strike),
        }
        Ok(())
    }

    fn strike(&self, strike: Strike) {
        if let Err(error) = self.link.strike(strike) {
            let Speaker { plugin, generation, .. } = &self.speaker;
            tracing::debug!(%plugin, %generation, ?strike, %error, "an injected fault found no worker");
        }
    }

    fn take_frames(&mut self) -> Result<(), Gone> {
        while let Some(frame) = self.link.next()? {
            self.take(frame)?;
        }
        Ok(())
    }

    fn take(&mut self, frame: FromWorker) -> Result<(), Gone> {
        let flood = |_| Gone::Kill(Exit::Flood);
        let broken = |what: String| Err(Gone::Kill(Exit::Protocol(what)));
        match frame {
            FromWorker::Emit { call, kind, payload } => {
                self.calls.emitted(call, kind, payload).map_err(flood)?;
            }
            FromWorker::Request { call, request, method, payload } => {
                self.calls.requested(call, request, sanitise::line(&method, 64), payload).map_err(flood)?;
            }
            FromWorker::Complete { call, payload } => self.calls.completed(call, payload),
            FromWorker::Rejected { call, status } => match InvokeStatus::from_raw(status) {
                Some(status @ (InvokeStatus::Unimplemented | InvokeStatus::Refused)) => {
                    self.calls.rejected(call, status);
                }
                Some(InvokeStatus::Accepted) | None => {
                    return broken(format!("invoke answered {status}"));
                }
            },
            FromWorker::Log(line) => self.log(&line),
            FromWorker::Heartbeat => self.missed = 0,
            FromWorker::Dropped { outputs } => self.calls.dropped_elsewhere(outputs),
            // The end follows.
            FromWorker::Destroyed => {}
            FromWorker::Hello(_)
            | FromWorker::Loaded
            | FromWorker::LoadFailed(_)
            | FromWorker::Created(_)
            | FromWorker::CreateFailed(_) => return broken("a first word in the midst".to_owned()),
        }
        Ok(())
    }

    fn judge_heartbeat(&mut self) -> Result<(), Gone> {
        self.missed += 1;
        count_late(&mut self.calls);
        let off = failpoint!("runtime.heartbeat") == Some(Action::Off);
        if self.missed > MISSED && !off { Err(Gone::Kill(Exit::Hung)) } else { Ok(()) }
    }

    fn log(&mut self, line: &Bytes) {
        log_line(&self.speaker, &mut self.log_rate, line);
    }
}

/// Brings what came for calls that were not open to the metrics.
pub(crate) fn count_late(calls: &mut OpenCalls) {
    match calls.take_dropped() {
        0 => {}
        late => series::dropped("late", late),
    }
}

/// Passes a plugin's log line on, marked as its words.
pub(crate) fn log_line(speaker: &Speaker, rate: &mut Rate, line: &[u8]) {
    let Speaker { plugin, generation, .. } = speaker;
    let Some(unsaid) = rate.admit(Instant::now()) else { return };
    if unsaid > 0 {
        tracing::warn!(target: "plugin", %plugin, %generation, lines = unsaid, "the plugin logs too much: lines left out");
    }
    let Ok(line) = serde_json::from_slice::<LogLine>(line) else {
        series::dropped("log_malformed", 1);
        return;
    };
    let message = speaker.line(&line.message, 2000);
    let origin = speaker.line(&line.target, 128);
    let fields = speaker.line(&serde_json::Value::Object(line.fields).to_string(), 2000);
    let run = line.run_id.map(|run| run.to_string()).unwrap_or_default();
    macro_rules! say {
        ($level:ident) => {
            tracing::$level!(target: "plugin", %plugin, %generation, run, origin, fields, "{message}")
        };
    }
    match line.level.as_str() {
        "error" => say!(error),
        "warn" => say!(warn),
        "debug" => say!(debug),
        "trace" => say!(trace),
        _ => say!(info),
    }
}
