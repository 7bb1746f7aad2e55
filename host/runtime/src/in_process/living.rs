//! An instance in this process, together with its right to be heard.

use std::{thread, time::Duration};

use agent_plugin_protocol::PluginId;

use super::apart;
use crate::{host_api, module};

/// See the module. Dropped, it is heard no more, and is destroyed on a thread that nobody waits for: its destructor may
/// block.
pub(crate) struct Living {
    plugin: PluginId,
    host: u64,
    /// `None` once it is being destroyed.
    instance: Option<module::Instance>,
}

impl Living {
    /// An instance that was given the id `host` at its creation.
    pub(crate) fn new(plugin: PluginId, host: u64, instance: module::Instance) -> Self {
        Self { plugin, host, instance: Some(instance) }
    }

    /// The instance, for its quick functions: those of the SDK, none of which runs the author's code.
    pub(crate) fn instance(&self) -> Option<&module::Instance> {
        self.instance.as_ref()
    }

    /// Destroys the instance on a thread of its own; it is still heard meanwhile. Resolves when it is done, or at the
    /// end of `grace`, when the thread is left behind.
    pub(crate) fn destroy(&mut self, grace: Duration) -> impl Future<Output = ()> + use<> {
        let instance = self.instance.take();
        let name = self.thread_name();
        async move {
            if let Some(instance) = instance {
                // Late or not: it gets no further order, and was told to end.
                let _ = apart::run(&name, grace, move || instance.destroy()).await;
            }
        }
    }

    fn thread_name(&self) -> String {
        format!("{}-destroy", self.plugin)
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        host_api::unregister(self.host);
        if let Some(instance) = self.instance.take() {
            let end = thread::Builder::new().name(self.thread_name());
            if let Err(error) = end.spawn(move || instance.destroy()) {
                tracing::warn!(plugin = %self.plugin, %error, "an in-process instance could not be destroyed");
            }
        }
    }
}
