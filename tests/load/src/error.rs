//! What can go wrong while measuring: each ends the scenario, none is a figure.

use std::io;

/// Why a scenario gave no figure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// A server did not start.
    #[error("{0} did not start")]
    NotStarted(String),
    /// The upgrade was answered with something else.
    #[error("the upgrade was refused: {0}")]
    Refused(String),
    /// The server closed a connection that should live.
    #[error("the server closed a connection: {0}")]
    Closed(String),
    /// The answer is not that of the agent, so its cost would be the cost of something else.
    #[error("not the agent's answer: {0}")]
    Answer(String),
    /// Nothing came for too long.
    #[error("{0} in time")]
    Late(String),
}

/// Gives an operating system's refusal its context.
pub trait Attempt<T> {
    /// # Errors
    /// The refusal, with `what` was attempted.
    fn attempt(self, what: &str) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Attempt<T> for Result<T, E> {
    fn attempt(self, what: &str) -> Result<T, Error> {
        self.map_err(|error| Error::Io { what: what.to_owned(), source: error.into() })
    }
}
