//! What is wrong with a configuration: the code, the place with a caret, and what to do.

use std::fmt;

use agent_plugin_protocol::Code;

use crate::origin::{Origin, Place};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// One of the `config.…` codes.
    pub code: Code,
    /// The dotted key it is about; empty if it is about a file.
    pub key: String,
    /// Where.
    pub origin: Origin,
    /// What is wrong, as a lower-case fragment. Never a secret's value.
    pub reason: String,
    /// What was probably meant, or what to do.
    pub hint: Option<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.code, plain(&self.reason))?;
        writeln!(f, "  --> {}", self.origin)?;
        if let Origin::File(place) = &self.origin {
            write_snippet(f, place, self.key.contains("secret"))?;
        }
        write!(f, "  = help: {}", plain(self.hint.as_deref().unwrap_or(self.code.remedy())))
    }
}

impl std::error::Error for ConfigError {}

/// A key may be quoted and hold anything; a terminal must not act on it.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn write_snippet(f: &mut fmt::Formatter<'_>, place: &Place, masked: bool) -> fmt::Result {
    let (number, column) = place.line_and_column();
    let line = place.shown_line(masked);
    let gutter = number.to_string();
    let blank = " ".repeat(gutter.len());
    // A window of the line, so that a library of base64 on one line does not fill the terminal.
    let skip = column.saturating_sub(WINDOW / 2);
    let shown: String = line.chars().skip(skip).take(WINDOW).collect();
    let left = column - 1 - skip.min(column - 1);
    let carets = "^".repeat(place.width().min(WINDOW.saturating_sub(left)).max(1));
    writeln!(f, " {blank} |")?;
    writeln!(f, " {gutter} | {}", shown.trim_end())?;
    writeln!(f, " {blank} | {}{carets}", " ".repeat(left))
}

/// Characters of a line that are shown.
const WINDOW: usize = 120;

/// Everything that is wrong with a configuration; at least one error, in the order of the places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// `None` if there are none.
    pub(crate) fn new(mut errors: Vec<ConfigError>) -> Option<Self> {
        errors.sort_by_cached_key(|error| match &error.origin {
            Origin::File(place) => (place.path().to_owned(), place.line_and_column()),
            Origin::Path(path) => (path.clone(), (0, 0)),
            Origin::Default | Origin::Variable(_) | Origin::CommandLine(_) => Default::default(),
        });
        errors.dedup();
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// The errors, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// `did you mean …?` for a word that is close to one of `known`.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let lower = word.to_ascii_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_ascii_lowercase().replace('-', "_")), name))
        .filter(|(distance, name)| *distance <= 1.max(name.len() / 3))
        .min()
        .map(|(_, name)| format!("did you mean `{name}`?"))
}
