//! Values made of others: lists, tables by names of the operator's, a value with its place.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{Style, Value, Wrong};
use crate::{
    node::{Entry, Kind, Node},
    origin::Origin,
    reader::Context,
};

impl<T: Value> Value for Vec<T> {
    const STYLE: Style = match T::STYLE {
        Style::Secret | Style::Secrets => Style::Secrets,
        Style::Text | Style::Scalar | Style::List | Style::Free => Style::List,
    };

    fn expects() -> String {
        format!("a list; each entry is {}", T::expects())
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }

    fn written(&self) -> Json {
        self.iter().map(T::written).collect()
    }

    fn parse(node: &Node, cx: &Context<'_>) -> Result<Self, Wrong> {
        let Kind::List(items) = &node.kind else {
            let hint =
                format!("put it in brackets: [{}]", if node.found() == "text" { "\"…\"" } else { "…" });
            return Err(Wrong::kind("a list", node).hint(Some(hint)));
        };
        let entry = |item| T::parse(item, cx).map_err(|wrong| wrong.at(&item.origin));
        items.iter().map(entry).collect()
    }
}

/// Values by names that the operator chooses.
impl<T: Value> Value for BTreeMap<String, T> {
    const STYLE: Style = Style::Free;

    fn expects() -> String {
        format!("a table; each entry is {}", T::expects())
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }

    fn written(&self) -> Json {
        self.iter().map(|(name, value)| (name.clone(), value.written())).collect()
    }

    fn parse(node: &Node, cx: &Context<'_>) -> Result<Self, Wrong> {
        let Kind::Table(table) = &node.kind else {
            return Err(Wrong::kind(&Self::expects(), node).hint(Some("write { NAME = … }".to_owned())));
        };
        let entry = |(name, entry): (&String, &Entry)| match T::parse(&entry.node, cx) {
            Ok(value) => Ok((name.clone(), value)),
            Err(wrong) => Err(Wrong {
                reason: format!("has {name:?}, which {}", wrong.reason),
                ..wrong.at(&entry.node.origin)
            }),
        };
        table.0.iter().map(entry).collect()
    }
}

/// A value with its place, for checks against the rest of the configuration.
pub(crate) struct Located<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

impl<T: Value> Value for Located<T> {
    const STYLE: Style = T::STYLE;

    fn expects() -> String {
        T::expects()
    }

    fn schema() -> Json {
        T::schema()
    }

    fn written(&self) -> Json {
        self.value.written()
    }

    fn parse(node: &Node, cx: &Context<'_>) -> Result<Self, Wrong> {
        Ok(Self { value: T::parse(node, cx)?, origin: node.origin.clone() })
    }
}
