//! What goes into a plugin's `create`, and how its failure reads. The same for every tier.

use std::path::Path;

use agent_host_core::{ports::instance::PluginSpec, sanitise};
use agent_plugin_protocol::{
    Code, Generation,
    call::{CreateError, CreateErrorKind, CreateParams},
};

/// What the plugin is told; `folder` is its own.
pub(crate) fn params(spec: &PluginSpec, generation: Generation, folder: Option<&Path>) -> CreateParams {
    CreateParams {
        plugin: spec.id.clone(),
        generation: generation.0,
        config: spec.config.clone(),
        secrets: spec.secrets.clone(),
        data_dir: folder.map(|folder| folder.to_string_lossy().into_owned()),
        threads: spec.threads,
        log_level: spec.log_level.clone(),
    }
}

/// Code and reason of a `CreateError`, as the plugin sent it.
pub(crate) fn failure(body: &[u8]) -> (Code, String) {
    let Ok(CreateError { kind, message }) = serde_json::from_slice(body) else {
        return (Code::PluginInitError, "create failed, and its error is unreadable".to_owned());
    };
    let code = match kind {
        CreateErrorKind::Error => Code::PluginInitError,
        CreateErrorKind::Panicked => Code::PluginInitPanicked,
        CreateErrorKind::Config => Code::PluginConfigInvalid,
    };
    (code, sanitise::line(&message, 600))
}
