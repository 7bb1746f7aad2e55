//! Reads which keys of the configuration are to be set: named one by one (`set`), or as the tables of a file have them.
//! Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The keys of a body, dotted; `null` takes one out.
///
/// # Errors
/// In words, if it is neither of the two, or both.
pub(crate) fn read(body: Value) -> Result<BTreeMap<String, Value>, String> {
    let Value::Object(mut body) = body else { return Err("the body is no JSON object".to_owned()) };
    match body.remove("set") {
        None => {
            let mut keys = BTreeMap::new();
            flatten("", body, &mut keys)?;
            Ok(keys)
        }
        Some(Value::Object(set)) if body.is_empty() => Ok(set.into_iter().collect()),
        Some(_) if body.is_empty() => Err("`set` is no JSON object".to_owned()),
        Some(_) => {
            let beside = body.keys().next().map(String::as_str).unwrap_or_default();
            Err(format!("`set` and {beside:?} are two ways to say what is to be set: use one"))
        }
    }
}

/// The leaves of nested tables. A table that says nothing sets nothing.
fn flatten(above: &str, table: Map<String, Value>, keys: &mut BTreeMap<String, Value>) -> Result<(), String> {
    for (name, value) in table {
        // A dot would make another key of it than the one that is meant.
        if name.is_empty() || name.contains('.') {
            return Err(format!("{name:?} is no name in a table: nest the tables, or use `set`"));
        }
        let key = if above.is_empty() { name } else { format!("{above}.{name}") };
        match value {
            Value::Object(inner) => flatten(&key, inner, keys)?,
            leaf @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                keys.insert(key, leaf);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(body: Value, expected: Value) {
        let Value::Object(expected) = expected else { panic!("keys") };
        assert_eq!(read(body.clone()), Ok(expected.into_iter().collect()), "{body}");
    }

    #[test]
    fn keys_are_named_or_nested() {
        check(json!({ "set": { "limits.runs_at_once": 5 } }), json!({ "limits.runs_at_once": 5 }));
        check(json!({ "limits": { "runs_at_once": 5 } }), json!({ "limits.runs_at_once": 5 }));
        check(
            json!({ "plugins": { "echo": { "enabled": false, "limits": { "memory": null } } }, "routing": { "order": ["a"] } }),
            json!({ "plugins.echo.enabled": false, "plugins.echo.limits.memory": null, "routing.order": ["a"] }),
        );
        check(json!({}), json!({}));
        check(json!({ "limits": {} }), json!({}));
        check(json!({ "set": {} }), json!({}));
    }

    #[test]
    fn what_is_neither_or_both_is_said() {
        for (body, words) in [
            (json!([]), "no JSON object"),
            (json!({ "set": 5 }), "`set` is no"),
            (json!({ "set": {}, "limits": {} }), "\"limits\" are two ways"),
            (json!({ "limits.runs_at_once": 5 }), "nest the tables"),
            (json!({ "limits": { "": 5 } }), "nest the tables"),
        ] {
            let said = read(body.clone()).unwrap_err();
            assert!(said.contains(words), "{body}: {said}");
        }
    }
}
