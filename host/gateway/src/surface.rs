//! Chooses the protocol that a connection speaks, from the subprotocols that the client offers.

use http::{HeaderMap, HeaderValue};

use crate::{
    auth::{carries_token, offered_protocols},
    settings::Settings,
};

/// A protocol spoken over `/ws`. Each is a codec over the same engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// `agent-host.v1`.
    Native,
    /// The first version of the wire of the platform that this host replaces.
    NetraV1,
    /// Its second, which begins with a handshake.
    NetraV2,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) surface: Surface,
    /// The entry in the answer. `None` if the client named nothing we speak: it still gets its connection (law 1), and
    /// decides itself whether it wants one without a subprotocol. The older wire's second version is the only one in
    /// which the entry carries the client's token; it is marked as sensitive.
    pub(crate) answer: Option<HeaderValue>,
    /// Whether the client speaks nothing of ours: the older wire's clients expect a close that says so.
    pub(crate) unsupported: bool,
}

/// What the operator set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// For clients that name no protocol.
    pub(crate) default: Surface,
    /// Whether the older wire's second version is spoken.
    pub(crate) v2: bool,
}

impl From<&Settings> for Policy {
    fn from(settings: &Settings) -> Self {
        Self { default: settings.default_protocol, v2: settings.netra_v2 }
    }
}

impl Surface {
    /// Its name in metrics and in the configuration; the native one is its subprotocol too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "agent-host.v1",
            Self::NetraV1 => "netra-v1",
            Self::NetraV2 => "netra-v2",
        }
    }

    /// Largest message of a client: as configured, but for the older wire's second version, whose clients may send
    /// 5 MiB.
    pub fn frame_bytes(self, configured: usize) -> usize {
        match self {
            Self::Native | Self::NetraV1 => configured,
            Self::NetraV2 => configured.max(5 * 1024 * 1024),
        }
    }

    /// Chooses by what is offered, in this order: the native name; one of the older wire's bare names; only entries that
    /// carry a token, which are its second version's where that is spoken, else its first's but for `bearer.…`, which is
    /// native's as well; else the default. Who offers nothing and names an environment in a header is a client of the
    /// second version that came by its other way.
    pub(crate) fn choose(headers: &HeaderMap, policy: Policy) -> Choice {
        let offered: Vec<&str> = offered_protocols(headers).collect();
        let choice = |surface, name| Choice { surface, answer: name, unsupported: false };
        if offered.contains(&Self::Native.name()) {
            return choice(Self::Native, Some(HeaderValue::from_static(Self::Native.name())));
        }
        if let Some(bare) = BARE.iter().find(|bare| offered.contains(bare)) {
            return choice(Self::NetraV1, Some(HeaderValue::from_static(bare)));
        }
        if policy.v2 {
            let only_tokens = offered.iter().all(|entry| carries_token(entry));
            match offered.first() {
                Some(chosen) if only_tokens => return choice(Self::NetraV2, echo(chosen)),
                None if headers.contains_key(ENVIRONMENT) => return choice(Self::NetraV2, None),
                Some(_) | None => {}
            }
        }
        if offered.iter().any(|entry| carries_token(entry) && !entry.starts_with("bearer.")) {
            return choice(Self::NetraV1, None);
        }
        let known = offered.is_empty() || offered.iter().any(|entry| carries_token(entry));
        let unsupported = policy.default != Self::Native && !known;
        Choice { surface: policy.default, answer: None, unsupported }
    }
}

