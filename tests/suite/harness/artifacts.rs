//! Finds what was built: the two host binaries and the plugin libraries. Builds nothing by itself.

use std::path::{Path, PathBuf};

/// The shipped host.
pub(crate) fn host() -> PathBuf {
    find("agent-host", "cargo build --workspace")
}

/// The host with fault injection compiled in.
pub(crate) fn host_with_failpoints() -> PathBuf {
    find(
        "agent-host-failpoints",
        "cargo build --workspace --bin agent-host-failpoints --features agent-host/failpoints",
    )
}

/// The example plugin.
pub(crate) fn echo() -> PathBuf {
    find("libecho.so", "cargo build --workspace")
}

/// The fixture with a switch for each misbehaviour.
pub(crate) fn misbehaving() -> PathBuf {
    find("libmisbehaving.so", "cargo build --workspace")
}

/// The supervisor with a switch for each misbehaviour.
pub(crate) fn misbehaving_supervisor() -> PathBuf {
    find("libmisbehaving_supervisor.so", "cargo build --workspace")
}

/// What stands between a host and its disk, where it is preloaded.
pub(crate) fn broken_disk() -> PathBuf {
    find("libbroken_disk.so", "cargo build --workspace")
}

/// The agent with tools.
pub(crate) fn assistant() -> PathBuf {
    find("libassistant.so", "cargo build --workspace")
}

/// The supervisor that goes by descriptions.
pub(crate) fn supervisor() -> PathBuf {
    find("libsupervisor.so", "cargo build --workspace")
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the tests are a folder of the repository").to_owned()
}

/// A file of the repository, as text.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The folder in which this very test was built: `target/debug` or its like.
fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    test.ancestors().nth(2).expect("a test lies in <profile>/deps/").to_owned()
}

fn find(name: &str, build: &str) -> PathBuf {
    let path = profile_dir().join(name);
    assert!(path.exists(), "{name} is not built; run `{build}` (or tests/run, which builds everything)");
    path
}
