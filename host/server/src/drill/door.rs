//! Where a drill's people go in, and as whom: from the command line, a configuration, or the `dev` of this workspace.

use std::env;

use agent_host_config::Loaded;
use tokio::runtime::Runtime;

use crate::{
    chat::target::{TOKEN_VARIABLE, USUAL, configuration_of, url_of},
    cli::{DrillArgs, MintArgs},
    dev,
    exit::{Exit, Failure},
    token,
    verify::{
        peer::{Address, Peer},
        token_in,
    },
};

/// The drill's own user, and the tenant that it is of.
const USER: &str = "drill";

/// A host's public listener, and a user's token for it.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) to: Address,
    pub(super) token: String,
}

impl Door {
    /// What the arguments name.
    pub(super) fn new(args: &DrillArgs) -> Result<Self, Failure> {
        let configured = args.admin.config.as_deref().map(configuration_of).transpose()?;
        // A token of this workspace's `dev` is nobody else's business.
        let named = configured.is_some() || args.url.is_some() || args.admin.admin.is_some();
        let dev = if named { None } else { dev::existing()? };
        let url = match (&args.url, &configured, &dev) {
            (Some(url), _, _) => url.clone(),
            (None, Some(loaded), _) if loaded.config.gateway.listen.port() == 0 => return Err(no_port()),
            (None, Some(loaded), _) => url_of(loaded.config.gateway.listen),
            (None, None, Some(dev::Dev { address: Some(address), .. })) => url_of(*address),
            (None, None, _) => USUAL.to_owned(),
        };
        let variable = env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty());
        let token = match (&args.user_token_file, configured, variable, dev) {
            (Some(file), ..) => token_in(file)?,
            (None, Some(loaded), ..) => made(&loaded)?,
            (None, None, Some(token), _) => token.trim().to_owned(),
            (None, None, None, Some(dev)) => made(&dev.loaded)?,
            (None, None, None, None) => return Err(no_token()),
        };
        Ok(Self { to: Address::parse(&url)?, token })
    }

    /// Goes in once: the token has to be good, and the host behind the door the one that is to be harmed.
    pub(super) fn leads_to(&self, host: &str, runtime: &Runtime) -> Result<(), Failure> {
        let opened = runtime.block_on(Peer::open(&self.to, &self.token));
        let peer = opened.map_err(|(why, nobody)| {
            let exit = if nobody { Exit::Unreachable } else { Exit::Failed };
            Failure::new(exit, format!("the drill's people do not get in: {why}"))
                .with_remedy("give the host's public listener, as http://HOST:PORT, and with --user-token-file a token for it")
        })?;
        match peer.welcome["host"].as_str() {
            Some(there) if there != host => Err(Failure::new(
                Exit::Failed,
                format!("{} is the host {there}, and the admin listener that of {host}", self.to.url),
            )
            .with_remedy("give the URL and --admin of the same host; behind a balancer, of one host itself")),
            Some(_) | None => Ok(()),
        }
    }
}

fn made(loaded: &Loaded) -> Result<String, Failure> {
    let args = MintArgs { tenant: Some(USER.to_owned()), ..MintArgs::for_user(USER) };
    token::sign(&token::order(&args, &loaded.config)?)
}

fn no_port() -> Failure {
    let what = "`gateway.listen` leaves the port to the system, so it is known to the running host only";
    Failure::new(Exit::Failed, what).with_remedy("give the URL too, as http://HOST:PORT")
}

fn no_token() -> Failure {
    Failure::new(Exit::Failed, "there is no token for the drill's people").with_remedy(&format!(
        "give --config DIR (whose key makes one), --user-token-file FILE or the variable {TOKEN_VARIABLE}; \
         or run `agent-host dev --set chaos.enabled=true` here, and this without a URL"
    ))
}
