//! Whatever is asked in whatever order, with closes and sudden ends between: the file says what a model in memory says.

use agent_host_core::ports::store::{Answered, NewQuestion};
use agent_plugin_protocol::PluginId;
use proptest::prelude::*;

use super::*;
use crate::MemoryStore;

/// Something that happens to a store. Numbers choose among what there is.
#[derive(Debug, Clone)]
enum Step {
    Begin {
        thread: u8,
        id: u8,
        new: bool,
        body: u8,
    },
    Append {
        thread: u8,
        events: Vec<(bool, u16)>,
    },
    Complete {
        thread: u8,
        asks: bool,
    },
    /// Answers what the thread's last run asked, if it did.
    Answer {
        thread: u8,
        id: u8,
    },
    State {
        thread: u8,
        value: u8,
    },
    Delete {
        thread: u8,
    },
    /// Closed in order, and opened again.
    Restart,
    /// A copy of the files as they are, as a kill leaves them, is opened in their place.
    Kill,
}

fn steps() -> impl Strategy<Value = Step> {
    let events = prop::collection::vec((any::<bool>(), 0..6000_u16), 1..6);
    prop_oneof![
        6 => (0..4u8, 0..6u8, any::<bool>(), 0..2u8)
            .prop_map(|(thread, id, new, body)| Step::Begin { thread, id, new, body }),
        6 => (0..4u8, events).prop_map(|(thread, events)| Step::Append { thread, events }),
        3 => (0..4u8, any::<bool>()).prop_map(|(thread, asks)| Step::Complete { thread, asks }),
        2 => (0..4u8, 0..6u8).prop_map(|(thread, id)| Step::Answer { thread, id }),
        2 => (0..4u8, any::<u8>()).prop_map(|(thread, value)| Step::State { thread, value }),
        1 => (0..4u8).prop_map(|thread| Step::Delete { thread }),
        1 => Just(Step::Restart),
        1 => Just(Step::Kill),
    ]
}

/// The store under test and its model, side by side.
struct Pair {
    folders: tempfile::TempDir,
    folder: std::path::PathBuf,
    lives: u32,
    store: SqliteStore,
    model: MemoryStore,
    runs: [RunId; 4],
}

impl Pair {
    async fn new() -> Self {
        let folders = tempfile::tempdir().unwrap();
        let folder = folders.path().join("0");
        let store = start(&folder);
        let runs = std::array::from_fn(|_| RunId::random());
        Self { folders, folder, lives: 0, store, model: MemoryStore::new(), runs }
    }

