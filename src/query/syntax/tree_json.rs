//! Tree -> JSON, as `/api/v1/parse_query` answers it.
//!
//! Source: Prometheus, `web/api/v1/translate_ast.go`.

use serde_json::Value;

use super::{
    expression::{
        Aggregate, At, Binary, Cardinality, Expression, Matching, Moment, Node, Selector, Subquery,
        ValueType, Wrapping,
    },
    function::Function,
    print::Number,
};

/// The tree for a user interface.
pub fn to_json(expression: &Expression) -> Value {
    match &expression.node {
        Node::Number(value) => object([
            ("type", "numberLiteral".into()),
            ("val", Number(*value).to_string().into()),
        ]),
        Node::Text(text) => object([
            ("type", "stringLiteral".into()),
            ("val", text.as_str().into()),
        ]),
        Node::Vector(selector) => selector_json("vectorSelector", selector, None),
        Node::Matrix(selector, range_ms) => {
            selector_json("matrixSelector", selector, Some(*range_ms))
        }
        Node::Subquery(subquery) => subquery_json(subquery, to_json(&subquery.inner)),
        Node::Call(function, arguments) => object([
            ("type", "call".into()),
            ("func", function_json(function)),
            ("args", arguments.iter().map(to_json).collect()),
        ]),
        Node::Aggregate(aggregate) => {
            let parameter = aggregate.parameter.as_ref().map(to_json);
            aggregate_json(aggregate, to_json(&aggregate.inner), parameter)
        }
        Node::Binary(binary) => {
            binary_json(binary, [to_json(&binary.left), to_json(&binary.right)])
        }
        Node::Negate(inner) => sign_json("-", to_json(inner)),
        Node::Group(inner, Wrapping::Plus) => sign_json("+", to_json(inner)),
        Node::Group(inner, Wrapping::Parentheses) => {
            object([("type", "parenExpr".into()), ("expr", to_json(inner))])
        }
    }
}

