//! ABI v1: two tables of functions, ids instead of pointers, payloads as owned JSON bytes.
//!
//! Rules of the border, for both sides:
//! * every function returns at once (`create` and `destroy` apart): work happens on the other side's threads;
//! * payloads are [`RVec<u8>`]: whoever made the bytes frees them, through the vector's own table;
//! * `instance`, `host`, `call` and `request` are ids that are looked up; one that is unknown or over is a
//!   counted no-op, so a late callback does no harm;
//! * no function unwinds: each body is inside `catch_unwind` of the library that contains it.

// The derive writes items without documentation, and its own `unsafe`.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block
)]

use abi_stable::{
    StableAbi,
    library::RootModule,
    package_version_strings,
    sabi_types::VersionStrings,
    std_types::{RString, RVec},
};

/// What the host offers a plugin. `host` is the id that the plugin got at `create`.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = HostApiRef)))]
#[sabi(missing_field(panic))]
pub struct HostApi {
    /// `emit(host, call, kind, payload)`: an event of a live call (`emit_kind`). Answers the credit that is left;
    /// a negative number means that the call is over and the event went nowhere.
    pub emit: extern "C" fn(u64, u64, u32, RVec<u8>) -> i64,
    /// `complete(host, call, completion)`: the call's last word, a `Completion`.
    pub complete: extern "C" fn(u64, u64, RVec<u8>),
    /// `request(host, call, request, method, payload)`: asks the host; `respond` brings the `Answer`.
    pub request: extern "C" fn(u64, u64, u64, RString, RVec<u8>),
    /// `log(host, line)`: a `LogLine`.
    pub log: extern "C" fn(u64, RVec<u8>),
    /// `metric(host, sample)`: reserved; a host may ignore it.
    pub metric: extern "C" fn(u64, RVec<u8>),
    /// `heartbeat(host)`: the plugin's own runtime lives. Every second.
    pub heartbeat: extern "C" fn(u64),
    /// `flush(host)`: the plugin is about to be idle; what is buffered should go out now. A hint.
    #[sabi(last_prefix_field)]
    pub flush: extern "C" fn(u64),
    /// `executing(host, call)`: the current thread executes the call's code from now on; 0: that of none. For the
    /// report of a crash. A host without it is one that makes no such reports.
    #[sabi(missing_field(option))]
    pub executing: extern "C" fn(u64, u64),
}

/// What `create` answers.
#[repr(C)]
#[derive(StableAbi)]
pub struct CreateResult {
    /// The instance's id; 0 if it could not be created.
    pub instance: u64,
    /// `Created`, or `CreateError` if `instance` is 0.
    pub payload: RVec<u8>,
}

/// What a plugin library offers its host: the root module.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginModuleRef)))]
#[sabi(missing_field(panic))]
pub struct PluginModule {
    /// `create(api, host, params)`: makes an instance of `CreateParams`. May take as long as the author's
    /// constructor takes.
    pub create: extern "C" fn(HostApiRef, u64, RVec<u8>) -> CreateResult,
    /// `invoke(instance, call, method, payload, deadline_ms)`: begins a call. Answers an `InvokeStatus` number;
    /// only after `Accepted` does a completion follow. `deadline_ms` counts from now; 0 means none.
    pub invoke: extern "C" fn(u64, u64, RString, RVec<u8>, u64) -> u32,
    /// `respond(instance, call, request, answer)`: the answer to a request.
    pub respond: extern "C" fn(u64, u64, u64, RVec<u8>),
    /// `credit(instance, call, n)`: the host consumed `n` more events of the call.
    pub credit: extern "C" fn(u64, u64, u32),
    /// `cancel(instance, call)`: please stop. The completion still follows.
    pub cancel: extern "C" fn(u64, u64),
    /// `drain(instance)`: refuse new calls.
    pub drain: extern "C" fn(u64),
    /// `destroy(instance)`: drop the author's value; open calls are cancelled. May take as long as the author's
    /// destructor takes.
    #[sabi(last_prefix_field)]
    pub destroy: extern "C" fn(u64),
}

impl RootModule for PluginModuleRef {
    abi_stable::declare_root_module_statics! {PluginModuleRef}

    const BASE_NAME: &'static str = "agent_plugin";
    const NAME: &'static str = "agent_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
