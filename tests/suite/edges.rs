//! House rules that hold between crates: who may depend on whom, who may be unsafe, and that no code asks where it runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::harness::artifacts;

/// Every edge between the workspace's crates. A new one needs a line here and in ARCHITECTURE.md.
///
/// Engine and gateway do not know the configuration: each component has its own `Settings`, which the server fills.
const EDGES: &[(&str, &[&str])] = &[
    ("agent-plugin-protocol", &[]),
    ("agent-plugin-api", &["agent-plugin-protocol"]),
    ("agent-plugin-testkit", &["agent-plugin-api"]),
    ("assistant", &["agent-plugin-api"]),
    ("echo", &["agent-plugin-api"]),
    ("supervisor", &["agent-plugin-api"]),
    ("broken-disk", &[]),
    ("misbehaving", &["agent-plugin-api"]),
    ("misbehaving-supervisor", &["agent-plugin-api"]),
    ("agent-host-core", &["agent-plugin-protocol"]),
    ("agent-host-telemetry", &["agent-plugin-protocol"]),
    ("agent-host-config", &["agent-host-core", "agent-host-telemetry", "agent-plugin-protocol"]),
    (
        "agent-host-runtime",
        &["agent-host-core", "agent-host-telemetry", "agent-plugin-api", "agent-plugin-protocol"],
    ),
    ("agent-host-store", &["agent-host-core", "agent-host-telemetry", "agent-plugin-protocol"]),
    ("agent-host-services", &["agent-host-core", "agent-host-telemetry", "agent-plugin-protocol"]),
    ("agent-host-engine", &["agent-host-core", "agent-host-telemetry", "agent-plugin-protocol"]),
    ("agent-host-chaos", &["agent-host-core", "agent-host-telemetry", "agent-plugin-protocol"]),
    (
        "agent-host-gateway",
        &["agent-host-core", "agent-host-engine", "agent-host-telemetry", "agent-plugin-protocol"],
    ),
    (
        "agent-host",
        &[
            "agent-host-chaos",
            "agent-host-config",
            "agent-host-core",
            "agent-host-engine",
            "agent-host-gateway",
            "agent-host-runtime",
            "agent-host-services",
            "agent-host-store",
            "agent-host-telemetry",
            "agent-plugin-protocol",
            "agent-plugin-testkit",
        ],
    ),
    ("agent-host-tests", &[]),
    ("load-agent", &["agent-plugin-api"]),
    ("agent-host-fuzz", &[]),
    ("agent-host-load", &[]),
];

/// Foreign crates that only these crates of the host may use. Tests are no part of it, and the floor is axum by definition.
const FENCED: &[(&str, &[&str])] = &[
    ("axum", &["agent-host-gateway"]),
    ("hyper", &["agent-host-gateway", "agent-host-services"]),
    ("jsonwebtoken", &["agent-host-gateway"]),
    ("landlock", &["agent-host-runtime"]),
    ("libloading", &["agent-host-runtime"]),
    ("seccompiler", &["agent-host-runtime"]),
    ("framehop", &["agent-host-runtime"]),
    ("addr2line", &["agent-host-runtime"]),
    ("rustc-demangle", &["agent-host-runtime"]),
    ("rusqlite", &["agent-host-store"]),
    ("toml", &["agent-host-config"]),
    ("toml_edit", &["agent-host-config"]),
    ("clap", &["agent-host"]),
    ("clap_mangen", &["agent-host"]),
    ("sd-notify", &["agent-host"]),
    ("metrics", &["agent-host-telemetry"]),
    ("metrics-exporter-prometheus", &["agent-host-telemetry"]),
    ("tokio-rustls", &["agent-host-services"]),
    ("rustls-native-certs", &["agent-host-services"]),
];

/// The crates that may contain `unsafe`, by their folder.
const UNSAFE: &[&str] =
    &["plugin-api", "host/runtime", "tests/fixtures/broken-disk", "tests/fixtures/misbehaving", "tests/fuzz"];

/// A crate of the workspace.
struct Crate {
    name: String,
    folder: PathBuf,
    /// What it is built from; what only its tests use is not in here.
    dependencies: BTreeSet<String>,
    roots: Vec<PathBuf>,
}

fn workspace() -> Vec<Crate> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(artifacts::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().iter().map(read).collect()
}

fn read(package: &Value) -> Crate {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = |key: &str| package[key].as_array().unwrap().iter();
    let built = all("dependencies").filter(|d| d["kind"] != "dev");
    Crate {
        name: text(&package["name"]),
        folder: Path::new(&text(&package["manifest_path"])).parent().unwrap().to_owned(),
        dependencies: built.map(|d| text(&d["name"])).collect(),
        roots: all("targets").map(|target| text(&target["src_path"]).into()).collect(),
    }
}

#[test]
fn crates_depend_on_each_other_only_as_the_table_says() {
    let crates = workspace();
    let ours: BTreeSet<&str> = crates.iter().map(|one| one.name.as_str()).collect();
    let found: BTreeMap<&str, BTreeSet<&str>> = crates
        .iter()
        .map(|one| {
            let edges = one.dependencies.iter().map(String::as_str).filter(|d| ours.contains(d));
            (one.name.as_str(), edges.collect())
        })
        .collect();
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        EDGES.iter().map(|(name, edges)| (*name, edges.iter().copied().collect())).collect();
    assert_eq!(found, allowed);
}

#[test]
fn foreign_crates_stay_behind_their_fence() {
    for one in workspace() {
        for (foreign, owners) in FENCED {
            let inside =
                owners.iter().chain(&["agent-host-tests", "agent-host-load"]).any(|name| *name == one.name);
            assert!(inside || !one.dependencies.contains(*foreign), "{} uses {foreign}", one.name);
        }
    }
}

#[test]
fn only_the_border_may_be_unsafe() {
    for one in workspace() {
        let folder = one.folder.strip_prefix(artifacts::root()).unwrap();
        if UNSAFE.iter().any(|allowed| folder == Path::new(allowed)) {
            continue;
        }
        for root in &one.roots {
            let source = std::fs::read_to_string(root).unwrap();
            assert!(
                source.contains("#![forbid(unsafe_code)]"),
                "{} does not forbid unsafe code",
                root.display()
            );
        }
    }
}

#[test]
fn no_code_of_the_host_asks_which_environment_it_runs_in() {
    // The incident began with `if environment in ["staging", "production"]`.
    let names = ["\"staging\"", "\"production\"", "\"prod\"", "\"development\""];
    let mut sources = Vec::new();
    gather(&artifacts::root().join("host"), &mut sources);
    assert!(sources.len() > 50, "{} sources found", sources.len());
    for path in sources {
        let source = std::fs::read_to_string(&path).unwrap();
        // Tests and documentation may name an environment; the code before them may not.
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        for (index, line) in code.lines().enumerate() {
            let statement = line.trim_start();
            let asks = !statement.starts_with("//") && names.iter().any(|name| statement.contains(name));
            assert!(!asks, "{}:{}: {statement}", path.display(), index + 1);
        }
    }
}

/// The Rust sources below a folder, without files of tests.
fn gather(dir: &Path, sources: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "tests" && name != "target" {
                gather(&path, sources);
            }
        } else if path.extension().is_some_and(|e| e == "rs") && name != "tests.rs" {
            sources.push(path);
        }
    }
}
