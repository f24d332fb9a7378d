//! What is printed is read as the same tree, whatever the tree.

use proptest::prelude::*;

use super::{
    expression::{
        Aggregate, AggregateOperator, At, Binary, BinaryOperator, Cardinality, Expression,
        Matching, Moment, Node, Place, Selector, Subquery, ValueType, Wrapping,
    },
    function::FUNCTIONS,
    parser::{binding, parse},
    pretty::pretty,
    tree_json::to_json,
};
use crate::model::{MatchOperator, Matcher};

#[test]
fn expressions_are_printed_as_prometheus_does() {
    for text in [
        "sum by (code) (task:errors:rate10s{job=\"s\"})",
        "sum without () (x)",
        "count_values(\"value\", x)",
        "a - on () c",
        "a - on (b) group_left (x, y) c",
        "a - ignoring (b) group_right () c",
        "up > bool 0",
        "a offset -7m",
        "a{c=\"d\"}[5m] offset 1m",
        "a[1h:5m] offset 1m",
        "a @ 10.000 offset 1m",
        "a[1m] @ start()",
        "{__name__=\"a\"}",
        "a{b!~\"c\"}[1m]",
        "{\"service.name\"=\"c\"}",
        "sum by (\"foo.bar\") (x)",
        "-a ^ b",
        "\"a\\n\\t\\\"\\\\ä\\x01\\u0085\"",
        "a[12w]",
        "a[1y]",
        "a[90d1h1ms]",
    ] {
        let expression = parse(text).unwrap();
        assert_eq!(expression.to_string(), text);
    }
    // Conditions are sorted; weeks and years are told where nothing remains.
    let expression = parse("a{c=\"d\",b=\"c\"}[366d] offset 14d").unwrap();
    assert_eq!(expression.to_string(), "a{b=\"c\",c=\"d\"}[366d] offset 2w");
    assert_eq!(
        parse("(1e21 - 5e-7)").unwrap().to_string(),
        "(1000000000000000000000 - 0.0000005)"
    );
    assert_eq!(parse("Inf ^ 2").unwrap().to_string(), "Inf ^ 2");
}

fn expression(node: Node) -> Expression {
    Expression {
        node,
        place: Place::default(),
    }
}

fn label() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_][a-z0-9_]{0,5}",
        Just("by".to_owned()),
        Just("nan".to_owned()),
        "\\PC{1,4}",
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,6}",
        any::<String>(),
        Just("\u{7}\"\\\n\u{85}\u{2028}`'".to_owned())
    ]
}

/// Numbers as a literal can give them without a sign.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        Just(0.0),
        Just(f64::INFINITY),
        Just(f64::NAN),
        (0..100_000u32).prop_map(|n| f64::from(n) / 8.0),
        any::<f64>().prop_map(f64::abs),
    ]
}

fn moment() -> impl Strategy<Value = Moment> {
    let at = prop_oneof![
        Just(None),
        Just(Some(At::Start)),
        Just(Some(At::End)),
        (-(1_i64 << 51)..1 << 51).prop_map(|ms| Some(At::Time(ms))),
    ];
    let offset = prop_oneof![
        Just(0),
        -100_000_000..100_000_000_i64,
        -9_000_000_000_000..9_000_000_000_000_i64
    ];
    (offset, at).prop_map(|(offset_ms, at)| Moment { offset_ms, at })
}

fn range() -> impl Strategy<Value = i64> {
    prop_oneof![
        1..100_000_i64,
        (1..400_i64).prop_map(|days| days * 86_400_000)
    ]
}

fn selector() -> impl Strategy<Value = Selector> {
    let name = prop::option::of("[a-z][a-z:]{0,5}[0-9]|by|sum|offset|and|unless|start|fill|inf_");
    let operator = prop_oneof![
        Just(MatchOperator::Equal),
        Just(MatchOperator::NotEqual),
        Just(MatchOperator::Regex),
        Just(MatchOperator::NotRegex),
    ];
    let matcher = (label(), operator, text()).prop_map(|(label, operator, value)| {
        let value = if operator.is_regex() {
            "a.+|b".to_owned()
        } else {
            value
        };
        Matcher::new(label, operator, value).unwrap()
    });
    let matchers = prop::collection::vec(matcher, 0..3);
    (name, matchers, moment()).prop_map(|(name, rest, moment)| {
        let own = name.clone().unwrap_or_else(|| "not.bare".to_owned());
        let mut matchers = vec![Matcher::new("__name__", MatchOperator::Equal, own).unwrap()];
        matchers.extend(rest);
        Selector {
            name,
            matchers,
            moment,
        }
    })
}

