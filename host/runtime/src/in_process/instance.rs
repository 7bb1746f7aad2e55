//! The task that owns one instance in this process: orders in, and its end. What it says goes past this task.
//!
//! ```text
//! serving ──Stop──▶ destroying ──done, or grace over──▶ gone
//!    └── flood, hang, Kill, nobody left ──▶ declared gone: silenced, destroyed where nobody waits
//! ```
//! However it ends: every open call is told once, then `exit` is set. The orders are carried out on this task: they
//! are functions of the SDK that queue and return. Those that run the author's code (`create`, `destroy`) have
//! threads of their own.

use std::{pin::Pin, sync::Arc, time::Duration};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    outcome::{Exit, ExitReport},
    ports::instance::{InstanceCommand, Invocation, KillReason},
};
use agent_host_telemetry::series;
use agent_plugin_protocol::call::InvokeStatus;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};

use super::{living::Living, voice::Voice};
use crate::{host_api, instance::MISSED};

/// How long what a plugin says waits at most for its thread to come to rest.
const FETCH_AFTER: Duration = Duration::from_millis(1);

/// Owns an instance that was created and is about to be probed.
pub(crate) struct Instance {
    living: Living,
    voice: Arc<Voice>,
    fate: mpsc::Receiver<Exit>,
    born: Instant,
    /// Since when the heartbeat is missing, in beats.
    missed: u32,
    /// Its orderly end, once ordered.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Instance {
    /// An instance whose `create` was answered.
    pub(crate) fn new(living: Living, voice: Arc<Voice>, fate: mpsc::Receiver<Exit>) -> Self {
        Self { living, voice, fate, born: Instant::now(), missed: 0, end: None }
    }

    /// Serves until its end.
    pub(crate) async fn run(
        mut self,
        heartbeat: Duration,
        mut orders: mpsc::Receiver<InstanceCommand>,
        exit: watch::Sender<Option<Arc<ExitReport>>>,
    ) {
        let how = self.serve(heartbeat, &mut orders).await;
        let Self { living, voice, born, .. } = self;
        let report =
            Arc::new(ExitReport { exit: how, uptime: born.elapsed(), stderr_tail: Vec::new(), crash: None });
        let (plugin, generation) = voice.whose();
        tracing::debug!(%plugin, %generation, exit = ?report.exit, "in-process instance ended");
        // Silenced first: what it says from here on is a stray.
        drop(living);
        // Orders that were on their way: their calls never began, and hear of the end too.
        orders.close();
        while let Ok(order) = orders.try_recv() {
            if let InstanceCommand::Invoke(invocation) = order {
                voice.opened(&invocation);
            }
        }
        voice.count_late();
        voice.lost(&report);
        exit.send_replace(Some(report));
    }

    async fn serve(&mut self, heartbeat: Duration, orders: &mut mpsc::Receiver<InstanceCommand>) -> Exit {
        let mut beat = interval_at(Instant::now() + heartbeat, heartbeat);
        // After a pause of the whole host one beat is missed, not as many as would have fitted.
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // When what the plugin said is fetched, if it waits for a thread that does not come to rest.
        let fetch = sleep_until(Instant::now());
        tokio::pin!(fetch);
        let mut fetching = false;
        loop {
            let ending = self.end.is_some();
            let step = tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order),
                    None => Err(Exit::Stopped),
                },
                // The sender is in the voice, which this task holds: there is always one.
                fate = self.fate.recv() => fate.map_or(Ok(()), Err),
                _ = beat.tick() => self.judge_heartbeat(),
                () = self.voice.said(), if !fetching => {
                    fetching = true;
                    fetch.as_mut().reset(Instant::now() + FETCH_AFTER);
                    Ok(())
                }
                () = &mut fetch, if fetching => {
                    fetching = false;
                    self.voice.pass_on();
                    Ok(())
                }
                () = ended(&mut self.end), if ending => Err(Exit::Stopped),
            };
            if let Err(exit) = step {
                return exit;
            }
        }
    }

    fn obey(&mut self, order: InstanceCommand) -> Result<(), Exit> {
        match (order, self.living.instance()) {
            (InstanceCommand::Invoke(invocation), _) => return self.invoke(invocation),
            (InstanceCommand::Respond { call, request, answer }, Some(instance)) => {
                self.voice.answered(call);
                instance.respond(call.0, request, answer.into());
            }
            (InstanceCommand::Credit { call, events }, Some(instance)) => {
                if self.voice.credited(call, events) {
                    instance.credit(call.0, events);
                }
            }
            (InstanceCommand::Cancel { call }, Some(instance)) => instance.cancel(call.0),
            (InstanceCommand::Abandon { call }, _) => self.voice.abandoned(call),
            (InstanceCommand::Drain, Some(instance)) => instance.drain(),
            (InstanceCommand::Stop { grace }, Some(instance)) => {
                instance.drain();
                self.end = Some(Box::pin(self.living.destroy(grace)));
            }
            (InstanceCommand::Kill(reason), _) => {
                return Err(match reason {
                    KillReason::Hung => Exit::Hung,
                    KillReason::Stopped => Exit::Stopped,
                });
            }
            // Its process is the host's.
            (InstanceCommand::Strike(_), _) => {}
            // It is being destroyed, which cancels its calls and brings their last words.
            (
                InstanceCommand::Respond { .. }
                | InstanceCommand::Credit { .. }
                | InstanceCommand::Cancel { .. }
                | InstanceCommand::Drain
                | InstanceCommand::Stop { .. },
                None,
            ) => {}
        }
        Ok(())
    }

    fn invoke(&self, invocation: Invocation) -> Result<(), Exit> {
        // Opened before it begins: the completion may come first.
        self.voice.opened(&invocation);
        let Some(instance) = self.living.instance() else {
            self.voice.rejected(invocation.call, InvokeStatus::Refused);
            return Ok(());
        };
        let Invocation { call, method, payload, deadline, run: _, desk: _, outputs: _ } = invocation;
        // 0 means none on the border, so a deadline below a millisecond is one.
        let deadline_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX).max(1);
        let status = instance.invoke(call.0, method.to_owned(), payload.into(), deadline_ms);
        match InvokeStatus::from_raw(status) {
            Some(InvokeStatus::Accepted) => {}
            Some(status @ (InvokeStatus::Unimplemented | InvokeStatus::Refused)) => {
                self.voice.rejected(call, status);
            }
            None => return Err(Exit::Protocol(format!("invoke answered {status}"))),
        }
        Ok(())
    }

    fn judge_heartbeat(&mut self) -> Result<(), Exit> {
        self.voice.count_late();
        match host_api::take_strays() {
            0 => {}
            strays => series::dropped("stray", strays),
        }
        self.missed = if self.voice.has_beaten() { 0 } else { self.missed + 1 };
        let off = failpoint!("runtime.heartbeat") == Some(Action::Off);
        if self.missed > MISSED && !off { Err(Exit::Hung) } else { Ok(()) }
    }
}

/// Resolves when the orderly end is over; never, if none was ordered.
async fn ended(end: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>) {
    match end {
        Some(end) => end.await,
        None => std::future::pending().await,
    }
}
