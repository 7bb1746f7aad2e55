//! The life of the plugins, and what is told of it.

use agent_host_core::ports::{
    BoxFuture,
    instance::{Fault, Stage},
};
use agent_plugin_protocol::{Code, Generation};

use super::fake::Script;

/// A plugin that cannot be loaded, and will not be mended by another try.
pub(super) fn failing(
    _id: &str,
) -> impl Fn(Generation) -> BoxFuture<'static, Result<Script, Fault>> + Send + Sync {
    |_| {
        Box::pin(async {
            Err(Fault::new(Stage::Verify, Code::PluginNotFound, "/secret/path.so is not there"))
        })
    }
}
