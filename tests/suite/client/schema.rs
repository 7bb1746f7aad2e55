//! Holds every frame against its published schema: `docs/asyncapi.json`, which is what the host serves.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex},
};

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use crate::harness::artifacts;

/// Who says a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

/// The schemas of the document, by name.
static SCHEMAS: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    let document: Value = serde_json::from_str(&artifacts::read("docs/asyncapi.json")).expect("it is JSON");
    document["components"]["schemas"].as_object().expect("it has schemas").clone()
});

/// Those that were needed, compiled once.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// Objects to a frame that is not as published.
pub(crate) fn judge(side: Side, frame: &Value) -> Result<(), String> {
    let kind = frame["type"].as_str().ok_or_else(|| format!("a frame without type: {frame}"))?;
    let side = match side {
        Side::Server => "server",
        Side::Client => "client",
    };
    let validator =
        validator(&format!("{side}.{kind}")).ok_or_else(|| format!("the schema has no {side}.{kind}"))?;
    let errors: Vec<String> =
        validator.iter_errors(frame).map(|e| format!("{e} at {:?}", e.instance_path().to_string())).collect();
    match errors.is_empty() {
        true => Ok(()),
        false => Err(format!("not as published: {}: {frame}", errors.join("; "))),
    }
}

fn validator(name: &str) -> Option<Arc<Validator>> {
    let mut all = VALIDATORS.lock().unwrap();
    if let Some(validator) = all.get(name) {
        return Some(Arc::clone(validator));
    }
    let mut schema = SCHEMAS.get(name)?.clone();
    // What it refers to; the other frames' names have a dot.
    let shared: Map<String, Value> =
        SCHEMAS.iter().filter(|(name, _)| !name.contains('.')).map(|(n, s)| (n.clone(), s.clone())).collect();
    schema["components"] = json!({ "schemas": shared });
    let options = jsonschema::options().with_draft(Draft::Draft7).should_validate_formats(true);
    let validator = Arc::new(options.build(&schema).expect("a published schema compiles"));
    all.insert(name.to_owned(), Arc::clone(&validator));
    Some(validator)
}

#[cfg(test)]
mod tests;
