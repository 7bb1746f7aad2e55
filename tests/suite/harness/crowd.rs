//! Many clients at once, and what the process needs for that.

use std::{future::Future, net::SocketAddr};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rustix::process::{Resource, getrlimit, setrlimit};

use super::PATIENCE;
use crate::client::Client;

/// Clients that are being connected at the same time: a crowd that is to be there, and no herd.
const AT_ONCE: usize = 32;

/// Raises the limit on open files of this process, and of the hosts that it starts, to what is allowed. It must be
/// enough for `connections`.
pub(crate) fn room_for(connections: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Already there, where it fails.
    let _ = setrlimit(Resource::Nofile, limit);
    // The rest: libraries, pipes, the host's own reserve.
    let needed = connections + 1_000;
    let most = limit.maximum.unwrap_or(u64::MAX);
    assert!(most >= needed, "`ulimit -Hn` is {most}; {connections} connections need {needed}");
}

/// Connects `people`, each under a name of their own that begins with `kind`, and hands each to `greet`.
pub(crate) async fn gather<T, F: Future<Output = Result<T, String>>>(
    host: SocketAddr,
    kind: &str,
    people: usize,
    greet: impl Fn(usize, Client) -> F,
) -> Result<Vec<T>, String> {
    let greet = &greet;
    stream::iter(0..people)
        .map(async |at| {
            greet(at, Client::connect_within(host, &name(kind, at), PATIENCE).await?.one_of_many()).await
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// The name of one of them.
pub(crate) fn name(kind: &str, at: usize) -> String {
    format!("{kind}-{at}")
}
