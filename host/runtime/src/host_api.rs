//! The host's table of functions, as a plugin sees it: looks the id up, calls the Rust side, never unwinds.
//!
//! Callbacks come from any thread of the plugin's, late ones included: an id that is not registered any more is a
//! counted no-op. The same table serves the worker and the in-process tier.

#![allow(unsafe_code, reason = "extern functions of the ABI; no unsafe operation here")]

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use abi_stable::{
    prefix_type::PrefixTypeTrait,
    std_types::{RString, RVec},
};
use agent_plugin_api::abi::v1::{HostApi, HostApiRef};
use agent_plugin_protocol::event::MAX_EVENT_BYTES;

use crate::frames::MAX_BODY;

/// Longest log line that is passed on.
const MAX_LOG: usize = 64 * 1024;

/// What one instance's plugin may say to its host; payloads are cut to their bounds. Called from the plugin's threads; may hold them up, as
/// back-pressure.
pub(crate) trait HostCallbacks: Send + Sync {
    /// An event; answers the credit that is left, negative if the call is not open.
    fn emit(&self, call: u64, kind: u32, payload: &[u8]) -> i64;
    /// The call's last word.
    fn complete(&self, call: u64, completion: &[u8]);
    /// The plugin asks.
    fn request(&self, call: u64, request: u64, method: &str, payload: &[u8]);
    /// A log line.
    fn log(&self, line: &[u8]);
    /// The plugin's runtime lives.
    fn heartbeat(&self);
    /// The plugin is about to be idle.
    fn flush(&self);
}

/// The table, made once for the process.
pub(crate) fn table() -> HostApiRef {
    static TABLE: OnceLock<HostApiRef> = OnceLock::new();
    *TABLE.get_or_init(|| {
        HostApi { emit, complete, request, log, metric, heartbeat, flush, executing }.leak_into_prefix()
    })
}

type Registered = HashMap<u64, Arc<dyn HostCallbacks>>;

fn registered() -> &'static RwLock<Registered> {
    static REGISTERED: OnceLock<RwLock<Registered>> = OnceLock::new();
    REGISTERED.get_or_init(RwLock::default)
}

/// Callbacks with an id that nobody has.
static STRAY: AtomicU64 = AtomicU64::new(0);

/// Gives the callbacks an id of its own, to be told to the plugin at `create`.
pub(crate) fn register(callbacks: Arc<dyn HostCallbacks>) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    registered().write().unwrap_or_else(PoisonError::into_inner).insert(id, callbacks);
    id
}

/// Takes an id back: what comes for it from now on is counted and goes nowhere.
pub(crate) fn unregister(host: u64) {
    registered().write().unwrap_or_else(PoisonError::into_inner).remove(&host);
}

/// How many callbacks came with an id that nobody has, since this was last asked.
pub(crate) fn take_strays() -> u64 {
    STRAY.swap(0, Ordering::Relaxed)
}

/// Calls the host behind an id; `otherwise` if there is none, or if it panicked.
fn with<R>(host: u64, otherwise: R, call: impl FnOnce(&dyn HostCallbacks) -> R) -> R {
    let guarded = AssertUnwindSafe(|| {
        let found = registered().read().unwrap_or_else(PoisonError::into_inner).get(&host).cloned();
        if found.is_none() {
            STRAY.fetch_add(1, Ordering::Relaxed);
        }
        found.map(|callbacks| call(&*callbacks))
    });
    catch_unwind(guarded).ok().flatten().unwrap_or(otherwise)
}

extern "C" fn emit(host: u64, call: u64, kind: u32, payload: RVec<u8>) -> i64 {
    // One byte above the bound is enough to see that it was passed.
    with(host, -1, |callbacks| callbacks.emit(call, kind, cut(&payload, MAX_EVENT_BYTES + 1)))
}

extern "C" fn complete(host: u64, call: u64, completion: RVec<u8>) {
    with(host, (), |callbacks| callbacks.complete(call, cut(&completion, MAX_BODY)));
}

extern "C" fn request(host: u64, call: u64, request: u64, method: RString, payload: RVec<u8>) {
    with(host, (), |callbacks| callbacks.request(call, request, method.as_str(), cut(&payload, MAX_BODY)));
}

extern "C" fn log(host: u64, line: RVec<u8>) {
    // A longer one becomes a line that cannot be read, and is counted as such.
    with(host, (), |callbacks| callbacks.log(cut(&line, MAX_LOG)));
}

/// What of a payload is looked at; the whole of it is judged by whoever listens.
fn cut(payload: &[u8], most: usize) -> &[u8] {
    payload.get(..most).unwrap_or(payload)
}

/// Reserved by the ABI: a host may ignore it.
extern "C" fn metric(_host: u64, _sample: RVec<u8>) {}

extern "C" fn heartbeat(host: u64) {
    with(host, (), |callbacks| callbacks.heartbeat());
}

/// Said around every step of a call, so it is a store and no more; one instance per worker, so whose it is does not matter.
extern "C" fn executing(_host: u64, call: u64) {
    crate::worker::executing(call);
}

extern "C" fn flush(host: u64) {
    with(host, (), |callbacks| callbacks.flush());
}
