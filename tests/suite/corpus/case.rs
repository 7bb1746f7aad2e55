//! One case: its name, what is done, and what may be seen of it.

use std::path::PathBuf;

use crate::harness::Plugin;

/// Where a plugin runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Worker,
    InProcess,
}

impl Tier {
    /// The word of the configuration.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Worker => "process",
            Self::InProcess => "in-process",
        }
    }
}

/// A way to be bad.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// A plugin id as well.
    pub(crate) name: String,
    /// The row of the list of faults.
    pub(crate) row: u8,
    pub(crate) what: What,
    pub(crate) in_process: InProcess,
}

/// What is done.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// It cannot start: by one of these codes. Messages to it are answered by the fallback.
    Start { plugin: Plugin, library: Option<PathBuf>, codes: &'static [&'static str] },
    /// It loads, or it does not: nobody can say before. Whatever it does, its messages are answered.
    Any { plugin: Plugin, library: PathBuf },
    /// It starts, and this message makes it fail, by one of these codes; then it is healthy again.
    Deed { plugin: Plugin, message: String, codes: &'static [&'static str] },
    /// It starts, and this message makes it say what is not so. The run is whole, whatever its end.
    Lie { plugin: Plugin, message: String },
}

/// What the tier in the host's own process makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InProcess {
    /// The same.
    Same,
    /// The tier does not promise it: trusted code does not do that. Why not, in a few words.
    NotPromised(&'static str),
}

impl Case {
    /// A plugin that cannot start.
    pub(crate) fn start(name: &str, row: u8, plugin: Plugin, codes: &'static [&'static str]) -> Self {
        Self::of(name, row, What::Start { plugin, library: None, codes })
    }

    /// A file that is no plugin.
    pub(crate) fn file(name: &str, library: PathBuf, codes: &'static [&'static str]) -> Self {
        // One that never ends to load ends soon; what fails on its way there has its time.
        let ends = !codes.contains(&"plugin.load_timeout");
        let plugin = Plugin::at(name, &library);
        let plugin = if ends { plugin } else { plugin.key("timeouts", SHORT) };
        Self::of(name, 7, What::Start { plugin, library: Some(library), codes })
    }

    /// A file of which nobody knows what it does.
    pub(crate) fn unknown(name: &str, library: PathBuf) -> Self {
        let plugin = Plugin::at(name, &library).key("timeouts", SHORT);
        Self::of(name, 7, What::Any { plugin, library })
            .not_in_process("no preflight can tell what a broken library does later")
    }

    /// A message that is the plugin's end, or its call's.
    pub(crate) fn deed(name: &str, row: u8, message: &str, codes: &'static [&'static str]) -> Self {
        let plugin = Plugin::misbehaving(name);
        Self::of(name, row, What::Deed { plugin, message: message.to_owned(), codes })
    }

    /// A message that makes it lie. Some then say nothing more.
    pub(crate) fn lie(lie: &str) -> Self {
        let name = format!("lie-{lie}");
        let (plugin, message) = (Plugin::misbehaving(&name).hasty(), format!("!lie-{lie}"));
        Self::of(&name, 9, What::Lie { plugin, message })
    }

    /// What the tier in the host's process does not promise.
    pub(crate) fn not_in_process(mut self, why: &'static str) -> Self {
        self.in_process = InProcess::NotPromised(why);
        self
    }

    /// It does not end by itself: its clocks are short.
    pub(crate) fn endless(mut self) -> Self {
        if let What::Deed { plugin, .. } = &mut self.what {
            *plugin = plugin.clone().hasty();
        }
        self
    }

    /// The library that `check` can be asked about.
    pub(crate) fn library(&self) -> Option<(&PathBuf, Option<&'static [&'static str]>)> {
        match &self.what {
            What::Start { library, codes, .. } => library.as_ref().map(|path| (path, Some(*codes))),
            What::Any { library, .. } => Some((library, None)),
            What::Deed { .. } | What::Lie { .. } => None,
        }
    }

    /// Its plugin, in its slot.
    pub(crate) fn plugin(&self) -> &Plugin {
        match &self.what {
            What::Start { plugin, .. }
            | What::Any { plugin, .. }
            | What::Deed { plugin, .. }
            | What::Lie { plugin, .. } => plugin,
        }
    }

    fn of(name: &str, row: u8, what: What) -> Self {
        Self { name: name.to_owned(), row, what, in_process: InProcess::Same }
    }
}

/// What never ends ends soon; what takes its time on a busy machine has it.
const SHORT: &str = "{ init = \"4s\", tool = \"1s\", idle = \"1s\", run = \"4s\", grace = \"200ms\" }";
