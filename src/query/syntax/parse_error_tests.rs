//! What is no PromQL: what is told, and where.

use super::{
    parse_error::ParseError,
    parser::{parse, parse_metric_selector},
};

/// Line, column and message.
fn told(error: &ParseError) -> String {
    let (line, column) = error.position();
    format!("{line}:{column}: {}", error.message)
}

#[test]
fn syntax_errors_say_what_and_where() {
    for (text, expected) in [
        ("", "1:1: no expression found in input"),
        ("# none\n\n", "1:1: no expression found in input"),
        ("1+", "1:3: unexpected end of input"),
        ("*1", "1:1: unexpected <op:*>"),
        ("@@", "1:1: unexpected <op:@>"),
        (".", "1:1: unexpected character: '.'"),
        ("a + é", "1:5: unexpected character: 'é'"),
        ("\"é\" é", "1:5: unexpected character: 'é'"),
        ("a +\n  ?", "2:3: unexpected character: '?'"),
        ("foo bar", "1:5: unexpected identifier \"bar\""),
        ("foo a:b", "1:5: unexpected metric identifier \"a:b\""),
        ("1 1", "1:3: unexpected number \"1\""),
        ("1 5m", "1:3: unexpected duration \"5m\""),
        (
            "1 'abcdefghijk'",
            "1:3: unexpected string \"'abcdefghi\"...",
        ),
        ("foo sum", "1:5: unexpected <aggr:sum>"),
        ("foo by", "1:5: unexpected <by>"),
        ("bool", "1:1: unexpected <bool>"),
        ("a = b", "1:3: unexpected \"=\""),
        ("a =~ b", "1:3: unexpected character after '=': '~'"),
        ("a !~ b", "1:3: unexpected character after '!': '~'"),
        ("a !", "1:3: unexpected character after '!': end of input"),
        (
            "a </ 1",
            "1:3: </ trims native histograms, which are not supported",
        ),
        ("(1))", "1:4: unexpected right parenthesis ')'"),
        ("((1)", "1:5: unclosed left parenthesis"),
        ("(", "1:2: unclosed left parenthesis"),
        ("()", "1:2: unexpected \")\""),
        ("foo]", "1:4: unexpected right bracket ']'"),
        ("foo[5m", "1:7: unclosed left bracket"),
        ("foo[[5m]", "1:5: unexpected left bracket '['"),
        ("foo}", "1:4: unexpected character: '}'"),
        ("2.5.", "1:1: bad number or duration syntax: \"2.5.\""),
        (
            "0deadbeef",
            "1:1: bad number or duration syntax: \"0deadbeef\"",
        ),
        (
            "1__0",
            "1:1: error parsing number: \"1__0\": invalid syntax",
        ),
        ("1 + 5m1h", "1:5: not a valid duration string: \"5m1h\""),
        ("foo[5m5m]", "1:5: not a valid duration string: \"5m5m\""),
        ("foo[5hs]", "1:5: unknown unit \"hs\" in duration \"5hs\""),
        ("'ab\\q'", "1:4: unknown escape sequence \"\\\\q\""),
        ("\"a", "1:1: unterminated quoted string"),
        (
            "rate(x[5m],)",
            "1:11: trailing commas not allowed in function call args",
        ),
        ("rate(,x[5m])", "1:6: unexpected \",\""),
        ("nope(x)", "1:1: unknown function with name \"nope\""),
        ("RATE(x[5m])", "1:1: unknown function with name \"RATE\""),
        ("a:b(x)", "1:4: unexpected \"(\""),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(told(&error), expected, "{text}");
    }
}

