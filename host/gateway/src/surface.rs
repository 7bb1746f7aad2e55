//! Chooses the protocol that a connection speaks, from the subprotocols that the client offers.

use http::HeaderValue;

/// A protocol spoken over `/ws`. Each is a codec over the same engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// `agent-host.v1`.
    Native,
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) surface: Surface,
    /// The name in the answer. Never an entry that carries a token; `None` if the client named nothing we speak: it
    /// still gets its connection (law 1), and decides itself whether it wants one without a subprotocol.
    pub(crate) answer: Option<HeaderValue>,
}

impl Surface {
    /// Its subprotocol, and its label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "agent-host.v1",
        }
    }

    /// The surface of that name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Native].into_iter().find(|surface| surface.name() == name)
    }

    pub(crate) fn choose<'a>(offered: impl Iterator<Item = &'a str>, default: Self) -> Choice {
        for entry in offered {
            if let Some(surface) = Self::parse(entry) {
                return Choice { surface, answer: Some(HeaderValue::from_static(surface.name())) };
            }
        }
        Choice { surface: default, answer: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_names_our_protocol_or_nothing() {
        let ours = Some(HeaderValue::from_static("agent-host.v1"));
        for (offered, answer) in [
            (vec![], None),
            (vec!["agent-host.v1"], ours.clone()),
            (vec!["bearer.a.b.c", "agent-host.v1"], ours),
            (vec!["bearer.a.b.c"], None),
            (vec!["soap", "wamp"], None),
        ] {
            let choice = Surface::choose(offered.iter().copied(), Surface::Native);
            assert_eq!(choice, Choice { surface: Surface::Native, answer }, "{offered:?}");
        }
    }
}
