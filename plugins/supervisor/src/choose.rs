//! Decides who gets a message, from its words and the roster's descriptions.

use std::collections::BTreeSet;

use agent_plugin_api::{PluginId, RosterEntry};

/// Who gets the message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// One agent.
    One(PluginId),
    /// Several, in the order in which they were named.
    Several(Vec<PluginId>),
    /// There is nobody.
    Nobody,
}

/// See [`Choice`].
pub(crate) fn choose(message: &str, roster: &[RosterEntry]) -> Choice {
    let mut named: Vec<PluginId> = Vec::new();
    for name in message.split_whitespace().filter_map(mention) {
        if let Some(entry) = roster.iter().find(|e| e.name.as_str() == name)
            && !named.contains(&entry.name)
        {
            named.push(entry.name.clone());
        }
    }
    match named.len() {
        0 => best(message, roster),
        1 => Choice::One(named.remove(0)),
        _ => Choice::Several(named),
    }
}

/// The message without the `@name`s at its front and within it.
pub(crate) fn without_names(message: &str) -> String {
    message.split_whitespace().filter(|word| mention(word).is_none()).collect::<Vec<_>>().join(" ")
}

fn mention(word: &str) -> Option<&str> {
    let name = word.strip_prefix('@')?.trim_end_matches([',', ':', ';', '.', '?', '!']);
    (!name.is_empty()).then_some(name)
}

/// The entry whose name and description share most words with the message; of equals, the first.
fn best(message: &str, roster: &[RosterEntry]) -> Choice {
    let asked = words(message);
    let shared = |entry: &RosterEntry| {
        words(&format!("{} {}", entry.name, entry.description)).intersection(&asked).count()
    };
    // `max_by_key` would take the last of equals.
    let mut chosen: Option<(&RosterEntry, usize)> = None;
    for entry in roster {
        let score = shared(entry);
        if chosen.is_none_or(|(_, most)| score > most) {
            chosen = Some((entry, score));
        }
    }
    chosen.map_or(Choice::Nobody, |(entry, _)| Choice::One(entry.name.clone()))
}

/// Words of four letters or more: shorter ones are in every sentence.
fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|w| w.chars().count() >= 4)
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster() -> Vec<RosterEntry> {
        [("echo", "says back what it was told"), ("billing", "answers questions about invoices and payments")]
            .map(|(name, description)| RosterEntry {
                name: PluginId::new(name).unwrap(),
                description: description.to_owned(),
            })
            .into()
    }

    fn one(name: &str) -> Choice {
        Choice::One(PluginId::new(name).unwrap())
    }

    #[test]
    fn the_description_that_fits_wins_and_the_first_where_none_does() {
        assert_eq!(choose("where are my invoices?", &roster()), one("billing"));
        assert_eq!(choose("hm", &roster()), one("echo"));
        assert_eq!(choose("hm", &[]), Choice::Nobody);
    }

    #[test]
    fn a_name_beats_a_description() {
        assert_eq!(choose("@echo where are my invoices?", &roster()), one("echo"));
        assert_eq!(choose("@nobody where are my invoices?", &roster()), one("billing"));
    }

    #[test]
    fn two_names_are_asked_together_once_each() {
        let both = Choice::Several(vec![PluginId::new("billing").unwrap(), PluginId::new("echo").unwrap()]);
        assert_eq!(choose("@billing, @echo @billing hello", &roster()), both);
        assert_eq!(without_names("@billing, @echo hello there"), "hello there");
    }
}
