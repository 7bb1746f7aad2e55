//! In which protocol the loop of a connection speaks.

use std::time::Duration;

use tokio::time::Instant;

use crate::{netra, surface::Surface};

/// What turns the engine's words into frames, and frames into its words.
#[derive(Debug)]
pub(crate) enum Speech {
    /// `agent-host.v1`, which remembers nothing between frames.
    Native,
    /// The older wire. Boxed: a native connection does not keep its room.
    Netra(Box<netra::Codec>),
    /// None that the client offers: it is closed at once.
    None,
}

impl Speech {
    /// The protocol, for its close codes and for metrics. What is closed at once is the older wire's client.
    pub(crate) fn surface(&self) -> Surface {
        match self {
            Self::Native => Surface::Native,
            Self::Netra(codec) => codec.surface(),
            Self::None => Surface::NetraV1,
        }
    }

    /// When something is to be said though nothing happens. Native says nothing of itself.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match self {
            Self::Native | Self::None => None,
            Self::Netra(codec) => codec.wake_at(),
        }
    }

    /// How long the engine may take to take a frame, of what the host allows.
    pub(super) fn answers_within(&self, allowed: Duration) -> Duration {
        match self {
            Self::Native | Self::None => allowed,
            Self::Netra(_) => allowed.min(netra::ANSWER_WITHIN),
        }
    }
}
