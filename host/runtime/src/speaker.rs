//! Who speaks in the log when a plugin does: its name, its generation, and which of its words are never written.

use std::{collections::BTreeMap, sync::Arc};

use agent_host_core::{failpoint, failpoint::Action, sanitise};
use agent_plugin_protocol::{Generation, PluginId, Secret};

/// Shorter ones are not looked for: they would be found in everything.
const SHORTEST: usize = 6;
/// What stands in a secret's place.
const REDACTED: &str = "[redacted]";

/// A plugin's generation, as the source of log lines.
#[derive(Debug, Clone)]
pub(crate) struct Speaker {
    /// The plugin.
    pub(crate) plugin: PluginId,
    /// Its generation.
    pub(crate) generation: Generation,
    /// The plugin's own secrets, longest first: one may hold another.
    secrets: Arc<[Secret]>,
}

impl Speaker {
    /// A plugin that was given these secrets.
    pub(crate) fn new(plugin: PluginId, generation: Generation, secrets: &BTreeMap<String, Secret>) -> Self {
        let mut secrets: Vec<Secret> =
            secrets.values().filter(|secret| secret.expose().len() >= SHORTEST).cloned().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose().len()));
        Self { plugin, generation, secrets: secrets.into() }
    }

    /// One safe line of at most `most` characters, without its secrets.
    pub(crate) fn line(&self, text: &str, most: usize) -> String {
        // Redacted first: what is cut in the middle of a secret would show its beginning.
        sanitise::line(&self.redacted(text), most)
    }

    fn redacted(&self, text: &str) -> String {
        // Off for a broken twin: a host that logs whatever a plugin says.
        if failpoint!("runtime.redact") == Some(Action::Off) {
            return text.to_owned();
        }
        self.secrets.iter().fold(text.to_owned(), |text, secret| {
            if text.contains(secret.expose()) { text.replace(secret.expose(), REDACTED) } else { text }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaker(secrets: &[&str]) -> Speaker {
        let secrets =
            secrets.iter().enumerate().map(|(n, text)| (n.to_string(), Secret::new(*text))).collect();
        Speaker::new("billing".parse().unwrap(), Generation(1), &secrets)
    }

    #[test]
    fn a_secret_is_replaced_wherever_it_stands_and_however_often() {
        let said = speaker(&["s3cret-value"]).line("key=s3cret-value; again s3cret-value.", 200);
        assert_eq!(said, "key=[redacted]; again [redacted].");
    }

    #[test]
    fn the_longer_goes_first_where_one_holds_the_other() {
        let said = speaker(&["secret", "secret-and-more"]).line("secret-and-more, secret", 200);
        assert_eq!(said, "[redacted], [redacted]");
    }

    #[test]
    fn a_cut_does_not_show_the_beginning_of_a_secret() {
        let said = speaker(&["0123456789"]).line("key=0123456789", 8);
        assert_eq!(said, "key=[re…");
    }

    #[test]
    fn a_short_one_is_not_looked_for() {
        assert_eq!(speaker(&["no"]).line("nothing is now known", 200), "nothing is now known");
    }
}
