//! Looks into one crash after the other, beside everything that waits for a worker's end, and lets few of them wait.
//!
//! Whoever is left out is told at once, without frames and with the reason: what it held, a copy of a stack and a
//! descriptor of the library, is let go. So a storm of crashes costs a bounded number of both, and one core at most.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agent_host_core::{
    crash::{Frame, LeftOut, NoFrames, WaitingLine},
    failpoint,
    failpoint::Action,
    outcome::{ExitReport, signal_name},
};
use agent_host_telemetry::happening::PluginCrashed;
use agent_plugin_protocol::{Generation, PluginId};

use super::{
    area::Remains,
    backtrace::{Scene, find_out},
    known::Known,
};

/// Crashes that may wait, of as many plugins: 2 MiB of stacks. Full: see [`WaitingLine`].
const ROOM: usize = 16;
/// Frames in the log.
const LOGGED: usize = 8;

/// Who looks into crashes. Cheap to clone: all clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desk(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    line: Mutex<Line>,
    known: Known,
}

#[derive(Debug)]
struct Line {
    waiting: WaitingLine<Case>,
    /// A task looks into one, and will take the next.
    busy: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self { waiting: WaitingLine::new(ROOM), busy: false }
    }
}

/// A crash whose frames are to be found out.
#[derive(Debug)]
pub(crate) struct Case {
    /// Whose.
    pub(crate) plugin: PluginId,
    /// Which of its generations.
    pub(crate) generation: Generation,
    /// What is told of it already; its backtrace is settled here.
    pub(crate) report: Arc<ExitReport>,
    /// What the frames are found out from.
    pub(crate) evidence: Evidence,
}

/// What the frames of a crash are found out from.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// What the worker left.
    pub(crate) remains: Remains,
    /// Where it ran.
    pub(crate) scene: Scene,
}

impl Desk {
    /// Settles the case's backtrace and logs the crash: in the background, or now where it is left out.
    pub(crate) fn take(&self, case: Case) {
        // For a broken twin: a host that lets all of them wait.
        if failpoint!("runtime.autopsies") == Some(Action::Off) {
            let desk = self.clone();
            tokio::spawn(async move { desk.look_into(case).await });
            return;
        }
        let (left_out, idle) = {
            let mut line = self.line();
            let left_out = line.waiting.add(case.plugin.clone(), case);
            (left_out, !std::mem::replace(&mut line.busy, true))
        };
        if let Some(LeftOut(case, reason)) = left_out {
            case.close(Err(reason));
        }
        if idle {
            let desk = self.clone();
            tokio::spawn(async move {
                while let Some(case) = desk.next() {
                    desk.look_into(case).await;
                }
            });
        }
    }

    fn next(&self) -> Option<Case> {
        let mut line = self.line();
        let next = line.waiting.take();
        line.busy = next.is_some();
        next
    }

    async fn look_into(&self, case: Case) {
        let Case { plugin, generation, report, evidence: Evidence { remains, scene } } = case;
        let shared = Arc::clone(&self.0);
        let found = tokio::task::spawn_blocking(move || {
            injected();
            find_out(&remains, &scene, &shared.known)
        });
        // One that panicked met tables that no compiler writes.
        close(&plugin, generation, &report, found.await.map_err(|_| NoFrames::Unreadable));
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Case {
    fn close(self, found: Result<Vec<Frame>, NoFrames>) {
        close(&self.plugin, self.generation, &self.report, found);
    }
}

fn close(
    plugin: &PluginId,
    generation: Generation,
    report: &ExitReport,
    found: Result<Vec<Frame>, NoFrames>,
) {
    let Some(crash) = &report.crash else { return };
    let (result, frames) = match &found {
        Ok(frames) => {
            let first = frames.iter().take(LOGGED).map(ToString::to_string).collect::<Vec<_>>();
            ("found", first.join(" < "))
        }
        Err(reason) => (reason.as_str(), format!("none: {reason}")),
    };
    crash.backtrace.settle(found);
    let open: Vec<String> = crash.open.iter().map(ToString::to_string).collect();
    PluginCrashed {
        plugin: plugin.to_string(),
        generation: generation.0,
        signal: signal_name(crash.signal),
        how: crash.to_string(),
        uptime_ms: report.uptime.as_millis(),
        open_calls: open.join(", "),
        backtrace: result,
        frames,
    }
    .emit();
}

/// A search that is slow, or never ends while the test wants it so, or meets what it cannot read.
fn injected() {
    let pause = std::time::Duration::from_millis(5);
    while failpoint!("runtime.autopsy") == Some(Action::Hang) {
        std::thread::sleep(pause);
    }
    if let Some(Action::Delay(ms)) = failpoint!("runtime.autopsy") {
        std::thread::sleep(std::time::Duration::from_millis(ms));
    }
}

#[cfg(test)]
mod tests {
    use agent_host_telemetry::metric;

    use super::*;

    #[test]
    fn each_end_of_a_search_is_a_series_of_the_metric() {
        let results = std::iter::once("found").chain(NoFrames::ALL.map(NoFrames::as_str));
        assert_eq!(results.collect::<Vec<_>>(), metric::BACKTRACES);
    }
}