/// The entry as it was offered: the client's library refuses any other.
fn echo(entry: &str) -> Option<HeaderValue> {
    // It was a header's value before.
    let mut value = HeaderValue::from_str(entry).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The older wire's names, answered as they are offered, the first of these that is.
const BARE: [&str; 4] = ["jwt-auth", "jwt", "bearer", "agent_chat"];
/// Sent by clients of the second version beside a token in the header.
const ENVIRONMENT: &str = "x-environment";

#[cfg(test)]
mod tests {
    use http::header;

    use super::{
        Surface::{Native, NetraV1, NetraV2},
        *,
    };

    fn chosen(offered: &[&str], policy: Policy) -> Choice {
        let headers = offered
            .iter()
            .map(|entry| (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(entry).unwrap()));
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(name, value);
        }
        Surface::choose(&all, policy)
    }

    fn check(offered: &[&str], policy: Policy, surface: Surface, answer: Option<&str>) {
        let choice = chosen(offered, policy);
        let answered = choice.answer.as_ref().map(|value| value.to_str().unwrap());
        assert_eq!((choice.surface, answered), (surface, answer), "{offered:?} {policy:?}");
    }

    fn policies() -> impl Iterator<Item = Policy> {
        [Native, NetraV1].into_iter().flat_map(|default| [false, true].map(|v2| Policy { default, v2 }))
    }

    #[test]
    fn the_answer_names_our_protocol_or_nothing() {
        let policy = Policy { default: Native, v2: false };
        check(&[], policy, Native, None);
        check(&["agent-host.v1"], policy, Native, Some("agent-host.v1"));
        check(&["bearer.a.b.c", "agent-host.v1"], policy, Native, Some("agent-host.v1"));
        check(&["bearer.a.b.c"], policy, Native, None);
        check(&["soap", "wamp"], policy, Native, None);
    }

    #[test]
    fn a_bare_name_is_the_older_wire_s_first_version_and_is_answered_alone() {
        for policy in policies() {
            for bare in BARE {
                check(&[bare, "jwt.abc"], policy, NetraV1, Some(bare));
            }
            check(&["jwt-auth", "agent-host.v1"], policy, Native, Some("agent-host.v1"));
            check(&["jwt.staging.a.b.c", "agent-host.v1"], policy, Native, Some("agent-host.v1"));
            check(&[], policy, policy.default, None);
        }
    }

    #[test]
    fn only_tokens_are_echoed_whole_where_the_second_version_is_spoken_and_never_elsewhere() {
        for policy in policies() {
            for token in ["jwt.abc", "jwt-auth.a.b.c", "staging-auth.a.b.c", "jwt.staging.a.b.c"] {
                match policy.v2 {
                    true => check(&[token], policy, NetraV2, Some(token)),
                    false => check(&[token], policy, NetraV1, None),
                }
                check(&[token, "soap"], policy, NetraV1, None);
            }
            match policy.v2 {
                true => check(&["bearer.staging.a.b.c"], policy, NetraV2, Some("bearer.staging.a.b.c")),
                false => check(&["bearer.a.b.c"], policy, policy.default, None),
            }
        }
        let answer = chosen(&["jwt.a.b.c"], Policy { default: Native, v2: true }).answer.unwrap();
        assert!(answer.is_sensitive());
    }

    #[test]
    fn a_named_environment_without_an_offer_is_the_second_version_where_it_is_spoken() {
        let headers: HeaderMap =
            [(header::HeaderName::from_static(ENVIRONMENT), HeaderValue::from_static("staging"))]
                .into_iter()
                .collect();
        for policy in policies() {
            let expected = if policy.v2 { NetraV2 } else { policy.default };
            assert_eq!(Surface::choose(&headers, policy).surface, expected);
        }
    }

    #[test]
    fn only_unknown_names_are_closed_where_the_older_wire_is_the_default() {
        for v2 in [false, true] {
            let unsupported = |offered: &[&str], default| chosen(offered, Policy { default, v2 }).unsupported;
            assert!(unsupported(&["soap"], NetraV1));
            assert!(!unsupported(&["soap"], Native));
            assert!(!unsupported(&[], NetraV1));
            assert!(!unsupported(&["soap", "jwt-auth"], NetraV1));
            assert!(!unsupported(&["bearer.a.b.c"], NetraV1));
        }
    }
}
