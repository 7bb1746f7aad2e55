//! The tool `calculator`: `+ - * / ( )` over decimal numbers.

mod expression;

use agent_host_core::ports::tools::ToolError;
use agent_plugin_protocol::call::ToolInfo;
use serde_json::{Value, json};

use crate::arguments::{Arguments, invalid};

pub(crate) const NAME: &str = "calculator";

/// Longest expression, in bytes: evaluation is linear in it.
const MAX_BYTES: usize = 4096;

pub(crate) fn info() -> ToolInfo {
    ToolInfo {
        name: NAME.to_owned(),
        description: "Evaluates an arithmetic expression with + - * / and parentheses.".to_owned(),
        input_schema: json!({
            "type": "object",
            "properties": {
                "expression": {
                    "type": "string", "maxLength": MAX_BYTES, "description": "for example (1 + 2) * 3.5",
                },
            },
            "required": ["expression"],
            "additionalProperties": false,
        }),
    }
}

pub(crate) fn call(arguments: &Value) -> Result<Value, ToolError> {
    let text = Arguments::read(arguments, &["expression"])?.text("expression")?;
    if text.len() > MAX_BYTES {
        return Err(invalid(&format!("`expression` is longer than {MAX_BYTES} bytes")));
    }
    let result = expression::evaluate(text).map_err(|e| invalid(&e.to_string()))?;
    Ok(json!({ "result": number(result) }))
}

/// Whole numbers are written as such, as far as a double is exact.
fn number(result: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    // Within the exact range the conversion loses nothing.
    if result.fract() == 0.0 && result.abs() < EXACT { json!(result as i64) } else { json!(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_a_number() {
        let call = |text: &str| call(&json!({ "expression": text })).unwrap();
        assert_eq!(call("(1 + 2) * 3"), json!({"result": 9}));
        assert_eq!(call("1 / 4"), json!({"result": 0.25}));
        assert_eq!(call("0 - 0"), json!({"result": 0}));
    }

    #[test]
    fn arguments_that_do_not_fit_are_refused() {
        let bad = [
            json!({}),
            json!({"expression": 1}),
            json!({"expression": "1", "x": 1}),
            json!("1"),
            Value::Null,
        ];
        for arguments in bad {
            assert_eq!(call(&arguments).unwrap_err().code, agent_plugin_protocol::Code::ToolInvalidArguments);
        }
        assert!(call(&json!({ "expression": "1".repeat(MAX_BYTES + 1) })).is_err());
    }
}