/// Encloses what the grammar would read otherwise.
fn grouped(inner: Expression) -> Expression {
    expression(Node::Group(Box::new(inner), Wrapping::Parentheses))
}

fn is_operation(part: &Expression) -> Option<u8> {
    match &part.node {
        Node::Binary(binary) => Some(binding(binary.operator)),
        // As tight as the loosest operators right of it that it leaves alone.
        Node::Negate(_) | Node::Group(_, Wrapping::Plus) => Some(5),
        Node::Number(value) if value.is_sign_negative() => Some(5),
        _ => None,
    }
}

fn vectors() -> impl Strategy<Value = Expression> {
    let leaf = selector().prop_map(|selector| expression(Node::Vector(selector)));
    leaf.prop_recursive(5, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), any::<bool>()).prop_map(|(inner, is_minus)| {
                let inner = match is_operation(&inner) {
                    Some(tight) if tight < 6 => grouped(inner),
                    _ => inner,
                };
                expression(if is_minus {
                    Node::Negate(Box::new(inner))
                } else {
                    Node::Group(Box::new(inner), Wrapping::Plus)
                })
            }),
            inner.clone().prop_map(grouped),
            aggregates(inner.clone()),
            (selector(), range()).prop_map(|(selector, range)| {
                call("rate", vec![expression(Node::Matrix(selector, range))])
            }),
            (inner.clone(), range(), prop::option::of(range()), moment()).prop_map(
                |(inner, range_ms, step_ms, moment)| {
                    let inner = if is_operation(&inner).is_some() {
                        grouped(inner)
                    } else {
                        inner
                    };
                    let subquery = Subquery {
                        inner,
                        range_ms,
                        step_ms,
                        moment,
                    };
                    call(
                        "max_over_time",
                        vec![expression(Node::Subquery(Box::new(subquery)))],
                    )
                }
            ),
            (inner.clone(), text()).prop_map(|(inner, text)| {
                let texts = [text, "a".to_owned(), "b".to_owned()];
                let texts = texts.map(|text| expression(Node::Text(text)));
                call("label_join", [inner].into_iter().chain(texts).collect())
            }),
            binaries(inner.clone(), inner.clone()),
            binaries(inner, scalars()),
        ]
    })
}

fn scalars() -> impl Strategy<Value = Expression> {
    number().prop_map(|value| expression(Node::Number(value)))
}

fn call(name: &str, arguments: Vec<Expression>) -> Expression {
    let function = FUNCTIONS.iter().find(|function| function.name == name);
    expression(Node::Call(function.unwrap(), arguments))
}

fn aggregates(inner: impl Strategy<Value = Expression>) -> impl Strategy<Value = Expression> {
    let operator = prop::sample::select(AggregateOperator::ALL.to_vec());
    let labels = prop::collection::vec(label(), 0..3);
    (operator, any::<bool>(), labels, inner, number()).prop_map(
        |(operator, without, labels, inner, number)| {
            let parameter = operator.parameter().map(|kind| match kind {
                ValueType::Text => expression(Node::Text("v".to_owned())),
                _ => expression(Node::Number(number)),
            });
            let aggregate = Aggregate {
                operator,
                without,
                labels,
                parameter,
                inner,
            };
            expression(Node::Aggregate(Box::new(aggregate)))
        },
    )
}

