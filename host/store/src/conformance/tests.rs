//! The suite can say no: stores that break one promise each do not pass it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use agent_host_core::ports::{
    BoxFuture,
    store::{
        Appended, Deletion, NewQuestion, Question, StoreError, ThreadHead, ThreadSummary, Unfinished, Usage,
    },
};
use agent_plugin_protocol::Epoch;

use super::*;
use crate::MemoryStore;

/// The promise that a store breaks.
#[derive(Debug, Clone, Copy)]
enum Lie {
    None,
    ForgetsKeys,
    IgnoresBodies,
    NeverExpiresKeys,
    MixesUsers,
    LosesTheLastEvent,
    AppendsTwice,
    IgnoresTheLimit,
    ForgetsState,
    WritesTheStartAgain,
    ForgetsOpenRuns,
    ListsFromTheStart,
    CountsNothing,
    DeletesForAnybody,
    DeletesNothing,
    IgnoresQuotas,
    ForgetsQuestions,
    ForgetsAnswers,
    ShowsQuestionsToAnybody,
}

struct Liar {
    store: MemoryStore,
    lie: Lie,
}

impl Liar {
    fn scope(&self, scope: &Scope) -> Scope {
        match self.lie {
            Lie::MixesUsers => Scope { tenant: "t".into(), user: "everybody".into() },
            _ => scope.clone(),
        }
    }
}

impl Store for Liar {
    fn begin(&self, mut message: NewMessage) -> BoxFuture<'_, Result<Begun, StoreError>> {
        message.scope = self.scope(&message.scope);
        match self.lie {
            Lie::ForgetsKeys => message.id = MessageId::random(),
            Lie::IgnoresBodies => message.body_hash = [0; 32],
            Lie::IgnoresQuotas => message.quota = Quota::default(),
            Lie::NeverExpiresKeys => message.time = SystemTime::UNIX_EPOCH,
            Lie::ForgetsAnswers => message.answers = None,
            _ => {}
        }
        self.store.begin(message)
    }

    fn append(
        &self,
        thread: &ThreadId,
        mut events: Vec<NewEvent>,
        mut asked: Vec<NewQuestion>,
    ) -> BoxFuture<'_, Result<Appended, StoreError>> {
        match self.lie {
            Lie::LosesTheLastEvent => drop(events.pop()),
            Lie::AppendsTwice => events.extend(events.clone()),
            Lie::ForgetsQuestions => asked.clear(),
            _ => {}
        }
        self.store.append(thread, events, asked)
    }

    fn question(&self, of: &Scope, run: &RunId) -> BoxFuture<'_, Result<Option<Question>, StoreError>> {
        match self.lie {
            Lie::ShowsQuestionsToAnybody => self.store.question(&scope("t", "alice"), run),
            _ => self.store.question(&self.scope(of), run),
        }
    }

    fn thread(
        &self,
        scope: &Scope,
        thread: &ThreadId,
    ) -> BoxFuture<'_, Result<Option<ThreadHead>, StoreError>> {
        self.store.thread(&self.scope(scope), thread)
    }

    fn read(
        &self,
        scope: &Scope,
        thread: &ThreadId,
        after: Seq,
        limit: usize,
    ) -> BoxFuture<'_, Result<Option<Vec<LogEntry>>, StoreError>> {
        let (after, limit) = match self.lie {
            Lie::IgnoresTheLimit => (after, usize::MAX),
            Lie::WritesTheStartAgain => (Seq(after.0.saturating_sub(1)), limit),
            _ => (after, limit),
        };
        self.store.read(&self.scope(scope), thread, after, limit)
    }

    fn state(&self, thread: &ThreadId, plugin: &str) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        self.store.state(thread, if matches!(self.lie, Lie::ForgetsState) { "" } else { plugin })
    }

    fn set_state(
        &self,
        thread: &ThreadId,
        plugin: &str,
        state: Bytes,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.set_state(thread, plugin, state)
    }

    fn unfinished(&self) -> BoxFuture<'_, Result<Vec<Unfinished>, StoreError>> {
        let open = self.store.unfinished();
        Box::pin(async move {
            let open = open.await?;
            Ok(if matches!(self.lie, Lie::ForgetsOpenRuns) { Vec::new() } else { open })
        })
    }

    fn threads(
        &self,
        scope: &Scope,
        before: Option<&ThreadId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<ThreadSummary>, StoreError>> {
        let before = before.filter(|_| !matches!(self.lie, Lie::ListsFromTheStart));
        self.store.threads(&self.scope(scope), before, limit)
    }

    fn usage(&self, scope: &Scope) -> BoxFuture<'_, Result<Usage, StoreError>> {
        match self.lie {
            Lie::CountsNothing => Box::pin(std::future::ready(Ok(Usage::default()))),
            _ => self.store.usage(&self.scope(scope)),
        }
    }

    fn delete(&self, which: Deletion) -> BoxFuture<'_, Result<usize, StoreError>> {
        match (self.lie, which) {
            (Lie::DeletesForAnybody, Deletion::Thread(_, thread)) => {
                self.store.delete(Deletion::Thread(scope("t", "alice"), thread))
            }
            (_, Deletion::Thread(scope, thread)) => {
                self.store.delete(Deletion::Thread(self.scope(&scope), thread))
            }
            (Lie::DeletesNothing, _) => Box::pin(std::future::ready(Ok(0))),
            (_, which) => self.store.delete(which),
        }
    }

    fn epoch(&self) -> Epoch {
        self.store.epoch()
    }
}

fn passes(lie: Lie) -> bool {
    let suite = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(|| Liar { store: MemoryStore::new(), lie }));
    };
    catch_unwind(AssertUnwindSafe(suite)).is_ok()
}

#[test]
fn every_broken_promise_is_noticed() {
    assert!(passes(Lie::None));
    let lies = [
        Lie::ForgetsKeys,
        Lie::IgnoresBodies,
        Lie::NeverExpiresKeys,
        Lie::MixesUsers,
        Lie::LosesTheLastEvent,
        Lie::AppendsTwice,
        Lie::IgnoresTheLimit,
        Lie::ForgetsState,
        Lie::WritesTheStartAgain,
        Lie::ForgetsOpenRuns,
        Lie::ListsFromTheStart,
        Lie::CountsNothing,
        Lie::DeletesForAnybody,
        Lie::DeletesNothing,
        Lie::IgnoresQuotas,
        Lie::ForgetsQuestions,
        Lie::ForgetsAnswers,
        Lie::ShowsQuestionsToAnybody,
    ];
    for lie in lies {
        assert!(!passes(lie), "{lie:?} was not noticed");
    }
}
