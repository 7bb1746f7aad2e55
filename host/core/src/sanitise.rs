//! Makes untrusted text safe for terminals, logs and pages: one line, no control, no escape, no bidi, bounded.

/// One safe line of at most `most` characters; what is cut is said by a final `…`.
///
/// Whole escape sequences go, not only their first byte, so that no `[31m` stays behind. It does not escape
/// HTML: pages do that where they insert text.
pub fn line(text: &str, most: usize) -> String {
    // Nearly all that is said: nothing to take out of it.
    if text.len() <= most && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.to_owned();
    }
    let mut out = String::new();
    for (shown, c) in (Visible { rest: text }).enumerate() {
        if shown == most {
            out.pop();
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

/// The same for text of several lines: its line breaks stay, and each line has at most `most` characters.
pub fn text(text: &str, most: usize) -> String {
    text.split('\n').map(|part| line(part, most)).collect::<Vec<_>>().join("\n")
}

/// The characters that are left; a line break or tab becomes a space.
struct Visible<'a> {
    rest: &'a str,
}

impl Iterator for Visible<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        loop {
            let c = self.rest.chars().next()?;
            self.rest = &self.rest[c.len_utf8()..];
            match c {
                '\u{1b}' => self.rest = after_escape(self.rest),
                '\u{9b}' => self.rest = after_csi(self.rest),
                '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => self.rest = after_string(self.rest),
                '\n' | '\r' | '\t' | '\u{85}' | '\u{2028}' | '\u{2029}' => return Some(' '),
                c if is_hidden(c) => {}
                c => return Some(c),
            }
        }
    }
}

/// Controls, bidi overrides and isolates, invisible joiners of tokens, and the tag block.
/// The zero-width joiner stays: emoji and several scripts need it.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn after_escape(rest: &str) -> &str {
    match rest.chars().next() {
        Some('[') => after_csi(&rest[1..]),
        Some(']' | 'P' | 'X' | '^' | '_') => after_string(&rest[1..]),
        // Two-character escapes, some with an intermediate such as `ESC ( B`.
        Some(' '..='/') => rest[1..].strip_prefix(|c: char| ('0'..='~').contains(&c)).unwrap_or(&rest[1..]),
        Some('0'..='~') => &rest[1..],
        Some(_) | None => rest,
    }
}

/// Parameters, intermediates, one final byte; a sequence that is broken off ends where it breaks.
fn after_csi(rest: &str) -> &str {
    let rest = rest.trim_start_matches(|c: char| (' '..='?').contains(&c));
    rest.strip_prefix(|c: char| ('@'..='~').contains(&c)).unwrap_or(rest)
}

/// Up to BEL or ST. One that never ends swallows its line, as a terminal would, but not the lines after it.
fn after_string(rest: &str) -> &str {
    match rest.find(['\u{7}', '\u{1b}', '\u{9c}', '\n', '\r']) {
        None => "",
        Some(at) => match &rest[at..] {
            tail if tail.starts_with("\u{1b}\\") => &tail[2..],
            tail if tail.starts_with('\u{7}') => &tail[1..],
            tail if tail.starts_with('\u{9c}') => &tail['\u{9c}'.len_utf8()..],
            tail => tail,
        },
    }
}

#[cfg(test)]
mod tests;
