//! Drives the ABI: opens a library, checks its header and layout, and calls its functions with typed arguments.
//!
//! The host's own libloading handle is used, as abi_stable's `load_from_file` is a singleton per type: the second
//! plugin would be the first one. A library is never closed again: that is not reliable (thread-local destructors,
//! runtimes), so its functions live as long as the process.

#![allow(unsafe_code)]

use std::{mem::ManuallyDrop, path::Path};

use abi_stable::{
    library::{AbiHeaderRef, LibraryError, ROOT_MODULE_LOADER_NAME_WITH_NUL},
    std_types::{RString, RVec},
};
use agent_host_core::sanitise;
use agent_plugin_api::abi::v1::{HostApiRef, PluginModuleRef};
use agent_plugin_protocol::Code;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::hello::LoadFailed;

/// The functions of a library that was loaded and whose layout is the one this host knows.
#[derive(Clone, Copy)]
pub(crate) struct Module {
    functions: PluginModuleRef,
}

impl Module {
    /// Opens a library. Runs its static initialisers: foreign code, which may do anything.
    ///
    /// The path must lead to a copy that nobody changes, and must not have been opened before in this process: glibc
    /// would hand out the library that it has under it.
    pub(crate) fn open(path: &Path) -> Result<Self, LoadFailed> {
        // SAFETY: opening runs the library's initialisers. They are foreign code, trusted as far as the isolation
        // tier of the caller allows; there is no condition that could be checked here. The file is a private copy, so
        // it does not change while it is mapped.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(|error| failed(Code::PluginLoadFailed, chain(&error)))?;
        // Never closed: what follows hands out 'static references into it.
        let library = ManuallyDrop::new(library);
        let missing = |what: &str| failed(Code::PluginMissingSymbol, what.to_owned());
        // SAFETY: only the symbol's address is looked at.
        let address = unsafe { library.get::<*const u8>(ROOT_MODULE_LOADER_NAME_WITH_NUL) };
        let address = address.map_err(|_| missing("the library does not export its root module"))?;
        if address.is_null() {
            return Err(missing("the root module's symbol is null"));
        }
        // SAFETY: abi_stable exports under this name, its own mangling, a static that begins with an `AbiHeader`; a
        // reference to it is what `AbiHeaderRef` is. It is not null and lives for good, as the library is never
        // closed. What the header says is checked before anything behind it is used.
        let header = unsafe { library.get::<AbiHeaderRef>(ROOT_MODULE_LOADER_NAME_WITH_NUL) };
        let header = *header.map_err(|_| missing("the library does not export its root module"))?;
        Self::checked(header).map_err(|error| failed(Code::PluginLayoutMismatch, in_short(&error)))
    }

    fn checked(header: AbiHeaderRef) -> Result<Self, LibraryError> {
        let library = header.upgrade()?;
        // A library without a layout could not be checked: it is refused as one that does not fit.
        if library.layout().is_none() {
            return Err(LibraryError::InvalidAbiHeader(*header));
        }
        Ok(Self { functions: library.init_root_module::<PluginModuleRef>()? })
    }

    /// Makes an instance; as long as the author's constructor takes. `Err` holds the plugin's `CreateError`, unread.
    pub(crate) fn create(self, api: HostApiRef, host: u64, params: Vec<u8>) -> Result<Instance, Vec<u8>> {
        let result = (self.functions.create())(api, host, RVec::from(params));
        match result.instance {
            0 => Err(result.payload.as_slice().to_vec()),
            id => Ok(Instance { module: self, id, created: result.payload.as_slice().to_vec() }),
        }
    }
}

/// An instance that a library made: its typed calls.
pub(crate) struct Instance {
    module: Module,
    id: u64,
    created: Vec<u8>,
}

impl Instance {
    /// What `create` answered: a `Created`, unread.
    pub(crate) fn created(&self) -> &[u8] {
        &self.created
    }

    /// Begins a call; answers the plugin's `InvokeStatus` number, unread.
    pub(crate) fn invoke(&self, call: u64, method: String, payload: Vec<u8>, deadline_ms: u64) -> u32 {
        (self.module.functions.invoke())(
            self.id,
            call,
            RString::from(method),
            RVec::from(payload),
            deadline_ms,
        )
    }

    /// A way to answer requests from wherever they are made. It may outlive the instance: an id that is over is a no-op.
    pub(crate) fn answers(&self) -> Answers {
        Answers { module: self.module, id: self.id }
    }

    /// Brings the answer to a request.
    pub(crate) fn respond(&self, call: u64, request: u64, answer: Vec<u8>) {
        (self.module.functions.respond())(self.id, call, request, RVec::from(answer));
    }

    /// Tells that events were consumed.
    pub(crate) fn credit(&self, call: u64, events: u32) {
        (self.module.functions.credit())(self.id, call, events);
    }

    /// Asks a call to stop.
    pub(crate) fn cancel(&self, call: u64) {
        (self.module.functions.cancel())(self.id, call);
    }

    /// Refuses new calls from now on.
    pub(crate) fn drain(&self) {
        (self.module.functions.drain())(self.id);
    }

    /// Drops the author's value; as long as its destructor takes.
    pub(crate) fn destroy(self) {
        (self.module.functions.destroy())(self.id);
    }
}

/// See [`Instance::answers`].
pub(crate) struct Answers {
    module: Module,
    id: u64,
}

impl Answers {
    /// As [`Instance::respond`].
    pub(crate) fn respond(&self, call: u64, request: u64, answer: Vec<u8>) {
        (self.module.functions.respond())(self.id, call, request, RVec::from(answer));
    }
}

fn failed(code: Code, reason: String) -> LoadFailed {
    LoadFailed { code, reason: sanitise::line(&reason, 600) }
}

/// The error with its sources: libloading's own text leaves out what `dlerror` said.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    if text.contains("static TLS block") {
        text.push_str(" (was it built with an allocator of its own, such as jemalloc?)");
    }
    text
}

/// The few lines that matter of an error that runs to hundreds.
fn in_short(error: &LibraryError) -> String {
    let text = match error {
        LibraryError::InvalidAbiHeader(_) => {
            return "the library's header is not that of the abi_stable this host was built with".to_owned();
        }
        LibraryError::IncompatibleVersionNumber { expected_version, actual_version, .. } => {
            return format!(
                "it was built with agent-plugin-api {actual_version}, this host has {expected_version}"
            );
        }
        other => other.to_string(),
    };
    let told = text.lines().map(str::trim).filter(|line| !line.is_empty()).take(6);
    told.collect::<Vec<_>>().join(" · ")
}
