//! How a command fails: the words for stderr and the exit status.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use agent_host_config::ConfigErrors;
use agent_host_telemetry::log;
use agent_plugin_protocol::Code;

/// Why a command ends with something other than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It failed.
    Failed,
    /// It was not meant so: what the parser of the command line, which ends with the same, cannot see.
    Usage,
    /// The host cannot be reached (`EX_UNAVAILABLE`).
    Unreachable,
    /// The configuration is wrong (`EX_CONFIG`).
    Config,
}

impl Exit {
    /// The status, from sysexits(3) where it has one.
    pub(crate) const fn status(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 69,
            Self::Config => 78,
        }
    }
}

/// A command's failure.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    /// The host's, where it refused.
    code: Option<Code>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), code: None }
    }

    /// The same, as a refusal with that code.
    pub(crate) fn of(self, code: Option<Code>) -> Self {
        Self { code, ..self }
    }

    /// The status that it ends with.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// With what code a host refused.
    pub(crate) fn code(&self) -> Option<Code> {
        self.code
    }

    /// The same, and what else can be done.
    pub(crate) fn with_hint(self, hint: &str) -> Self {
        Self { message: format!("{}\n\n{hint}", self.message), ..self }
    }

    /// The same, and its remedy.
    pub(crate) fn with_remedy(self, what: &str) -> Self {
        Self { message: format!("{}\n  what to do: {what}", self.message), ..self }
    }

    /// Says it on stderr.
    pub(crate) fn report(&self) -> ExitCode {
        log::say(&self.to_string());
        ExitCode::from(self.exit.status())
    }
}

/// Prints a long text. A reader that has seen enough of it (`| head`) is no failure.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, format!("the output is gone: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)
    }
}

/// Every error with its place, caret and remedy, and how many there are.
impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        let count = match errors.iter().count() {
            1 => "1 error".to_owned(),
            many => format!("{many} errors"),
        };
        Self::new(
            Exit::Config,
            format!("the configuration is wrong\n\n{errors}\n\n{count}; nothing was changed"),
        )
    }
}
