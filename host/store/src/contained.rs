//! Stands before a store: a panic in it is an answer, `store.unavailable`, and a store that cannot be made is made later.

use std::{
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    ports::{
        BoxFuture,
        store::{Around, Room, Store, StoreError},
    },
};
use agent_host_telemetry::happening::PanicCaught;
use agent_plugin_protocol::{Code, Epoch};

/// A store whose bugs end nothing: a thread's task that unwound would leave its runs without an end.
///
/// What a call did before it panicked is not known, as with a write whose disk is gone: whoever asks treats it so.
pub struct Contained {
    make: Box<dyn Fn() -> Result<Arc<dyn Store>, StoreError> + Send + Sync>,
    /// Locked for a clone, or for the time it takes to make a store; never across an await.
    made: Mutex<Made>,
    /// The life of a log that is not there.
    absent: Epoch,
}

enum Made {
    Yes(Arc<dyn Store>),
    NotYet(StoreError, Instant),
}

/// Between two tries to make a store.
const MAKE_AGAIN: Duration = Duration::from_millis(500);

impl Contained {
    /// The store that `make` makes, now or, if that fails, when it is asked for later. It is to make it quickly: a file
    /// is opened beside it.
    pub fn new(make: impl Fn() -> Result<Arc<dyn Store>, StoreError> + Send + Sync + 'static) -> Self {
        let made = Mutex::new(made_by(&make));
        Self { make: Box::new(make), made, absent: Epoch::random() }
    }

    fn store(&self) -> Result<Arc<dyn Store>, StoreError> {
        // A panic while it was locked is caught before it can leave half of anything.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Made::NotYet(_, tried) = &*made
            && tried.elapsed() >= MAKE_AGAIN
        {
            *made = made_by(&self.make);
        }
        match &*made {
            Made::Yes(store) => Ok(Arc::clone(store)),
            Made::NotYet(error, _) => Err(error.clone()),
        }
    }
}

fn made_by(make: &dyn Fn() -> Result<Arc<dyn Store>, StoreError>) -> Made {
    let made = catch_unwind(AssertUnwindSafe(make)).unwrap_or_else(|_| Err(panicked()));
    made.map_or_else(|error| Made::NotYet(error, Instant::now()), Made::Yes)
}

/// Cancel safe if `asked` is.
async fn contained<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let mut asked = pin!(asked);
    // For a broken twin: a store whose panic is its caller's.
    if failpoint!("store.contain") == Some(Action::Off) {
        return asked.await;
    }
    // Unwind safe: a future that panicked is not polled again.
    poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| asked.as_mut().poll(cx)));
        polled.unwrap_or_else(|_| Poll::Ready(Err(panicked())))
    })
    .await
}

fn panicked() -> StoreError {
    PanicCaught { place: "store", message: "the log has its backtrace".to_owned() }.emit();
    StoreError::unavailable("the store panicked: a bug in the host")
}

impl fmt::Debug for Contained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contained").finish_non_exhaustive()
    }
}

impl Around for Contained {
    fn ask<'a, T, F, A>(&'a self, _room: Room, asking: F) -> BoxFuture<'a, Result<T, StoreError>>
    where
        T: Send + 'a,
        F: FnOnce(Arc<dyn Store>) -> A + Send + 'a,
        A: Future<Output = Result<T, StoreError>> + Send + 'a,
    {
        match self.store() {
            Ok(store) => Box::pin(contained(asking(store))),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn epoch_behind(&self) -> Epoch {
        let epoch = self
            .store()
            .ok()
            .and_then(|store| catch_unwind(AssertUnwindSafe(|| store.epoch())).map_err(|_| panicked()).ok());
        epoch.unwrap_or_else(|| self.absent.clone())
    }

    fn damage_behind(&self) -> Option<Code> {
        let store = self.store().ok()?;
        catch_unwind(AssertUnwindSafe(|| store.damage())).map_err(|_| panicked()).ok()?
    }

    fn close_behind(&self) -> BoxFuture<'_, ()> {
        let closed = self.ask(Room::NotTaken, |store| async move {
            store.close().await;
            Ok(())
        });
        // What went wrong is said; there is nothing left to do about it.
        Box::pin(async move { drop(closed.await) })
    }
}
