//! Loads a configuration: reads the layers, lays them over each other, checks the result as a whole.

use std::{collections::BTreeMap, path::PathBuf};

use agent_plugin_protocol::Code;

use crate::{
    error::{ConfigError, ConfigErrors},
    layer::Files,
    merge::{check_layer, merge},
    origin::{Origin, Origins},
    print::Values,
    reader::Context,
    section::{self, Config},
    value::Value as _,
    variable,
};

/// The variable that chooses the profile where `--profile` does not.
pub const PROFILE_VARIABLE: &str = "AGENT_HOST_PROFILE";

/// What a configuration is loaded from. Everything is given: [`load`] reads files and nothing else.
#[derive(Clone, Default)]
pub struct Sources {
    /// The configuration folder; `None`: the built-in defaults alone (for `dev`).
    pub dir: Option<PathBuf>,
    /// The profile, if the command line names one.
    pub profile: Option<String>,
    /// The environment.
    pub env: Vec<(String, String)>,
    /// What the command line sets, by dotted key.
    pub overrides: Vec<(String, String)>,
    /// The folder of the host's binary, where libraries are looked for last.
    pub beside: Option<PathBuf>,
    /// Texts to be read in place of files that are there: what they would be after an edit.
    pub replaced: BTreeMap<PathBuf, String>,
}

/// A configuration that holds, and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Where each came from.
    pub origins: Origins,
    /// Each as it would be written; `null` where nothing holds. A secret is a reference or a mark, never its text.
    pub values: Values,
    /// The files read, in order.
    pub files: Vec<PathBuf>,
    /// The profile's name: a label, which no code compares.
    pub profile: Option<String>,
}

/// Loads and checks a configuration as a whole.
///
/// # Errors
/// Everything that is wrong with it, not only the first thing.
pub fn load(sources: Sources) -> Result<Loaded, ConfigErrors> {
    match as_far_as_it_reads(sources) {
        (loaded, None) => Ok(loaded),
        (_, Some(errors)) => Err(errors),
    }
}

/// Loads what can be read of a configuration, with everything that is wrong with it: what is wrong, or stands in a file that
/// cannot be read, is as if it were not written. For who has to reach a host that runs beside it; nothing else may rely on
/// what is not whole.
pub fn as_far_as_it_reads(sources: Sources) -> (Loaded, Option<ConfigErrors>) {
    let profile = chosen_profile(&sources);
    let files = match &sources.dir {
        Some(dir) => {
            let profile = profile.as_ref().map(|(name, origin)| (name.as_str(), origin.clone()));
            Files::read(dir, profile, &sources.replaced)
        }
        None => Files::default(),
    };
    let Files { mut merged, mut errors, read, incomplete, .. } = files;

    // A variable of a plugin whose file cannot be read would be called unknown.
    if !incomplete {
        let layer = variable::environment(&sources.env, &merged, &mut errors);
        check_layer(&layer, &mut errors);
        merge(&mut merged, layer);
        let layer = variable::command_line(&sources.overrides, &merged, &mut errors);
        check_layer(&layer, &mut errors);
        merge(&mut merged, layer);
    }

    let mut cx = Context::new(&sources.env);
    cx.dir = sources.dir;
    cx.beside = sources.beside;
    cx.incomplete = incomplete;
    let mut config = section::read(&cx, &merged);
    let mut origins = cx.origins.into_inner();
    let mut values = cx.values.into_inner();
    apply_port(&sources.env, &mut config, &mut origins, &mut errors);
    values.insert(LISTEN.to_owned(), config.gateway.listen.written());
    errors.extend(cx.errors.into_inner());
    let loaded = Loaded { config, origins, values, files: read, profile: profile.map(|(name, _)| name) };
    (loaded, ConfigErrors::new(errors))
}

fn chosen_profile(sources: &Sources) -> Option<(String, Origin)> {
    let flag = sources.profile.clone().map(|name| (name, Origin::CommandLine("--profile".into())));
    flag.or_else(|| {
        let value = sources.env.iter().find(|(name, value)| name == PROFILE_VARIABLE && !value.is_empty());
        value.map(|(_, name)| (name.clone(), Origin::Variable(PROFILE_VARIABLE.into())))
    })
}

/// `PORT` is how platforms that run containers name the port; only the command line is stronger.
fn apply_port(
    env: &[(String, String)],
    config: &mut Config,
    origins: &mut Origins,
    errors: &mut Vec<ConfigError>,
) {
    let Some((_, text)) = env.iter().find(|(name, text)| name == "PORT" && !text.is_empty()) else { return };
    if matches!(origins.get(LISTEN), Some(Origin::CommandLine(_))) {
        return;
    }
    let origin = Origin::Variable("PORT".into());
    match text.parse() {
        Ok(port) => {
            config.gateway.listen.set_port(port);
            origins.insert(LISTEN.to_owned(), origin);
        }
        Err(_) => errors.push(ConfigError {
            code: Code::ConfigRange,
            key: LISTEN.to_owned(),
            origin,
            reason: format!("PORT is {text:?}; it may be 0 to 65535"),
            hint: Some("unset PORT, or set it to a port number".to_owned()),
        }),
    }
}

const LISTEN: &str = "gateway.listen";
