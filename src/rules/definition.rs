//! Rules as they are written, PromQL included: `alerts` reads the form, the expression is known here.

use serde_json::{Map, Value};

use super::expression;
use crate::{
    alerts::{self, Mistake},
    model::Rule,
};

/// Reads a rule of longwatch's own form.
///
/// # Errors
/// Every mistake in it; one in an expression names line and column in it.
pub fn read_rule(object: &Map<String, Value>) -> Result<Rule, Vec<Mistake>> {
    checked(alerts::read_rule(object)?)
}

/// Reads a rule as it is kept: one of longwatch's own form, or one of a Prometheus rule file.
///
/// # Errors
/// As [`read_rule`]; in templates, too.
pub fn check_definition(object: &Map<String, Value>) -> Result<Rule, Vec<Mistake>> {
    checked(alerts::read_definition(object)?)
}

fn checked(rule: Rule) -> Result<Rule, Vec<Mistake>> {
    let mistakes = expression::check(&rule);
    if mistakes.is_empty() {
        Ok(rule)
    } else {
        Err(mistakes)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mistakes(expr: &Value) -> Vec<String> {
        let rule = json!({"name": "a", "description": "d", "condition_type": "expr", "expr": expr});
        let read = read_rule(rule.as_object().unwrap());
        let found = read.err().into_iter().flatten();
        found.map(|m| format!("{}: {}", m.key, m.reason)).collect()
    }

    #[test]
    fn a_mistake_in_an_expression_has_its_place_in_it() {
        assert_eq!(mistakes(&json!("up == 0")), [""; 0]);
        assert_eq!(mistakes(&json!("1")), [""; 0]);
        let torn = mistakes(&json!("sum(\n  up"));
        assert!(torn[0].starts_with("expr: 2:5: parse error"), "{torn:?}");
        assert_eq!(
            mistakes(&json!("up[5m]")),
            ["expr: yields a range vector, not an instant vector or scalar"]
        );
        assert_eq!(mistakes(&json!("")), ["expr: must not be empty"]);
        assert_eq!(mistakes(&Value::Null), ["expr: is missing"]);
        assert_eq!(
            mistakes(&json!(1)),
            ["expr: expected a text, found a number"]
        );
    }

    #[test]
    fn what_the_expression_says_itself_is_not_said_beside_it() {
        let rule = json!({"name": "a", "description": "d", "condition_type": "expr", "expr": "up", "window": "5m",
            "threshold": 3, "labels": {"team": "x"}, "add_labels": {"zone": "y"}});
        let found = read_rule(rule.as_object().unwrap()).unwrap_err();
        let keys: Vec<&str> = found.iter().map(|m| m.key.as_str()).collect();
        assert_eq!(keys, ["threshold", "window", "labels"]);
    }
}
