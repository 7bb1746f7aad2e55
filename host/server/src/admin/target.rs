//! Which host to ask, and with which token: from the command line, a configuration, or the `dev` of this workspace.

use std::{env, fs, net::SocketAddr, path::Path, time::Duration};

use agent_host_config::Loaded;
use agent_host_telemetry::log;

use super::{READ, http::Authority};
use crate::{
    cli::{AdminArgs, ConfigArgs, MintArgs},
    configuration, dev,
    exit::{Exit, Failure},
    token,
};

/// An admin listener, and a token for it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) authority: Authority,
    pub(crate) token: String,
}

impl Target {
    /// What the arguments name. A token that is made has that scope, may read, and no more.
    pub(crate) fn new(args: &AdminArgs, scope: &str) -> Result<Self, Failure> {
        Self::made_by(args, scope, |dir, _| configuration_of(dir))
    }

    /// The same, from a folder that may be wrong: for who asks just why it is not in force.
    pub(super) fn of_any_folder(args: &AdminArgs, scope: &str) -> Result<Self, Failure> {
        Self::made_by(args, scope, as_far_as_it_reads)
    }

    fn made_by(
        args: &AdminArgs,
        scope: &str,
        configuration_of: impl Fn(&Path, bool) -> Result<Loaded, Failure>,
    ) -> Result<Self, Failure> {
        let variable = env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
        let has_token = args.token_file.is_some() || variable.is_some();
        let configured = args.config.as_deref().map(|dir| configuration_of(dir, has_token)).transpose()?;
        // A token of this workspace's `dev` is nobody else's business.
        let dev = if configured.is_none() && args.admin.is_none() { dev::existing()? } else { None };
        let authority = match (&args.admin, &configured, &dev) {
            (Some(url), _, _) => authority(url)?,
            (None, Some(loaded), _) => listener(loaded.config.admin.listen)?,
            (None, None, Some(dev::Dev { admin: Some(address), .. })) => listener(*address)?,
            (None, None, _) => listener(USUAL)?,
        };
        let has_key = |loaded: &Loaded| !loaded.config.admin.hs256_secrets.is_empty();
        let token = match (&args.token_file, configured, variable, dev) {
            (Some(file), _, _, _) => read(file)?,
            (None, Some(loaded), None, _) => made(&loaded, scope)?,
            (None, Some(loaded), Some(_), _) if has_key(&loaded) => made(&loaded, scope)?,
            (None, _, Some(token), _) => token,
            (None, None, None, Some(dev)) => made(&dev.loaded, scope)?,
            (None, None, None, None) => return Err(no_token()),
        };
        Ok(Self { authority, token: checked(&token)? })
    }
}

fn configuration_of(dir: &Path) -> Result<Loaded, Failure> {
    configuration::load(&of_folder(dir))
}

fn of_folder(dir: &Path) -> ConfigArgs {
    ConfigArgs { config: dir.to_owned(), profile: None, overrides: Vec::new() }
}

/// The folder of a host that runs: it may hold an edit that is wrong, which is just when the host is asked. Its listener and
/// key are used as far as they can be read, and what is wrong is said beside.
fn as_far_as_it_reads(dir: &Path, has_token: bool) -> Result<Loaded, Failure> {
    let args = of_folder(dir);
    let (loaded, Some(errors)) = agent_host_config::as_far_as_it_reads(configuration::sources(&args)) else {
        return configuration::load(&args);
    };
    let admin_is_wrong = errors.iter().any(|error| error.key.starts_with("admin"));
    let has_key = !loaded.config.admin.hs256_secrets.is_empty();
    if admin_is_wrong || !(has_key || has_token) {
        let failure = Failure::from(errors);
        return Err(failure.with_hint(&format!(
            "what a running host of this folder has in force can be asked without it: \
             give --admin http://HOST:PORT, and --token-file FILE or {TOKEN_VARIABLE}"
        )));
    }
    let first = errors.iter().next().map(ToString::to_string).unwrap_or_default();
    let first = first.lines().next().unwrap_or_default();
    log::say(&format!(
        "warning: the files of {} are wrong, and not what runs: {first}; its listener and admin key could be read",
        dir.display()
    ));
    Ok(loaded)
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file)
        .map_err(|error| Failure::new(Exit::Failed, format!("{}: {error}", file.display())))
}

