//! The session itself: hands what the client asks to the thread's task, and tells the client what it is to know.

use std::{sync::Arc, time::Duration};

use agent_host_core::identity::{Principal, Scope};
use agent_plugin_protocol::{Code, Seq, ThreadId, call::InputAnswer};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::sync::watch;

use super::{
    Delivery, Incoming, Load, Message, Outgoing, Problem, changes,
    merge::Merge,
    page::{self, Page},
    turns::Turn,
};
use crate::{
    directory::ThreadKey,
    followers::{Ended, Subscriber},
    outbox::{self, Receiver, Waiting},
    random,
    shared::{Leaving, Shared},
    thread::{self, Command, Submission},
    view::Status,
};

/// Threads that one ping names: about 12 KiB. Who follows thousands would be told hundreds of KiB, every 25 s.
const POSITIONS: usize = 256;
/// Reconnections of all clients of a host are spread over this time.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(4_500));

/// One client connection. Dropping it leaves its runs running; [`lost`](Self::lost) may not.
pub struct Session {
    principal: Arc<Principal>,
    shared: Arc<Shared>,
    me: Subscriber,
    waiting: Receiver,
    merge: Merge,
    reading: Option<BoxFuture<'static, Page>>,
    /// Entries of the next read: fewer where the last ones were large.
    page: usize,
    /// While a large page is handed out.
    turn: Option<Turn>,
    settled: watch::Receiver<Arc<Status>>,
    told: Arc<Status>,
    leaving: watch::Receiver<Option<Leaving>>,
    /// Resolves when one of these two has news. Kept over many waits, as they are rare and a wait on a channel that is
    /// made anew for each frame takes and gives back a place in its list.
    news: Option<BoxFuture<'static, ()>>,
}

impl Session {
    pub(crate) fn new(shared: Arc<Shared>, principal: Arc<Principal>) -> Self {
        let (sender, waiting) =
            outbox::outbox(shared.settings().outbox_bytes, shared.settings().behind_bytes);
        let mut leaving = shared.leaving.subscribe();
        // A session that is opened while the host is leaving is told so at once.
        leaving.mark_changed();
        // What was settled before is older than what the welcome tells.
        let mut settled = shared.settled.clone();
        settled.mark_unchanged();
        Self {
            principal,
            me: Subscriber::new(sender),
            waiting,
            merge: Merge::default(),
            reading: None,
            page: page::FIRST,
            turn: None,
            settled,
            told: shared.status(),
            leaving,
            news: None,
            shared,
        }
    }

    /// Whose connection it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Goes on with a newer token of the same user: what it permits counts from now on. Another user's changes nothing.
    pub fn refresh(&mut self, principal: Arc<Principal>) {
        if principal.scope == self.principal.scope {
            self.principal = principal;
        }
    }

    /// Its client is gone, by no act of the host: it closed, or broke off, or fell silent. What only this session
    /// followed is deserted, and goes on or ends as the agents' `on_disconnect` says. Nothing more is to be told.
    pub fn lost(&mut self) {
        // Who is told to leave leaves: that is the host's act.
        if self.shared.is_draining() {
            return;
        }
        for key in self.shared.followers.leave(&self.principal.scope, &self.me, Ended::Lost) {
            thread::desert(&self.shared, &key);
        }
    }

    /// The service as it is now: for the welcome.
    pub fn status(&self) -> Arc<Status> {
        self.shared.status()
    }

    /// Acts on what the client asked; the answers come by [`next`](Self::next). Cancel safe up to the first await.
    pub async fn handle(&mut self, incoming: Incoming) {
        match incoming {
            Incoming::Message(message) => self.message(message).await,
            Incoming::Subscribe { thread, after, epoch } => {
                let subscriber = self.me.clone();
                self.send(thread, Command::Subscribe { after, epoch, subscriber }).await;
            }
            Incoming::Unsubscribe { thread } => self.unsubscribe(thread).await,
            Incoming::Cancel { run } => {
                if let Err(problem) =
                    thread::cancel(&self.shared, self.scope(), &run, Some(self.me.clone())).await
                {
                    self.me.tell(Outgoing::Problem(problem));
                }
            }
            Incoming::Answer { id, run, interrupt, response } => {
                self.answer(id, run, interrupt, response).await;
            }
            // It never decides durability: the log has everything.
            Incoming::Ack { .. } => {}
        }
    }

    /// What the client is to be told next. `None`: the client fell too far behind, and the connection must be closed
    /// as a slow consumer (4404). Cancel safe.
    pub async fn next(&mut self) -> Option<Outgoing> {
        loop {
            if self.waiting.is_lagged() {
                return None;
            }
            if let Some(out) = self.try_next() {
                return Some(out);
            }
            self.begin_reading();
            // Made after `try_next` has taken what was new.
            let news = self.news.get_or_insert_with(|| news(self.settled.clone(), self.leaving.clone()));
            tokio::select! {
                frame = self.waiting.recv() => {
                    if let Some(frame) = self.taken(frame?) {
                        return Some(frame);
                    }
                }
                page = read(&mut self.reading), if self.reading.is_some() => self.read(page),
                () = news => self.news = None,
            }
        }
    }

    /// More of [`next`](Self::next) that is there already, for one write. Never waits.
    pub fn try_next(&mut self) -> Option<Outgoing> {
        if let Some(out) = self.going_away().or_else(|| self.changed()) {
            return Some(out);
        }
        if let Some(entry) = self.merge.replayed() {
            return Some(Outgoing::Event(Arc::new(Delivery::new(entry))));
        }
        while let Some(waiting) = self.waiting.try_recv() {
            if let Some(frame) = self.taken(waiting) {
                return Some(frame);
            }
        }
        None
    }

