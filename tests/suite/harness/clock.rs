//! A clock that stands while the machine does. A host is not to blame for the seconds in which a machine that others share
//! gave nothing to anybody, and a limit of one second is none on a clock that jumps by three.
//!
//! A thread of the test beats; what a beat comes late is no time. On a machine that runs, this clock goes as any other.

use std::{
    future::Future,
    sync::{
        Once,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// From one beat to the next.
const BEAT: Duration = Duration::from_millis(5);
/// As much as a beat may count for: a busy machine's scheduler is later by less.
const MOST: Duration = Duration::from_millis(25);

/// What has passed since the first look, in microseconds.
static PASSED: AtomicU64 = AtomicU64::new(0);

/// The limit is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over;

/// A moment on this clock; only the time between two of them means anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Duration);

impl Moment {
    /// This one.
    pub(crate) fn now() -> Self {
        static BEATING: Once = Once::new();
        BEATING.call_once(|| drop(std::thread::spawn(|| beat(&PASSED))));
        Self(Duration::from_micros(PASSED.load(Ordering::Relaxed)))
    }

    /// What has passed since.
    pub(crate) fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }
}

/// What becomes of `future`, if it is done within `limit`.
///
/// Cancel safe, if `future` is.
///
/// # Errors
/// It is not: it was asked once more after the limit was over.
pub(crate) async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Over> {
    let over = passes(Moment::now(), limit);
    tokio::select! {
        biased;
        done = future => Ok(done),
        () = over => Err(Over),
    }
}

/// Returns when so much has passed since that moment.
async fn passes(since: Moment, limit: Duration) {
    loop {
        match limit.saturating_sub(since.elapsed()) {
            Duration::ZERO => return,
            left => tokio::time::sleep(left.max(BEAT)).await,
        }
    }
}

fn beat(passed: &AtomicU64) {
    let mut last = Instant::now();
    loop {
        std::thread::sleep(BEAT);
        let now = Instant::now();
        passed.fetch_add(counted(now - last), Ordering::Relaxed);
        last = now;
    }
}

/// What a beat counts for that came so long after the one before it, in microseconds.
fn counted(since: Duration) -> u64 {
    u64::try_from(since.min(MOST).as_micros()).expect("at most a few milliseconds")
}

#[test]
fn a_beat_that_is_late_counts_for_a_beat() {
    assert_eq!(counted(Duration::from_micros(5_200)), 5_200);
    assert_eq!(counted(Duration::from_secs(3)), 25_000);
}

/// It goes: what is never done is over, not before its time.
#[tokio::test]
async fn a_limit_is_over_in_its_time() {
    let began = Instant::now();
    let limit = Duration::from_millis(100);
    assert_eq!(timeout(limit, std::future::pending::<()>()).await, Err(Over));
    // By less than a beat, which may have been under way.
    assert!(began.elapsed() + MOST >= limit);
    assert_eq!(timeout(Duration::ZERO, async { 7 }).await, Ok(7), "it is asked before it is given up");
}
