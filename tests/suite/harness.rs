//! What a scenario stands on: the built artifacts, a configuration folder, a running host, tokens, raw HTTP.

pub(crate) mod artifacts;
pub(crate) mod clock;
pub(crate) mod crowd;
pub(crate) mod dice;
pub(crate) mod disk;
pub(crate) mod door;
pub(crate) mod elf;
pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod memory;
pub(crate) mod metrics;
pub(crate) mod minisign;
pub(crate) mod profile;
pub(crate) mod proxy;
pub(crate) mod setup;
pub(crate) mod tokens;
pub(crate) mod vitals;
pub(crate) mod yaml;

use std::{future::Future, time::Duration};

use self::clock::Moment;
pub(crate) use self::{
    host::Host,
    setup::{Plugin, Setup},
};

/// How long anything may take that is bound to happen, by the harness's [`clock`]. Far above what it takes on a busy
/// machine: outcomes are asserted here, not speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again until `check` is content, and says its last objection when patience ends.
///
/// The one place that waits by asking: for states that no frame announces.
pub(crate) async fn eventually<F, T>(what: &str, check: impl FnMut() -> F) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    within(PATIENCE, what, check).await
}

/// The same with another patience: a broken twin is known to be red before a busy machine's is at an end.
pub(crate) async fn within<F, T>(
    patience: Duration,
    what: &str,
    mut check: impl FnMut() -> F,
) -> Result<T, String>
where
    F: Future<Output = Result<T, String>>,
{
    let began = Moment::now();
    loop {
        match check().await {
            Ok(value) => return Ok(value),
            Err(objection) if began.elapsed() > patience => return Err(format!("{what}: {objection}")),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
