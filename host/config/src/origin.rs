//! Where a value came from: a place in a file, a variable, the command line, or nowhere.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where a value came from. Its `Display` is `file:line:column`, the variable, the flag, or `default`.
#[derive(Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A place in a file.
    File(Place),
    /// A file as a whole: it is missing or cannot be read.
    Path(PathBuf),
    /// An environment variable.
    Variable(Arc<str>),
    /// An override on the command line.
    CommandLine(Arc<str>),
}

/// The origin of every value, by its dotted key (`plugins.echo.timeouts.run`).
pub type Origins = BTreeMap<String, Origin>;

impl Origin {
    pub(crate) fn file(file: &Arc<SourceFile>, span: Range<usize>) -> Self {
        Self::File(Place { file: Arc::clone(file), span })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(place) => {
                let (line, column) = place.line_and_column();
                write!(f, "{}:{line}:{column}", place.path().display())
            }
            Self::Path(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::CommandLine(key) => write!(f, "command line ({key})"),
        }
    }
}

/// Never the file's text, which may hold secrets.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

/// A span of a file that was read.
#[derive(Clone, PartialEq, Eq)]
pub struct Place {
    file: Arc<SourceFile>,
    span: Range<usize>,
}

impl Place {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Line and column, both from 1; the column counts characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = self.file.before(self.span.start);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The line, with what looks like a secret masked, for showing under an error.
    pub(crate) fn shown_line(&self, masked: bool) -> String {
        let (number, _) = self.line_and_column();
        let line = self.file.text.lines().nth(number - 1).unwrap_or_default();
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if masked || self.file.is_sensitive(number) { mask(&line) } else { line }
    }

    /// How many characters of the line the span covers, at least one.
    pub(crate) fn width(&self) -> usize {
        let end = self.span.end.max(self.span.start);
        let upto = self.file.before(end).len();
        let covered = &self.file.text[self.file.before(self.span.start).len()..upto];
        covered.lines().next().map_or(0, |line| line.chars().count()).max(1)
    }
}

/// A file that was read, kept so that an error can show the line.
#[derive(PartialEq, Eq)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl SourceFile {
    /// The text before a byte position, moved back to a character's start.
    fn before(&self, position: usize) -> &str {
        let mut end = position.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        &self.text[..end]
    }

    /// Whether the line may hold a secret: its key or its table's header says so, or an assignment begun above it.
    fn is_sensitive(&self, number: usize) -> bool {
        let says_secret = |line: &str| line.to_ascii_lowercase().contains("secret");
        let lines: Vec<&str> = self.text.lines().take(number).collect();
        let upwards = || lines.iter().rev();
        let header = upwards().find(|line| line.trim_start().starts_with('['));
        let assignment = upwards().find(|line| line.contains('=') || line.trim_start().starts_with('['));
        lines.last().is_some_and(|line| says_secret(line))
            || header.is_some_and(|line| says_secret(line))
            || assignment.is_some_and(|line| says_secret(line))
    }
}

/// The line with every quoted character replaced by `*`; a quote that is not closed hides the rest.
fn mask(line: &str) -> String {
    let mut open: Option<char> = None;
    line.chars()
        .map(|c| match (open, c) {
            (None, '"' | '\'') => {
                open = Some(c);
                c
            }
            (Some(quote), _) if c == quote => {
                open = None;
                c
            }
            (Some(_), _) => '*',
            (None, _) => c,
        })
        .collect()
}
