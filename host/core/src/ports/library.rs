//! Which library files are believed, and what is seen of a plugin's file while an earlier state of it runs.

use super::instance::Fault;

/// What a library must show before it is loaded. The default asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Only those whose digest is pinned.
    pub require_pin: bool,
    /// Only those with a valid signature beside them.
    pub require_signature: bool,
    /// Public minisign keys, as base64: whose signatures count.
    pub keys: Vec<String>,
}

/// What a look at a plugin's file found, where the file is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It was touched, and holds the bytes that the plugin runs from.
    Same,
    /// It is another: what the next reload would take.
    Candidate(Candidate),
}

/// A file in the place of the one that a plugin runs from. It is not loaded before somebody asks for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// SHA-256 of its bytes, lower-case hex; `None` where it could not be read.
    pub digest: Option<String>,
    /// Why it would not be loaded, as far as that shows without running it.
    pub fault: Option<Fault>,
}
