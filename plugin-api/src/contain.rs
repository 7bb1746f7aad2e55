//! Keeps the author's panics inside the plugin: those of a call, of a future, of a value's drop, and of the panic
//! payload's own drop.
//!
//! A panic that crossed the border would end the whole process; only the plugin's own side can catch it.

use std::{
    any::Any,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

/// What a panic carried.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Runs `work`; a panic comes back as its payload, to be given to [`text_of`] or [`discard`].
pub(crate) fn contain<T>(work: impl FnOnce() -> T) -> Result<T, Payload> {
    // Unwind safe: what the author's code touched is either dropped next or guarded by the author's own locks.
    catch_unwind(AssertUnwindSafe(work))
}

/// The panic's message. The payload is dropped, contained.
pub(crate) fn text_of(payload: Payload) -> String {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (None, Some(text)) => text.clone(),
        (None, None) => "a panic whose payload is not text".to_owned(),
    };
    discard(payload);
    text
}

/// Drops a value whose drop may panic.
pub(crate) fn discard<T>(value: T) {
    if let Err(second) = contain(move || drop(value)) {
        // Its drop may panic as well, and so on for ever: leaking is the one thing that ends it.
        mem::forget(second);
    }
}

/// A value of the author's whose drop is contained, wherever it happens.
pub(crate) struct Contained<T>(Option<T>);

impl<T> Contained<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    pub(crate) fn as_ref(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        if let Some(value) = self.0.take() {
            discard(value);
        }
    }
}

/// A future of the author's: polled and dropped contained. Its output is `Err(message)` if it panicked.
pub(crate) struct Caught<T>(Contained<BoxFuture<T>>);

/// A boxed future that may move between threads.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<T> Caught<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Contained::new(Box::pin(future)))
    }
}

impl<T> Future for Caught<T> {
    type Output = Result<T, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.0.0.as_mut() else {
            return Poll::Ready(Err("the call was polled after its end".to_owned()));
        };
        let polled = contain(|| future.as_mut().poll(cx));
        let output = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(payload) => Err(text_of(payload)),
        };
        // Dropped here, before the call's last word is said, so that nothing of the author's runs after it.
        if let Some(future) = self.0.0.take() {
            discard(future);
        }
        Poll::Ready(output)
    }
}
