//! One conversation while it is in use: the task that owns its order of events, its queue of messages and its running
//! run. It ends a little after its last use, whoever follows it: nothing of a thread at rest is in its task.
//!
//! Whatever happens to a thread comes through [`Command`] or from its run, one at a time; so `seq` is handed out in
//! the order in which things are appended, and a run can meet neither a second run nor a half-appended message.

mod deserted;
mod log;
mod recover;
mod submit;
mod subscribe;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    identity::Scope,
    ports::{
        instance::{CALL_OUTPUTS, CallOutput},
        store::{Deletion, Unfinished},
    },
};
use agent_host_telemetry::series;
use agent_plugin_protocol::{
    CallId, Code, Epoch, MessageId, PluginId, RunId, Seq, ThreadId, call::InputAnswer,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

#[cfg(feature = "schema")]
pub(crate) use self::submit::UserMessage;
use self::{deserted::Desertion, log::Log};
pub(crate) use self::{deserted::desert, log::RETRY};
use crate::{
    directory::{BusyPermit, ThreadKey},
    followers::Subscriber,
    run::{By, DELEGATED_AT_ONCE, Input, Queued, Run},
    session::{Message, Outgoing, Problem},
    shared::Shared,
    task,
};

/// What a thread is asked to do.
pub(crate) enum Command {
    /// Accept a message and run it.
    Submit(Box<Submission>),
    /// Tell a session what happens from after a position.
    Subscribe {
        /// The last event that the client has.
        after: Seq,
        /// The life of the log in which it got it.
        epoch: Option<Epoch>,
        /// Whom.
        subscriber: Subscriber,
    },
    /// Tell a session what happens from now on: its message was accepted here earlier.
    Attach {
        /// Whom.
        subscriber: Subscriber,
    },
    /// Tell it no more.
    Unsubscribe {
        /// Whom.
        subscriber: Subscriber,
    },
    /// Stop a run.
    Cancel {
        /// Which.
        run: RunId,
        /// Who is told if it is over; `None`: nobody waits to hear it.
        asker: Option<Subscriber>,
    },
    /// Its last follower was lost.
    Deserted,
    /// The host goes away: end every run as `interrupted`.
    Interrupt,
    /// Complete a run that was cut off, unless it is going on here.
    Recover(Unfinished),
    /// Delete the thread, unless a run is going on; answers whether it is gone, or why not.
    Delete {
        /// Where the answer goes.
        reply: oneshot::Sender<Result<bool, Problem>>,
    },
}

/// A message on its way in.
pub(crate) struct Submission {
    pub(crate) message: Message,
    /// Whether its thread is to be made.
    pub(crate) new_thread: bool,
    /// Who sent it.
    pub(crate) subscriber: Subscriber,
    /// The question it answers, and who asked it.
    pub(crate) answers: Option<(InputAnswer, PluginId)>,
}

/// Brings a command to the thread's task, which is started where there is none.
pub(crate) async fn send(shared: &Arc<Shared>, key: ThreadKey, command: Command) {
    let mut command = command;
    loop {
        let task = shared.directory.thread(&key, |commands| {
            // Boxed: an `async fn` that takes it by value would hold it twice.
            let mut thread = Box::new(Thread::new(Arc::clone(shared), key.clone()));
            task::spawn(&shared.tasks, "thread", async move { thread.serve(commands).await });
        });
        match task.send(command).await {
            Ok(()) => return,
            // The task ended by a panic: the next one takes it.
            Err(back) => command = back.0,
        }
    }
}

/// Brings a cancellation to the run's thread, and answers which that is.
///
/// # Errors
/// `run.not_cancellable` if it is over, `run.not_found` if the user has, or this host remembers, none of that name.
pub(crate) async fn cancel(
    shared: &Shared,
    scope: &Scope,
    run: &RunId,
    asker: Option<Subscriber>,
) -> Result<ThreadId, Problem> {
    if let Some(thread) = shared.directory.thread_of(scope, run) {
        let key = ThreadKey { scope: scope.clone(), thread: thread.clone() };
        let cancel = Command::Cancel { run: run.clone(), asker };
        // None, or an error: the task ended, and with it the run.
        if let Some(task) = shared.directory.existing(&key)
            && task.send(cancel).await.is_ok()
        {
            return Ok(thread);
        }
    }
    Err(Problem::new(shared.directory.why_no_run(scope, run)))
}

/// The command of an answer to a question: a message whose text is the answer. Its metadata say all of it, so that a
/// host which finds the message in the log knows what it answers.
pub(crate) fn answer(id: MessageId, answer: InputAnswer, asker: PluginId, subscriber: Subscriber) -> Command {
    let content = answer.response.as_str().map_or_else(|| answer.response.to_string(), str::to_owned);
    let metadata = serde_json::Map::from_iter([
        ("interrupt_id".to_owned(), answer.interrupt_id.clone().into()),
        ("resumes".to_owned(), answer.run_id.as_str().into()),
        ("response".to_owned(), answer.response.clone()),
    ]);
    Command::Submit(Box::new(Submission {
        message: Message { id, thread: None, given: None, agent: None, content, metadata },
        new_thread: false,
        subscriber,
        answers: Some((answer, asker)),
    }))
}

/// How long a thread keeps its task after its last run: what is left of calls that were given up speaks into it.
pub(crate) const IDLE: Duration = Duration::from_secs(10);
/// Between two tries to end it, where somebody is about to use it, as it seems: it is the sender of the last command.
const RETIRE_AGAIN: Duration = Duration::from_millis(50);
/// Outputs taken into one append at most, so that a flood of one plugin still lets commands in between.
const BATCH: usize = 512;

/// Where the calls of the thread's runs bring what they say.
type Outputs = (mpsc::Sender<(CallId, CallOutput)>, mpsc::Receiver<(CallId, CallOutput)>);

struct Thread {
    shared: Arc<Shared>,
    key: ThreadKey,
    log: Log,
    queue: VecDeque<Queued>,
    /// Boxed: a thread that waits for its next message does not keep the room.
    run: Option<Box<Run>>,
    /// One of the user's runs at once, held while there is a run.
    permit: Option<BusyPermit>,
    desertion: Desertion,
    outputs: Outputs,
    idle_at: Instant,
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.noted(-1.0);
    }
}

