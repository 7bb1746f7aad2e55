//! The revoked tokens: asked at each token, told to each connection, and kept for the next host.

use std::{
    io,
    sync::{Mutex, PoisonError, RwLock},
    time::SystemTime,
};

use agent_host_core::{
    failpoint,
    failpoint::Action,
    identity::Principal,
    revocation::{Full, Revocation, Revocations},
};
use tokio_util::sync::CancellationToken;

use crate::admin::view::{RevocationList, RevocationPart};

/// Where they are kept.
pub trait Keep: Send + Sync {
    /// Puts this in the place of what was kept, whole or not at all, and answers when it is safe. May block.
    ///
    /// # Errors
    /// If it is not safe.
    fn keep(&self, list: &[u8]) -> io::Result<()>;
}

/// Those of this host. The default has none, and keeps none.
#[derive(Default)]
pub struct RevokedTokens {
    now: RwLock<Now>,
    /// Held by whoever writes, so that an older list never overwrites a newer one.
    keep: Mutex<Option<Box<dyn Keep>>>,
}

#[derive(Default)]
struct Now {
    list: Revocations,
    next: CancellationToken,
}

/// Why a revocation is not in force for good.
#[derive(Debug, thiserror::Error)]
pub enum NotRevoked {
    /// It is not in force.
    #[error(transparent)]
    Full(#[from] Full),
    /// It is, until this host ends.
    #[error("the token is refused now, but that could not be written and is forgotten with this host: {0}")]
    NotKept(#[source] io::Error),
}

/// What was kept is none of ours.
#[derive(Debug, thiserror::Error)]
#[error("it is no list of revoked tokens: {0}")]
pub struct NoList(String);

impl RevokedTokens {
    /// What the last host kept, if it kept anything; from now on by `keep`.
    ///
    /// # Errors
    /// [`NoList`]: which tokens are revoked is not known then, so that none should be let in.
    pub fn of(kept: Option<&[u8]>, keep: Box<dyn Keep>, now: SystemTime) -> Result<Self, NoList> {
        let kept: RevocationList = match kept {
            Some(bytes) => serde_json::from_slice(bytes).map_err(|error| NoList(error.to_string()))?,
            None => RevocationList::default(),
        };
        let mut list = Revocations::default();
        for part in kept.revocations {
            let revocation = part.revocation().map_err(NoList)?;
            list.add(revocation, now).map_err(|full| NoList(full.to_string()))?;
        }
        let now = Now { list, next: CancellationToken::new() };
        Ok(Self { now: RwLock::new(now), keep: Mutex::new(Some(keep)) })
    }

    pub(crate) fn covers(&self, principal: &Principal) -> bool {
        // For a broken twin: a host that lets in whom its operators shut out.
        let asks = failpoint!("gateway.revoked") != Some(Action::Off);
        asks && self.read(|now| now.list.covers(principal))
    }

    /// Ends when further tokens are revoked, or a key is withdrawn.
    pub(crate) fn next(&self) -> CancellationToken {
        self.read(|now| now.next.clone())
    }

    /// Makes every connection look again, as it does when further tokens are revoked.
    pub(crate) fn look_again(&self) {
        std::mem::take(&mut self.now.write().unwrap_or_else(PoisonError::into_inner).next).cancel();
    }

    /// All that hold at that time.
    pub(crate) fn list(&self, at: SystemTime) -> RevocationList {
        let mut list = self.read(|now| now.list.clone());
        list.forget(at);
        RevocationList { revocations: list.iter().map(|one| RevocationPart::from(&one)).collect() }
    }

    /// Revokes at once, tells the connections, then keeps it. Blocks on the disk.
    pub(crate) fn revoke(&self, revocation: Revocation, at: SystemTime) -> Result<(), NotRevoked> {
        {
            let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
            now.list.add(revocation, at)?;
            std::mem::take(&mut now.next).cancel();
        }
        let keep = self.keep.lock().unwrap_or_else(PoisonError::into_inner);
        // For a broken twin: a host that forgets it.
        if failpoint!("gateway.revoked_kept") == Some(Action::Off) {
            return Ok(());
        }
        let Some(keep) = keep.as_ref() else { return Ok(()) };
        let bytes = serde_json::to_vec_pretty(&self.list(at)).map_err(io::Error::other);
        bytes.and_then(|bytes| keep.keep(&bytes)).map_err(NotRevoked::NotKept)
    }

    fn read<T>(&self, look: impl FnOnce(&Now) -> T) -> T {
        // Each change is one operation of the list: it is sound even if a holder panicked.
        look(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for RevokedTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevokedTokens").field("count", &self.read(|now| now.list.len())).finish()
    }
}
