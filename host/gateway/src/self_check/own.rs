//! Which connections are the host's own. Known by the address that they come from, while they are open: nobody else can
//! have it then, and nothing in the request can claim it.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// The open ones. There are one or two at a time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Own(Arc<Mutex<Vec<SocketAddr>>>);

/// A connection of the host's own, until it is dropped.
#[derive(Debug)]
pub(super) struct Known {
    own: Own,
    from: SocketAddr,
}

impl Own {
    /// Whether the connection from there is one.
    pub(crate) fn is(&self, peer: SocketAddr) -> bool {
        self.with(|open| open.contains(&peer))
    }

    /// From now on that one is.
    pub(super) fn know(&self, from: SocketAddr) -> Known {
        self.with(|open| open.push(from));
        Known { own: self.clone(), from }
    }

    /// The lock is held for a look at a list that is nearly always empty.
    fn with<T>(&self, act: impl FnOnce(&mut Vec<SocketAddr>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.own.with(|open| open.retain(|from| *from != self.from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_the_hosts_own_while_it_is_open() {
        let (own, from) = (Own::default(), SocketAddr::from(([127, 0, 0, 1], 7)));
        assert!(!own.is(from));
        let known = own.know(from);
        assert!(own.is(from) && !own.is(SocketAddr::from(([127, 0, 0, 1], 8))));
        drop(known);
        assert!(!own.is(from), "the next one from there is somebody else's");
    }
}
