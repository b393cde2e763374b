//! A schema that an answer must obey, small and simple enough to be made into a grammar.
//!
//! Tool servers write schemas, so they are hostile; the C++ that turns them into grammars follows
//! every reference wherever it leads. What would exhaust its stack or its patience ends here.

#![forbid(unsafe_code)]

use serde_json::Value;

use crate::reply::ApiError;

const MAX_BYTES: usize = 64 << 10;
/// Levels, counting those that a reference leads to. One that leads back to itself has no end.
const MAX_DEPTH: usize = 48;
/// Values, counting those that a reference leads to each time.
const MAX_VALUES: usize = 4096;

/// A schema within the limits, as JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema(String);

impl Schema {
    /// Any JSON object.
    #[must_use]
    pub fn any_object() -> Self {
        Self(r#"{"type":"object"}"#.into())
    }

    /// The text, for the one who makes a grammar of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Value> for Schema {
    type Error = ApiError;

    fn try_from(schema: Value) -> Result<Self, ApiError> {
        let text = schema.to_string();
        let mut left = MAX_VALUES;
        if schema.is_object() && text.len() <= MAX_BYTES && is_small(&schema, &schema, MAX_DEPTH, &mut left) {
            Ok(Self(text))
        } else {
            Err(ApiError::schema(format!(
                "a schema is an object of at most {MAX_BYTES} bytes, {MAX_DEPTH} levels and {MAX_VALUES} values, \
                 whose references stay inside it and never lead back"
            )))
        }
    }
}

fn is_small(value: &Value, root: &Value, levels: usize, left: &mut usize) -> bool {
    let (Some(levels), Some(fewer)) = (levels.checked_sub(1), left.checked_sub(1)) else { return false };
    *left = fewer;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        Value::Array(items) => items.iter().all(|item| is_small(item, root, levels, left)),
        Value::Object(members) => members.iter().all(|(name, member)| match (name.as_str(), member) {
            ("$ref", Value::String(reference)) => {
                let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
                target.is_some_and(|target| is_small(target, root, levels, left))
            }
            (_, member) => is_small(member, root, levels, left),
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_tools_need_is_taken_as_it_is() {
        let schema = json!({
            "type": "object",
            "properties": { "b": { "$ref": "#/$defs/path" }, "a": { "$ref": "#/$defs/path" } },
            "$defs": { "path": { "type": "string", "maxLength": 80 } },
        });
        assert_eq!(Schema::try_from(schema.clone()).unwrap().as_str(), schema.to_string());
        assert!(Schema::any_object().as_str().parse::<Value>().unwrap().is_object());
    }

    #[test]
    fn what_would_exhaust_the_stack_is_refused() {
        let mut deep = json!({});
        for _ in 0..60 {
            deep = json!({ "items": deep });
        }
        for schema in [
            deep,
            json!({ "$ref": "#" }),
            json!({ "allOf": [{ "$ref": "#/$defs/a" }], "$defs": { "a": { "$ref": "#/$defs/a" } } }),
            json!({ "properties": { "child": { "$ref": "#" } } }),
        ] {
            assert_eq!(Schema::try_from(schema).unwrap_err().code(), "schema_unsupported");
        }
    }

    #[test]
    fn what_would_exhaust_the_patience_is_refused() {
        let mut definitions = json!({ "d0": { "type": "string" } });
        for level in 1..40 {
            let below = json!({ "$ref": format!("#/$defs/d{}", level - 1) });
            definitions[format!("d{level}")] = json!({ "allOf": [below, below] });
        }
        let many: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
        for schema in [
            json!({ "$ref": "#/$defs/d39", "$defs": definitions }),
            json!({ "enum": many }),
            json!({ "const": "x".repeat(70_000) }),
        ] {
            assert_eq!(Schema::try_from(schema).unwrap_err().code(), "schema_unsupported");
        }
    }

    #[test]
    fn references_stay_inside() {
        for reference in ["https://example.com/s", "other.json", "#/nowhere", ""] {
            assert!(Schema::try_from(json!({ "$ref": reference })).is_err(), "{reference}");
        }
        for schema in [json!([]), json!("x"), json!(true), json!(null)] {
            assert!(Schema::try_from(schema).is_err());
        }
    }
}
