//! Where to connect, and as whom: from the command line, a configuration, or the `dev` of this workspace.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use agent_host_config::Loaded;

use crate::{
    cli::{ChatArgs, ConfigArgs, MintArgs},
    configuration, dev,
    exit::{Exit, Failure},
    token,
};

/// A host's address, and a way to a token for it.
#[derive(Debug)]
pub(super) struct Target {
    /// `ws://…`
    pub(super) url: String,
    credential: Credential,
}

#[derive(Debug)]
enum Credential {
    Token(String),
    /// Read anew for each connection: whoever renews it writes it there.
    File(PathBuf),
    /// Made anew for each connection.
    Minted {
        loaded: Box<Loaded>,
        user: String,
    },
}

impl Target {
    /// What the arguments name.
    pub(super) fn new(args: &ChatArgs) -> Result<Self, Failure> {
        let from_config = args.config.as_deref().map(configuration_of).transpose()?;
        let dev = if from_config.is_none() { dev::existing()? } else { None };
        let url = match (&args.url, &from_config, &dev) {
            (Some(url), _, _) => url.clone(),
            (None, Some(loaded), _) => url_of(loaded.config.gateway.listen),
            (None, None, Some(dev)) => dev.address.map_or_else(|| USUAL.to_owned(), url_of),
            (None, None, None) => USUAL.to_owned(),
        };
        let minted = |loaded: Loaded| {
            let user = args.user.clone().unwrap_or_else(|| "dev".to_owned());
            Credential::Minted { loaded: Box::new(loaded), user }
        };
        let variable = env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
        let credential = match (&args.token, &args.token_file) {
            (Some(token), _) => Credential::Token(token.clone()),
            (None, Some(file)) => Credential::File(file.clone()),
            (None, None) => match (from_config, variable, dev) {
                (Some(loaded), _, _) => minted(loaded),
                (None, Some(token), _) => Credential::Token(token),
                (None, None, Some(dev)) => minted(dev.loaded),
                (None, None, None) => return Err(no_token()),
            },
        };
        Ok(Self { url: checked(url)?, credential })
    }

    /// A token that is good now.
    pub(super) fn token(&self) -> Result<String, Failure> {
        match &self.credential {
            Credential::Token(token) => Ok(token.trim().to_owned()),
            Credential::File(file) => {
                let read = fs::read_to_string(file).map(|text| text.trim().to_owned());
                read.map_err(|error| Failure::new(Exit::Failed, format!("{}: {error}", file.display())))
            }
            Credential::Minted { loaded, user } => {
                token::sign(&token::order(&MintArgs::for_user(user), &loaded.config)?)
            }
        }
    }

    /// Whether a later token may be another one.
    pub(super) fn renews(&self) -> bool {
        match self.credential {
            Credential::Token(_) => false,
            Credential::File(_) | Credential::Minted { .. } => true,
        }
    }
}

/// What a folder says.
pub(crate) fn configuration_of(dir: &Path) -> Result<Loaded, Failure> {
    configuration::load(&ConfigArgs { config: dir.to_owned(), profile: None, overrides: Vec::new() })
}

/// Every address of a machine is reached by its own.
pub(crate) fn url_of(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        let local = if address.is_ipv4() { "127.0.0.1" } else { "::1" };
        address.set_ip(local.parse().expect("both are addresses"));
    }
    format!("ws://{address}/ws")
}

/// `http` is read as what was meant; a bare address gets the usual path.
fn checked(url: String) -> Result<String, Failure> {
    let url = url.strip_prefix("http://").map(|rest| format!("ws://{rest}")).unwrap_or(url);
    let Some(rest) = url.strip_prefix("ws://") else {
        let hint = "TLS ends before the host; reach it behind that, as by `ssh -L` or `kubectl port-forward`";
        return Err(Failure::new(Exit::Failed, format!("{url:?} is no ws:// address; {hint}")));
    };
    Ok(match rest.split_once('/') {
        None => format!("{url}/ws"),
        Some((_, "")) => format!("{url}ws"),
        Some(_) => url,
    })
}

fn no_token() -> Failure {
    let ways = "give --token-file FILE, --config DIR --user NAME, --token TOKEN or the variable";
    Failure::new(
        Exit::Failed,
        format!("there is no token; {ways} {TOKEN_VARIABLE}, or run `agent-host dev` here"),
    )
}

/// Where a host is unless told otherwise.
pub(crate) const USUAL: &str = "ws://127.0.0.1:8080/ws";
pub(crate) const TOKEN_VARIABLE: &str = "AGENT_HOST_TOKEN";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_whole() {
        for (given, expected) in [
            ("ws://h:1/ws", "ws://h:1/ws"),
            ("ws://h:1", "ws://h:1/ws"),
            ("http://h:1/", "ws://h:1/ws"),
            ("ws://h/other?x=1", "ws://h/other?x=1"),
        ] {
            assert_eq!(checked(given.to_owned()).unwrap(), expected);
        }
        assert!(checked("wss://h/ws".to_owned()).is_err());
        assert!(checked("h:1".to_owned()).is_err());
    }

    #[test]
    fn a_host_that_listens_everywhere_is_reached_here() {
        assert_eq!(url_of("0.0.0.0:80".parse().unwrap()), "ws://127.0.0.1:80/ws");
        assert_eq!(url_of("[::]:80".parse().unwrap()), "ws://[::1]:80/ws");
        assert_eq!(url_of("10.1.2.3:80".parse().unwrap()), "ws://10.1.2.3:80/ws");
    }
}
