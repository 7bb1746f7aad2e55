//! The functions of the module table. Each catches its own panics, looks its ids up, and returns at once
//! (`create` and `destroy` apart).

use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use abi_stable::{
    prefix_type::PrefixTypeTrait,
    std_types::{RString, RVec},
};
use agent_plugin_protocol::call::{CreateError, CreateErrorKind, Created, InvokeStatus};

use super::{
    link::HostLink,
    v1::{CreateResult, HostApiRef, PluginModule, PluginModuleRef},
};
use crate::{
    contain::{contain, text_of},
    instance::Instance,
    served::Kind,
};

/// The module table of one kind of plugin.
pub fn module<K: Kind>() -> PluginModuleRef {
    PluginModule { create: create::<K>, invoke, respond, credit, cancel, drain, destroy }.leak_into_prefix()
}

/// The live instances of this library. Ids are never used twice, so a late call finds nothing.
static INSTANCES: LazyLock<RwLock<HashMap<u64, Arc<Instance>>>> = LazyLock::new(Default::default);
static NEXT_INSTANCE: AtomicU64 = AtomicU64::new(1);

fn instance(id: u64) -> Option<Arc<Instance>> {
    INSTANCES.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
}

extern "C" fn create<K: Kind>(api: HostApiRef, host: u64, params: RVec<u8>) -> CreateResult {
    let made =
        contain(|| Instance::create::<K>(HostLink::new(api, host), &params)).unwrap_or_else(|payload| {
            Err(CreateError { kind: CreateErrorKind::Panicked, message: text_of(payload) })
        });
    match made {
        Ok((instance, created)) => register(instance, &created),
        Err(error) => CreateResult { instance: 0, payload: json(&error) },
    }
}

fn register(instance: Arc<Instance>, created: &Created) -> CreateResult {
    let id = NEXT_INSTANCE.fetch_add(1, Ordering::Relaxed);
    INSTANCES.write().unwrap_or_else(PoisonError::into_inner).insert(id, instance);
    CreateResult { instance: id, payload: json(created) }
}

fn json(value: &impl serde::Serialize) -> RVec<u8> {
    serde_json::to_vec(value).unwrap_or_default().into()
}

extern "C" fn invoke(id: u64, call: u64, method: RString, payload: RVec<u8>, deadline_ms: u64) -> u32 {
    let deadline = (deadline_ms > 0).then(|| Duration::from_millis(deadline_ms));
    let status = contain(|| match instance(id) {
        Some(instance) => instance.invoke(call, &method, payload, deadline),
        None => InvokeStatus::Refused,
    });
    status.unwrap_or(InvokeStatus::Refused).to_raw()
}

extern "C" fn respond(id: u64, call: u64, request: u64, answer: RVec<u8>) {
    on_call(id, call, |call| call.respond(request, answer));
}

extern "C" fn credit(id: u64, call: u64, n: u32) {
    on_call(id, call, |call| call.grant(n));
}

extern "C" fn cancel(id: u64, call: u64) {
    on_call(id, call, |call| call.cancel());
}

extern "C" fn drain(id: u64) {
    let _ = contain(|| {
        if let Some(instance) = instance(id) {
            instance.drain();
        }
    });
}

extern "C" fn destroy(id: u64) {
    let _ = contain(|| {
        let gone = INSTANCES.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(instance) = gone {
            instance.destroy();
        }
    });
}

/// A late callback finds no instance or no call, and does nothing.
fn on_call(id: u64, call: u64, act: impl FnOnce(&crate::call::Call)) {
    let _ = contain(|| {
        if let Some(call) = instance(id).and_then(|instance| instance.call(call)) {
            act(&call);
        }
    });
}
