//! Reads YAML as Prometheus, Kubernetes and Cloud Run do: by a parser of the language, into JSON.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::artifacts;

/// The documents of a file of the repository, in order.
pub(crate) fn read(path: &str) -> Vec<Value> {
    parse(&artifacts::read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a text.
///
/// # Errors
/// What the parser says; a key that is there twice is an error too.
pub(crate) fn parse(text: &str) -> Result<Vec<Value>, String> {
    let python = artifacts::root().join("target/python/bin/python");
    let child = Command::new(&python)
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child =
        child.unwrap_or_else(|error| panic!("{}: {error}; `tests/run python` makes it", python.display()));
    let written = child.stdin.take().expect("piped above").write_all(text.as_bytes());
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("ModuleNotFoundError"), "PyYAML is missing; `tests/run python` gets it");
        return Err(said);
    }
    written.map_err(|e| e.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|e| e.to_string())
}

const PROGRAM: &str = r#"
import json, sys, yaml
class Loader(yaml.SafeLoader): pass
def mapping(loader, node, deep=False):
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice: raise SystemExit(f"{node.start_mark}: twice: {sorted(map(str, twice))}")
    return yaml.SafeLoader.construct_mapping(loader, node, deep)
Loader.add_constructor("tag:yaml.org,2002:map", lambda loader, node: mapping(loader, node, True))
print(json.dumps([one for one in yaml.load_all(sys.stdin, Loader) if one is not None]))
"#;