    /// The last position handed out for each subscribed thread, or for those that were heard of last where there are
    /// more than a frame should name: for `ping.positions`.
    pub fn positions(&self) -> Vec<(ThreadId, Seq)> {
        self.merge.positions(POSITIONS)
    }

    /// Its numbers, for whoever shows them beside it.
    pub fn load(&self) -> Load {
        self.waiting.load().clone()
    }

    /// What of it the client is to have now.
    fn taken(&mut self, waiting: Waiting) -> Option<Outgoing> {
        let frame = match waiting {
            Waiting::Frame(frame) => frame,
            Waiting::InLog { thread, seq } => {
                self.merge.is_in_log(&thread, seq);
                return None;
            }
        };
        let admitted = self.merge.admit(&frame);
        // Only these two begin to follow a thread.
        if matches!(frame, Outgoing::Accepted(_) | Outgoing::Subscribed(_)) {
            self.follows();
        }
        admitted.then_some(frame)
    }

    fn follows(&self) {
        self.waiting.load().follows(self.merge.threads());
    }

    async fn message(&mut self, message: Message) {
        let refused = match &message.agent {
            _ if self.shared.is_draining() => Some(Problem::new(Code::HostDraining)),
            Some(agent) if self.shared.routes.load().table.agent(agent).is_none() => {
                Some(Problem::new(Code::AgentUnknown))
            }
            Some(_) | None => None,
        };
        if let Some(problem) = refused {
            self.me.tell(Outgoing::Problem(problem.about(&message.id)));
            return;
        }
        let new_thread = message.thread.is_none() || message.given.is_some();
        let thread = message.thread.clone().unwrap_or_else(ThreadId::random);
        let subscriber = self.me.clone();
        let submission = Submission { message, new_thread, subscriber, answers: None };
        self.send(thread, Command::Submit(Box::new(submission))).await;
    }

    async fn answer(
        &mut self,
        id: agent_plugin_protocol::MessageId,
        run: agent_plugin_protocol::RunId,
        interrupt: String,
        response: serde_json::Value,
    ) {
        let asked = self.shared.parts.store.question(&self.principal.scope, &run).await;
        let answer = InputAnswer { run_id: run, interrupt_id: interrupt, response };
        match asked {
            Ok(Some(question)) => {
                let command = thread::answer(id, answer, question.agent, self.me.clone());
                self.send(question.thread, command).await;
            }
            Ok(None) => self.me.tell(Outgoing::Problem(Problem::new(Code::InterruptNotFound).about(&id))),
            Err(error) => {
                let problem = Problem::new(error.code).retry_after(thread::RETRY);
                self.me.tell(Outgoing::Problem(problem.about(&id)));
            }
        }
    }

    /// By its task where it has one, so that it comes after a subscription that is on its way.
    async fn unsubscribe(&mut self, thread: ThreadId) {
        self.merge.forget(&thread);
        self.follows();
        let key = ThreadKey { scope: self.principal.scope.clone(), thread };
        let told = match self.shared.directory.existing(&key) {
            Some(task) => task.send(Command::Unsubscribe { subscriber: self.me.clone() }).await.is_ok(),
            None => false,
        };
        if !told {
            self.shared.followers.unfollow(&key, &self.me);
        }
    }

    async fn send(&mut self, thread: ThreadId, command: Command) {
        thread::send(&self.shared, ThreadKey { scope: self.principal.scope.clone(), thread }, command).await;
    }

    fn scope(&self) -> &Scope {
        &self.principal.scope
    }

    fn begin_reading(&mut self) {
        if self.reading.is_some() {
            return;
        }
        // What was read is handed out.
        self.turn = None;
        let Some((thread, after)) = self.merge.begin_read() else { return };
        let key = ThreadKey { scope: self.principal.scope.clone(), thread };
        self.reading = Some(page::read(Arc::clone(&self.shared), key, after, self.page).boxed());
    }

    fn read(&mut self, page: Page) {
        self.reading = None;
        let kept = page.keep();
        self.page = kept.next;
        // A small one is handed out in no time: its turn ended when it was read.
        self.turn = kept.large.map(|permit| permit.goes_on(&self.shared.tasks));
        self.merge.read(&kept.thread, kept.after, kept.entries, kept.more);
        self.follows();
    }

    fn changed(&mut self) -> Option<Outgoing> {
        if !self.settled.has_changed().unwrap_or(false) {
            return None;
        }
        let status = Arc::clone(&self.settled.borrow_and_update());
        let changed = changes::between(&self.told, &status)?;
        self.told = Arc::clone(&status);
        Some(Outgoing::Status { status, changed })
    }

    fn going_away(&mut self) -> Option<Outgoing> {
        if !self.leaving.has_changed().unwrap_or(false) {
            return None;
        }
        let leaving = (*self.leaving.borrow_and_update())?;
        Some(Outgoing::GoingAway {
            reconnect_after: RECONNECT.0 + RECONNECT.1.mul_f64(random::jitter()),
            deadline: leaving.deadline.saturating_duration_since(tokio::time::Instant::now()),
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.followers.leave(&self.principal.scope, &self.me, Ended::Closed);
    }
}

/// Waits until the settled status changed, or the host is leaving.
fn news(
    mut settled: watch::Receiver<Arc<Status>>,
    mut leaving: watch::Receiver<Option<Leaving>>,
) -> BoxFuture<'static, ()> {
    async move {
        tokio::select! {
            Ok(()) = settled.changed() => {}
            // The sender lives in `Shared`, which every session holds.
            Ok(()) = leaving.changed() => {}
            // Neither is published any more.
            else => std::future::pending().await,
        }
    }
    .boxed()
}

/// Cancel safe: the read goes on where it was.
async fn read(reading: &mut Option<BoxFuture<'static, Page>>) -> Page {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}
