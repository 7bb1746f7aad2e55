//! Sets one key in a file's text: everything else of it, comments and order too, stays as it was written.

use serde_json::Value as Json;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

/// Why a text cannot be edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is no TOML.
    #[error("the file is not TOML: {0}")]
    Syntax(String),
    /// Something above the key is no table.
    #[error("`{0}` is not a table in that file")]
    NoTable(String),
    /// TOML cannot say it.
    #[error("{0} cannot be written as TOML")]
    Value(String),
}

/// The text with `key` (dotted, as `config print` shows it) set to `value`; `null` takes it out.
///
/// # Errors
/// [`EditError`]; the text is not touched.
pub fn edited(text: &str, key: &str, value: &Json) -> Result<String, EditError> {
    let mut document: DocumentMut =
        text.parse().map_err(|error: toml_edit::TomlError| EditError::Syntax(error.message().to_owned()))?;
    let (above, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut table: &mut dyn TableLike = document.as_table_mut();
    let mut path = String::new();
    for part in above.split('.').filter(|part| !part.is_empty()) {
        path = if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") };
        if !table.contains_key(part) {
            if value.is_null() {
                return Ok(text.to_owned());
            }
            let mut made = Table::new();
            // A table that only leads to another needs no header.
            made.set_implicit(true);
            table.insert(part, Item::Table(made));
        }
        let no_table = || EditError::NoTable(path.clone());
        table = table.get_mut(part).and_then(Item::as_table_like_mut).ok_or_else(no_table)?;
    }
    if value.is_null() {
        table.remove(last);
        return Ok(document.to_string());
    }
    let mut new = toml(value)?;
    match table.get_mut(last) {
        Some(Item::Value(old)) => {
            // The blanks and the comment around it.
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        Some(_) => return Err(EditError::Value(format!("`{key}`, a table,"))),
        None => {
            table.insert(last, Item::Value(new));
        }
    }
    Ok(document.to_string())
}

fn toml(value: &Json) -> Result<Value, EditError> {
    let cannot = || EditError::Value(value.to_string());
    Ok(match value {
        Json::Null => return Err(cannot()),
        Json::Bool(flag) => Value::from(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::from(whole),
            (None, Some(float)) if number.is_f64() => Value::from(float),
            (None, _) => return Err(cannot()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => {
            let mut array = Array::new();
            for item in items {
                array.push(toml(item)?);
            }
            Value::Array(array)
        }
        Json::Object(entries) => {
            let mut table = InlineTable::new();
            for (key, item) in entries {
                table.insert(key, toml(item)?);
            }
            Value::InlineTable(table)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FILE: &str = "# ours\n[plugins.echo] # the agent\nenabled = true   # on, said Ann\npath = \"libecho.so\"\n\n\
        # and its own\n[plugins.echo.config]\nmodel = \"a\"\n";

    #[test]
    fn a_value_is_replaced_and_all_else_stays() {
        let off = edited(FILE, "plugins.echo.enabled", &json!(false)).unwrap();
        assert_eq!(off, FILE.replace("enabled = true ", "enabled = false "));
        let on = edited(&off, "plugins.echo.enabled", &json!(true)).unwrap();
        assert_eq!(on, FILE, "there and back again");
    }

    #[test]
    fn what_was_not_there_is_added_where_it_belongs() {
        let more = edited(FILE, "plugins.echo.limits.concurrent_runs", &json!(5)).unwrap();
        let read: toml::Table = more.parse().unwrap();
        assert_eq!(read["plugins"]["echo"]["limits"]["concurrent_runs"].as_integer(), Some(5), "{more}");
        assert!(more.contains("# on, said Ann") && more.contains("# and its own"), "{more}");
        let whole = edited("", "routing.order", &json!(["a", "b"])).unwrap();
        assert_eq!(whole.parse::<toml::Table>().unwrap()["routing"]["order"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn inline_and_dotted_tables_are_tables() {
        for text in ["plugins.echo = { enabled = true, path = \"l.so\" }\n", "plugins.echo.enabled = true\n"]
        {
            let off = edited(text, "plugins.echo.enabled", &json!(false)).unwrap();
            assert_eq!(off, text.replace("true", "false"));
        }
    }

    #[test]
    fn a_key_is_taken_out() {
        let without = edited(FILE, "plugins.echo.enabled", &Json::Null).unwrap();
        assert!(!without.contains("enabled") && without.contains("path"), "{without}");
        assert_eq!(edited(FILE, "limits.connections", &Json::Null).unwrap(), FILE);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let error = |text: &str, key: &str, value: Json| edited(text, key, &value).unwrap_err().to_string();
        assert!(error("a = ", "a", json!(1)).contains("not TOML"));
        assert!(error("a = 1", "a.b", json!(1)).contains("`a` is not a table"));
        assert!(error("[a]", "a", json!(1)).contains("a table"));
        assert!(error("", "a", json!(u64::MAX)).contains("cannot be written"));
    }
}
