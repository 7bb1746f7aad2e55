//! `token mint`: decides what a new token says and which key signs it. Signing itself is the gateway's.

pub(crate) mod inspect;

use std::time::{Duration, SystemTime};

use agent_host_config::{Config, Secret};
use agent_host_gateway::auth::{MintClaims, mint};
use secrecy::SecretSlice;

use crate::{
    cli::MintArgs,
    exit::{Exit, Failure},
};

/// A token to be signed; whoever signs adds `jti`, `iat` and `exp`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenOrder<'a> {
    /// `sub`
    pub(crate) user: &'a str,
    /// `tenant`; left out if `None`.
    pub(crate) tenant: Option<&'a str>,
    /// `permissions[]`
    pub(crate) permissions: &'a [String],
    /// `iss`, where one is configured.
    pub(crate) issuer: Option<&'a str>,
    /// `aud`, where one is configured.
    pub(crate) audience: Option<&'a str>,
    /// From `iat` to `exp`.
    pub(crate) lifetime: Duration,
    /// The first of the keys.
    pub(crate) key: &'a Secret,
}

/// Signs it.
pub(crate) fn sign(order: &TokenOrder<'_>) -> Result<String, Failure> {
    let claims = MintClaims {
        user: order.user.to_owned(),
        tenant: order.tenant.map(str::to_owned),
        permissions: order.permissions.to_vec(),
        issuer: order.issuer.unwrap_or_default().to_owned(),
        audience: order.audience.unwrap_or_default().to_owned(),
        issued_at: SystemTime::now(),
        lifetime: order.lifetime,
    };
    let key = SecretSlice::from(order.key.expose().as_bytes().to_vec());
    mint(&claims, &key).map_err(|error| Failure::new(Exit::Failed, format!("no token was made: {error}")))
}

/// A user's token, or an operator's where a scope is asked for: that one has the admin's key and audience.
pub(crate) fn order<'a>(args: &'a MintArgs, config: &'a Config) -> Result<TokenOrder<'a>, Failure> {
    let admin = !args.scopes.is_empty();
    let keys = if admin { &config.admin.hs256_secrets } else { &config.auth.hs256_secrets };
    let key = keys.first().ok_or_else(|| {
        let section = if admin { "admin" } else { "auth" };
        let remedy = format!("set {section}.hs256_secret = {{ env = \"NAME\" }}");
        Failure::new(Exit::Config, format!("[{section}] has no HS256 key to sign with; {remedy}"))
    })?;
    Ok(TokenOrder {
        user: &args.user,
        tenant: args.tenant.as_deref(),
        permissions: if admin { &args.scopes } else { &args.permissions },
        issuer: if admin { None } else { config.auth.issuer.as_deref() },
        audience: if admin { Some(&config.admin.audience) } else { config.auth.audience.as_deref() },
        lifetime: args.ttl,
        key,
    })
}

#[cfg(test)]
mod tests {
    use agent_host_config::{Sources, load};
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command, TokenCommand};

    fn args(line: &str) -> MintArgs {
        let cli =
            Cli::try_parse_from(format!("agent-host token mint --user u {line}").split_whitespace()).unwrap();
        let Command::Token(TokenCommand::Mint(args)) = cli.command else { panic!("it is a mint") };
        args
    }

    fn config(overrides: &[(&str, &str)]) -> Config {
        let overrides =
            overrides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        load(Sources { overrides, ..Sources::default() }).unwrap_or_else(|errors| panic!("{errors}")).config
    }

    const USERS: &str = "the-users-key-of-more-than-32-bytes";
    const ADMINS: &str = "the-admins-key-of-more-than-32-bytes";

    #[test]
    fn a_user_s_token_has_what_the_host_will_check() {
        let config = config(&[
            ("auth.hs256_secrets", &format!("[\"{USERS}\", \"{ADMINS}\"]")),
            ("auth.audience", "agent-host"),
            ("auth.issuer", "i"),
        ]);
        let args = args("--tenant t --permission p --ttl 1m");
        let order = order(&args, &config).unwrap();
        assert_eq!((order.user, order.tenant, order.lifetime), ("u", Some("t"), Duration::from_secs(60)));
        assert_eq!((order.issuer, order.audience), (Some("i"), Some("agent-host")));
        assert_eq!((order.key.expose(), order.permissions), (USERS, ["p".to_owned()].as_slice()));
    }

    #[test]
    fn an_operator_s_token_is_signed_by_the_admin_s_key_or_not_at_all() {
        let args = args("--scope admin:toggle");
        let without = config(&[("auth.hs256_secret", USERS)]);
        assert!(order(&args, &without).unwrap_err().to_string().contains("[admin]"));
        let with = config(&[("auth.hs256_secret", USERS), ("admin.hs256_secret", ADMINS)]);
        let order = order(&args, &with).unwrap();
        assert_eq!((order.key.expose(), order.audience), (ADMINS, Some("agent-host-admin")));
        assert_eq!(order.permissions, ["admin:toggle"]);
    }

    #[test]
    fn without_an_audience_none_is_written() {
        let config = config(&[("auth.hs256_secret", USERS)]);
        assert_eq!(order(&args(""), &config).unwrap().audience, None);
    }
}