/// An object that takes its fields over: `json!` would copy the parts of the tree at each level.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.into_iter();
    Value::Object(
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn sign_json(sign: &str, inner: Value) -> Value {
    object([
        ("type", "unaryExpr".into()),
        ("op", sign.into()),
        ("expr", inner),
    ])
}

fn selector_json(kind: &str, selector: &Selector, range_ms: Option<i64>) -> Value {
    let [timestamp, start_or_end] = at_json(&selector.moment);
    let mut value = object([
        ("type", kind.into()),
        ("name", selector.name.as_deref().unwrap_or("").into()),
        ("offset", selector.moment.offset_ms.into()),
        ("matchers", matchers_json(selector)),
        ("timestamp", timestamp),
        ("startOrEnd", start_or_end),
        ("anchored", false.into()),
        ("smoothed", false.into()),
    ]);
    if let (Value::Object(fields), Some(range_ms)) = (&mut value, range_ms) {
        fields.insert("range".to_owned(), range_ms.into());
    }
    value
}

/// The condition on the name that stands before the braces comes last there.
fn matchers_json(selector: &Selector) -> Value {
    let own = usize::from(selector.name.is_some());
    let (own, rest) = selector.matchers.split_at(own.min(selector.matchers.len()));
    let matchers = rest.iter().chain(own);
    matchers
        .map(|matcher| {
            object([
                ("name", matcher.name().into()),
                ("value", matcher.value().into()),
                ("type", matcher.operator().as_str().into()),
            ])
        })
        .collect()
}

fn subquery_json(subquery: &Subquery, inner: Value) -> Value {
    let [timestamp, start_or_end] = at_json(&subquery.moment);
    object([
        ("type", "subquery".into()),
        ("expr", inner),
        ("range", subquery.range_ms.into()),
        ("offset", subquery.moment.offset_ms.into()),
        ("step", subquery.step_ms.unwrap_or(0).into()),
        ("timestamp", timestamp),
        ("startOrEnd", start_or_end),
        ("alignEvalTime", false.into()),
    ])
}

/// Fields `timestamp` and `startOrEnd`.
fn at_json(moment: &Moment) -> [Value; 2] {
    match moment.at {
        None => [Value::Null, Value::Null],
        Some(At::Time(ms)) => [ms.into(), Value::Null],
        Some(At::Start) => [Value::Null, "start".into()],
        Some(At::End) => [Value::Null, "end".into()],
    }
}

fn function_json(function: &Function) -> Value {
    let arguments = function.arguments.iter();
    let variadic = if function.repeats {
        -1
    } else {
        function.optional as i64
    };
    object([
        ("name", function.name.into()),
        ("argTypes", arguments.map(|kind| type_name(*kind)).collect()),
        ("variadic", variadic.into()),
        ("returnType", type_name(function.returns).into()),
    ])
}

fn aggregate_json(aggregate: &Aggregate, inner: Value, parameter: Option<Value>) -> Value {
    object([
        ("type", "aggregation".into()),
        ("op", aggregate.operator.as_str().into()),
        ("expr", inner),
        ("param", parameter.unwrap_or(Value::Null)),
        ("grouping", aggregate.labels.as_slice().into()),
        ("without", aggregate.without.into()),
    ])
}

fn binary_json(binary: &Binary, [left, right]: [Value; 2]) -> Value {
    let sides = [&binary.left, &binary.right].map(Expression::value_type);
    let matching = if sides == [ValueType::Vector; 2] {
        matching_json(&binary.matching)
    } else {
        Value::Null
    };
    object([
        ("type", "binaryExpr".into()),
        ("op", binary.operator.as_str().into()),
        ("lhs", left),
        ("rhs", right),
        ("matching", matching),
        ("bool", binary.returns_bool.into()),
    ])
}

fn matching_json(matching: &Matching) -> Value {
    let cardinality = match matching.cardinality {
        Cardinality::OneToOne => "one-to-one",
        Cardinality::ManyToOne => "many-to-one",
        Cardinality::OneToMany => "one-to-many",
        Cardinality::ManyToMany => "many-to-many",
    };
    object([
        ("card", cardinality.into()),
        ("labels", matching.labels.as_slice().into()),
        ("on", matching.on.into()),
        ("include", matching.include.as_slice().into()),
        (
            "fillValues",
            object([("lhs", Value::Null), ("rhs", Value::Null)]),
        ),
    ])
}

/// A type as Prometheus' API names it.
pub(super) const fn type_name(kind: ValueType) -> &'static str {
    match kind {
        ValueType::Scalar => "scalar",
        ValueType::Text => "string",
        ValueType::Vector => "vector",
        ValueType::Matrix => "matrix",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::query::syntax::parser::parse;

    #[track_caller]
    fn check(text: &str, expected: &Value) {
        assert_eq!(&to_json(&parse(text).unwrap()), expected, "{text}");
    }

    #[test]
    fn every_kind_has_the_fields_of_prometheus() {
        check("1e3", &json!({"type": "numberLiteral", "val": "1000"}));
        check("-Inf", &json!({"type": "numberLiteral", "val": "-Inf"}));
        check("'a'", &json!({"type": "stringLiteral", "val": "a"}));
        let vector = json!({
            "type": "vectorSelector", "name": "up", "offset": -60_000,
            "matchers": [
                {"name": "job", "value": "a|b", "type": "=~"},
                {"name": "__name__", "value": "up", "type": "="},
            ],
            "timestamp": 1_500, "startOrEnd": null, "anchored": false, "smoothed": false,
        });
        check("up{job=~'a|b'} @ 1.5 offset -1m", &vector);
        let inner = json!({
            "type": "vectorSelector", "name": "", "offset": 0,
            "matchers": [{"name": "__name__", "value": "x y", "type": "="}],
            "timestamp": null, "startOrEnd": null, "anchored": false, "smoothed": false,
        });
        check("({'x y'})", &json!({"type": "parenExpr", "expr": inner}));
        check(
            "-{'x y'}",
            &json!({"type": "unaryExpr", "op": "-", "expr": inner}),
        );
        check(
            "+{'x y'}",
            &json!({"type": "unaryExpr", "op": "+", "expr": inner}),
        );
        let subquery = json!({
            "type": "subquery", "expr": inner, "range": 60_000, "offset": 0, "step": 0,
            "timestamp": null, "startOrEnd": "end", "alignEvalTime": false,
        });
        check("{'x y'}[1m:] @ end()", &subquery);
        let aggregation = json!({
            "type": "aggregation", "op": "topk", "expr": inner,
            "param": {"type": "numberLiteral", "val": "3"}, "grouping": ["a"], "without": true,
        });
        check("topk without (a) (3, {'x y'})", &aggregation);
        let sum = json!({
            "type": "aggregation", "op": "sum", "expr": inner,
            "param": null, "grouping": [], "without": false,
        });
        check("sum({'x y'})", &sum);
    }

    #[test]
    fn calls_tell_the_function_and_operators_how_vectors_match() {
        let call = to_json(&parse("rate(a[5m])").unwrap());
        let expected = json!({
            "name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector",
        });
        assert_eq!(call["func"], expected);
        assert_eq!(call["args"][0]["type"], "matrixSelector");
        assert_eq!(call["args"][0]["range"], 300_000);
        let join = to_json(&parse("label_join(a, 'b', ',')").unwrap());
        assert_eq!(join["func"]["variadic"], -1);

        let binary = to_json(&parse("a > bool on (x) group_left (y) b").unwrap());
        assert_eq!(binary["op"], ">");
        assert_eq!(binary["bool"], true);
        let expected = json!({
            "card": "many-to-one", "labels": ["x"], "on": true, "include": ["y"],
            "fillValues": {"lhs": null, "rhs": null},
        });
        assert_eq!(binary["matching"], expected);
        let set = to_json(&parse("a and b").unwrap());
        assert_eq!(set["matching"]["card"], "many-to-many");
        assert_eq!(to_json(&parse("a + 1").unwrap())["matching"], Value::Null);
    }
}
