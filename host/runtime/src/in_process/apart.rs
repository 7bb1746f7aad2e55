//! Runs foreign code that may block on a thread of its own, and gives the thread up at the deadline.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Blocked {
    /// Not within the deadline: its thread is left behind, as a thread cannot be stopped.
    Late,
    /// No thread could be started.
    NoThread(io::Error),
}

/// Threads left behind that have not come back since.
static LEFT_BEHIND: AtomicU64 = AtomicU64::new(0);

/// How many threads of this process are held by foreign code beyond its deadline.
pub(crate) fn left_behind() -> u64 {
    LEFT_BEHIND.load(Ordering::Relaxed)
}

/// Does the work on a thread of its own. What comes after the deadline, or when nobody waits any more, is dropped
/// there.
pub(crate) async fn run<T: Send + 'static>(
    name: &str,
    within: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Blocked> {
    let (done, answer) = oneshot::channel();
    let parting = Parting::default();
    let theirs = parting.clone();
    let body = move || {
        let value = work();
        theirs.came_back();
        // Refused by a waiter that has gone: then it is dropped here.
        drop(done.send(value));
    };
    thread::Builder::new().name(name.to_owned()).spawn(body).map_err(Blocked::NoThread)?;
    match timeout(within, answer).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(_)) => Err(Blocked::NoThread(io::Error::other("the thread ended by a panic"))),
        Err(_) => {
            parting.give_up();
            let blocked = left_behind();
            tracing::warn!(thread = name, ?within, blocked, "a thread is left behind in a plugin's code");
            Err(Blocked::Late)
        }
    }
}

/// Keeps the count right, whichever side is first: the one that comes second sees that the other was there.
#[derive(Clone, Default)]
struct Parting {
    one_was_here: Arc<AtomicBool>,
}

impl Parting {
    fn give_up(&self) {
        LEFT_BEHIND.fetch_add(1, Ordering::AcqRel);
        if self.one_was_here.swap(true, Ordering::AcqRel) {
            LEFT_BEHIND.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn came_back(&self) {
        if self.one_was_here.swap(true, Ordering::AcqRel) {
            LEFT_BEHIND.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_thread_that_blocks_is_counted_until_it_comes_back() {
        assert_eq!(run("quick", Duration::from_secs(60), || 7).await.unwrap(), 7);
        let (release, held) = mpsc::channel::<()>();
        let (gone, dropped) = mpsc::channel();
        struct Late(mpsc::Sender<u64>);
        impl Drop for Late {
            fn drop(&mut self) {
                let _ = self.0.send(left_behind());
            }
        }
        let work = move || {
            let _ = held.recv();
            Late(gone)
        };
        let before = left_behind();
        let outcome = run("blocked", Duration::from_millis(1), work).await;
        assert!(matches!(outcome, Err(Blocked::Late)));
        assert_eq!(left_behind(), before + 1);
        release.send(()).unwrap();
        assert_eq!(dropped.recv().unwrap(), before);
    }
}
