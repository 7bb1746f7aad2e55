//! One live call: its credit, its open requests, its cancellation, and its last word.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use abi_stable::std_types::RVec;
use agent_plugin_protocol::call::{Answer, CREDIT_WINDOW, Completion};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    abi::link::HostLink,
    error::{CANCELLED, EmitError, RequestError},
};

/// A call of the host's into the plugin, from `invoke` to its completion.
pub(crate) struct Call {
    id: u64,
    link: HostLink,
    deadline: Option<Instant>,
    cancelled: CancellationToken,
    /// One permit for each event that may still be outstanding; closed when the call is over.
    credit: Semaphore,
    /// Who waits for which answer. Bounded by what the author's code awaits at once; an entry leaves with its waiter.
    requests: Mutex<HashMap<u64, oneshot::Sender<RVec<u8>>>>,
    next_request: AtomicU64,
}

impl Call {
    pub(crate) fn new(id: u64, link: HostLink, deadline: Option<Duration>) -> Self {
        Self {
            id,
            link,
            deadline: deadline.and_then(|after| Instant::now().checked_add(after)),
            cancelled: CancellationToken::new(),
            credit: Semaphore::new(CREDIT_WINDOW as usize),
            requests: Mutex::default(),
            next_request: AtomicU64::new(1),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn link(&self) -> HostLink {
        self.link
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Emits an event as soon as there is credit for it.
    pub(crate) async fn emit(&self, kind: u32, payload: Vec<u8>) -> Result<(), EmitError> {
        let permit = tokio::select! {
            biased;
            permit = self.credit.acquire() => permit.map_err(|_| EmitError::Over)?,
            () = self.cancelled.cancelled() => return Err(EmitError::Cancelled),
        };
        permit.forget();
        if self.link.emit(self.id, kind, payload) < 0 {
            self.credit.close();
            return Err(EmitError::Over);
        }
        Ok(())
    }

    /// Asks the host and waits for its answer, or for the cancellation of a call that was not cancelled before.
    /// (What is asked after it, to tidy up, is still waited for.)
    pub(crate) async fn request<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &impl Serialize,
    ) -> Result<T, RequestError> {
        let invalid = |e: serde_json::Error| RequestError::new(method, "sdk.invalid", e.to_string(), false);
        let payload = serde_json::to_vec(params).map_err(invalid)?;
        let tidying = self.cancelled.is_cancelled();
        let waiter = self.ask(method, payload)?;
        let answer = tokio::select! {
            biased;
            answer = waiter => answer,
            () = self.cancelled.cancelled(), if !tidying => {
                return Err(RequestError::new(method, CANCELLED, "the call was cancelled", false));
            }
        };
        let bytes = answer.ok_or_else(|| over(method))?;
        match serde_json::from_slice(&bytes).map_err(invalid)? {
            Answer::Ok { value } => serde_json::from_value(value).map_err(invalid),
            Answer::Error { code, message, retryable } => {
                Err(RequestError::new(method, &code, message, retryable))
            }
        }
    }

    /// Tells the host something whose answer nobody waits for. Nothing is told once the call is over.
    pub(crate) fn tell(&self, method: &'static str, params: &impl Serialize) {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        if let Ok(payload) = serde_json::to_vec(params)
            && !self.credit.is_closed()
        {
            self.link.request(self.id, request, method, payload);
        }
    }

    fn ask(
        &self,
        method: &'static str,
        payload: Vec<u8>,
    ) -> Result<impl Future<Output = Option<RVec<u8>>>, RequestError> {
        let request = self.next_request.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            // Under the lock, so that `close` cannot miss an entry.
            if self.credit.is_closed() {
                return Err(over(method));
            }
            requests.insert(request, answer);
        }
        let entry = OpenRequest { call: self, request };
        self.link.request(self.id, request, method, payload);
        Ok(async move {
            let _entry = entry;
            answered.await.ok()
        })
    }

    /// The host consumed `n` events. Never more than a window's worth: a host that errs does no harm.
    pub(crate) fn grant(&self, n: u32) {
        let missing = (CREDIT_WINDOW as usize).saturating_sub(self.credit.available_permits());
        self.credit.add_permits(missing.min(n as usize));
    }

    pub(crate) fn respond(&self, request: u64, answer: RVec<u8>) {
        let waiter = self.requests.lock().unwrap_or_else(PoisonError::into_inner).remove(&request);
        if let Some(waiter) = waiter {
            // Nobody waits any more: the author's code gave the request up.
            let _ = waiter.send(answer);
        }
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Ends every wait on this call.
    fn close(&self) {
        self.credit.close();
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn over(method: &'static str) -> RequestError {
    RequestError::new(method, CANCELLED, "the call is over", false)
}

/// Forgets a request whose waiter is gone.
struct OpenRequest<'a> {
    call: &'a Call,
    request: u64,
}

impl Drop for OpenRequest<'_> {
    fn drop(&mut self) {
        self.call.requests.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.request);
    }
}

/// The duty to complete a call exactly once: a call whose task vanished is completed by the drop of this.
pub(crate) struct LastWord<F: FnOnce()> {
    call: Arc<Call>,
    /// Takes the call off its instance's list; `None` once the word is said.
    forget: Option<F>,
}

impl<F: FnOnce()> LastWord<F> {
    pub(crate) fn new(call: Arc<Call>, forget: F) -> Self {
        Self { call, forget: Some(forget) }
    }

    pub(crate) fn say(mut self, completion: &Completion) {
        self.finish(completion);
    }

    fn finish(&mut self, completion: &Completion) {
        let Some(forget) = self.forget.take() else { return };
        forget();
        self.call.close();
        let bytes = serde_json::to_vec(completion).unwrap_or_else(|_| UNSAYABLE.into());
        self.call.link.complete(self.call.id, bytes);
    }
}

impl<F: FnOnce()> Drop for LastWord<F> {
    fn drop(&mut self) {
        self.finish(&Completion::Error {
            code: "sdk.stopped".to_owned(),
            message: "the plugin stopped before the call was over".to_owned(),
            retryable: true,
        });
    }
}

/// For a completion that cannot be serialised, which its types rule out.
const UNSAYABLE: &[u8] =
    br#"{"status":"error","code":"sdk.invalid","message":"unsayable","retryable":false}"#;
