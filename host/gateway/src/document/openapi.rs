//! The frame of a description in OpenAPI 3.1: what the surfaces of this host have in common. Each fills in its own table of
//! operations.

use http::Method;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::problem::ProblemBody;

/// What a surface is, and whose tokens it takes.
pub(crate) struct About {
    pub(crate) title: &'static str,
    pub(crate) description: &'static str,
    /// The name of its kind of token in [`OpenApi::add`]'s `security`.
    pub(crate) token: &'static str,
}

/// A description in the making.
pub(crate) struct OpenApi {
    schemas: SchemaGenerator,
    paths: Map<String, Value>,
}

impl OpenApi {
    pub(crate) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|it| {
            it.definitions_path = "/components/schemas".into();
            it.meta_schema = None;
        });
        Self { schemas: settings.for_serialize().into_generator(), paths: Map::new() }
    }

    /// Where the types of an operation are described; see [`reference`].
    pub(crate) fn schemas(&mut self) -> &mut SchemaGenerator {
        &mut self.schemas
    }

    /// Adds an operation: `described` without its responses, which are the one of its success and these refusals.
    pub(crate) fn add(
        &mut self,
        (method, path): (&Method, &'static str),
        mut described: Value,
        (status, success): (&str, Value),
        refusals: &[&str],
    ) {
        let mut responses = Map::new();
        responses.insert(status.to_owned(), success);
        for status in refusals {
            responses.insert((*status).to_owned(), json!({ "$ref": "#/components/responses/refused" }));
        }
        if let Some(described) = described.as_object_mut() {
            described.insert("responses".to_owned(), responses.into());
        }
        let at = self.paths.entry(path).or_insert_with(|| json!({}));
        if let Some(at) = at.as_object_mut() {
            at.insert(method.as_str().to_ascii_lowercase(), described);
        }
    }

    /// The whole document.
    pub(crate) fn document(mut self, about: &About) -> Value {
        let refusal = reference::<ProblemBody>(&mut self.schemas);
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": about.title,
                "version": env!("CARGO_PKG_VERSION"),
                "description": about.description,
            },
            "paths": self.paths,
            "components": {
                "securitySchemes": {
                    about.token: { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
                },
                "responses": {
                    "refused": {
                        "description": "Why not, with a stable code and what to do (RFC 9457).",
                        "content": { "application/problem+json": { "schema": refusal } },
                    },
                },
                "schemas": self.schemas.take_definitions(true),
            },
        })
    }
}

/// A type by its name in the document, where it is described once.
pub(crate) fn reference<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}

/// A body of JSON.
pub(crate) fn content(schema: Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}