    fn thread(n: u8) -> ThreadId {
        ThreadId::new(&format!("thread-{n}")).unwrap()
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Begin { thread, id, new, body } => {
                let run = RunId::random();
                let begin = NewMessage {
                    thread: Self::thread(thread),
                    new_thread: new,
                    body_hash: [body; 32],
                    run: run.clone(),
                    ..message(&format!("m{id}"))
                };
                let found = self.store.begin(begin.clone()).await;
                assert_eq!(found, self.model.begin(begin).await);
                if matches!(found, Ok(Begun::New { .. })) {
                    self.runs[usize::from(thread)] = run;
                }
            }
            Step::Append { thread, events } => {
                let run = &self.runs[usize::from(thread)];
                let kind =
                    |thinks| if thinks { EventKind::AgentThinking } else { EventKind::AgentMessageDelta };
                let events = events
                    .into_iter()
                    .map(|(thinks, size)| event(run, kind(thinks), "x".repeat(size.into())))
                    .collect();
                self.append(thread, events, Vec::new()).await;
            }
            Step::Complete { thread, asks } => {
                let run = &self.runs[usize::from(thread)];
                let end = event(run, EventKind::AgentCompleted, "{}".to_owned());
                let question = NewQuestion {
                    run: run.clone(),
                    interrupt: "q".to_owned(),
                    agent: PluginId::new("asker").unwrap(),
                };
                self.append(thread, vec![end], if asks { vec![question] } else { Vec::new() }).await;
            }
            Step::Answer { thread, id } => {
                let run = self.runs[usize::from(thread)].clone();
                let answer = NewMessage {
                    thread: Self::thread(thread),
                    new_thread: false,
                    run: RunId::random(),
                    answers: Some(Answered { run, interrupt: "q".to_owned() }),
                    ..message(&format!("m{id}"))
                };
                let found = self.store.begin(answer.clone()).await;
                assert_eq!(found, self.model.begin(answer).await);
            }
            Step::State { thread, value } => {
                let (thread, value) = (Self::thread(thread), Bytes::from(vec![value]));
                let set = self.store.set_state(&thread, "p", value.clone()).await;
                assert_eq!(set, self.model.set_state(&thread, "p", value).await);
            }
            Step::Delete { thread } => {
                let which = Deletion::Thread(alice(), Self::thread(thread));
                assert_eq!(self.store.delete(which.clone()).await, self.model.delete(which).await);
            }
            Step::Restart => {
                self.store.close().await;
                self.store = start_again(&self.folder).await;
            }
            Step::Kill => self.kill().await,
        }
    }

    async fn append(&self, thread: u8, events: Vec<NewEvent>, asked: Vec<NewQuestion>) {
        let thread = Self::thread(thread);
        let found = self.store.append(&thread, events.clone(), asked.clone()).await;
        assert_eq!(found, self.model.append(&thread, events, asked).await);
    }

    /// What is answered is committed, so the files are a whole log at any moment between two steps.
    async fn kill(&mut self) {
        // It is open by now, if it was only just started.
        self.store.check().await.unwrap();
        self.lives += 1;
        let next = self.folders.path().join(self.lives.to_string());
        let (from, to) = (Place::within(&self.folder), Place::within(&next));
        to.make_folder().unwrap();
        for (from, to) in from.files().iter().zip(to.files()).take(2) {
            std::fs::copy(from, to).unwrap();
        }
        self.folder = next;
        self.store = start_again(&self.folder).await;
    }

    async fn agree(&self) {
        for thread in (0..4).map(Self::thread) {
            let head = self.store.thread(&alice(), &thread).await;
            assert_eq!(head, self.model.thread(&alice(), &thread).await);
            let state = self.store.state(&thread, "p").await.map_err(|e| e.code);
            assert_eq!(state, self.model.state(&thread, "p").await.map_err(|e| e.code));
            let last = head.unwrap().map_or(0, |head| head.last.0);
            for after in [0, last / 2, last.saturating_sub(1)] {
                for limit in [1, 3, usize::MAX] {
                    let told = |read: Option<Vec<LogEntry>>| {
                        let each = |e: LogEntry| (e.seq, e.event.run, e.event.kind, e.event.payload);
                        read.map(|log| log.into_iter().map(each).collect::<Vec<_>>())
                    };
                    let found = self.store.read(&alice(), &thread, Seq(after), limit).await.unwrap();
                    let model = self.model.read(&alice(), &thread, Seq(after), limit).await.unwrap();
                    assert_eq!(told(found), told(model), "{thread} after {after}, {limit}");
                }
            }
        }
        for run in &self.runs {
            let found = self.store.question(&alice(), run).await;
            assert_eq!(found, self.model.question(&alice(), run).await);
        }
        let sorted = |mut open: Vec<Unfinished>| {
            open.sort_by(|a, b| (&a.thread, a.seq).cmp(&(&b.thread, b.seq)));
            open
        };
        let open = self.store.unfinished().await.unwrap();
        assert_eq!(sorted(open), sorted(self.model.unfinished().await.unwrap()));
        let (found, model) =
            (self.store.usage(&alice()).await.unwrap(), self.model.usage(&alice()).await.unwrap());
        // A kill forgets what an open run stored so far: the quota is a bound on habit, not a bill.
        assert!(found.threads == model.threads && found.bytes <= model.bytes, "{found:?} {model:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn a_log_that_is_closed_and_killed_says_what_the_model_says(steps in prop::collection::vec(steps(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new().await;
            for step in steps {
                pair.step(step).await;
            }
            pair.agree().await;
            pair.kill().await;
            pair.agree().await;
        });
    }
}
