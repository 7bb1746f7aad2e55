//! How generations begin: the current one, the candidate of a reload, and the spare; and what follows a failure.

use std::{sync::Arc, time::Duration};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    ports::{
        instance::{Fault, InstanceCommand, InstanceHandle, PluginSpec, Stage, Started},
        progress::Progress,
    },
};
use agent_plugin_protocol::{Code, Generation};
use futures_util::FutureExt as _;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep},
};

use super::{
    Event, Supervisor, change,
    registry::{Began, Spare},
    slot::Verdict,
};

/// Beyond the runtime's own deadlines, which it promises to keep.
const START_MARGIN: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Starts the current generation of a slot.
    pub(super) fn start(&mut self, slot: usize) {
        if let Some((spec, generation)) = self.registry.begin_start(slot) {
            self.launch(slot, spec, generation);
        }
    }

    /// Starts that generation; the slot knows what it is for.
    pub(super) fn launch(&mut self, slot: usize, spec: Arc<PluginSpec>, generation: Generation) {
        let available = self.registry.available();
        let Some(runtime) = self.shared.parts.runtime_of(spec.isolation) else {
            let fault = Fault::new(
                Stage::Load,
                Code::PluginSandboxUnavailable,
                format!("this host has no runtime for isolation \"{}\"", spec.isolation.as_str()),
            );
            self.started(slot, generation, Err(fault), Duration::ZERO);
            return;
        };
        let within = spec.timeouts.init * 3 + START_MARGIN;
        let begun = Instant::now();
        let (progress, stages) = Progress::heard();
        let start = runtime.start(spec, generation, available, progress);
        self.watch_stages(slot, generation, stages);
        // For a broken twin: a host that starts its plugins one after another.
        let serial = failpoint!("engine.parallel_starts") == Some(Action::Off);
        let (turn, ended) = oneshot::channel::<()>();
        let before = if serial { self.last_start.replace(ended) } else { None };
        let start = async move {
            if let Some(before) = before {
                // An error is its end too: it was dropped.
                let _ = before.await;
            }
            let _turn = turn;
            start.await
        };
        // A task of its own: loading may do work, and a panic in it is that plugin's fault only.
        let start = tokio::spawn(tokio::time::timeout(within, start));
        self.pending.push(
            async move {
                let result = match start.await {
                    Ok(Ok(result)) => result,
                    Ok(Err(_)) => Err(Fault::new(
                        Stage::Load,
                        Code::PluginLoadTimeout,
                        format!("no verdict within {} s", within.as_secs()),
                    )),
                    // A bug of the host says nothing of the library: it is given another try.
                    Err(_) => Err(Fault::new(Stage::Load, Code::HostInternal, "the host's loader panicked")),
                };
                Event::StartFinished { slot, generation, result: Box::new(result), took: begun.elapsed() }
            }
            .boxed(),
        );
    }

    /// Hears the next stage of a start.
    fn watch_stages(&mut self, slot: usize, generation: Generation, mut stages: watch::Receiver<Stage>) {
        self.pending.push(
            async move {
                match stages.changed().await {
                    Ok(()) => Event::StageBegun { slot, generation, stages },
                    // The start is over, and tells how by itself.
                    Err(_) => Event::Retired,
                }
            }
            .boxed(),
        );
    }

    /// A start is in another stage than before.
    pub(super) fn stage_begun(
        &mut self,
        slot: usize,
        generation: Generation,
        mut stages: watch::Receiver<Stage>,
    ) {
        let stage = *stages.borrow_and_update();
        // Off for a broken twin: a host that says nothing of a start before it is over.
        if failpoint!("engine.stages") != Some(Action::Off) {
            self.registry.stage_begun(slot, generation, stage);
        }
        self.watch_stages(slot, generation, stages);
    }

    pub(super) fn started(
        &mut self,
        slot: usize,
        generation: Generation,
        result: Result<Started, Fault>,
        took: Duration,
    ) {
        let now = Instant::now();
        let started = match result {
            Ok(started) => started,
            Err(fault) => {
                let verdict = self.registry.start_failed(slot, generation, fault, now);
                return self.follow(slot, verdict);
            }
        };
        let handle = started.handle.clone();
        match self.registry.healthy(slot, generation, started, took) {
            Began::Serves(over) => {
                self.watch_exit(slot, generation, &handle);
                self.serves(slot, generation);
                self.retire(slot, over);
            }
            Began::OnTrial(over) => {
                self.watch_exit(slot, generation, &handle);
                self.retire(slot, over);
            }
            Began::Spare | Began::Held => self.watch_exit(slot, generation, &handle),
            Began::Unwanted(started) => {
                // Not wanted any more. A full channel ends with the handle all the same.
                let _ = started.handle.commands.try_send(InstanceCommand::Stop { grace: Duration::ZERO });
            }
        }
    }

    /// Carries out what follows a failure.
    pub(super) fn follow(&mut self, slot: usize, verdict: Verdict) {
        match verdict {
            Verdict::Leave => {}
            Verdict::RollBack => self.roll_back(slot),
            // For a broken twin: a host on which what died stays dead.
            Verdict::RestartAfter { .. } if failpoint!("engine.restart") == Some(Action::Off) => {}
            Verdict::RestartAfter { pause, generation } => self.pending.push(
                async move {
                    sleep(pause).await;
                    Event::RestartDue { slot, generation }
                }
                .boxed(),
            ),
            Verdict::SpareAfter(pause) => self.pending.push(
                async move {
                    sleep(pause).await;
                    Event::SpareDue { slot }
                }
                .boxed(),
            ),
        }
    }

    /// Loads the spares that are wanted, and ends those that are not.
    pub(super) fn tend_spares(&mut self) {
        // For a broken twin: a host without spares.
        if failpoint!("engine.spares") == Some(Action::Off) {
            return;
        }
        let (wanted, dismissed) = self.registry.tend_spares();
        dismissed.iter().for_each(change::stop);
        for Spare { slot, spec, generation } in wanted {
            self.launch(slot, spec, generation);
        }
    }

    fn watch_exit(&mut self, slot: usize, generation: Generation, handle: &InstanceHandle) {
        let mut exit = handle.exit.clone();
        self.pending.push(
            async move {
                // An error: the runtime dropped the instance without a report.
                let report = exit.wait_for(Option::is_some).await.ok().and_then(|r| r.clone());
                Event::InstanceExited { slot, generation, report }
            }
            .boxed(),
        );
    }
}
