//! Critical paths of two other projects' test suites, and Zipkin's skewed trace.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::PathBuf,
};

use serde_json::Value;

use super::{CriticalPath, Forest, correct_skew};
use crate::model::{
    AgentId, AttributeValue, Resource, Span, SpanId, SpanKind, SpanStatus, TraceId,
};

/// Own time on the path by `agent:operation`, microseconds.
type Exclusive = &'static [(&'static str, i64)];

/// Cases that are answered otherwise here, with our answer and the reason.
const OTHERWISE: [(&str, Exclusive, &str); 3] = [
    (
        "jaeger-ui-5",
        &[
            ("service-one:op-A", 20),
            ("service-one:op-B", 8),
            ("service-one:op-C", 2),
        ],
        "a consumer that ends before its producer was waited for; jaeger-ui leaves out every consumer",
    ),
    (
        "crisp-20",
        &OVERLAPPING,
        "the end of an overlapping child is cut to the start of the next, so that the path adds up to the root",
    ),
    ("crisp-21", &OVERLAPPING, "as crisp-20"),
];

/// B and C lose the 5 that they overlap what follows, and A has its 10 at the start.
const OVERLAPPING: [(&str, i64); 4] =
    [("S1:O1", 10), ("S2:O2", 195), ("S3:O3", 95), ("S4:O4", 300)];

fn read(path: &str) -> Option<Value> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../shared/conformance/{path}"));
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return None;
    };
    Some(serde_json::from_str(&text).unwrap())
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value[key].as_str()
}

fn span_of(case: &Value) -> Span {
    let id = |key| text(case, key).map(|id| SpanId::of_text(id).0);
    let start = case["start"].as_i64().unwrap();
    let mut span = Span::new(
        TraceId::default(),
        id("span_id").unwrap(),
        AgentId::new(text(case, "agent").unwrap()).unwrap(),
        text(case, "operation").unwrap(),
        start * 1000,
    );
    span.parent_id = id("parent_span_id");
    span.end_ns = Some((start + case["duration"].as_i64().unwrap()) * 1000);
    span.kind = text(case, "kind")
        .and_then(SpanKind::of_name)
        .unwrap_or_default();
    if case["error"] == true {
        span.status = SpanStatus::Error;
    }
    span
}

#[test]
fn critical_paths_of_others() {
    let mut cases = 0;
    for file in ["jaeger-ui", "crisp"] {
        let Some(suite) = read(&format!("critical-path/{file}.json")) else {
            return;
        };
        for case in suite["cases"].as_array().unwrap() {
            cases += 1;
            let name = text(case, "name").unwrap();
            let spans: Vec<Span> = case["spans"]
                .as_array()
                .unwrap()
                .iter()
                .map(span_of)
                .collect();
            let names: HashMap<SpanId, &str> = case["spans"]
                .as_array()
                .unwrap()
                .iter()
                .map(|s| text(s, "span_id").unwrap())
                .map(|id| (SpanId::of_text(id).0, id))
                .collect();
            let forest = Forest::new(&spans);
            let path = CriticalPath::of(&forest);
            let mut exclusive: BTreeMap<String, i64> = BTreeMap::new();
            for segment in &path.segments {
                *exclusive
                    .entry(forest.nodes[segment.node].label())
                    .or_default() += segment.duration_ns() / 1000;
            }
            assert_eq!(
                path.duration_ns(),
                forest.nodes[path.root.unwrap()].duration_ns(),
                "{name}"
            );
            if let Some((_, ours, _)) = OTHERWISE.iter().find(|(other, ..)| *other == name) {
                let ours: BTreeMap<String, i64> =
                    ours.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
                assert_eq!(exclusive, ours, "{name}");
                continue;
            }
            let expected: BTreeMap<String, i64> =
                serde_json::from_value(case["expected"]["exclusive"].clone()).unwrap();
            assert_eq!(exclusive, expected, "{name}");
            let Some(segments) = case["expected"]["segments_last_first"].as_array() else {
                continue;
            };
            let segments: Vec<_> = segments
                .iter()
                .map(|s| {
                    (
                        text(s, "span_id").unwrap(),
                        s["start"].as_i64(),
                        s["end"].as_i64(),
                    )
                })
                .collect();
            let found: Vec<_> = path
                .segments
                .iter()
                .rev()
                .map(|s| {
                    let id = names[&forest.nodes[s.node].span_id];
                    (id, Some(s.start_ns / 1000), Some(s.end_ns / 1000))
                })
                .collect();
            assert_eq!(found, segments, "{name}");
        }
    }
    assert!(cases >= 23, "{cases} cases");
}

#[test]
fn skew_of_zipkin() {
    let Some(told) = read("zipkin/skew.json") else {
        return;
    };
    let spans: Vec<Span> = told
        .as_array()
        .unwrap()
        .iter()
        .map(|told| {
            let id = |key| text(told, key).and_then(SpanId::from_hex);
            let endpoint = &told["localEndpoint"];
            let start = told["timestamp"].as_i64().unwrap() * 1000;
            let mut span = Span::new(
                TraceId::from_hex(text(told, "traceId").unwrap()).unwrap(),
                id("id").unwrap(),
                AgentId::new(text(endpoint, "serviceName").unwrap()).unwrap(),
                text(told, "name").unwrap(),
                start,
            );
            span.parent_id = id("parentId");
            span.end_ns = Some(start + told["duration"].as_i64().unwrap() * 1000);
            span.is_shared = told["shared"] == true;
            let mut resource = Resource::default();
            let ip = AttributeValue::Text(text(endpoint, "ipv4").unwrap().into());
            resource.attributes.set("host.ip", ip);
            span.resource = resource.into();
            span
        })
        .collect();
    let mut forest = Forest::new(&spans);
    assert_eq!(
        (forest.nodes.len(), forest.roots.len(), forest.conflicts),
        (4, 1, 0)
    );
    let before: Vec<i64> = forest
        .order
        .iter()
        .map(|no| forest.nodes[*no].duration_ns())
        .collect();
    let shifts = correct_skew(&mut forest);
    assert_eq!(shifts.len(), 2);
    assert!(
        shifts.iter().all(|s| s.shift_ns == 65_922_000),
        "{shifts:?}"
    );
    for (at, no) in forest.order.iter().enumerate() {
        let node = &forest.nodes[*no];
        assert_eq!((node.depth, node.duration_ns()), (at, before[at]));
        if let Some(parent) = node.parent {
            let parent = &forest.nodes[parent];
            assert!(parent.start_ns <= node.start_ns && node.end_ns <= parent.end_ns);
        }
    }
}
