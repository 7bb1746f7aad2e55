//! Decides when a silence is broken: that of a run which says nothing for long. Their clients take a run for dead whose
//! events are more than 15 s apart.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use agent_host_core::ports::store::LogEntry;
use agent_plugin_protocol::{EventKind, RunId, ThreadId};
use tokio::time::Instant;

/// A run is spoken of after so long a silence: a busy host, and the way to the client, have 5 s of the 15.
pub(super) const SILENCE: Duration = Duration::from_secs(10);
/// Runs that are kept in mind. Beyond it the oldest is forgotten: it is not spoken of when it is silent.
const RUNS: usize = 64;

/// The runs that go on, as far as this connection is told of them.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    runs: VecDeque<Open>,
}

/// A run that goes on.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) run: RunId,
    pub(super) thread: ThreadId,
    /// Who answers; `None` while it waits for its turn.
    pub(super) agent: Option<Arc<str>>,
    /// When anything of it was told last.
    heard: Instant,
    speak_at: Instant,
}

impl Open {
    /// How long nothing has come of it.
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard)
    }
}

impl Pulse {
    /// A message was accepted that begins this run.
    pub(super) fn accepted(&mut self, run: &RunId, thread: &ThreadId, now: Instant) {
        if self.runs.len() >= RUNS {
            self.runs.pop_front();
        }
        let (run, thread) = (run.clone(), thread.clone());
        self.runs.push_back(Open { run, thread, agent: None, heard: now, speak_at: now + SILENCE });
    }

    /// The client is told of an event. Streamed pieces are none to it.
    pub(super) fn told(&mut self, entry: &LogEntry, now: Instant) {
        let event = &entry.event;
        match event.kind {
            EventKind::UserMessage | EventKind::AgentMessageDelta => return,
            EventKind::AgentCompleted => return self.runs.retain(|open| open.run != event.run),
            EventKind::AgentStarted
            | EventKind::AgentThinking
            | EventKind::ToolExecuting
            | EventKind::ToolCompleted
            | EventKind::AgentDelegated
            | EventKind::AgentReturned
            | EventKind::RunDegraded => {}
        }
        if !self.runs.iter().any(|open| open.run == event.run) {
            // Another connection's, or one that was accepted earlier.
            self.accepted(&event.run, &entry.thread, now);
        }
        if let Some(open) = self.runs.iter_mut().find(|open| open.run == event.run) {
            open.agent = Some(Arc::clone(&event.agent));
            (open.heard, open.speak_at) = (now, now + SILENCE);
        }
    }

    /// When to ask again; `None`: nothing goes on.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.runs.iter().map(|open| open.speak_at).min()
    }

    /// The runs to be spoken of at `now`, each again after another silence.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Open> {
        let due = self.runs.iter_mut().filter(|open| open.speak_at <= now);
        due.map(|open| {
            open.speak_at = now + SILENCE;
            open.clone()
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use agent_host_core::ports::store::NewEvent;
    use agent_plugin_protocol::Seq;

    use super::*;

    fn entry(run: &RunId, kind: EventKind) -> LogEntry {
        let event =
            NewEvent { run: run.clone(), kind, agent: "echo".into(), time: UNIX_EPOCH, payload: "{}".into() };
        LogEntry { seq: Seq::START, thread: ThreadId::new("t").unwrap(), event }
    }

    #[test]
    fn a_run_is_spoken_of_after_each_silence_and_no_more_when_it_is_over() {
        let (mut pulse, start, run) = (Pulse::default(), Instant::now(), RunId::random());
        assert_eq!(pulse.wake_at(), None);
        pulse.accepted(&run, &ThreadId::random(), start);
        assert_eq!(pulse.wake_at(), Some(start + SILENCE));
        assert!(pulse.due(start + SILENCE / 2).is_empty());
        pulse.told(&entry(&run, EventKind::AgentStarted), start + SILENCE / 2);
        assert!(pulse.due(start + SILENCE).is_empty(), "it was heard of since");
        let late = start + SILENCE * 3 / 2;
        assert_eq!(pulse.due(late)[0].silent_for(late), SILENCE);
        assert_eq!(pulse.wake_at(), Some(late + SILENCE));
        // What the client is not shown is silence to it.
        pulse.told(&entry(&run, EventKind::AgentMessageDelta), late + SILENCE / 2);
        assert_eq!(pulse.due(late + SILENCE).len(), 1);
        pulse.told(&entry(&run, EventKind::AgentCompleted), late);
        assert_eq!(pulse.wake_at(), None);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (mut pulse, start) = (Pulse::default(), Instant::now());
        for _ in 0..RUNS * 2 {
            pulse.accepted(&RunId::random(), &ThreadId::random(), start);
        }
        assert_eq!(pulse.due(start + SILENCE).len(), RUNS);
    }
}
