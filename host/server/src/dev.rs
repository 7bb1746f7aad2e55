//! `dev`: builds the plugins of this workspace, serves them with a key of its own, and prints a token to begin with.

use std::{
    env, fs,
    io::Write as _,
    net::{SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use agent_host_config::{Loaded, Sources};

use crate::{
    cli::{DevArgs, MintArgs},
    configuration,
    exit::{Exit, Failure},
    live, serve, token,
};

/// See the module. Inside a workspace its `config` folder holds; outside, the built-in defaults.
pub(crate) fn dev(args: &DevArgs) -> Result<(), Failure> {
    let workspace = workspace();
    if let Some(root) = &workspace {
        build_plugins(root)?;
    }
    let dir = args.config.clone().or_else(|| workspace.as_ref().map(|root| root.join("config")));
    let state = state_of(workspace.as_deref());
    let finished = dir.as_deref().and_then(live::finish);
    let (loaded, sources) = load(args, dir, &state)?;
    let token = dev_token(&loaded)?;
    serve::serve(&loaded, sources, finished.as_ref(), |host| {
        let (address, admin) = (host.gateway.public_addr(), host.gateway.admin_addr());
        // Only so that `chat` and `plugins` find a port that was chosen; without it, they try the usual one.
        let _ = fs::write(state.join(ADDRESS), address.to_string());
        let _ = fs::write(state.join(ADMIN_ADDRESS), admin.to_string());
        greet(address, &token);
    })
}

/// What a `dev` of this workspace left for its clients.
#[derive(Debug)]
pub(crate) struct Dev {
    /// With its key.
    pub(crate) loaded: Loaded,
    /// Where it listened last.
    pub(crate) address: Option<SocketAddr>,
    /// Where its operators were to look.
    pub(crate) admin: Option<SocketAddr>,
}

/// The `dev` of this workspace, if there was one; nothing is made here.
pub(crate) fn existing() -> Result<Option<Dev>, Failure> {
    let workspace = workspace();
    let state = state_of(workspace.as_deref());
    let read = |name: &str| fs::read_to_string(state.join(name));
    let (Ok(secret), Ok(admin_secret)) = (read(SECRET), read(ADMIN_SECRET)) else { return Ok(None) };
    let loaded = agent_host_config::load(Sources {
        dir: workspace.map(|root| root.join("config")),
        profile: None,
        env: configuration::environment(),
        overrides: keys(secret, admin_secret),
        beside: configuration::beside(),
        ..Sources::default()
    })?;
    let address = |name: &str| read(name).ok().and_then(|text| text.trim().parse().ok());
    Ok(Some(Dev { address: address(ADDRESS), admin: address(ADMIN_ADDRESS), loaded }))
}

/// The folder of what `dev` keeps.
fn state_of(workspace: Option<&Path>) -> PathBuf {
    workspace.unwrap_or(Path::new(".")).join(".agent-host")
}

const SECRET: &str = "dev-secret";
const ADMIN_SECRET: &str = "dev-admin-secret";
const ADDRESS: &str = "dev-address";
const ADMIN_ADDRESS: &str = "dev-admin-address";

/// The keys of users and of operators.
fn keys(secret: String, admin_secret: String) -> Vec<(String, String)> {
    vec![("auth.hs256_secret".to_owned(), secret), ("admin.hs256_secret".to_owned(), admin_secret)]
}

/// The folder above this one that holds the host's own workspace.
fn workspace() -> Option<PathBuf> {
    let here = env::current_dir().ok()?;
    here.ancestors()
        .find(|dir| dir.join("plugins").is_dir() && dir.join("host/server/Cargo.toml").is_file())
        .map(PathBuf::from)
}

/// Builds every plugin of the workspace, in the profile that this binary was built in, so that the libraries land
/// beside it, where a bare `path` is looked for.
fn build_plugins(root: &Path) -> Result<(), Failure> {
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.arg("build").current_dir(root).stdin(Stdio::null());
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let plugins = fs::read_dir(root.join("plugins")).map_err(|error| {
        Failure::new(Exit::Failed, format!("{}: {error}", root.join("plugins").display()))
    })?;
    for plugin in plugins.flatten().filter(|entry| entry.path().join("Cargo.toml").is_file()) {
        build.arg("--package").arg(plugin.file_name());
    }
    eprintln!("agent-host dev: building the plugins of {}", root.display());
    match build.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Failure::new(Exit::Failed, "the plugins do not build; see above")),
        Err(error) => Err(Failure::new(Exit::Failed, format!("cargo cannot be started: {error}"))),
    }
}

fn load(args: &DevArgs, dir: Option<PathBuf>, state: &Path) -> Result<(Loaded, Sources), Failure> {
    let secret = |name: &str| {
        dev_secret(state, name).map_err(|error| {
            Failure::new(Exit::Failed, format!("the development key in {}: {error}", state.display()))
        })
    };
    let mut overrides = keys(secret(SECRET)?, secret(ADMIN_SECRET)?);
    overrides.push(("store.path".to_owned(), state.display().to_string()));
    overrides.push(("log.format".to_owned(), "pretty".to_owned()));
    overrides.extend(args.overrides.iter().cloned());
    let sources = |overrides| Sources {
        dir: dir.clone(),
        profile: None,
        env: configuration::environment(),
        overrides,
        beside: configuration::beside(),
        ..Sources::default()
    };
    let loaded = agent_host_config::load(sources(overrides.clone()))?;
    // A second `dev`, or anything else on the usual ports, is no reason to fail here.
    let asked = |key: &str| args.overrides.iter().any(|(name, _)| name == key);
    let busy = |address: SocketAddr| TcpListener::bind(address).is_err();
    for (key, address) in
        [("gateway.listen", loaded.config.gateway.listen), ("admin.listen", loaded.config.admin.listen)]
    {
        if !asked(key) && busy(address) {
            eprintln!("agent-host dev: {address} is taken; using a free port instead");
            overrides.push((key.to_owned(), SocketAddr::new(address.ip(), 0).to_string()));
        }
    }
    let sources = sources(overrides);
    Ok((agent_host_config::load(sources.clone())?, sources))
}

/// A key of this workspace's `dev`, made once, so that a token survives a restart.
fn dev_secret(state: &Path, name: &str) -> std::io::Result<String> {
    let file = state.join(name);
    match fs::read_to_string(&file) {
        Ok(secret) if secret.len() >= agent_host_config::HS256_SECRET_BYTES => return Ok(secret),
        Ok(_) => fs::remove_file(&file)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => fs::create_dir_all(state)?,
        Err(error) => return Err(error),
    }
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?;
    out.write_all(secret.as_bytes())?;
    Ok(secret)
}

fn dev_token(loaded: &Loaded) -> Result<String, Failure> {
    token::sign(&token::order(&MintArgs::for_user("dev"), &loaded.config)?)
}

fn greet(address: SocketAddr, token: &str) {
    println!("websocket: ws://{address}/ws  (subprotocol agent-host.v1)");
    println!("token: {token}");
    println!("plugins: agent-host plugins list  (also show, why, reload, reset, enable, disable)");
    println!(
        "The token is good for 12 hours, as user `dev`. Talk to it with `agent-host chat` in another terminal. Ctrl-C ends."
    );
}
