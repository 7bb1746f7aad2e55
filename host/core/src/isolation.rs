//! The one vocabulary of the sandbox: its layers, whether each is in force, and one word for the whole.
//!
//! `Started.sandbox`, `agent-host check`, the admin view, `[isolation] require` and `docs/sandbox.md` use these words.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// Declares the layers, each once: its name, what it stops, and what it does not.
macro_rules! layers {
    ($($variant:ident $word:literal stops $stops:literal, not $leaves:literal;)*) => {
        /// One layer of the sandbox around a worker.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Layer {
            $(#[doc = $stops] $variant,)*
        }

        impl Layer {
            /// Every layer, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Every name with its layer.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),*];

            /// Its name, everywhere.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// What it stops, in half a sentence.
            pub const fn stops(self) -> &'static str {
                match self { $(Self::$variant => $stops),* }
            }

            /// What it does not stop, in half a sentence.
            pub const fn leaves(self) -> &'static str {
                match self { $(Self::$variant => $leaves),* }
            }
        }
    };
}

layers! {
    Descriptors "descriptors"
        stops "use of a descriptor that the host forgot to close on exec",
        not "its own socket, which speaks to the host";
    Environment "environment"
        stops "secrets of the host's environment in the worker's own",
        not "reading them from the host's memory: `landlock_files` and the host's own setting do";
    Namespace "namespace"
        stops "seeing or signalling any process but its own, and outliving its worker, `setsid` and double forks included",
        not "files and the network";
    OwnUser "own_user"
        stops "what one user may do to its own files and processes: each plugin is a user of its own (where the host is root)",
        not "files that every user may read";
    Capabilities "capabilities"
        stops "every privilege of root, also by a later exec: none is held, none can be had",
        not "what its user owns";
    NoNewPrivs "no_new_privs"
        stops "privileges by set-user-id programs",
        not "what it may do already";
    Hidden "hidden"
        stops "another process of its user from reading its memory or tracing it",
        not "root";
    LandlockFiles "landlock_files"
        stops "every file but its own folder and what a library needs to run: library folders, loader cache, names, certificates, time zones, a few devices; running programs",
        not "what is already open";
    LandlockScopes "landlock_scopes"
        stops "signals to, and tracing of, processes outside; abstract Unix sockets of others",
        not "pathname Unix sockets: `seccomp` does";
    LandlockNetwork "landlock_network"
        stops "TCP connections and listening",
        not "UDP and Unix sockets: `seccomp` does";
    Seccomp "seccomp"
        stops "making processes, programs and sockets; signals and limits for others, tracing, io_uring, mounts, namespaces, memory files, kernel keys, BPF",
        not "what is left: files, memory, threads, time";
    Rlimits "rlimits"
        stops "core dumps, and more open files, larger files, locked memory and queues than its bounds",
        not "CPU time; many files of the largest size in its own folder";
    MemoryLimit "memory_limit"
        stops "more address space than `limits.memory`",
        not "memory outside of its address space: `seccomp` refuses memory files and larger pipes";
    ProcessLimit "process_limit"
        stops "more threads and processes than any plugin needs; by a count that is the worker's own",
        not "the use of those that it has";
    OomScore "oom_score"
        stops "the kernel from choosing the host when memory is short",
        not "the shortage";
    ParentDeathSignal "parent_death_signal"
        stops "outliving the host",
        not "what it forked: `namespace` and `seccomp` do";
    ProcessGroup "process_group"
        stops "signals of a terminal, and what stays in its group from outliving it",
        not "what leaves the group";
    WorkingFolder "working_folder"
        stops "relative paths that lead into the host's folders",
        not "absolute ones: `landlock_files` does";
    Cgroup "cgroup"
        stops "more memory, threads and CPU in total than its bounds, of a worker with all that it makes",
        not "shares below the bounds; CPU, unless `limits.cpu_percent` is set";
}

impl Layer {
    /// The layer of that name.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|layer| layer.as_str() == word)
    }

    /// Without it, hostile code can do what the host's user can: the whole is then weak.
    const fn confines(self) -> bool {
        match self {
            Self::Descriptors
            | Self::Environment
            | Self::Capabilities
            | Self::NoNewPrivs
            | Self::LandlockFiles
            | Self::Seccomp => true,
            // Judged by itself: a host that is not root has none to give.
            Self::OwnUser
            | Self::Namespace
            | Self::Hidden
            | Self::LandlockScopes
            | Self::LandlockNetwork
            | Self::Rlimits
            | Self::MemoryLimit
            | Self::ProcessLimit
            | Self::OomScore
            | Self::ParentDeathSignal
            | Self::ProcessGroup
            | Self::WorkingFolder
            | Self::Cgroup => false,
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a layer is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// As wanted.
    Enforced,
    /// Some of it.
    Partial,
    /// Wanted, and not to be had here.
    Unavailable,
    /// Not wanted.
    Off,
}

impl Enforcement {
    /// The word, everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Partial => "partial",
            Self::Unavailable => "unavailable",
            Self::Off => "off",
        }
    }
}

/// The state of one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerState {
    /// Whether it is in force.
    pub state: Enforcement,
    /// Why not, in half a sentence; empty where it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

impl LayerState {
    /// In force.
    pub const fn enforced() -> Self {
        Self { state: Enforcement::Enforced, reason: String::new() }
    }

    /// Some of it, and why not all.
    pub fn partial(reason: impl Into<String>) -> Self {
        Self { state: Enforcement::Partial, reason: reason.into() }
    }

