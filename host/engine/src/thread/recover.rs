//! Completes a run that was cut off: by the end of an earlier host, or by a disk that answered too late.
//!
//! A run that nobody took is begun now, as its message is in the log. One that was begun is ended as `interrupted`, its
//! tools closed: what its plugin did is not known, so it is not done again. A message that answered a question is its
//! answer still.

use agent_host_core::{
    failpoint,
    failpoint::Action,
    ports::store::{LogEntry, NewEvent, Store, StoreError, Unfinished},
    run_machine::replay,
};
use agent_host_telemetry::happening::RunRecovered;
use agent_plugin_protocol::{
    EventKind, PluginId, RunId, Seq,
    call::{IncomingMessage, InputAnswer},
};
use serde::Deserialize;
use tokio::time::Instant;

use super::Thread;
use crate::run::Queued;

/// Entries of one read.
const PAGE: usize = 1024;

/// What is needed of a `user_message` to run it.
#[derive(Deserialize)]
struct Asked {
    message_id: agent_plugin_protocol::MessageId,
    content: String,
    metadata: serde_json::Map<String, serde_json::Value>,
    agent: Option<PluginId>,
}

impl Thread {
    pub(super) async fn recover(&mut self, cut_off: Unfinished) {
        let is = |id: &RunId| *id == cut_off.run;
        let mine =
            self.run.as_deref().is_some_and(|run| is(run.id())) || self.queue.iter().any(|q| is(&q.run));
        // What the store still owes may be this run's end; it is looked at again when the store is back.
        if mine || self.log.retry_at().is_some() {
            return;
        }
        let events = match events_of(self.shared.parts.store.as_ref(), &cut_off).await {
            Ok(events) => events,
            Err(error) => return self.shared.store_result::<()>("recover", &Err(error)),
        };
        let kind = |kind| events.iter().any(|event| event.kind == kind);
        if kind(EventKind::AgentCompleted) {
            return;
        }
        let how = if kind(EventKind::AgentStarted) {
            self.log.append(self.closing(&cut_off.run, events)).await;
            "interrupted"
        } else if let Some(asked) = asked_by(&events) {
            match answers(self.shared.parts.store.as_ref(), &cut_off, &asked).await {
                Ok(answers) => self.begin_again(&cut_off, asked, answers),
                Err(error) => return self.shared.store_result::<()>("recover", &Err(error)),
            }
            "begun"
        } else {
            // A message that this host cannot read: it cannot be run, and must not stay open.
            self.log.append(self.closing(&cut_off.run, events)).await;
            "interrupted"
        };
        self.used();
        RunRecovered { run: cut_off.run.to_string(), thread: cut_off.thread.to_string(), how }.emit();
    }

    /// The events that end the run.
    fn closing(&self, run: &RunId, events: Vec<NewEvent>) -> Vec<NewEvent> {
        let time = self.shared.parts.clock.now();
        // For a broken twin: a host that leaves cut-off runs as they are.
        if failpoint!("engine.recover") == Some(Action::Off) {
            return Vec::new();
        }
        let ends = replay::interrupt(run, &self.key.thread, self.shared.status().level, &events, time);
        ends.into_iter()
            .map(|event| NewEvent {
                run: run.clone(),
                kind: event.kind,
                agent: event.agent,
                time,
                payload: event.payload,
            })
            .collect()
    }

    /// Queues the run.
    fn begin_again(&mut self, cut_off: &Unfinished, asked: Asked, answers: Option<(InputAnswer, PluginId)>) {
        let (answers, asker) = answers.unzip();
        let ticket = self.shared.directory.enter(&self.key, &cut_off.run);
        self.queue.push_back(Queued {
            run: cut_off.run.clone(),
            agent: asked.agent.or(asker),
            message: IncomingMessage {
                id: asked.message_id,
                content: asked.content,
                metadata: asked.metadata,
            },
            answers,
            accepted: Instant::now(),
            _ticket: ticket,
        });
    }
}

impl Asked {
    /// What it answers, as far as it says so.
    fn answer(&self) -> Option<InputAnswer> {
        Some(InputAnswer {
            run_id: RunId::new(self.metadata.get("resumes")?.as_str()?).ok()?,
            interrupt_id: self.metadata.get("interrupt_id")?.as_str()?.to_owned(),
            response: self.metadata.get("response")?.clone(),
        })
    }
}

/// The question that a message was accepted as the answer of, and who asked it. What a message says of itself counts
/// only where the store says so too.
async fn answers(
    store: &dyn Store,
    cut_off: &Unfinished,
    asked: &Asked,
) -> Result<Option<(InputAnswer, PluginId)>, StoreError> {
    let Some(answer) = asked.answer() else { return Ok(None) };
    let question = store.question(&cut_off.scope, &answer.run_id).await?;
    let accepted = question.filter(|question| question.answered_by.as_ref() == Some(&asked.message_id));
    Ok(accepted.map(|question| (answer, question.agent)))
}

/// The message of a run; `None` if it cannot be read.
fn asked_by(events: &[NewEvent]) -> Option<Asked> {
    let asked = events.iter().find(|event| event.kind == EventKind::UserMessage)?;
    serde_json::from_slice(&asked.payload).ok()
}

/// What the log has of the run, in order.
async fn events_of(store: &dyn Store, cut_off: &Unfinished) -> Result<Vec<NewEvent>, StoreError> {
    let mut after = Seq(cut_off.seq.0.saturating_sub(1));
    let mut events = Vec::new();
    loop {
        let page = store.read(&cut_off.scope, &cut_off.thread, after, PAGE).await?.unwrap_or_default();
        let Some(last) = page.last() else { return Ok(events) };
        after = last.seq;
        let is_last = page.len() < PAGE;
        let of_run = |entry: LogEntry| (entry.event.run == cut_off.run).then_some(entry.event);
        events.extend(page.into_iter().filter_map(of_run));
        if is_last {
            return Ok(events);
        }
    }
}
