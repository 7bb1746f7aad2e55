//! Lets sessions hear of a thread: from after a position that joins what they have, or from now on.

use agent_plugin_protocol::{Code, Epoch, Seq};

use super::{RETRY, Thread};
use crate::{
    followers::Subscriber,
    session::{Outgoing, Problem, Subscribed},
};

impl Thread {
    pub(super) async fn subscribe(&mut self, after: Seq, epoch: Option<Epoch>, subscriber: Subscriber) {
        let head = match self.shared.parts.store.thread(&self.key.scope, &self.key.thread).await {
            Ok(Some(head)) => head,
            Ok(None) => return subscriber.tell(Outgoing::Problem(Problem::new(Code::ThreadNotFound))),
            Err(error) => {
                let problem = Problem::new(error.code).retry_after(RETRY);
                return subscriber.tell(Outgoing::Problem(problem));
            }
        };
        if self.shared.followers.follow(&self.key, &subscriber, self.subscriptions()).is_err() {
            return subscriber.tell(Outgoing::Problem(self.too_many()));
        }
        let epoch_now = self.shared.parts.store.epoch();
        let reason = unrecovered(after, head.last, epoch.is_none_or(|epoch| epoch == epoch_now));
        let from = if reason.is_some() { head.last.next() } else { after.next() };
        subscriber.tell(Outgoing::Subscribed(Subscribed {
            thread: self.key.thread.clone(),
            epoch: epoch_now,
            from,
            to: head.last,
            recovered: reason.is_none(),
            reason,
        }));
    }

    /// Lets the session hear of the thread, or tells it why not.
    pub(super) fn follow(&self, subscriber: &Subscriber) {
        if self.shared.followers.follow(&self.key, subscriber, self.subscriptions()).is_err() {
            subscriber.tell(Outgoing::Problem(self.too_many()));
        }
    }

    pub(super) fn subscriptions(&self) -> u32 {
        self.shared.settings().subscriptions
    }

    pub(super) fn too_many(&self) -> Problem {
        let code = Code::LimitSubscriptions;
        let message = format!("thread {} is not followed: {}", self.key.thread, code.meaning());
        Problem { message, ..Problem::new(code) }
    }
}

/// Events that a subscription may replay; beyond it the client reads the log page by page over HTTP.
const REPLAY: u64 = 10_000;

/// Why the log cannot be joined to what the client has; `None`: it can.
fn unrecovered(after: Seq, last: Seq, same_epoch: bool) -> Option<&'static str> {
    if !same_epoch || after > last {
        // A position beyond the end was not given by this life of the log.
        Some("epoch")
    } else if last.0 - after.0 > REPLAY {
        Some("limit")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_of_another_life_or_too_far_back_is_not_recovered() {
        assert_eq!(unrecovered(Seq(3), Seq(5), true), None);
        assert_eq!(unrecovered(Seq(5), Seq(5), true), None);
        assert_eq!(unrecovered(Seq(3), Seq(5), false), Some("epoch"));
        assert_eq!(unrecovered(Seq(6), Seq(5), true), Some("epoch"));
        assert_eq!(unrecovered(Seq(0), Seq(REPLAY + 1), true), Some("limit"));
    }
}
