//! Why this host closes a socket. 4400–4499: connect again and resume; 4500–4999: not without a change.

use crate::surface::Surface;

/// A close frame of ours. There is no 1000: that is the client's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// The client broke the WebSocket protocol.
    Protocol,
    /// The client offers only protocols that this host does not speak.
    NoSubprotocol,
    /// A binary frame: this protocol is text.
    NotText,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A frame above the limit.
    TooLarge,
    /// A bug in the host itself; never for a plugin's fault.
    Bug,
    /// The host is shutting down.
    Restarting,
    /// The token expired, leeway included, and was not refreshed.
    Expired,
    /// The token was revoked.
    Revoked,
    /// The issuer has withdrawn the key that signed the token: a new token is signed with another.
    KeyWithdrawn,
    /// No sign of life after a ping.
    NoPong,
    /// The client reads too slowly. The log has what it missed.
    Slow,
    /// Frames came much faster than allowed.
    Rate,
    /// An operator closed it.
    Dismissed,
}

impl Close {
    /// The code that a client of that protocol is told.
    pub(crate) const fn code_on(self, surface: Surface) -> u16 {
        match surface {
            Surface::Native => self.code(),
            Surface::NetraV1 | Surface::NetraV2 => self.older_code(),
        }
    }

    /// The older wire has no codes of its own. Its clients connect again on all but 1008.
    const fn older_code(self) -> u16 {
        match self {
            Self::Restarting | Self::Dismissed => 1001,
            Self::Expired | Self::Revoked | Self::KeyWithdrawn => 1008,
            Self::NoPong | Self::Slow | Self::Rate => 1011,
            Self::Protocol
            | Self::NotText
            | Self::NoSubprotocol
            | Self::NotUtf8
            | Self::TooLarge
            | Self::Bug => self.code(),
        }
    }

    const fn code(self) -> u16 {
        match self {
            Self::Protocol => 1002,
            Self::NotText | Self::NoSubprotocol => 1003,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
            Self::Bug => 1011,
            Self::Restarting => 1012,
            Self::Expired | Self::KeyWithdrawn => 4401,
            Self::Revoked => 4503,
            Self::NoPong => 4403,
            Self::Slow => 4404,
            Self::Rate => 4405,
            Self::Dismissed => 4406,
        }
    }

    /// Short: a close frame holds 123 bytes of it.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Protocol => "protocol error",
            Self::NotText => "text frames only",
            Self::NoSubprotocol => "No supported subprotocols",
            Self::NotUtf8 => "not UTF-8",
            Self::TooLarge => "frame.too_large",
            Self::Bug => "host.internal",
            Self::Restarting => "host.draining",
            Self::Expired => "auth.expired",
            Self::Revoked => "auth.revoked",
            Self::KeyWithdrawn => "auth.invalid",
            Self::NoPong => "no pong",
            Self::Slow => "slow consumer; resume from your last seq",
            Self::Rate => "limit.rate",
            Self::Dismissed => "closed by an operator",
        }
    }
}
