//! What is PromQL and what it means.

use proptest::prelude::*;

use super::{
    expression::{At, Cardinality, Expression, Moment, Node, Wrapping},
    parser::{parse, parse_metric_selector},
};

#[track_caller]
fn good(text: &str) -> Expression {
    parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The tree with parentheses around every operation.
fn shape(expression: &Expression) -> String {
    match &expression.node {
        Node::Binary(binary) => {
            let (left, right) = (shape(&binary.left), shape(&binary.right));
            format!("({left} {} {right})", binary.operator.as_str())
        }
        Node::Negate(inner) => format!("(-{})", shape(inner)),
        Node::Group(inner, Wrapping::Plus) => format!("(+{})", shape(inner)),
        Node::Group(inner, Wrapping::Parentheses) => format!("[{}]", shape(inner)),
        _ => expression.to_string(),
    }
}

#[test]
fn operators_bind_as_in_prometheus() {
    for (text, expected) in [
        ("a + b * c", "(a + (b * c))"),
        ("a - b - c", "((a - b) - c)"),
        ("2 ^ 3 ^ 4", "(2 ^ (3 ^ 4))"),
        ("-2 ^ 2", "(-(2 ^ 2))"),
        ("2 ^ -1", "(2 ^ -1)"),
        ("2 ^ -1 * 3", "((2 ^ -1) * 3)"),
        ("-1 ^ -2", "(-(1 ^ -2))"),
        ("-1 * 2", "(-1 * 2)"),
        ("-a * b", "((-a) * b)"),
        ("--a", "(-(-a))"),
        ("--1", "1"),
        ("+a", "(+a)"),
        ("+1 + -2 * 1", "(1 + (-2 * 1))"),
        ("a * b atan2 c", "((a * b) atan2 c)"),
        ("a + b > c - d", "((a + b) > (c - d))"),
        ("a > b == c", "((a > b) == c)"),
        ("a or b and c unless d", "(a or ((b and c) unless d))"),
        ("a and b or c", "((a and b) or c)"),
        ("a == b and c", "((a == b) and c)"),
        ("(a or b) and c", "([(a or b)] and c)"),
        ("-foo offset 5m", "(-foo offset 5m)"),
        ("a + b offset 5m", "(a + b offset 5m)"),
    ] {
        assert_eq!(shape(&good(text)), expected, "{text}");
    }
}

#[test]
fn what_is_written_in_other_ways_is_the_same() {
    // Without a second text the first one is canonical already.
    for (text, canonical) in [
        ("5m", "300"),
        ("1h30m * 2", "5400 * 2"),
        ("0x1F + 0755", "31 + 493"),
        ("1_000_000", "1000000"),
        (".5e1", "5"),
        ("iNf + nAn", "+Inf + NaN"),
        ("foo[300]", "foo[5m]"),
        ("foo[1.5]", "foo[1s500ms]"),
        ("foo offset 60", "foo offset 1m"),
        ("foo offset -1h30m", "foo offset -1h30m"),
        ("foo offset +5m", "foo offset 5m"),
        ("foo offset 0s", "foo"),
        ("foo[+5m]", "foo[5m]"),
        ("foo[300:60] OFFSET 1d", "foo[5m:1m] offset 1d"),
        ("foo[1w:]", "foo[1w:]"),
        ("foo @ -1.5 offset 5m", "foo @ -1.500 offset 5m"),
        ("foo offset 5m @ start()", "foo @ start() offset 5m"),
        ("foo[5m] @ END ( ) offset 1m", "foo[5m] @ end() offset 1m"),
        ("foo @ 1m", "foo @ 60.000"),
        ("foo[5m] # range\n@ # at\n1", "foo[5m] @ 1.000"),
        ("SUM BY (a, b,) (x)", "sum by (a, b) (x)"),
        ("sum(x) by (a)", "sum by (a) (x)"),
        ("sum by () (x)", "sum(x)"),
        ("sum without () (x)", "sum without () (x)"),
        ("sum by (by, on, sum, and, atan2, bool, offset) (x)", ""),
        (
            "sum by (\"a b\", \"c\", 'inf') (x)",
            "sum by (\"a b\", c, \"inf\") (x)",
        ),
        ("topk(5, x) without (a)", "topk without (a) (5, x)"),
        ("a + ON (x) GROUP_LEFT b", "a + on (x) group_left () b"),
        ("a + ignoring () b", "a + b"),
        ("a + on () b", "a + on () b"),
        ("a + on () 1", "a + 1"),
        ("a UNLESS on (x) b", "a unless on (x) b"),
        ("a > BOOL b", "a > bool b"),
        ("{a='b', c!~`d`,}", r#"{a="b",c!~"d"}"#),
        ("foo{}", "foo"),
        ("foo{by=\"x\",offset=\"y\"}", ""),
        (r#"{"a.b", c="d"}"#, r#"{__name__="a.b",c="d"}"#),
        (r#"foo{"c d"=~"e"}"#, r#"foo{"c d"=~"e"}"#),
        (r#"{__name__!="ab",__name__=~"a.+"}"#, ""),
        ("a:b:c", "a:b:c"),
        (":a", ":a"),
        ("sum + by + offset + and", "sum + by + offset + and"),
        ("a and and and b", "a and and and b"),
        ("start + end + step + range + fill", ""),
        ("anchored{a=\"b\"}", "anchored{a=\"b\"}"),
        ("time()", "time()"),
        ("hour()", "hour()"),
        ("round(x)", "round(x)"),
        ("label_join(x, 'a', ',')", "label_join(x, \"a\", \",\")"),
        ("sort_by_label(x, \"a\", \"b\", \"c\")", ""),
        ("info(x, {})", "info(x, {})"),
        ("info(x, {a=~\".+\"})", "info(x, {a=~\".+\"})"),
        ("rate(x[5m])[1h:] offset 1m", "rate(x[5m])[1h:] offset 1m"),
        ("x offset 1m [5m:]", "x offset 1m[5m:]"),
        ("'it\\'s'", "\"it's\""),
        ("x[5m]", "x[5m]"),
    ] {
        let printed = good(text).to_string();
        let canonical = if canonical.is_empty() {
            text
        } else {
            canonical
        };
        assert_eq!(printed, canonical, "{text}");
        assert_eq!(good(&printed).to_string(), printed, "{text}");
    }
}

#[test]
fn nodes_hold_what_was_written() {
    let Node::Vector(selector) = good("foo{b=\"c\"} @ 1.5 offset -2s").node else {
        panic!("no selector");
    };
    assert_eq!(selector.name.as_deref(), Some("foo"));
    let matchers: Vec<_> = selector.matchers.iter().map(ToString::to_string).collect();
    assert_eq!(matchers, ["__name__=\"foo\"", "b=\"c\""]);
    let moment = Moment {
        offset_ms: -2_000,
        at: Some(At::Time(1_500)),
    };
    assert_eq!(selector.moment, moment);

    // The moment before the brackets is the inner selector's, the one after them the subquery's.
    let Node::Subquery(subquery) = good("x @ start()[1h:5m] offset 1m").node else {
        panic!("no subquery");
    };
    assert_eq!(
        (subquery.range_ms, subquery.step_ms),
        (3_600_000, Some(300_000))
    );
    assert_eq!(subquery.moment.offset_ms, 60_000);
    assert_eq!(subquery.moment.at, None);
    assert!(matches!(&subquery.inner.node, Node::Vector(s) if s.moment.at == Some(At::Start)));

    let Node::Binary(binary) = good("a > bool ignoring (x) group_right (y, z) b").node else {
        panic!("no operation");
    };
    assert!(binary.returns_bool);
    assert_eq!(binary.matching.cardinality, Cardinality::OneToMany);
    assert_eq!(binary.matching.labels, ["x"]);
    assert_eq!(binary.matching.include, ["y", "z"]);
    assert!(binary.matching.is_written && !binary.matching.on);
    let Node::Binary(binary) = good("a or b").node else {
        panic!("no operation");
    };
    assert_eq!(binary.matching.cardinality, Cardinality::ManyToMany);
}

/// Texts of all nodes, the outer ones first.
fn places<'a>(text: &'a str, expression: &Expression, out: &mut Vec<&'a str>) {
    let place = expression.place;
    out.push(&text[place.start as usize..place.end as usize]);
    match &expression.node {
        Node::Subquery(subquery) => places(text, &subquery.inner, out),
        Node::Call(_, arguments) => arguments.iter().for_each(|part| places(text, part, out)),
        Node::Aggregate(aggregate) => {
            let parameter = aggregate.parameter.iter();
            parameter
                .chain([&aggregate.inner])
                .for_each(|part| places(text, part, out));
        }
        Node::Binary(binary) => {
            places(text, &binary.left, out);
            places(text, &binary.right, out);
        }
        Node::Negate(inner) | Node::Group(inner, _) => places(text, inner, out),
        _ => {}
    }
}

#[test]
fn nodes_know_their_places() {
    let text =
        " topk( 3 , rate(foo{b=\"ä\"}[5m] offset 1m) ) by (x) / - max_over_time(e[1h:] @ 1 ) ";
    let mut found = Vec::new();
    places(text, &good(text), &mut found);
    assert_eq!(
        found,
        [
            "topk( 3 , rate(foo{b=\"ä\"}[5m] offset 1m) ) by (x) / - max_over_time(e[1h:] @ 1 )",
            "topk( 3 , rate(foo{b=\"ä\"}[5m] offset 1m) ) by (x)",
            "3",
            "rate(foo{b=\"ä\"}[5m] offset 1m)",
            "foo{b=\"ä\"}[5m] offset 1m",
            "- max_over_time(e[1h:] @ 1 )",
            "max_over_time(e[1h:] @ 1 )",
            "e[1h:] @ 1",
            "e",
        ]
    );
}

/// Pieces of queries in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("a"),
        Just("sum"),
        Just("rate"),
        Just("by"),
        Just("on"),
        Just("("),
        Just(")"),
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just("5m"),
        Just("1"),
        Just("'x'"),
        Just("="),
        Just("=~"),
        Just(","),
        Just(":"),
        Just("@"),
        Just("offset"),
        Just("-"),
        Just("^"),
        Just("or"),
        Just("=="),
        Just("bool"),
        Just("start"),
        Just("#"),
        Just("\n"),
        Just("ä"),
        Just("\\"),
        Just("\""),
        Just("0x"),
        Just("."),
        Just("!"),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.join(" "))
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in prop_oneof![any::<String>(), pieces()]) {
        for error in [parse(&text).err(), parse_metric_selector(&text).err()].into_iter().flatten() {
            prop_assert!(error.place.start <= error.place.end);
            prop_assert!(error.place.end as usize <= text.len());
            let (line, column) = error.position();
            prop_assert!(line <= text.matches('\n').count() + 1);
            prop_assert!(column >= 1);
        }
    }

    #[test]
    fn places_are_texts(text in pieces()) {
        if let Ok(expression) = parse(&text) {
            let mut found = Vec::new();
            places(&text, &expression, &mut found);
            prop_assert!(found.iter().all(|part| !part.is_empty() && part.trim() == *part));
        }
    }
}
