//! What is understood, what is found, and that nothing which is found is hidden by the filter before it.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::{
    AgentId, AttributeValue, Attributes, Resource, Span, SpanFilter, SpanId, SpanKind, SpanStatus,
    TraceId, TraceSummary,
};

const MS: i64 = 1_000_000;

/// Spans of one trace: a root of 100 ms, a call of 20 ms that failed, one that has not ended.
fn trace() -> (TraceSummary, Vec<Span>) {
    let span = |id: u64, name: &str, start_ms: i64, ms: i64| {
        let agent = AgentId::new("planner").unwrap();
        let (trace, id) = (TraceId::default(), SpanId::new(id).unwrap());
        let mut span = Span::new(trace, id, agent, name, start_ms * MS);
        span.end_ns = Some((start_ms + ms) * MS);
        span
    };
    let mut root = span(1, "run", 0, 100);
    root.kind = SpanKind::Server;
    root.resource = Arc::new(Resource {
        attributes: [
            ("service.name".into(), AttributeValue::Text("front".into())),
            ("host".into(), AttributeValue::Text("h1".into())),
        ]
        .into_iter()
        .collect(),
        ..Resource::default()
    });
    let mut call = span(2, "chat gpt-4o", 10, 20);
    call.kind = SpanKind::Client;
    call.status = SpanStatus::Error;
    call.status_message = "too many requests".into();
    call.attributes = [
        ("http.status".into(), AttributeValue::Int(429)),
        ("temperature".into(), AttributeValue::Float(0.5)),
        ("stream".into(), AttributeValue::Bool(true)),
        ("a b".into(), AttributeValue::Text("x\"y".into())),
    ]
    .into_iter()
    .collect();
    let mut open = span(3, "wait", 40, 0);
    open.end_ns = None;
    let spans = vec![root, call, open];
    let summary = TraceSummary {
        trace_id: TraceId::default(),
        name: None,
        start_ns: 0,
        end_ns: 100 * MS,
        root_agent: spans[0].agent.clone(),
        root_operation: "run".into(),
        root_service: Some("front".into()),
        has_root: true,
        spans: 3,
        failed_spans: 1,
        open_spans: 1,
        agents: Vec::new(),
        tokens: 0,
        cost: None,
        is_pinned: false,
    };
    (summary, spans)
}

fn found(query: &str) -> Vec<usize> {
    let (summary, spans) = trace();
    let query = parse(query).unwrap_or_else(|why| panic!("{query}: {why}"));
    let found = query.find(&summary, &spans);
    let filter = query.narrow();
    assert!(
        found.is_empty() || spans.iter().any(|span| filter.fits(span)),
        "{filter:?}"
    );
    found
}

