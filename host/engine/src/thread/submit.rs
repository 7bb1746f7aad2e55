//! Accepts a message: durable first, then acknowledged, then (and only then) anything of a plugin (law 4).

use std::sync::Arc;

use agent_host_core::{
    failpoint,
    failpoint::Action,
    hash::body_hash,
    ports::store::{Answered, Begun, NewEvent, NewMessage, StoreError, Unfinished},
};
use agent_plugin_protocol::{
    Code, EventKind, PluginId, RunId, Seq,
    call::{IncomingMessage, InputAnswer},
};
use bytes::Bytes;
use serde::Serialize;
use tokio::time::Instant;

use super::{Command, Submission, Subscriber, Thread, log};
use crate::{
    directory::{BusyPermit, ThreadKey},
    recovery,
    run::{By, Queued},
    session::{Accepted, Message, Outgoing, Problem},
    settings::DoubleTexting,
};

/// Payload of `user_message`.
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[derive(Serialize)]
pub(crate) struct UserMessage<'a> {
    message_id: &'a agent_plugin_protocol::MessageId,
    content: &'a str,
    metadata: &'a serde_json::Map<String, serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a PluginId>,
}

impl Thread {
    pub(super) async fn submit(&mut self, submission: Submission) {
        let Submission { message, new_thread, subscriber, answers } = submission;
        let refuse = |problem: Problem| subscriber.tell(Outgoing::Problem(problem.about(&message.id)));
        let (permit, full) = match self.admit(&subscriber) {
            Ok(permit) => (permit, None),
            // What was accepted before needs no room now: the client only did not hear of it.
            Err(problem) if is_want_of_room(problem.code) => (None, Some(problem)),
            Err(problem) => return refuse(problem),
        };
        let run = message.given.clone().unwrap_or_else(RunId::random);
        let time = self.shared.parts.clock.now();
        let Some(payload) = payload(&message) else { return refuse(Problem::new(Code::HostInternal)) };
        let begun = self
            .shared
            .parts
            .store
            .begin(NewMessage {
                scope: self.key.scope.clone(),
                id: message.id.clone(),
                body_hash: body_of(&message),
                thread: self.key.thread.clone(),
                new_thread,
                run: run.clone(),
                payload: payload.clone(),
                time,
                repeat_only: full.is_some(),
                quota: self.shared.settings().quota,
                answers: answers.as_ref().map(|(answer, _)| Answered {
                    run: answer.run_id.clone(),
                    interrupt: answer.interrupt_id.clone(),
                }),
            })
            .await;
        if has_written(&begun) {
            self.shared.store_result("begin", &begun);
        }
        let begun = match begun {
            // For a broken twin: a host that acknowledges what its store did not take.
            Err(_) if failpoint!("engine.durable_first") == Some(Action::Off) => {
                Ok(Begun::New { seq: Seq(0) })
            }
            begun => begun,
        };
        match begun {
            Ok(Begun::New { seq }) => {
                self.used();
                let accepted = self.accepted(&message, run.clone(), seq, answers.as_ref());
                subscriber.tell(Outgoing::Accepted(accepted));
                // There was room when it was admitted: beyond it by what others took meanwhile, rather than unheard.
                let _ = self.shared.followers.follow(&self.key, &subscriber, 0);
                let event = NewEvent {
                    run: run.clone(),
                    kind: EventKind::UserMessage,
                    agent: "user".into(),
                    time,
                    payload,
                };
                self.log.deliver(seq, vec![event]);
                self.permit = self.permit.take().or(permit);
                let policy = self.double_texting();
                self.enqueue(message, run, answers);
                if policy == DoubleTexting::Interrupt {
                    self.interrupt_for_newer().await;
                }
                // It was gone before it followed.
                if subscriber.is_lost() && !self.shared.followers.any(&self.key) {
                    self.desertion.begin();
                }
            }
            Ok(Begun::Duplicate { thread, run, seq, open }) => {
                let key = ThreadKey { scope: self.key.scope.clone(), thread };
                let accepted = Accepted {
                    thread: key.thread.clone(),
                    duplicate: true,
                    ..self.accepted(&message, run.clone(), seq, answers.as_ref())
                };
                subscriber.tell(Outgoing::Accepted(accepted));
                self.attach(key.clone(), subscriber);
                if open && self.shared.directory.thread_of(&key.scope, &run).is_none() {
                    // Its first acceptance was not heard of by this host either: the disk answered too late.
                    recovery::recover(
                        &self.shared,
                        Unfinished { scope: key.scope, thread: key.thread, run, seq },
                    );
                }
            }
            Ok(Begun::NotKnown) => refuse(full.unwrap_or_else(|| Problem::new(Code::RunBusy))),
            Ok(Begun::Conflict) => refuse(Problem::new(Code::IdempotencyConflict)),
            Ok(Begun::NoQuestion) => refuse(Problem::new(Code::InterruptNotFound)),
            Ok(Begun::NoThread) => refuse(Problem::new(Code::ThreadNotFound)),
            Ok(Begun::TooManyThreads) => refuse(Problem::new(Code::QuotaThreads)),
            Ok(Begun::TooMuchStored) => refuse(Problem::new(Code::QuotaStorage)),
            Err(error) => refuse(Problem::new(error.code).retry_after(log::RETRY)),
        }
    }

