//! The cases of Prometheus' own test, and what rules use beside.

use serde_json::Value as Json;

use super::{Facts, TemplateError, parse, run, value::Value};
use crate::model::{Labels, Timestamp};

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(is) => Value::Bool(*is),
        Json::Number(n) => Value::Float(n.as_f64().unwrap()),
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(list) => Value::List(list.iter().map(value).collect()),
        Json::Object(_) => unreachable!("no case has one"),
    }
}

fn fill(text: &str, dot: &Value) -> Result<String, TemplateError> {
    let labels = Labels::new([("instance", "h:1"), ("job", "j")]);
    let given = [
        ("$labels", Value::labels(&labels)),
        ("$value", Value::Float(95.5)),
    ];
    let facts = Facts {
        labels: &labels,
        value: 95.5,
        external_labels: &Labels::default(),
        external_url: "http://testhost:9090/path/prefix",
        at: Timestamp::from_millis(1_353_755_652_000),
        query: &|query| match query {
            "up" => Ok(vec![
                (Labels::new([("instance", "b")]), 1.0),
                (Labels::new([("instance", "a")]), 0.0),
            ]),
            other => Err(format!("no {other}")),
        },
    };
    let pieces = parse::parse(text, &["$labels", "$value"])?;
    run::run(&pieces, dot, given.into_iter(), &facts)
}

#[test]
fn values_do_not_grow_without_end() {
    let doubled = "{{ $x = print $x $x }}".repeat(60);
    let long = fill(
        &format!("{{{{ $x := \"aaaaaaaa\" }}}}{doubled}"),
        &Value::Nil,
    );
    assert!(long.unwrap_err().to_string().contains("bytes for a value"));
    let doubled = "{{ $x = print $x $x }}".repeat(14);
    let replaced = "{{ reReplaceAll \"a\" $x $x }}";
    let long = fill(
        &format!("{{{{ $x := \"a\" }}}}{doubled}{replaced}"),
        &Value::Nil,
    );
    assert!(long.unwrap_err().to_string().contains("too long"));
}

#[test]
fn the_cases_of_prometheus_hold() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/conformance/rules/templates.json"
    );
    let Ok(text) = std::fs::read_to_string(path) else {
        eprintln!("skipped: {path} is not here");
        return;
    };
    let cases: Json = serde_json::from_str(&text).unwrap();
    let mut wrong = Vec::new();
    for case in cases["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let filled = fill(text, &value(&case["value"]));
        let is_right = match &case["output"] {
            Json::String(wanted) => filled.as_ref() == Ok(wanted),
            _ => filled.is_err(),
        };
        if !is_right {
            wrong.push(format!("{text}: {filled:?}, wanted {}", case["output"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_rules_use() {
    for (text, filled) in [
        ("{{ $labels.instance }} at {{ $value }}%", "h:1 at 95.5%"),
        (
            "{{ $labels }} {{ $labels.none }}|",
            "map[instance:h:1 job:j] |",
        ),
        (
            "{{ $value | printf \"%.0f\" }} {{ printf \"%5.1f|%-6s|%q\" $value \"a\" \"b\" }}",
            "96  95.5|a     |\"b\"",
        ),
        (
            "{{ printf \"%d %s\" $value }}",
            "%!d(float64=95.5) %!s(MISSING)",
        ),
        (
            "{{ if gt $value 90.0 }}high{{ else if eq $labels.job \"j\" }}j{{ else }}low{{ end }}",
            "high",
        ),
        (
            "{{ if and (lt $value 9.0) (gt .Foo 1) }}a{{ else if not $labels.none }}b{{ end }}",
            "b",
        ),
        (
            "a {{- with query \"up\" }} {{ . | first | value }} {{- end }} c",
            "a 1 c",
        ),
        (
            "{{ range query \"up\" | sortByLabel \"instance\" }}{{ .Labels.instance }}={{ .Value }} {{ end }}",
            "a=0 b=1 ",
        ),
        (
            "{{ range $i, $s := query \"up\" }}{{ $i }}{{ $s.Value }},{{ end }}",
            "01,10,",
        ),
        (
            "{{ range query \"up\" }}{{ label \"instance\" . }}{{ break }}{{ end }}",
            "b",
        ),
        (
            "{{ $x := 3 }}{{ $x }}{{ $x = 4 }}{{ $x }}{{/* no */}}",
            "34",
        ),
        (
            "{{ index $labels \"job\" | toUpper | title }} {{ len $labels }}",
            "J 2",
        ),
        (
            "{{ 1234567.0 }} {{ 0.00001 }} {{ 100000.0 }} {{ -0.5 }} {{ 0x10 }}",
            "1.234567e+06 1e-05 100000 -0.5 16",
        ),
        (
            "{{ printf \"%.4g %g %e %08.3f\" 123456.0 1e21 1.5 -3.14159 }}",
            "1.235e+05 1e+21 1.500000e+00 -003.142",
        ),
        (
            "{{ (0.0 | toTime).Format \"Jan _2 2006 15:04:05 MST\" }}",
            "Jan  1 1970 00:00:00 UTC",
        ),
        (
            "{{ toDuration 3661.5 }} {{ toDuration 0.0015 }}",
            "1h1m1.5s 1.5ms",
        ),
        (
            "{{ urlquery \"a b&c\" }} {{ print 1 2 \"x\" 3 }}",
            "a+b%26c 1 2x3",
        ),
        ("{{`{{ raw }}`}}", "{{ raw }}"),
    ] {
        assert_eq!(fill(text, &Value::Nil).as_deref(), Ok(filled), "{text}");
    }
}

#[test]
fn mistakes_are_found_when_they_are_parsed() {
    for (text, why) in [
        ("{{ $label.x }}", "undefined variable \"$label\""),
        ("{{ nofunc 1 }}", "function \"nofunc\" not defined"),
        ("{{ if true }}", "{{end}} is missing"),
        ("{{ end }}", "unexpected {{end}}"),
        ("{{ $value ", "unclosed action"),
        ("{{ \"a }}", "unterminated"),
        ("{{ ($value }}", "unclosed left paren"),
        ("{{ | $value }}", "missing value"),
        ("{{ $value | 1 }}", "non executable"),
        ("{{ define \"x\" }}", "not supported"),
        ("{{ break }}", "outside"),
    ] {
        let error = parse::parse(text, &["$value"]).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
    let deep = "{{ if true }}".repeat(100);
    assert!(
        parse::parse(&deep, &[])
            .unwrap_err()
            .to_string()
            .contains("deep")
    );
}

#[test]
fn what_cannot_be_filled_in_says_why() {
    for (text, why) in [
        ("{{ gt $value 90 }}", "incompatible types"),
        ("{{ query \"down\" | first }}", "no down"),
        ("{{ $value.x }}", "field x"),
        (
            "{{ range $i := 90000 }}{{ range $j := 90000 }}{{ end }}{{ end }}",
            "steps",
        ),
        ("{{ reReplaceAll \"(\" \"\" \"\" }}", "unclosed group"),
    ] {
        let error = fill(text, &Value::Nil).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\{\\{|\\}\\}|[-$.|()\"` a-z0-9:=,]|if |end|range |else|é){0,40}") {
        let _ = fill(&text, &Value::Nil);
    }
}