#[test]
fn conditions_find_their_spans() {
    for (query, expected) in [
        ("{}", &[0, 1, 2][..]),
        ("{ true }", &[0, 1, 2]),
        (r#"{ name = "run" }"#, &[0]),
        (r#"{name="run"}"#, &[0]),
        (r#"{ "run" = name }"#, &[0]),
        (r#"{ name != "run" }"#, &[1, 2]),
        (r#"{ name =~ "chat.*" }"#, &[1]),
        (r#"{ name =~ "chat" }"#, &[]),
        (r"{ name !~ `chat gpt-\d.` }", &[0, 2]),
        ("{ status = error }", &[1]),
        ("{ status != error }", &[0, 2]),
        ("{ status = unset }", &[0, 2]),
        (r#"{ statusMessage =~ ".*many.*" }"#, &[1]),
        ("{ kind = client || kind = server }", &[0, 1]),
        ("{ duration >= 20ms && duration < 0.1s }", &[1]),
        ("{ duration > 20ms }", &[0]),
        ("{ 20ms < duration }", &[0]),
        ("{ traceDuration >= 100ms }", &[0, 1, 2]),
        ("{ traceDuration > 100ms }", &[]),
        (
            r#"{ rootName = "run" && rootServiceName = "front" }"#,
            &[0, 1, 2],
        ),
        (r#"{ resource.service.name = "front" }"#, &[0]),
        (r#"{ .service.name = "planner" }"#, &[1, 2]),
        (r#"{ .host = "h1" && resource.host = "h1" }"#, &[0]),
        (r#"{ span.host = "h1" }"#, &[]),
        ("{ span.http.status = 429 }", &[1]),
        ("{ span.http.status = 429.0 }", &[1]),
        ("{ span.http.status >= 400 && span.http.status<500}", &[1]),
        (r#"{ span.http.status = "429" }"#, &[]),
        ("{ .temperature < 1 && .stream = true }", &[1]),
        (r#"{ span."a b" = "x\"y" }"#, &[1]),
        ("{ span.http.status != nil }", &[1]),
        ("{ span.http.status = nil }", &[0, 2]),
        ("{ !(kind = client) && !(name = `wait`) }", &[0]),
        (
            "{ kind = server || kind = client && status = error }",
            &[0, 1],
        ),
        ("{ (kind = server || kind = client) && status = ok }", &[]),
        ("{ kind = server } && { status = error }", &[0, 1]),
        ("{ kind = consumer } && { status = error }", &[]),
        ("{ kind = consumer } || { status = error }", &[1]),
        (
            "({ kind = consumer } || { status = error }) && { name = `run` }",
            &[0, 1],
        ),
        ("{ span:name = `run` }", &[0]),
    ] {
        assert_eq!(found(query), expected, "{query}");
    }
}

#[test]
fn what_is_not_understood_is_told_with_its_column() {
    for (query, column, part) in [
        ("", 1, "missing"),
        ("{", 1, "not closed"),
        ("{ name }", 3, "comparison"),
        ("{ name = }", 10, "missing"),
        ("{ name = 5 }", 10, "text in quotes"),
        ("{ duration > 5 }", 14, "1.5s"),
        ("{ status = failed }", 12, "not supported"),
        ("{ kind > client }", 10, "unspecified"),
        ("{ span.x = 5ms }", 12, "number"),
        ("{ nestedSetParent < 0 }", 3, "not supported"),
        ("{ parent.x = 1 }", 3, "not supported"),
        ("{ name = name }", 10, "two fields"),
        ("{ name = \"x }", 10, "does not end"),
        ("{ ä = 1 } ", 3, "not supported"),
        ("{ name =~ \"(\" }", 11, "regular"),
        ("{} | rate()", 4, "pipelines"),
        ("{} >> {}", 4, "relations"),
        ("{} > {}", 4, "relations"),
        ("{} {}", 4, "missing before"),
        ("{} && ", 7, "missing before"),
        ("({}", 1, "not closed"),
        ("{} )", 4, "closes nothing"),
        ("{ span.x + 1 = 2 }", 10, "arithmetic"),
        ("{ duration > 5parsecs }", 14, "duration"),
        ("name = \"x\"", 1, "braces"),
    ] {
        let why = parse(query).unwrap_err();
        assert!(
            why.column == column && why.what.contains(part),
            "{query}: {why}"
        );
    }
    let deep = format!("{{ {} true", "(".repeat(1_000));
    assert!(parse(&deep).unwrap_err().what.contains("within each other"));
    assert!(parse(&" ".repeat(1 << 20)).is_err());
}

#[test]
fn what_all_finds_have_narrows_the_search() {
    let narrow = |query: &str| parse(query).unwrap().narrow();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(
        narrow(
            "{ name = `a` && (resource.service.name = `s` && span.x = 5) && status = error && duration >= 1ms && duration > 2ms }"
        ),
        SpanFilter {
            operation: Some("a".into()),
            service: Some("s".into()),
            attributes: vec![pair("x", "5"), pair("error", "true")],
            min_duration_ns: Some(2 * MS),
            ..SpanFilter::default()
        }
    );
    for query in [
        "{ name = `a` || kind = client }",
        "{ !(name = `a`) }",
        "{} || { name = `a` }",
        "{ span.x = 0 }",
    ] {
        assert_eq!(narrow(query), SpanFilter::default(), "{query}");
    }
    assert_eq!(
        narrow("{ kind = client } && { name = `a` && .x = 1 }")
            .operation
            .as_deref(),
        Some("a")
    );
    assert_eq!(narrow("{ rootName = `r` }").operation.as_deref(), Some("r"));
    assert_eq!(
        narrow("{ rootName = `r` && name = `a` }")
            .operation
            .as_deref(),
        Some("a")
    );
}

#[test]
fn durations_of_go() {
    for (text, ns) in [
        ("1.2s", 1_200 * MS),
        ("100ms", 100 * MS),
        ("4.5µs", 4_500),
        ("1h30m", 5_400_000 * MS),
        ("2d", 172_800_000 * MS),
        (".5s", 500 * MS),
        ("0", 0),
        ("1.999999999999999999999s", 1_999_999_999),
    ] {
        assert_eq!(parse_go_duration(text), Some(ns), "{text}");
    }
    for text in [
        "",
        "s",
        "1",
        "1x",
        "-1s",
        "1s ",
        "99999999999h",
        "1.s.",
        ".s",
    ] {
        assert_eq!(parse_go_duration(text), None, "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(text: String) {
        let _ = parse(&text);
        let _ = parse_go_duration(&text);
    }

    #[test]
    fn any_pieces_are_survived(pieces in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "(", ")", "&&", "||", "!", "=", "!=", "=~", "<", ">=", "name", "status", "error", "kind", "client",
        "duration", "20ms", "span.http.status", ".x", "resource.host", "429", "-1.5e3", "\"run\"", "`a.*`", "true", "nil",
        "rootName", "traceDuration", "|", "é", "\"", ".",
    ]), 0..24)) {
        let text = pieces.join(" ");
        if let Ok(query) = parse(&text) {
            let (summary, spans) = trace();
            let found = query.find(&summary, &spans);
            let filter = query.narrow();
            prop_assert!(found.is_empty() || spans.iter().any(|span| filter.fits(span)), "{}", text);
        }
    }

    #[test]
    fn filters_never_hide_a_find(conditions in prop::collection::vec((prop::sample::select(vec![
        "name = `run`", "name != `run`", "status = error", "kind = client", "duration >= 20ms", "duration < 50ms",
        "span.http.status = 429", ".stream = true", "resource.service.name = `front`", ".service.name = `planner`",
        "rootName = `run`", "rootServiceName = `front`", "true", ".host = `h1`", "span.temperature = 0.5",
    ]), prop::sample::select(vec![" && ", " || ", " && !", " } && { ", " } || { "])), 1..6)) {
        let mut text = "{ ".to_owned();
        for (condition, join) in &conditions {
            text.push_str(condition);
            text.push_str(join);
        }
        text.push_str("true }");
        if let Ok(query) = parse(&text) {
            let (summary, spans) = trace();
            let found = query.find(&summary, &spans);
            let filter = query.narrow();
            prop_assert!(found.is_empty() || spans.iter().any(|span| filter.fits(span)), "{}", text);
        }
    }
}

#[test]
fn attributes_of_a_query_are_told_once() {
    let query =
        parse("{ span.a = 1 || resource.service.name = `x` && .b != 2 && span.a = 3 }").unwrap();
    let expected = [
        (Scope::Span, "a"),
        (Scope::Resource, "service.name"),
        (Scope::Either, "b"),
    ];
    assert_eq!(query.attributes(), expected);
    let span = &trace().1[1];
    let attributes: &Attributes = &span.attributes;
    assert_eq!(
        attribute(span, Scope::Either, "stream"),
        attributes.get("stream")
    );
}