#[test]
fn errors_of_selectors_and_modifiers() {
    for (text, expected) in [
        ("{", "1:2: unexpected end of input inside braces"),
        (
            "{}",
            "1:1: vector selector must contain at least one non-empty matcher",
        ),
        (
            "1 + {a=\"\",b=~\".*\"}",
            "1:5: vector selector must contain at least one non-empty matcher",
        ),
        (
            "{\"\"}",
            "1:1: vector selector must contain at least one non-empty matcher",
        ),
        (
            "{a}",
            "1:3: unexpected \"}\" in label matching, expected label matching operator",
        ),
        (
            "{a=b}",
            "1:4: unexpected identifier \"b\" in label matching, expected string",
        ),
        (
            "{a=\"b\" c}",
            "1:8: unexpected identifier \"c\" in label matching, expected \",\" or \"}\"",
        ),
        (
            "{,}",
            "1:2: unexpected \",\" in label matching, expected identifier or \"}\"",
        ),
        (
            "{a:b=\"c\"}",
            "1:3: unexpected character inside braces: ':'",
        ),
        ("{{", "1:2: unexpected left brace '{'"),
        (
            "{a==\"b\"}",
            "1:4: unexpected \"=\" in label matching, expected string",
        ),
        (
            "foo{__name__=\"bar\"}",
            "1:1: metric name must not be set twice: \"foo\" or \"bar\"",
        ),
        (
            "foo{\"bar\"}",
            "1:1: metric name must not be set twice: \"foo\" or \"bar\"",
        ),
        (
            "{\"foo\", \"bar\"}",
            "1:1: metric name must not be set twice: \"foo\" or \"bar\"",
        ),
        (
            "foo[]",
            "1:5: unexpected \"]\" in subquery selector, expected number or duration",
        ),
        (
            "foo[5m 5m]",
            "1:8: unexpected duration \"5m\" in subquery or range, expected \":\" or \"]\"",
        ),
        (
            "foo[5m:a]",
            "1:8: unexpected identifier \"a\" in subquery selector, expected number or duration or \"]\"",
        ),
        (
            "foo[5m:1m:]",
            "1:10: unexpected \":\" in subquery selector, expected \"]\"",
        ),
        ("foo[0]", "1:5: duration must be greater than 0"),
        ("foo[-5m]", "1:5: duration must be greater than 0"),
        ("foo[5m:0s]", "1:8: duration must be greater than 0"),
        ("foo[0.0001]", "1:5: duration must be greater than 0"),
        ("foo[NaN]", "1:5: duration out of range"),
        ("foo[300y]", "1:5: duration out of range"),
        (
            "foo[5m+2m]",
            "1:7: duration expressions are experimental and not supported",
        ),
        (
            "foo[step()]",
            "1:5: duration expressions are experimental and not supported",
        ),
        (
            "foo[(5m)]",
            "1:5: duration expressions are experimental and not supported",
        ),
        (
            "foo offset (5m)",
            "1:12: duration expressions are experimental and not supported",
        ),
        (
            "foo[5m] anchored",
            "1:9: the anchored and smoothed modifiers are experimental and not supported",
        ),
        (
            "a + fill(0) b",
            "1:5: fill modifiers are experimental and not supported",
        ),
        (
            "foo[5m][5m]",
            "1:8: ranges only allowed for vector selectors",
        ),
        ("(foo)[5m]", "1:6: ranges only allowed for vector selectors"),
        (
            "foo offset 5m [5m]",
            "1:15: no offset modifiers allowed before range",
        ),
        ("foo @ 5 [5m]", "1:9: no @ modifiers allowed before range"),
        (
            "foo offset",
            "1:11: unexpected end of input in offset, expected number or duration",
        ),
        (
            "foo offset bar",
            "1:12: unexpected identifier \"bar\" in offset, expected number or duration",
        ),
        (
            "foo @ bar",
            "1:7: unexpected identifier \"bar\" in @, expected timestamp",
        ),
        (
            "foo @ start",
            "1:12: unexpected end of input in @, expected \"(\"",
        ),
        (
            "foo @ 1e17",
            "1:1: timestamp out of bounds for @ modifier: 100000000000000000",
        ),
        (
            "foo @ -Inf",
            "1:1: timestamp out of bounds for @ modifier: -inf",
        ),
        (
            "foo offset 1m offset 2m",
            "1:1: offset may not be set multiple times",
        ),
        (
            "foo @ 1 @ start()",
            "1:1: @ <timestamp> may not be set multiple times",
        ),
        (
            "2 + 1 offset 5m",
            "1:5: offset modifier must be preceded by an instant vector selector \
             or range vector selector or a subquery",
        ),
        (
            "(foo) @ 1",
            "1:1: @ modifier must be preceded by an instant vector selector or \
             range vector selector or a subquery",
        ),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(told(&error), expected, "{text}");
    }
    let error = parse("x + foo{a=~\"(\"}").unwrap_err();
    assert_eq!(error.position(), (1, 9));
    assert_eq!((error.place.start, error.place.end), (8, 14));
    assert!(error.message.contains("unclosed group"), "{error}");
}

#[test]
fn errors_of_groupings() {
    for (text, expected) in [
        (
            "sum by x",
            "1:8: unexpected identifier \"x\" in grouping opts, expected \"(\"",
        ),
        (
            "sum by (1) (x)",
            "1:9: unexpected number \"1\" in grouping opts, expected label",
        ),
        (
            "sum by (a b) (x)",
            "1:11: unexpected identifier \"b\" in grouping opts, expected \",\" or \")\"",
        ),
        (
            "sum by (,) (x)",
            "1:9: unexpected \",\" in grouping opts, expected label",
        ),
        ("sum by (\"\") (x)", "1:9: invalid label name \"\""),
        (
            "sum by (a) x",
            "1:12: unexpected identifier \"x\" in aggregation",
        ),
        ("sum by (a) (x) by (a)", "1:16: unexpected <by>"),
        (
            "sum()",
            "1:1: no arguments for aggregate expression provided",
        ),
        (
            "1 + topk(x)",
            "1:5: wrong number of arguments for aggregate expression provided, \
             expected 2, got 1",
        ),
        (
            "sum(1, x)",
            "1:1: wrong number of arguments for aggregate expression provided, \
             expected 1, got 2",
        ),
        ("a - on(b) ignoring(c) d", "1:11: unexpected <ignoring>"),
        ("a + group_left (x) b", "1:5: unexpected <group_left>"),
        (
            "a + on x b",
            "1:8: unexpected identifier \"x\" in grouping opts, expected \"(\"",
        ),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(told(&error), expected, "{text}");
    }
}

