//! JSON for a terminal: what one could act on is escaped, as JSON may.

use agent_host_core::sanitise;

/// The same JSON, without a character that a terminal acts on or hides.
pub(crate) fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Only inside of a string can such a character be, and there an escape means the same.
        if sanitise::line(c.encode_utf8(&mut [0; 4]), 1).is_empty() {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_escaped_and_means_the_same() {
        let value = json!({ "a": "\u{1b}[2J\u{9b}31m\u{202e}evil\u{e0041}", "b": ["ä", "\n"] });
        let text = json(&format!("{value:#}"));
        assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\u{e0041}']), "{text:?}");
        assert!(text.contains('ä') && text.lines().count() > 3, "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
