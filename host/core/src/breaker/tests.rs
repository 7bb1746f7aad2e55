use agent_plugin_protocol::{Code, call::Reply};
use proptest::prelude::*;

use super::*;
use crate::outcome::{Clock, ExitReport};

const POLICY: BreakerPolicy = BreakerPolicy {
    window: 4,
    within: Duration::from_secs(10),
    min_calls: 2,
    failure_rate: 0.5,
    cool_down: Duration::from_secs(1),
    max_cool_down: Duration::from_secs(3),
};

struct Bench {
    breaker: CircuitBreaker,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { breaker: CircuitBreaker::new(POLICY), now: Instant::now() }
    }

    fn call(&mut self, result: CallResult) {
        let permit = self.breaker.admit(self.now).expect("it admits");
        self.breaker.settle(permit, result, self.now);
    }

    fn refusal(&mut self) -> Option<Duration> {
        self.breaker.admit(self.now).err().map(|r| r.retry_after)
    }

    fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    fn opened() -> Self {
        let mut bench = Self::new();
        bench.call(CallResult::Failure);
        bench.call(CallResult::Failure);
        assert_eq!(bench.breaker.state(), BreakerState::Open);
        bench
    }
}

#[test]
fn it_opens_at_the_failure_rate_and_not_before_enough_calls() {
    let mut bench = Bench::new();
    bench.call(CallResult::Failure);
    assert_eq!(bench.breaker.state(), BreakerState::Closed);
    bench.call(CallResult::Success);
    assert_eq!(bench.breaker.state(), BreakerState::Open);
    assert_eq!(bench.refusal(), Some(Duration::from_secs(1)));
    assert_eq!(bench.breaker.retry_after(bench.now), Some(Duration::from_secs(1)));
}

#[test]
fn successes_of_the_window_outweigh_a_failure() {
    let mut bench = Bench::new();
    (0..3).for_each(|_| bench.call(CallResult::Success));
    bench.call(CallResult::Failure);
    assert_eq!(bench.breaker.state(), BreakerState::Closed);
    bench.call(CallResult::Failure);
    assert_eq!(bench.breaker.state(), BreakerState::Open, "two of the last four");
}

#[test]
fn old_calls_do_not_count() {
    let mut bench = Bench::new();
    bench.call(CallResult::Failure);
    bench.pass(10_001);
    bench.call(CallResult::Failure);
    assert_eq!(bench.breaker.state(), BreakerState::Closed);
}

#[test]
fn calls_that_say_nothing_about_the_plugin_do_not_count() {
    let mut bench = Bench::new();
    (0..50).for_each(|_| bench.call(CallResult::Neutral));
    bench.call(CallResult::Failure);
    assert_eq!(bench.breaker.state(), BreakerState::Closed);
}

#[test]
fn one_trial_decides() {
    for (result, expected) in
        [(CallResult::Success, BreakerState::Closed), (CallResult::Failure, BreakerState::Open)]
    {
        let mut bench = Bench::opened();
        bench.pass(1000);
        let trial = bench.breaker.admit(bench.now).unwrap();
        assert_eq!(bench.breaker.state(), BreakerState::HalfOpen);
        assert!(bench.refusal().is_some(), "only one trial at a time");
        bench.breaker.settle(trial, result, bench.now);
        assert_eq!(bench.breaker.state(), expected);
    }
}

#[test]
fn each_failed_trial_doubles_the_cool_down_up_to_its_limit_and_success_ends_that() {
    let mut bench = Bench::opened();
    for seconds in [1, 2, 3, 3] {
        assert_eq!(bench.refusal(), Some(Duration::from_secs(seconds)));
        bench.pass(seconds * 1000);
        bench.call(CallResult::Failure);
    }
    bench.pass(3000);
    bench.call(CallResult::Success);
    bench.call(CallResult::Failure);
    bench.call(CallResult::Failure);
    assert_eq!(bench.refusal(), Some(Duration::from_secs(1)));
}

#[test]
fn a_trial_that_told_nothing_makes_room_for_the_next_one() {
    let mut bench = Bench::opened();
    bench.pass(1000);
    bench.call(CallResult::Neutral);
    bench.call(CallResult::Success);
    assert_eq!(bench.breaker.state(), BreakerState::Closed);
}

#[test]
fn a_lost_trial_does_not_lock_the_breaker() {
    let mut bench = Bench::opened();
    bench.pass(1000);
    let _lost = bench.breaker.admit(bench.now).unwrap();
    bench.pass(999);
    assert!(bench.refusal().is_some());
    bench.pass(1);
    assert!(bench.breaker.admit(bench.now).is_ok());
}

#[test]
fn a_permit_of_an_earlier_state_says_nothing() {
    let mut bench = Bench::new();
    let early = bench.breaker.admit(bench.now).unwrap();
    bench.call(CallResult::Failure);
    bench.call(CallResult::Failure);
    bench.pass(1000);
    let trial = bench.breaker.admit(bench.now).unwrap();
    bench.breaker.settle(early, CallResult::Success, bench.now);
    assert_eq!(bench.breaker.state(), BreakerState::HalfOpen);
    bench.breaker.settle(trial, CallResult::Success, bench.now);
    assert_eq!(bench.breaker.state(), BreakerState::Closed);
}

#[test]
fn only_the_plugin_s_own_trouble_is_a_failure() {
    let error = |retryable| Outcome::PluginError { code: "x".into(), message: "y".into(), retryable };
    let lost =
        |exit| Outcome::Lost(ExitReport { exit, uptime: Duration::ZERO, stderr_tail: vec![], crash: None });
    let cases = [
        (Outcome::Ok(Reply::default()), CallResult::Success),
        (error(false), CallResult::Success),
        (error(true), CallResult::Failure),
        (Outcome::TimedOut(Clock::Idle), CallResult::Failure),
        (lost(Exit::Signal(11)), CallResult::Failure),
        (lost(Exit::Stopped), CallResult::Neutral),
        (Outcome::Refused(Code::PluginOverloaded), CallResult::Neutral),
        (Outcome::Cancelled, CallResult::Neutral),
        (Outcome::Deserted, CallResult::Neutral),
    ];
    for (outcome, expected) in cases {
        assert_eq!(CallResult::of(&outcome), expected, "{outcome:?}");
    }
}

#[test]
fn one_that_never_judges_stays_closed_whatever_fails() {
    let mut breaker = CircuitBreaker::new(BreakerPolicy::never());
    let now = Instant::now();
    for _ in 0..100 {
        let permit = breaker.admit(now).expect("it is closed");
        breaker.settle(permit, CallResult::Failure, now);
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
}

proptest! {
    /// However calls go: once all of them succeed, it is closed again within the longest cool-down and one trial.
    #[test]
    fn it_always_heals(steps in prop::collection::vec((0u64..2000, 0u8..4), 0..80)) {
        let mut bench = Bench::new();
        for (pause, result) in steps {
            bench.pass(pause);
            if let Ok(permit) = bench.breaker.admit(bench.now) {
                match result {
                    0 => bench.breaker.settle(permit, CallResult::Success, bench.now),
                    1 => bench.breaker.settle(permit, CallResult::Failure, bench.now),
                    2 => bench.breaker.settle(permit, CallResult::Neutral, bench.now),
                    _ => drop(permit),
                }
            }
        }
        bench.pass(10_001);
        bench.call(CallResult::Success);
        prop_assert_eq!(bench.breaker.state(), BreakerState::Closed);
    }
}