#[test]
fn errors_of_types() {
    for (text, expected) in [
        (
            "rate(foo)",
            "1:6: expected type range vector in call to function \"rate\", got instant vector",
        ),
        (
            "abs(1)",
            "1:5: expected type instant vector in call to function \"abs\", got scalar",
        ),
        (
            "label_join(x, 'a', 'b', 1)",
            "1:25: expected type string in call to function \"label_join\", got scalar",
        ),
        (
            "1 + rate()",
            "1:5: expected 1 argument(s) in call to \"rate\", got 0",
        ),
        (
            "round()",
            "1:1: expected at least 1 argument(s) in call to \"round\", got 0",
        ),
        (
            "round(x, 1, 2)",
            "1:1: expected at most 2 argument(s) in call to \"round\", got 3",
        ),
        (
            "label_join(x)",
            "1:1: expected at least 3 argument(s) in call to \"label_join\", got 1",
        ),
        (
            "info(x, y)",
            "1:9: expected label selectors only, got vector selector instead",
        ),
        ("info(x, vector(1))", "1:9: expected label selectors only"),
        (
            "sum(1)",
            "1:5: expected type instant vector in aggregation expression, got scalar",
        ),
        (
            "sum(x[5m])",
            "1:5: expected type instant vector in aggregation expression, got range vector",
        ),
        (
            "topk('a', x)",
            "1:6: expected type scalar in aggregation parameter, got string",
        ),
        (
            "count_values(1, x)",
            "1:14: expected type string in aggregation parameter, got scalar",
        ),
        (
            "1 + -'a'",
            "1:5: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        (
            "+foo[5m]",
            "1:1: unary expression only allowed on expressions of type scalar or instant vector, got \"range vector\"",
        ),
        (
            "foo[5m][5m:]",
            "1:1: subquery is only allowed on instant vector, got matrix instead",
        ),
        (
            "1[5m:]",
            "1:1: subquery is only allowed on instant vector, got scalar instead",
        ),
        (
            "1 == 1",
            "1:3: comparisons between scalars must use BOOL modifier",
        ),
        (
            "a + bool b",
            "1:3: bool modifier can only be used on comparison operators",
        ),
        (
            "a and bool b",
            "1:3: bool modifier can only be used on comparison operators",
        ),
        (
            "1 and 1",
            "1:1: set operator \"and\" not allowed in binary scalar expression",
        ),
        (
            "a or 1",
            "1:1: set operator \"or\" not allowed in binary scalar expression",
        ),
        (
            "'a' + 1",
            "1:1: binary expression must contain only scalar and instant vector types",
        ),
        (
            "1 + x[5m]",
            "1:5: binary expression must contain only scalar and instant vector types",
        ),
        (
            "a + on (x) 1",
            "1:1: vector matching only allowed between instant vectors",
        ),
        (
            "a and on (x) group_left b",
            "1:1: no grouping allowed for \"and\" operation",
        ),
        (
            "a or on () group_right (y) b",
            "1:1: no grouping allowed for \"or\" operation",
        ),
        (
            "a + on (x, y) group_left (z, y) b",
            "1:3: label \"y\" must not occur in ON and GROUP clause at once",
        ),
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!(told(&error), expected, "{text}");
    }
    assert!(parse("a + ignoring (y) group_left (y) b").is_ok());
}

#[test]
fn errors_of_syntax_come_before_those_of_types() {
    let error = parse("rate(foo) +").unwrap_err();
    assert_eq!(told(&error), "1:12: unexpected end of input");
}

#[test]
fn metric_selectors_are_selectors_alone() {
    let matchers = parse_metric_selector(" foo{a!~\"b\"} ").unwrap();
    let matchers: Vec<_> = matchers.iter().map(ToString::to_string).collect();
    assert_eq!(matchers, ["__name__=\"foo\"", "a!~\"b\""]);
    assert!(parse_metric_selector(r#"{"a b", c=""}"#).is_ok());
    for (text, expected) in [
        ("", "1:1: unexpected end of input"),
        ("1", "1:1: unexpected number \"1\""),
        (
            "{}",
            "1:1: match[] must contain at least one non-empty matcher",
        ),
        (
            "{a=\"\"}",
            "1:1: match[] must contain at least one non-empty matcher",
        ),
        ("foo[5m]", "1:4: unexpected \"[\""),
        ("foo offset 5m", "1:5: unexpected <offset>"),
        ("foo or bar", "1:5: unexpected <op:or>"),
    ] {
        let error = parse_metric_selector(text).expect_err(text);
        assert_eq!(told(&error), expected, "{text}");
    }
}
