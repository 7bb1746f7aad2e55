//! Loads the configuration that the command line names, and checks one without serving it.

pub(crate) mod print;

use std::path::{Path, PathBuf};

use agent_host_config::{Config, Loaded, PluginConfig, PluginIsolation, Sources};
use agent_host_gateway::{admin::configuration::NotChanged, auth::PublicKey};
use agent_host_services::Authorities;
use agent_plugin_protocol::{Code, PluginId};

use crate::{
    cli::ConfigArgs,
    exit::{self, Exit, Failure},
};

/// Loads the configuration: the one place that reads the environment for it.
pub(crate) fn load(args: &ConfigArgs) -> Result<Loaded, Failure> {
    let loaded = agent_host_config::load(sources(args)).map_err(Failure::from)?;
    let wrong = |reason| {
        Failure::new(Exit::Config, format!("the configuration is wrong\n\n{reason}\n\nnothing was changed"))
    };
    keys_are_keys(&loaded).map_err(wrong)?;
    Ok(loaded)
}

/// What only those who use a file can tell of it: a public key that is one, an authority's certificate.
fn keys_are_keys(loaded: &Loaded) -> Result<(), String> {
    let auth = &loaded.config.auth;
    let named =
        |key: &str, path: &Path, reason: String| format!("`{key}` names {}: {reason}", path.display());
    for key in &auth.public_keys {
        PublicKey::from_pem(&key.pem).map_err(|reason| named("auth.public_keys", &key.path, reason))?;
    }
    if let Some(file) = auth.jwks.as_ref().and_then(|jwks| jwks.authorities.as_ref()) {
        Authorities::from_pem(&file.pem).map_err(|reason| named("auth.jwks_ca_file", &file.path, reason))?;
    }
    Ok(())
}

/// What the command line names.
pub(crate) fn sources(args: &ConfigArgs) -> Sources {
    Sources {
        dir: Some(args.config.clone()),
        profile: args.profile.clone(),
        env: environment(),
        overrides: args.overrides.clone(),
        beside: beside(),
        ..Sources::default()
    }
}

/// Loads and checks a configuration as a whole: the same for a host that begins and for one that serves.
///
/// # Errors
/// Everything that is wrong, as one text; the code is the first one's.
pub(crate) fn load_from(sources: Sources) -> Result<Loaded, NotChanged> {
    let loaded = agent_host_config::load(sources).map_err(|errors| NotChanged {
        code: errors.iter().next().map_or(Code::ConfigSyntax, |first| first.code),
        reason: errors.to_string(),
    })?;
    keys_are_keys(&loaded).map_err(|reason| NotChanged { code: Code::ConfigReference, reason })?;
    Ok(loaded)
}

/// The environment. What is not UTF-8 is kept with marks in its place, so that it is judged and not lost.
pub(crate) fn environment() -> Vec<(String, String)> {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect()
}

/// The folder of this binary.
pub(crate) fn beside() -> Option<PathBuf> {
    std::env::current_exe().ok()?.parent().map(PathBuf::from)
}

/// `config validate`: errors end with 78; what would make a plugin fail is only a warning, as the host serves on.
pub(crate) fn validate(args: &ConfigArgs) -> Result<(), Failure> {
    let loaded = load(args)?;
    for warning in warnings(&loaded.config) {
        eprintln!("warning: {warning}");
    }
    let enabled = loaded.config.plugins.values().filter(|plugin| plugin.enabled).count();
    exit::say(&format!("the configuration holds: {} files, {enabled} plugins enabled", loaded.files.len()))
}

/// What of an enabled plugin will fail, as far as the configuration shows.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let enabled = config.plugins.iter().filter(|(_, plugin)| plugin.enabled);
    enabled.flat_map(|(id, plugin)| plugin_warnings(id, plugin, config)).collect()
}

fn plugin_warnings(id: &PluginId, plugin: &PluginConfig, config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    if !plugin.path.exists() {
        warnings.push(format!("plugin `{id}` will fail: there is no {}", plugin.path.display()));
    }
    let unpinned = plugin.sha256.is_none();
    let unsigned = config.trust.keys.is_empty() || !agent_host_runtime::is_signed(&plugin.path);
    if config.trust.require_signature && unsigned {
        warnings.push(format!(
            "plugin `{id}` will fail: [trust] require_signature is true and there is no {}.minisig",
            plugin.path.display()
        ));
    }
    match plugin.isolation {
        PluginIsolation::InProcess if unpinned && unsigned => {
            warnings.push(format!(
                "plugin `{id}` will fail: in-process it needs `sha256`, or a signature and [trust] keys"
            ));
        }
        PluginIsolation::InProcess | PluginIsolation::Process if unpinned && config.trust.require_pin => {
            warnings
                .push(format!("plugin `{id}` will fail: [trust] require_pin is true and it has no `sha256`"));
        }
        PluginIsolation::InProcess | PluginIsolation::Process => {}
    }
    let missing = plugin.secrets.iter().filter(|(_, secret)| secret.is_none());
    warnings.extend(
        missing.map(|(name, _)| format!("plugin `{id}` will fail: its secret `{name}` is not to be had")),
    );
    warnings
}
