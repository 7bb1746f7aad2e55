//! Questions to the person: kept with the end of the run that asked, answered once, found by nobody else.

use agent_host_core::ports::store::{Answered, Deletion, NewQuestion, Question};
use agent_plugin_protocol::PluginId;

use super::*;

pub(super) async fn run<S: Store>(make_store: impl Fn() -> S) {
    a_question_is_found_by_its_owner_only(&make_store()).await;
    only_the_first_answer_is_accepted(&make_store()).await;
    an_answer_to_nothing_leaves_no_trace(&make_store()).await;
    a_refused_answer_leaves_the_question_open(&make_store()).await;
    a_question_goes_with_its_thread(&make_store()).await;
}

fn agent() -> PluginId {
    PluginId::new("asker").expect("a valid id")
}

/// A run that ended with a question.
async fn ask(store: &impl Store, user: &str, message: &str) -> NewMessage {
    let message = first(user, message);
    begin(store, &message).await;
    let end = event_of(&message.run, EventKind::AgentCompleted);
    let asked = NewQuestion { run: message.run.clone(), interrupt: "q".to_owned(), agent: agent() };
    store.append(&message.thread, vec![end], vec![asked]).await.expect("the store works");
    message
}

fn answer(asked: &NewMessage, message: &str) -> NewMessage {
    NewMessage {
        id: id(message),
        new_thread: false,
        run: RunId::random(),
        answers: Some(Answered { run: asked.run.clone(), interrupt: "q".to_owned() }),
        ..asked.clone()
    }
}

async fn question(store: &impl Store, scope: &Scope, run: &RunId) -> Option<Question> {
    store.question(scope, run).await.expect("the store works")
}

async fn a_question_is_found_by_its_owner_only(store: &impl Store) {
    let asked = ask(store, "alice", "m1").await;
    let open = Question {
        thread: asked.thread.clone(),
        interrupt: "q".to_owned(),
        agent: agent(),
        answered_by: None,
    };
    assert_eq!(question(store, &asked.scope, &asked.run).await, Some(open));
    for other in [scope("t", "bob"), scope("u", "alice")] {
        assert_eq!(question(store, &other, &asked.run).await, None);
        let theirs = NewMessage { scope: other, ..answer(&asked, "a1") };
        assert_eq!(begin(store, &theirs).await, Begun::NoThread);
    }
    assert_eq!(question(store, &asked.scope, &RunId::random()).await, None);
}

async fn only_the_first_answer_is_accepted(store: &impl Store) {
    let asked = ask(store, "alice", "m1").await;
    let yes = answer(&asked, "a1");
    assert_eq!(begin(store, &yes).await, Begun::New { seq: Seq(3) });
    let by = question(store, &asked.scope, &asked.run).await.and_then(|question| question.answered_by);
    assert_eq!(by, Some(yes.id.clone()));
    assert!(matches!(begin(store, &yes).await, Begun::Duplicate { .. }), "the same answer again is known");
    assert_eq!(begin(store, &NewMessage { body_hash: [9; 32], ..yes.clone() }).await, Begun::Conflict);
    assert_eq!(begin(store, &answer(&asked, "a2")).await, Begun::NoQuestion);
    let later = NewMessage { time: yes.time + Duration::from_secs(25 * 3600), ..answer(&asked, "a1") };
    assert_eq!(
        begin(store, &later).await,
        Begun::NoQuestion,
        "its id is forgotten, that it was answered is not"
    );
    assert_eq!(head(store, &asked).await.map(|head| head.last), Some(Seq(3)));
}

async fn an_answer_to_nothing_leaves_no_trace(store: &impl Store) {
    let mut asked = ask(store, "alice", "m1").await;
    let unnamed = Answered { run: asked.run.clone(), interrupt: "another".to_owned() };
    assert_eq!(
        begin(store, &NewMessage { answers: Some(unnamed), ..answer(&asked, "a1") }).await,
        Begun::NoQuestion
    );
    let elsewhere = first("alice", "m2");
    begin(store, &elsewhere).await;
    let misplaced = NewMessage { thread: elsewhere.thread.clone(), ..answer(&asked, "a1") };
    assert_eq!(begin(store, &misplaced).await, Begun::NoQuestion, "it was asked in another thread");
    let run = std::mem::replace(&mut asked.run, RunId::random());
    assert_eq!(begin(store, &answer(&asked, "a1")).await, Begun::NoQuestion);
    asked.run = run;
    assert_eq!(
        begin(store, &answer(&asked, "a1")).await,
        Begun::New { seq: Seq(3) },
        "its id was not used up"
    );
}

async fn a_refused_answer_leaves_the_question_open(store: &impl Store) {
    let asked = ask(store, "alice", "m1").await;
    let full = NewMessage { repeat_only: true, ..answer(&asked, "a1") };
    assert_eq!(begin(store, &full).await, Begun::NotKnown);
    let quota = Quota { threads: 0, bytes: 1 };
    assert_eq!(begin(store, &NewMessage { quota, ..answer(&asked, "a1") }).await, Begun::TooMuchStored);
    assert_eq!(begin(store, &answer(&asked, "a2")).await, Begun::New { seq: Seq(3) });
}

async fn a_question_goes_with_its_thread(store: &impl Store) {
    let (gone, kept) = (ask(store, "alice", "m1").await, ask(store, "alice", "m2").await);
    let which = Deletion::Thread(gone.scope.clone(), gone.thread.clone());
    assert_eq!(store.delete(which).await, Ok(1));
    assert_eq!(question(store, &gone.scope, &gone.run).await, None);
    assert!(question(store, &kept.scope, &kept.run).await.is_some(), "the other is untouched");
}