/// Made with the admin key for this one request. Whose it is stands in the audit line.
fn made(loaded: &Loaded, scope: &str) -> Result<String, Failure> {
    let user =
        ["USER", "LOGNAME"].iter().find_map(|name| env::var(name).ok().filter(|user| !user.is_empty()));
    let mut args = MintArgs::for_user(user.as_deref().unwrap_or("cli"));
    args.ttl = MADE_FOR;
    args.scopes = [READ, scope].map(str::to_owned).into();
    args.scopes.dedup();
    token::sign(&token::order(&args, &loaded.config)?)
}

/// A header is one line of visible characters.
fn checked(token: &str) -> Result<String, Failure> {
    let token = token.trim();
    if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(Failure::new(Exit::Failed, "the token is no text for a header; is it the right file?"));
    }
    Ok(token.to_owned())
}

/// Every address of a machine is reached by its own.
fn listener(mut address: SocketAddr) -> Result<Authority, Failure> {
    if address.port() == 0 {
        let what = "`admin.listen` leaves the port to the system, so it is known to the running host only";
        return Err(Failure::new(Exit::Failed, format!("{what}; give --admin http://HOST:PORT")));
    }
    if address.ip().is_unspecified() {
        let local = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
        address.set_ip(local.parse().expect("both are addresses"));
    }
    Ok(Authority { host: address.ip().to_string(), port: address.port() })
}

/// `http://HOST[:PORT]`, or only `HOST[:PORT]`.
fn authority(url: &str) -> Result<Authority, Failure> {
    let wrong = |why: &str| Failure::new(Exit::Failed, format!("--admin {url:?}: {why}"));
    if url.starts_with("https://") {
        let hint = "TLS ends before the host; reach it behind that, as by `ssh -L` or `kubectl port-forward`";
        return Err(wrong(&format!("is https; {hint}")));
    }
    let (rest, usual) = match url.strip_prefix("http://") {
        Some(rest) => (rest, 80),
        None => (url, USUAL.port()),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.is_empty() || rest.contains(['/', '?', '#', '@']) || !rest.chars().all(|c| c.is_ascii_graphic()) {
        return Err(wrong("is no http://HOST:PORT"));
    }
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, port.strip_prefix(':').or(Some(port))),
        None => match rest.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().map_err(|_| wrong("has no port"))?,
        None => usual,
    };
    Ok(Authority { host: host.to_owned(), port })
}

fn no_token() -> Failure {
    let ways = "give --config DIR (whose admin key makes one), --token-file FILE or the variable";
    Failure::new(
        Exit::Failed,
        format!("there is no admin token; {ways} {TOKEN_VARIABLE}, or run `agent-host dev` here"),
    )
}

/// Where a host's admin listener is unless told otherwise.
const USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9901);
const TOKEN_VARIABLE: &str = "AGENT_HOST_ADMIN_TOKEN";
/// A little more than an order may take.
const MADE_FOR: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        for (given, expected) in [
            ("http://h:1", "h:1"),
            ("http://h:1/", "h:1"),
            ("http://h", "h:80"),
            ("h", "h:9901"),
            ("127.0.0.1:5", "127.0.0.1:5"),
            ("http://[::1]:5", "[::1]:5"),
            ("[::1]", "[::1]:9901"),
        ] {
            assert_eq!(authority(given).unwrap().to_string(), expected, "{given}");
        }
        for wrong in ["https://h", "http://", "http://h/x", "http://u@h", "http://h:x", "h\r\nX: y", "[::1]x"]
        {
            assert!(authority(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_that_listens_everywhere_is_reached_here() {
        let of = |text: &str| listener(text.parse().unwrap()).map(|it| it.to_string()).map_err(drop);
        assert_eq!(of("0.0.0.0:9901"), Ok("127.0.0.1:9901".to_owned()));
        assert_eq!(of("[::]:9901"), Ok("[::1]:9901".to_owned()));
        assert_eq!(of("127.0.0.1:0"), Err(()));
    }

    #[test]
    fn a_token_is_one_line() {
        assert_eq!(checked("a.b.c\n").unwrap(), "a.b.c");
        for wrong in ["", "\n", "a b", "a\r\nX: y", "ä"] {
            assert!(checked(wrong).is_err(), "{wrong:?}");
        }
    }
}