    /// Not to be had here, and why.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self { state: Enforcement::Unavailable, reason: reason.into() }
    }

    /// Not wanted, and why.
    pub fn off(reason: impl Into<String>) -> Self {
        Self { state: Enforcement::Off, reason: reason.into() }
    }

    /// In force, or not to be had for the reason that the error gives.
    pub fn of<E: fmt::Display>(result: Result<(), E>) -> Self {
        result.map_or_else(|error| Self::unavailable(error.to_string()), |()| Self::enforced())
    }
}

/// What of the sandbox is in force around one worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SandboxReport(pub BTreeMap<Layer, LayerState>);

/// The whole, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IsolationEnforced {
    /// Every layer that is wanted is in force.
    Full,
    /// Hostile code is confined; something that would bound it further is missing.
    Partial,
    /// Hostile code can do what the host's user can, or the plugin runs as root.
    Weak,
}

impl IsolationEnforced {
    /// The word, everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::Weak => "weak",
        }
    }
}

impl SandboxReport {
    /// Notes the state of a layer.
    pub fn set(&mut self, layer: Layer, state: LayerState) {
        self.0.insert(layer, state);
    }

    /// Whether a layer is in force.
    pub fn enforces(&self, layer: Layer) -> bool {
        self.0.get(&layer).is_some_and(|it| it.state == Enforcement::Enforced)
    }

    /// The layers with their states, in the order in which they are shown.
    pub fn iter(&self) -> impl Iterator<Item = (Layer, &LayerState)> {
        self.0.iter().map(|(layer, state)| (*layer, state))
    }

    /// The first layer of `required` that is not in force, with the words that say so.
    pub fn lacks(&self, required: &[Layer]) -> Option<(Layer, String)> {
        let layer = required.iter().copied().find(|layer| !self.enforces(*layer))?;
        let words = match self.0.get(&layer) {
            Some(LayerState { state, reason }) if reason.is_empty() => state.as_str().to_owned(),
            Some(LayerState { state, reason }) => format!("{} ({reason})", state.as_str()),
            None => "not known to the worker".to_owned(),
        };
        Some((layer, words))
    }

    /// What makes the whole weak, each with its reason.
    pub fn weaknesses(&self) -> Vec<String> {
        let missing = |layer: &Layer| match layer {
            Layer::OwnUser => self.wants_in_vain(*layer),
            _ => layer.confines() && !self.enforces(*layer),
        };
        let reason =
            |layer: Layer| self.0.get(&layer).map_or("not known to the worker", |it| it.reason.as_str());
        Layer::ALL
            .iter()
            .copied()
            .filter(missing)
            .map(|layer| format!("{layer}: {}", reason(layer)))
            .collect()
    }

    fn wants_in_vain(&self, layer: Layer) -> bool {
        self.0
            .get(&layer)
            .is_none_or(|it| matches!(it.state, Enforcement::Partial | Enforcement::Unavailable))
    }

    /// The whole, in one word.
    pub fn summary(&self) -> IsolationEnforced {
        if !self.weaknesses().is_empty() {
            return IsolationEnforced::Weak;
        }
        match Layer::ALL.iter().any(|layer| self.wants_in_vain(*layer)) {
            true => IsolationEnforced::Partial,
            false => IsolationEnforced::Full,
        }
    }
}

#[cfg(test)]
mod docs;

#[cfg(test)]
mod tests {
    use super::*;

    fn all(state: fn() -> LayerState) -> SandboxReport {
        SandboxReport(Layer::ALL.iter().map(|layer| (*layer, state())).collect())
    }

    #[test]
    fn the_word_in_json_is_the_name() {
        for layer in Layer::ALL {
            assert_eq!(serde_json::to_value(layer).unwrap(), layer.as_str());
            assert_eq!(Layer::named(layer.as_str()), Some(*layer));
        }
    }

    #[test]
    fn one_word_sums_up_the_layers() {
        let check = |changes: &[(Layer, LayerState)], word: &str| {
            let mut report = all(LayerState::enforced);
            for (layer, state) in changes {
                report.set(*layer, state.clone());
            }
            assert_eq!(report.summary().as_str(), word, "{changes:?}");
        };
        check(&[], "full");
        check(&[(Layer::OwnUser, LayerState::off("the host is not root"))], "full");
        check(&[(Layer::MemoryLimit, LayerState::off("limits.memory is 0"))], "full");
        check(&[(Layer::Cgroup, LayerState::unavailable("not writable"))], "partial");
        check(&[(Layer::Namespace, LayerState::unavailable("forbidden"))], "partial");
        check(&[(Layer::OwnUser, LayerState::unavailable("root, and no range"))], "weak");
        check(&[(Layer::LandlockFiles, LayerState::partial("version 2"))], "weak");
        check(&[(Layer::Seccomp, LayerState::off("a test"))], "weak");
        assert_eq!(all(|| LayerState::off("in-process")).summary(), IsolationEnforced::Weak);
        assert_eq!(SandboxReport::default().summary(), IsolationEnforced::Weak);
    }

    #[test]
    fn a_required_layer_that_is_missing_is_named_with_its_reason() {
        let mut report = all(LayerState::enforced);
        assert_eq!(report.lacks(Layer::ALL), None);
        report.set(Layer::Cgroup, LayerState::unavailable("not writable"));
        let (layer, words) = report.lacks(&[Layer::Seccomp, Layer::Cgroup]).unwrap();
        assert_eq!((layer, words.as_str()), (Layer::Cgroup, "unavailable (not writable)"));
        assert!(SandboxReport::default().lacks(&[Layer::Seccomp]).is_some());
    }
}
