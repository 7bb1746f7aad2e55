//! The JSON schema of a configuration file, made from the list of known keys.

use serde_json::{Map, Value as Json, json};

use crate::{reader::Key, section::known_keys, value::ID_PATTERN};

/// The JSON schema (2020-12) of one file: `host.toml`, one of `plugins.d`, or a profile's.
///
/// A file may leave everything out, as another may have it; so nothing is required. What depends on other keys and
/// on the machine is left to `config validate`.
pub fn schema() -> Json {
    let mut root = Branch::default();
    for key in known_keys() {
        let segments: Vec<&str> = key.path.split('.').collect();
        root.add(&segments, &key);
    }
    let mut schema = root.into_schema();
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "agent-host configuration".into();
    schema
}

/// A table of the configuration, while it is gathered.
#[derive(Default)]
struct Branch {
    /// What the table itself was said to be, if it is a key as well.
    leaf: Option<Json>,
    properties: Vec<(String, Self)>,
    /// What a key of the operator's own holds: `<id>`, `*` or `**`.
    own: Option<(Own, Box<Self>)>,
}

/// Names that are the operator's.
#[derive(Clone, Copy)]
enum Own {
    /// Plugin ids.
    Ids,
    /// Any name.
    Names,
}

impl Branch {
    fn add(&mut self, segments: &[&str], key: &Key) {
        let Some((first, rest)) = segments.split_first() else {
            self.leaf = Some(described(key));
            return;
        };
        self.child(first).add(rest, key);
    }

    fn child(&mut self, segment: &str) -> &mut Self {
        let own = match segment {
            "<id>" => Some(Own::Ids),
            "*" | "**" => Some(Own::Names),
            _ => None,
        };
        if let Some(own) = own {
            return &mut self.own.get_or_insert_with(|| (own, Box::default())).1;
        }
        let at = self.properties.iter().position(|(name, _)| name == segment).unwrap_or_else(|| {
            self.properties.push((segment.to_owned(), Self::default()));
            self.properties.len() - 1
        });
        &mut self.properties[at].1
    }

    fn into_schema(self) -> Json {
        if self.properties.is_empty() && self.own.is_none() {
            return self.leaf.unwrap_or_else(|| json!({}));
        }
        let mut schema = self.leaf.unwrap_or_else(|| json!({}));
        schema["type"] = "object".into();
        let properties: Map<String, Json> =
            self.properties.into_iter().map(|(name, below)| (name, below.into_schema())).collect();
        if !properties.is_empty() {
            schema["properties"] = properties.into();
        }
        match self.own {
            None => schema["additionalProperties"] = false.into(),
            Some((Own::Names, below)) => schema["additionalProperties"] = below.into_schema(),
            Some((Own::Ids, below)) => {
                schema["patternProperties"] = json!({ ID_PATTERN: below.into_schema() });
                schema["additionalProperties"] = false.into();
            }
        }
        schema
    }
}

fn described(key: &Key) -> Json {
    let mut schema = key.schema.clone();
    schema["description"] = key.expects.as_str().into();
    schema
}