impl Thread {
    fn new(shared: Arc<Shared>, key: ThreadKey) -> Self {
        let this = Self::at_rest(shared, key);
        this.noted(1.0);
        this
    }

    /// The host's look at itself is no use of a thread.
    fn noted(&self, change: f64) {
        if !self.key.scope.is_self_check() {
            series::thread_tasks(change);
        }
    }

    fn at_rest(shared: Arc<Shared>, key: ThreadKey) -> Self {
        Self {
            log: Log::new(Arc::clone(&shared), key.clone()),
            shared,
            key,
            queue: VecDeque::new(),
            run: None,
            permit: None,
            desertion: Desertion::default(),
            // The run's call, what it delegates, and what is left of abandoned ones: a retry, the supervisor's choice,
            // and work that was given up. Room is taken as it is used.
            outputs: mpsc::channel((4 + 2 * DELEGATED_AT_ONCE) * CALL_OUTPUTS),
            idle_at: Instant::now(),
        }
    }

    async fn serve(&mut self, mut commands: mpsc::Receiver<Command>) {
        // Armed for a time at or before `idle_at`: use moves that on, not the timer.
        let idle_timer = sleep_until(self.idle_at);
        tokio::pin!(idle_timer);
        loop {
            let stuck = self.log.retry_at();
            let deserted = self.desertion.due();
            let idle = self.run.is_none() && self.queue.is_empty() && stuck.is_none();
            if idle && idle_timer.is_elapsed() {
                idle_timer.as_mut().reset(self.idle_at);
            }
            tokio::select! {
                Some(command) = commands.recv() => {
                    self.idle_at = self.idle_at.max(Instant::now());
                    self.obey(command).await;
                }
                input = next_input(&mut self.run, &mut self.outputs.1), if self.run.is_some() && stuck.is_none() => {
                    self.advance(input).await;
                }
                () = until(stuck), if stuck.is_some() => self.log.retry().await,
                () = until(deserted), if deserted.is_some() => self.desertion.is_due(),
                () = &mut idle_timer, if idle => {
                    if Instant::now() < self.idle_at {
                        continue;
                    }
                    if self.retires(&commands) {
                        return;
                    }
                    self.idle_at = Instant::now() + RETIRE_AGAIN;
                }
            }
            self.next_run().await;
            self.mind_desertion().await;
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Submit(submission) => self.submit(*submission).await,
            // Boxed, as others below: rare, and the task would keep the room for them.
            Command::Subscribe { after, epoch, subscriber } => {
                Box::pin(self.subscribe(after, epoch, subscriber)).await;
            }
            Command::Attach { subscriber } => self.follow(&subscriber),
            Command::Unsubscribe { subscriber } => self.shared.followers.unfollow(&self.key, &subscriber),
            Command::Cancel { run, asker } => {
                let stopped = Box::pin(self.cancel(&run, By::Person)).await;
                if let (false, Some(asker)) = (stopped, asker) {
                    asker.tell(Outgoing::Problem(Problem::new(Code::RunNotCancellable)));
                }
            }
            Command::Deserted => self.desertion.begin(),
            Command::Interrupt => Box::pin(self.interrupt()).await,
            Command::Recover(cut_off) => Box::pin(self.recover(cut_off)).await,
            Command::Delete { reply } => {
                // Whoever asked may have gone.
                let _ = reply.send(Box::pin(self.delete()).await);
            }
        }
    }

