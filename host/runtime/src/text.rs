//! Makes untrusted text fit for a log, a terminal and a page: no control characters, no bidi tricks, bounded.

use std::fmt::Write as _;

/// The text on one line, without anything that acts on a terminal; at most `most` characters long, with a mark
/// where it was cut.
pub(crate) fn sanitise(text: &str, most: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(most));
    for (at, character) in text.chars().enumerate() {
        if at >= most {
            clean.push('…');
            break;
        }
        if acts(character) {
            // Writing to a String cannot fail.
            let _ = write!(clean, "\\u{{{:x}}}", u32::from(character));
        } else {
            clean.push(character);
        }
    }
    clean
}

/// Characters that act rather than show: controls, line separators, direction marks and zero-width ones.
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{061c}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_acts_on_a_terminal_remains() {
        assert_eq!(sanitise("a\x1b[31mb\n\u{202e}c", 100), "a\\u{1b}[31mb\\u{a}\\u{202e}c");
        assert_eq!(sanitise("grüße", 100), "grüße");
    }

    #[test]
    fn a_cut_is_marked() {
        assert_eq!(sanitise("abcdef", 3), "abc…");
    }
}
