//! Decides when a connection's token needs a refresh, and when it ends the connection. Judged by the time of day.

use std::time::{Duration, SystemTime};

/// The life of the token that a connection stands on.
#[derive(Debug, Clone)]
pub(crate) struct Expiry {
    expires_at: SystemTime,
    warning: Duration,
    leeway: Duration,
    warned: bool,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing for so long.
    Later(Duration),
    /// Tell the client that the token ends soon.
    Warn,
    /// Close the connection.
    End,
}

impl Expiry {
    pub(crate) fn new(expires_at: SystemTime, warning: Duration, leeway: Duration) -> Self {
        Self { expires_at, warning, leeway, warned: false }
    }

    pub(crate) fn expires_at(&self) -> SystemTime {
        self.expires_at
    }

    /// The client sent a new token.
    pub(crate) fn refresh(&mut self, expires_at: SystemTime) {
        self.expires_at = expires_at;
        self.warned = false;
    }

    /// How far past its end a token holds from now on.
    pub(crate) fn change_leeway(&mut self, leeway: Duration) {
        self.leeway = leeway;
    }

    /// What is due at `now`. Warns once.
    pub(crate) fn due(&mut self, now: SystemTime) -> Due {
        let end = self.expires_at.checked_add(self.leeway).unwrap_or(self.expires_at);
        let warn = self.expires_at.checked_sub(self.warning).unwrap_or(SystemTime::UNIX_EPOCH);
        if now >= end {
            Due::End
        } else if now >= warn && !self.warned {
            self.warned = true;
            Due::Warn
        } else {
            let next = if self.warned { end } else { warn };
            Due::Later(next.duration_since(now).unwrap_or(Duration::ZERO).min(LONGEST))
        }
    }
}

/// A jump of the clock is noticed within this time.
const LONGEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn warns_once_then_ends_at_expiry_plus_leeway() {
        let mut expiry = Expiry::new(at(1000), Duration::from_secs(30), Duration::from_secs(60));
        assert_eq!(expiry.due(at(900)), Due::Later(LONGEST));
        assert_eq!(expiry.due(at(960)), Due::Later(Duration::from_secs(10)));
        assert_eq!(expiry.due(at(970)), Due::Warn);
        assert_eq!(expiry.due(at(1001)), Due::Later(Duration::from_secs(59)));
        assert_eq!(expiry.due(at(1060)), Due::End);
    }

    #[test]
    fn a_refresh_begins_anew() {
        let mut expiry = Expiry::new(at(1000), Duration::from_secs(30), Duration::ZERO);
        assert_eq!(expiry.due(at(970)), Due::Warn);
        expiry.refresh(at(2000));
        assert_eq!(expiry.due(at(1000)), Due::Later(LONGEST));
        assert_eq!(expiry.due(at(1970)), Due::Warn);
    }
}
