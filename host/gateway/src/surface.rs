//! Chooses the protocol that a connection speaks, from the subprotocols that the client offers.

use http::HeaderValue;

use crate::auth::carries_token;

/// A protocol spoken over `/ws`. Each is a codec over the same engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// `agent-host.v1`.
    Native,
    /// The first version of the wire of the platform that this host replaces.
    NetraV1,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) surface: Surface,
    /// The name in the answer. Never an entry that carries a token; `None` if the client named nothing we speak: it
    /// still gets its connection (law 1), and decides itself whether it wants one without a subprotocol.
    pub(crate) answer: Option<HeaderValue>,
    /// Whether the client speaks nothing of ours: the older wire's clients expect a close that says so.
    pub(crate) unsupported: bool,
}

impl Surface {
    /// Its name in metrics and in the configuration; the native one is its subprotocol too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "agent-host.v1",
            Self::NetraV1 => "netra-v1",
        }
    }

    /// Chooses by what is offered, in this order: the native name; one of the older wire's bare names; only entries that
    /// carry a token, which are the older wire's but for `bearer.…`, which is native's as well; else the default.
    pub(crate) fn choose<'a>(offered: impl Iterator<Item = &'a str>, default: Self) -> Choice {
        let offered: Vec<&str> = offered.collect();
        let choice = |surface, name| Choice { surface, answer: name, unsupported: false };
        if offered.contains(&Self::Native.name()) {
            return choice(Self::Native, Some(HeaderValue::from_static(Self::Native.name())));
        }
        if let Some(bare) = BARE.iter().find(|bare| offered.contains(bare)) {
            return choice(Self::NetraV1, Some(HeaderValue::from_static(bare)));
        }
        if offered.iter().any(|entry| carries_token(entry) && !entry.starts_with("bearer.")) {
            return choice(Self::NetraV1, None);
        }
        let known = offered.is_empty() || offered.iter().any(|entry| carries_token(entry));
        Choice { surface: default, answer: None, unsupported: default == Self::NetraV1 && !known }
    }
}

/// The older wire's names, answered as they are offered, the first of these that is.
const BARE: [&str; 4] = ["jwt-auth", "jwt", "bearer", "agent_chat"];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(offered: &[&str], default: Surface, surface: Surface, answer: Option<&'static str>) {
        let choice = Surface::choose(offered.iter().copied(), default);
        assert_eq!(
            (choice.surface, choice.answer),
            (surface, answer.map(HeaderValue::from_static)),
            "{offered:?}"
        );
    }

    #[test]
    fn the_answer_names_our_protocol_or_nothing() {
        use Surface::Native;
        check(&[], Native, Native, None);
        check(&["agent-host.v1"], Native, Native, Some("agent-host.v1"));
        check(&["bearer.a.b.c", "agent-host.v1"], Native, Native, Some("agent-host.v1"));
        check(&["bearer.a.b.c"], Native, Native, None);
        check(&["soap", "wamp"], Native, Native, None);
    }

    #[test]
    fn the_older_wire_is_answered_by_the_bare_name_and_never_by_a_token() {
        use Surface::{Native, NetraV1};
        for default in [Native, NetraV1] {
            for bare in BARE {
                check(&[bare, "jwt.abc"], default, NetraV1, Some(bare));
            }
            for token in ["jwt.abc", "jwt-auth.a.b.c", "staging-auth.a.b.c"] {
                check(&[token], default, NetraV1, None);
            }
            check(&["jwt-auth", "agent-host.v1"], default, Native, Some("agent-host.v1"));
            check(&[], default, default, None);
            check(&["bearer.a.b.c"], default, default, None);
        }
    }

    #[test]
    fn only_unknown_names_are_closed_where_the_older_wire_is_the_default() {
        let unsupported =
            |offered: &[&str], default| Surface::choose(offered.iter().copied(), default).unsupported;
        assert!(unsupported(&["soap"], Surface::NetraV1));
        assert!(!unsupported(&["soap"], Surface::Native));
        assert!(!unsupported(&[], Surface::NetraV1));
        assert!(!unsupported(&["soap", "jwt-auth"], Surface::NetraV1));
        assert!(!unsupported(&["bearer.a.b.c"], Surface::NetraV1));
    }
}
