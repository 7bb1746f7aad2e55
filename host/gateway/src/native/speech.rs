//! In which protocol the loop of a connection speaks.

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
            Self::Netra(_) | Self::None => Surface::NetraV1,
        }
    }
}
