//! Following, and that nothing is left of it.

use super::*;
use crate::session::Problem;

fn key(user: &str, thread: &str) -> ThreadKey {
    ThreadKey {
        scope: Scope { tenant: "t".into(), user: user.into() },
        thread: ThreadId::new(thread).unwrap(),
    }
}

fn session() -> (Subscriber, outbox::Receiver) {
    let (sender, receiver) = outbox::outbox(64 * 1024, 0);
    (Subscriber::new(sender), receiver)
}

fn say(followers: &Followers, key: &ThreadKey) {
    let problem = Problem::new(agent_plugin_protocol::Code::RunBusy);
    followers.tell(key, |one| one.tell(Outgoing::Problem(problem.clone())));
}

impl Followers {
    fn left(&self) -> (usize, usize) {
        (self.threads.len(), self.users.len())
    }
}

#[test]
fn whoever_follows_is_told_once_until_it_does_so_no_more() {
    let (followers, key) = (Followers::default(), key("u", "th"));
    let ((one, mut hears), (other, mut hears_too)) = (session(), session());
    for who in [&one, &one, &other] {
        followers.follow(&key, who, 0).unwrap();
    }
    say(&followers, &key);
    assert!(hears.try_recv().is_some() && hears.try_recv().is_none());
    followers.unfollow(&key, &one);
    say(&followers, &key);
    assert!(hears.try_recv().is_none());
    assert!(hears_too.try_recv().is_some() && hears_too.try_recv().is_some());
}

#[test]
fn nothing_is_left_of_a_session_that_is_gone_and_it_cannot_come_back() {
    let followers = Followers::default();
    let (one, _hears) = session();
    for thread in 0..10 {
        followers.follow(&key("u", &format!("th-{thread}")), &one, 10).unwrap();
    }
    followers.leave(&key("u", "th").scope, &one, Ended::Closed);
    assert_eq!(followers.left(), (0, 0));
    // A subscription that was on its way.
    followers.follow(&key("u", "late"), &one, 10).unwrap();
    assert_eq!(followers.left(), (0, 0));
}

#[test]
fn a_user_follows_at_most_so_many_over_all_connections_and_others_are_not_concerned() {
    let followers = Followers::default();
    let ((one, _a), (two, _b), (other, _c)) = (session(), session(), session());
    followers.follow(&key("u", "a"), &one, 2).unwrap();
    followers.follow(&key("u", "a"), &two, 2).unwrap();
    assert_eq!(followers.follow(&key("u", "b"), &two, 2), Err(TooMany));
    assert!(!followers.has_room(&key("u", "b"), &two, 2));
    assert!(followers.has_room(&key("u", "a"), &two, 2), "it follows that one already");
    followers.follow(&key("u", "a"), &two, 2).unwrap();
    followers.follow(&key("other", "b"), &other, 2).unwrap();
    followers.unfollow(&key("u", "a"), &one);
    followers.follow(&key("u", "b"), &two, 2).unwrap();
}

#[test]
fn the_room_of_thousands_is_given_back() {
    let followers = Followers::default();
    let (one, _hears) = session();
    for thread in 0..20_000 {
        followers.follow(&key("u", &format!("th-{thread}")), &one, 0).unwrap();
    }
    followers.leave(&key("u", "th").scope, &one, Ended::Closed);
    assert!(followers.threads.capacity() <= ROOM, "{}", followers.threads.capacity());
}