    /// Whether there is room for another run; the right to be at work, if the thread was idle.
    fn admit(&self, subscriber: &Subscriber) -> Result<Option<BusyPermit>, Problem> {
        if self.shared.is_draining() {
            return Err(Problem::new(Code::HostDraining));
        }
        if let Some(problem) = self.log.refuses() {
            return Err(problem);
        }
        if !self.shared.followers.has_room(&self.key, subscriber, self.subscriptions()) {
            return Err(self.too_many());
        }
        if self.permit.is_none() {
            let most = self.shared.settings().runs_at_once;
            let permit = self.shared.directory.admit(&self.key.scope, most);
            return permit.map(Some).ok_or_else(|| Problem::new(Code::LimitRuns).retry_after(log::RETRY));
        }
        if self.double_texting() == DoubleTexting::Reject {
            return Err(Problem::new(Code::RunBusy).retry_after(log::RETRY));
        }
        if self.queue.len() >= self.shared.settings().queued_messages {
            return Err(Problem::new(Code::RunBusy).retry_after(log::RETRY));
        }
        Ok(None)
    }

    /// What the plugin that answers now wants of a second message. Nobody answers: it waits for its turn.
    fn double_texting(&self) -> DoubleTexting {
        let responder = self.run.as_deref().and_then(crate::run::Run::responder);
        let settings = self.shared.settings();
        let slot = responder.and_then(|plugin| settings.plugins.iter().find(|slot| slot.spec.id == *plugin));
        slot.map_or(DoubleTexting::Enqueue, |slot| slot.double_texting)
    }

    /// The newest message replaces what runs and what waits: those end as `cancelled`.
    async fn interrupt_for_newer(&mut self) {
        let waiting: Vec<RunId> = self.queue.iter().map(|queued| queued.run.clone()).collect();
        let older = waiting.split_last().map(|(_, older)| older.to_vec()).unwrap_or_default();
        let running = self.run.as_ref().map(|run| run.id().clone());
        for run in older.into_iter().chain(running) {
            self.cancel(&run, By::Person).await;
        }
    }

    fn accepted(
        &self,
        message: &Message,
        run: RunId,
        seq: Seq,
        answers: Option<&(InputAnswer, PluginId)>,
    ) -> Accepted {
        Accepted {
            id: message.id.clone(),
            thread: self.key.thread.clone(),
            run,
            epoch: self.shared.parts.store.epoch(),
            seq,
            duplicate: false,
            resumes: answers.map(|(answer, _)| answer.run_id.clone()),
        }
    }

    fn enqueue(&mut self, message: Message, run: RunId, answers: Option<(InputAnswer, PluginId)>) {
        let (answers, asker) = answers.unzip();
        let ticket = self.shared.directory.enter(&self.key, &run);
        self.queue.push_back(Queued {
            run,
            // The one that asked gets the answer.
            agent: message.agent.or(asker),
            message: IncomingMessage { id: message.id, content: message.content, metadata: message.metadata },
            answers,
            accepted: Instant::now(),
            _ticket: ticket,
        });
    }

    /// Lets a session follow the thread in which its message was accepted earlier.
    fn attach(&mut self, key: ThreadKey, subscriber: Subscriber) {
        if key == self.key {
            return self.follow(&subscriber);
        }
        let shared = Arc::clone(&self.shared);
        // Its own task: two threads that waited for each other's queues would never end.
        crate::task::spawn(&self.shared.tasks, "thread.attach", async move {
            super::send(&shared, key, Command::Attach { subscriber }).await;
        });
    }
}

/// Whether the answer says how the store is: it wrote, or could not.
fn has_written(begun: &Result<Begun, StoreError>) -> bool {
    matches!(begun, Ok(Begun::New { .. } | Begun::Duplicate { .. }) | Err(_))
}

/// Whether a refusal is about this moment, and not about the message.
fn is_want_of_room(code: Code) -> bool {
    matches!(code, Code::LimitRuns | Code::LimitSubscriptions | Code::RunBusy | Code::HostDraining)
}

/// What the message's id stands for from now on.
fn body_of(message: &Message) -> [u8; 32] {
    // Off for a broken twin: a host that takes an id at its word, whatever is sent under it.
    if failpoint!("engine.body_hash") == Some(Action::Off) {
        return [0; 32];
    }
    body_hash(message.thread.as_ref(), message.agent.as_ref(), &message.content, &message.metadata)
}

/// One line of JSON; `None` would be a bug: texts and maps with text keys always serialise.
fn payload(message: &Message) -> Option<Bytes> {
    let payload = UserMessage {
        message_id: &message.id,
        content: &message.content,
        metadata: &message.metadata,
        agent: message.agent.as_ref(),
    };
    serde_json::to_vec(&payload).ok().map(Bytes::from)
}