fn binaries(
    left: impl Strategy<Value = Expression>,
    right: impl Strategy<Value = Expression>,
) -> impl Strategy<Value = Expression> {
    use BinaryOperator as Op;
    let operators = vec![
        Op::Add,
        Op::Sub,
        Op::Mul,
        Op::Div,
        Op::Mod,
        Op::Pow,
        Op::Atan2,
        Op::Equal,
        Op::NotEqual,
        Op::Greater,
        Op::Less,
        Op::GreaterEqual,
        Op::LessEqual,
        Op::And,
        Op::Or,
        Op::Unless,
    ];
    let cardinality = prop_oneof![
        Just(Cardinality::OneToOne),
        Just(Cardinality::ManyToOne),
        Just(Cardinality::OneToMany),
    ];
    let labels = prop::collection::vec("[a-z]{1,3}", 0..3);
    let matching = (cardinality, any::<bool>(), labels).prop_map(|(cardinality, on, labels)| {
        let is_grouped = cardinality != Cardinality::OneToOne;
        Matching {
            cardinality,
            is_written: on || is_grouped || !labels.is_empty(),
            on,
            labels,
            include: if is_grouped {
                vec!["A b".to_owned()]
            } else {
                Vec::new()
            },
        }
    });
    let operator = prop::sample::select(operators);
    (left, right, operator, matching, any::<bool>()).prop_map(
        |(left, right, operator, mut matching, returns_bool)| {
            let is_scalar = right.value_type() == ValueType::Scalar;
            let operator = if is_scalar && operator.is_set() {
                Op::Sub
            } else {
                operator
            };
            let tight = binding(operator);
            let is_pow = operator == Op::Pow;
            let is_looser = |part: &Expression, least: u8| {
                is_operation(part).is_some_and(|other| other < least)
            };
            // A sign right of an operator is fine; left of `^` it is not.
            let left = if is_looser(&left, tight + u8::from(is_pow)) {
                grouped(left)
            } else {
                left
            };
            let has_sign = matches!(right.node, Node::Negate(_) | Node::Group(_, Wrapping::Plus));
            let least = tight + u8::from(!is_pow);
            let right = if is_looser(&right, least) && !has_sign {
                grouped(right)
            } else {
                right
            };
            if is_scalar {
                matching = Matching::default();
            } else if operator.is_set() {
                matching.cardinality = Cardinality::ManyToMany;
                matching.include.clear();
                matching.is_written = matching.on || !matching.labels.is_empty();
            }
            let returns_bool = returns_bool && operator.is_comparison();
            let binary = Binary {
                operator,
                returns_bool,
                matching,
                left,
                right,
            };
            expression(Node::Binary(Box::new(binary)))
        },
    )
}

/// The tree without places, with its conditions sorted.
fn normal(expression: &Expression) -> String {
    fn settle(part: &mut Expression) {
        part.place = Place::default();
        match &mut part.node {
            Node::Vector(selector) | Node::Matrix(selector, _) => {
                let own = usize::from(selector.name.is_some());
                selector.matchers[own..].sort_by_key(ToString::to_string);
            }
            Node::Subquery(subquery) => settle(&mut subquery.inner),
            Node::Call(_, arguments) => arguments.iter_mut().for_each(settle),
            Node::Aggregate(aggregate) => {
                aggregate.parameter.iter_mut().for_each(settle);
                settle(&mut aggregate.inner);
            }
            Node::Binary(binary) => {
                settle(&mut binary.left);
                settle(&mut binary.right);
            }
            Node::Negate(inner) | Node::Group(inner, _) => settle(inner),
            Node::Number(_) | Node::Text(_) => {}
        }
    }
    let mut copy = expression.clone();
    settle(&mut copy);
    format!("{copy:?}")
}

proptest! {
    #[test]
    fn what_is_printed_is_read_as_the_same_tree(tree in vectors()) {
        let printed = tree.to_string();
        let read = parse(&printed);
        let read = read.map_err(|error| TestCaseError::fail(format!("{printed}: {error}")))?;
        prop_assert_eq!(normal(&read), normal(&tree), "{}", printed);
        let read = parse(&pretty(&tree));
        let read = read.map_err(|error| TestCaseError::fail(format!("{}: {error}", pretty(&tree))))?;
        prop_assert_eq!(normal(&read), normal(&tree), "{}", printed);
        prop_assert!(to_json(&tree).is_object());
    }
}
