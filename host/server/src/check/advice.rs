//! What a library's imports and build say about where it may run.

use agent_host_runtime::{Allocator, Library};
use agent_plugin_protocol::PanicStrategy;
use serde::Serialize;

/// A function that a plugin had better not use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Import {
    pub(crate) symbol: &'static str,
    /// What it does to the process.
    pub(crate) harm: &'static str,
    /// Whether every plugin has it, because the SDK brings it: then it says nothing about the author's code.
    pub(crate) by_sdk: bool,
}

impl Import {
    /// Those of a library that are worth a word.
    pub(crate) fn of(imports: &[String]) -> Vec<Self> {
        let listed = HARMFUL.iter().filter(|(symbol, ..)| imports.iter().any(|import| import == symbol));
        listed.map(|(symbol, harm, by_sdk)| Self { symbol, harm, by_sdk: *by_sdk }).collect()
    }
}

/// Symbol, harm, and whether the SDK itself (with the Rust and tokio in it) imports it.
const HARMFUL: &[(&str, &str, bool)] = &[
    ("exit", "ends the process", true),
    ("_exit", "ends the process", false),
    ("_Exit", "ends the process", false),
    ("quick_exit", "ends the process", false),
    ("abort", "ends the process", true),
    ("kill", "signals other processes", false),
    ("raise", "signals the process", false),
    ("setenv", "changes the environment under other threads", false),
    ("unsetenv", "changes the environment under other threads", false),
    ("putenv", "changes the environment under other threads", false),
    ("clearenv", "changes the environment under other threads", false),
    ("sigaction", "replaces signal handlers", true),
    ("signal", "replaces signal handlers", false),
    ("sigprocmask", "masks signals", false),
    ("fork", "copies a process whose threads are gone in the copy", false),
    ("vfork", "copies a process whose threads are gone in the copy", false),
    ("posix_spawn", "starts programs", false),
    ("posix_spawnp", "starts programs", false),
    ("execv", "replaces the program", false),
    ("execve", "replaces the program", false),
    ("execvp", "replaces the program", false),
    ("system", "starts a shell", false),
    ("popen", "starts a shell", false),
    ("chdir", "moves the working folder of all threads", false),
    ("fchdir", "moves the working folder of all threads", false),
    ("chroot", "moves the root folder", false),
    ("umask", "changes the mode of files that others make", false),
    ("setrlimit", "changes the limits of the process", false),
    ("setrlimit64", "changes the limits of the process", false),
    ("setuid", "changes the user of the process", false),
    ("setgid", "changes the group of the process", false),
    ("setlocale", "changes the locale under other threads", false),
    ("prctl", "changes what the process may do", false),
    ("ptrace", "reads other processes", false),
    ("dlclose", "unloads code that may still run", false),
    ("atexit", "runs code when the process ends", false),
];

/// Where a plugin may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Isolation {
    /// Whether `isolation = "in-process"` is sensible, for code that is trusted as the host's own.
    pub(crate) in_process: bool,
    /// Why it is not.
    pub(crate) obstacles: Vec<String>,
}

impl Isolation {
    /// The advice for a library.
    pub(crate) fn advise(library: &Library) -> Self {
        let mut obstacles = Vec::new();
        match &library.descriptor {
            Some(descriptor) if descriptor.panic == PanicStrategy::Abort => {
                obstacles.push("it was built with panic=abort: a panic would end the host".to_owned());
            }
            Some(_) => {}
            None => obstacles.push("it has no descriptor that this host can read".to_owned()),
        }
        if let Allocator::Own(name) = &library.allocator {
            obstacles.push(format!("it brings an allocator of its own ({name})"));
        }
        let own = Import::of(&library.imports).into_iter().filter(|import| !import.by_sdk);
        obstacles.extend(own.map(|import| format!("it imports {}, which {}", import.symbol, import.harm)));
        Self { in_process: obstacles.is_empty(), obstacles }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn library(imports: &[&str], allocator: Allocator) -> Library {
        Library {
            descriptor: None,
            stripped: false,
            needed: Vec::new(),
            glibc: None,
            imports: imports.iter().map(|import| (*import).to_owned()).collect(),
            allocator,
        }
    }

    #[test]
    fn what_every_plugin_imports_is_told_and_held_against_none() {
        let imports = ["exit", "sigaction", "malloc"].map(str::to_owned);
        let told: Vec<_> = Import::of(&imports).iter().map(|import| (import.symbol, import.by_sdk)).collect();
        assert_eq!(told, [("exit", true), ("sigaction", true)]);
        let advice = Isolation::advise(&library(&["exit"], Allocator::System));
        assert!(!advice.obstacles.iter().any(|obstacle| obstacle.contains("exit")));
    }

    #[test]
    fn an_own_allocator_and_a_fork_speak_against_in_process() {
        let advice = Isolation::advise(&library(&["fork"], Allocator::Own("mi_malloc".to_owned())));
        assert!(!advice.in_process);
        assert_eq!(advice.obstacles.len(), 3, "{:?}", advice.obstacles);
    }
}
