//! What is known of a crash: by which signal, where, in which call, and the way there.

mod waiting;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use agent_plugin_protocol::{CallId, RunId};

use crate::outcome::signal_name;

pub use waiting::{LeftOut, WaitingLine};

/// Frames of a backtrace at most.
pub const FRAMES: usize = 48;
/// Calls that are named as merely open, at most.
pub const OPEN_CALLS: usize = 16;

/// A crash, as the dying worker told it and its host completed it. Every text in it is sanitised and bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashReport {
    /// The signal's number.
    pub signal: i32,
    /// The signal's cause (`si_code`).
    pub code: i32,
    /// What could not be read, written or executed, where the signal has an address.
    pub address: Option<u64>,
    /// The stack of the thread was used up.
    pub stack_overflow: bool,
    /// The name of the thread.
    pub thread: String,
    /// What the thread was doing.
    pub during: During,
    /// Calls that were open beside it, by no order; at most [`OPEN_CALLS`].
    pub open: Vec<CrashedCall>,
    /// The way there.
    pub backtrace: Backtrace,
}

/// What a crashing thread was doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum During {
    /// The library was being loaded: a static initialiser.
    Load,
    /// The author's constructor ran.
    Create,
    /// It was executing this call.
    Call(CrashedCall),
    /// The author's value was being dropped.
    Destroy,
    /// No call: a task or thread of the author's own.
    Elsewhere,
}

/// A call that a crash took along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashedCall {
    /// Which.
    pub call: CallId,
    /// Its method; `None`: the host knows no such call, so it was over or invented.
    pub method: Option<&'static str>,
    /// The run that it belonged to.
    pub run: Option<RunId>,
}

/// One frame of a backtrace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The library, by its last name; empty where the address belongs to none that is known.
    pub module: String,
    /// The address within the library, as `addr2line` takes it; the address itself where the library is not known.
    pub offset: u64,
    /// The function, if the library names it.
    pub symbol: Option<String>,
    /// The source file, if the library has debug information.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u32>,
}

/// The frames of a crash, innermost first: found out after the worker's end, beside everything that waits for it.
#[derive(Debug, Clone, Default)]
pub struct Backtrace(Arc<OnceLock<Result<Vec<Frame>, NoFrames>>>);

/// Why a crash has no frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoFrames {
    /// Its plugin crashed again before its turn came.
    Superseded,
    /// Crashes of too many plugins waited for their turn.
    Crowded,
    /// The tables by which frames are found make no sense.
    Unreadable,
}

impl NoFrames {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Superseded, Self::Crowded, Self::Unreadable];

    /// One word: a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
            Self::Crowded => "crowded",
            Self::Unreadable => "unreadable",
        }
    }
}

impl fmt::Display for NoFrames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Superseded => {
                "the plugin crashed again before its turn to be looked into: see the next crash"
            }
            Self::Crowded => "too many plugins crashed at a time for each to be looked into",
            Self::Unreadable => "the library's tables by which frames are found make no sense",
        })
    }
}

impl Backtrace {
    /// `None` until it is settled.
    pub fn found(&self) -> Option<Result<&[Frame], NoFrames>> {
        self.0.get().map(|found| found.as_deref().map_err(|reason| *reason))
    }

    /// The frames are found out, or will not be; a second time changes nothing.
    pub fn settle(&self, found: Result<Vec<Frame>, NoFrames>) {
        let _ = self.0.set(found);
    }
}

impl PartialEq for Backtrace {
    fn eq(&self, other: &Self) -> bool {
        self.found() == other.found()
    }
}

impl Eq for Backtrace {}

impl fmt::Display for CrashReport {
    /// One line: `SIGSEGV at 0x1000 in handle of run …, on thread "echo"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.stack_overflow { "stack overflow, " } else { "" };
        write!(f, "{what}{}", signal_name(self.signal))?;
        if let Some(address) = self.address {
            write!(f, " at {address:#x}")?;
        }
        write!(f, " {}", self.during)?;
        if !self.thread.is_empty() {
            write!(f, ", on thread {:?}", self.thread)?;
        }
        Ok(())
    }
}

impl fmt::Display for During {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load => f.write_str("while the library was loaded"),
            Self::Create => f.write_str("in create"),
            Self::Call(call) => write!(f, "in {call}"),
            Self::Destroy => f.write_str("while the plugin was dropped"),
            Self::Elsewhere => f.write_str("outside of any call"),
        }
    }
}

impl fmt::Display for CrashedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method.unwrap_or("a call that is not open"))?;
        match &self.run {
            Some(run) => write!(f, " of run {run}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Frame {
    /// `misbehaving::deeds::segv at src/deeds.rs:12 (libmisbehaving.so+0x1234)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(symbol) = &self.symbol {
            write!(f, "{symbol} ")?;
        }
        if let Some(file) = &self.file {
            write!(f, "at {file}:{} ", self.line.unwrap_or_default())?;
        }
        let module = if self.module.is_empty() { "?" } else { &self.module };
        write!(f, "({module}+{:#x})", self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(during: During) -> CrashReport {
        CrashReport {
            signal: 11,
            code: 1,
            address: Some(0x1000),
            stack_overflow: false,
            thread: "echo".into(),
            during,
            open: Vec::new(),
            backtrace: Backtrace::default(),
        }
    }

    #[test]
    fn one_line_says_signal_address_call_and_thread() {
        let call = CrashedCall { call: CallId(1), method: Some("handle"), run: None };
        let said = report(During::Call(call)).to_string();
        assert_eq!(said, "SIGSEGV at 0x1000 in handle, on thread \"echo\"");
        let deep = CrashReport { stack_overflow: true, address: None, ..report(During::Create) };
        assert_eq!(deep.to_string(), "stack overflow, SIGSEGV in create, on thread \"echo\"");
    }

    #[test]
    fn a_frame_says_what_is_known_of_it() {
        let mut frame =
            Frame { module: "liba.so".into(), offset: 0x10, symbol: None, file: None, line: None };
        assert_eq!(frame.to_string(), "(liba.so+0x10)");
        frame.symbol = Some("a::b".into());
        frame.file = Some("src/a.rs".into());
        frame.line = Some(7);
        assert_eq!(frame.to_string(), "a::b at src/a.rs:7 (liba.so+0x10)");
    }

    #[test]
    fn a_backtrace_is_settled_once() {
        let (backtrace, unknown) = (Backtrace::default(), Backtrace::default());
        assert_eq!(backtrace.found(), None);
        backtrace.settle(Err(NoFrames::Crowded));
        assert_ne!(backtrace, unknown);
        backtrace.settle(Ok(Vec::new()));
        assert_eq!(backtrace.found(), Some(Err(NoFrames::Crowded)));
    }
}