    /// Whether the task may end: its followers are told by the next one.
    fn retires(&self, commands: &mpsc::Receiver<Command>) -> bool {
        // For a broken twin: a host that keeps a task for whatever is followed.
        let kept = failpoint!("engine.retire") == Some(Action::Off) && self.shared.followers.any(&self.key);
        !kept && self.shared.directory.retire(&self.key, commands)
    }

    /// A run was begun here, or is over: the task stays for a while.
    fn used(&mut self) {
        self.idle_at = Instant::now() + IDLE;
    }

    /// Takes what came, and whatever else is there already, into one append.
    async fn advance(&mut self, input: Input) {
        let Some(run) = &mut self.run else { return };
        run.on(input).await;
        for _ in 1..BATCH {
            let Ok((call, output)) = self.outputs.1.try_recv() else { break };
            run.on(Input::Output(call, output)).await;
        }
        // A flood must not keep the clocks from being looked at.
        run.check_clock().await;
        self.write_run().await;
    }

    /// Appends what the run gave, then lets its plugin go on.
    async fn write_run(&mut self) {
        let Some(run) = &mut self.run else { return };
        self.log.append_asking(run.take_events(), run.take_question()).await;
        for problem in run.take_problems() {
            self.log.tell_all(&problem);
        }
        run.give_credit().await;
        if run.is_over() {
            self.run = None;
            self.used();
        }
    }

    async fn next_run(&mut self) {
        while self.run.is_none()
            && let Some(queued) = self.queue.pop_front()
        {
            let run = Run::new(Arc::clone(&self.shared), self.key.clone(), queued, self.outputs.0.clone());
            self.run.insert(Box::new(run)).begin().await;
            self.write_run().await;
        }
        if self.run.is_none() {
            self.permit = None;
        }
    }

    async fn delete(&mut self) -> Result<bool, Problem> {
        if self.run.is_some() || !self.queue.is_empty() || self.log.retry_at().is_some() {
            return Err(Problem::new(Code::RunBusy).retry_after(RETRY));
        }
        let which = Deletion::Thread(self.key.scope.clone(), self.key.thread.clone());
        let deleted = self.shared.parts.store.delete(which).await;
        self.shared.store_result("delete", &deleted);
        deleted.map(|threads| threads > 0).map_err(|error| Problem::new(error.code).retry_after(RETRY))
    }

    /// Whether there was such a run.
    async fn cancel(&mut self, id: &RunId, by: By) -> bool {
        if let Some(run) = self.run.as_mut().filter(|run| run.id() == id) {
            run.cancel(by).await;
            self.write_run().await;
            return true;
        }
        let waits = self.queue.iter().position(|queued| queued.run == *id);
        let Some(queued) = waits.and_then(|at| self.queue.remove(at)) else { return false };
        let mut run = Run::new(Arc::clone(&self.shared), self.key.clone(), queued, self.outputs.0.clone());
        run.cancel(by).await;
        self.log.append(run.take_events()).await;
        true
    }

    async fn interrupt(&mut self) {
        if let Some(run) = &mut self.run {
            run.interrupt().await;
            self.write_run().await;
        }
        for queued in std::mem::take(&mut self.queue) {
            let mut run =
                Run::new(Arc::clone(&self.shared), self.key.clone(), queued, self.outputs.0.clone());
            run.interrupt().await;
            self.log.append(run.take_events()).await;
        }
    }
}

/// Waits until then; for ever, where there is no such time. Boxed, as it hardly ever is one. Cancel safe.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => Box::pin(sleep_until(time)).await,
        None => std::future::pending().await,
    }
}

/// Cancel safe.
async fn next_input(run: &mut Option<Box<Run>>, outputs: &mut mpsc::Receiver<(CallId, CallOutput)>) -> Input {
    match run {
        Some(run) => run.next(outputs).await,
        None => std::future::pending().await,
    }
}
