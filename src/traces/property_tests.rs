//! What holds for every trace, whatever comes, and however deep or wide.

use proptest::prelude::*;

use super::{samples::*, *};
use crate::model::{
    AgentOrigin, AttributeValue, Resource, Span, SpanId, SpanKind, SpanLink, TraceId,
};

/// Spans with anything in them.
fn garbage() -> impl Strategy<Value = Vec<Span>> {
    let times = prop_oneof![
        Just(i64::MIN),
        Just(i64::MAX),
        Just(0),
        any::<i64>(),
        0..1000i64,
        0..1000i64
    ];
    let one = (
        1..12u64,
        0..14u64,
        times.clone(),
        times,
        0..6u8,
        0..4u8,
        0..14u64,
        0..4u8,
    );
    let one = one.prop_map(|(no, parent, from, to, kind, agent_no, link, flags)| {
        let name = format!("a{agent_no}");
        let trace = TraceId::new(1).unwrap();
        let mut span = Span::new(trace, id(no), agent(&name), "op", from);
        span.parent_id = SpanId::new(parent);
        span.end_ns = (flags != 0).then_some(to);
        span.is_shared = flags == 3;
        span.kind = SpanKind::of_number(kind).unwrap();
        let mut resource = Resource::default();
        resource
            .attributes
            .set("host.id", AttributeValue::Int(agent_no.into()));
        span.resource = resource.into();
        if agent_no == 2 {
            span.agent_origin = AgentOrigin::Service;
        }
        if agent_no == 3 {
            span = failed(span, "no");
        }
        if let Some(span_id) = SpanId::new(link) {
            span.links.push(SpanLink {
                trace_id: trace,
                span_id,
                ..SpanLink::default()
            });
        }
        span
    });
    prop::collection::vec(one, 0..30)
}

/// Spans that may well be of one trace: by span its parent, start and end.
fn likely() -> impl Strategy<Value = Vec<Span>> {
    let one = (
        any::<prop::sample::Index>(),
        0..1000i64,
        0..400i64,
        0..6u8,
        0..4u8,
    );
    prop::collection::vec(one, 1..40).prop_map(|all| {
        let of = |(at, (parent, from, length, kind_no, agent_no)): (
            usize,
            &(prop::sample::Index, i64, i64, u8, u8),
        )| {
            let parent = if at == 0 {
                0
            } else {
                parent.index(at) as u64 + 1
            };
            let label = format!("a{agent_no}:op");
            let made = if at == 0 {
                span(1, 0, &label, 0, 1000)
            } else {
                span(at as u64 + 1, parent, &label, *from, from + length)
            };
            kind(made, SpanKind::of_number(*kind_no).unwrap())
        };
        all.iter().enumerate().map(of).collect()
    })
}

fn check(spans: &[Span]) {
    let mut forest = Forest::new(spans);
    let received = forest.received().count();
    assert_eq!(
        received + forest.duplicates + forest.superseded,
        spans.len()
    );
    let shifts = correct_skew(&mut forest);
    let mut seen = forest.order.clone();
    seen.sort_unstable();
    assert!(seen.iter().copied().eq(0..forest.nodes.len()));
    for (node, own) in forest.nodes.iter().zip(self_times(&forest)) {
        assert!(0 <= own && own <= node.duration_ns());
    }
    let path = CriticalPath::of(&forest);
    if let Some(root) = path.root {
        assert_eq!(path.duration_ns(), forest.nodes[root].duration_ns());
        assert!(path.segments.iter().all(|s| s.start_ns < s.end_ns));
        assert!(
            path.segments
                .windows(2)
                .all(|p| p[0].end_ns == p[1].start_ns && p[0].node != p[1].node)
        );
    } else {
        assert!(spans.is_empty());
    }
    drop(shifts);
    if let Ok(analysis) = analyse(spans) {
        to_json(&analysis);
        to_text(&analysis);
    }
    waterfall(spans, WaterfallOptions::default());
    compare(spans, spans);
    let mut profile = Profile::new(None);
    profile.add(spans);
    profile.report().to_json();
    profile.folded();
    profile.flame_svg();
    let mut graph = AgentGraph::default();
    graph.add(spans);
    graph.to_json();
    let same = what_if(spans, |_| true, 1.0);
    assert!(same.is_none_or(|same| same.before_ns == same.after_ns));
}

proptest! {
    #[test]
    fn nothing_is_lost_whatever_comes(spans in garbage()) {
        check(&spans);
    }

    #[test]
    fn paths_add_up(spans in likely()) {
        check(&spans);
        let same = Forest::new(&spans);
        let mut turned = spans.clone();
        turned.reverse();
        let turned = Forest::new(&turned);
        let labels = |forest: &Forest<'_>| forest.order.iter().map(|no| forest.nodes[*no].span_id).collect::<Vec<_>>();
        prop_assert_eq!(labels(&same), labels(&turned));
        // Nothing gets slower by faster parts, and all at half the time are at half the time.
        let half = what_if(&spans, |_| true, 0.5).unwrap();
        prop_assert!(half.after_ns <= half.before_ns);
    }
}

/// So many spans as no stack holds frames for.
const MANY: u64 = 100_000;

/// Deep, wide, linked and circular ones.
fn many() -> [(&'static str, Vec<Span>); 4] {
    let chain: Vec<Span> = (1..=MANY)
        .map(|no| {
            let made = span(no, no - 1, "a:op", no as i64, 300_000 - no as i64);
            kind(
                made,
                if no % 2 == 0 {
                    SpanKind::Consumer
                } else {
                    SpanKind::Producer
                },
            )
        })
        .collect();
    let wide: Vec<Span> = (1..=MANY)
        .map(|no| {
            span(
                no,
                u64::from(no > 1),
                "a:op",
                if no == 1 { 0 } else { no as i64 },
                no as i64 + 100_000,
            )
        })
        .collect();
    let linked: Vec<Span> = (1..=MANY)
        .map(|no| {
            let mut made = span(
                no,
                0,
                "a:op",
                no as i64 * 10,
                no as i64 * 10 + 5 + no as i64 / 10,
            );
            let link = SpanId::new(no - 1).map(|span_id| SpanLink {
                trace_id: TraceId::new(1).unwrap(),
                span_id,
                ..SpanLink::default()
            });
            made.links.extend(link);
            made
        })
        .collect();
    let cycle: Vec<Span> = (1..=MANY)
        .map(|no| {
            span(
                no,
                if no == 1 { MANY } else { no - 1 },
                "a:op",
                no as i64,
                300_000,
            )
        })
        .collect();
    [
        ("chain", chain),
        ("wide", wide),
        ("linked", linked),
        ("cycle", cycle),
    ]
}

#[test]
fn deep_and_wide_traces_are_walked() {
    for (what, spans) in many() {
        let analysis = analyse(&spans).unwrap();
        assert_eq!(analysis.total_spans, spans.len());
        // What follows walks over the same trees in the same way; the deep and the wide one stand for all.
        if !matches!(what, "chain" | "wide") {
            continue;
        }
        let mut profile = Profile::new(None);
        assert!(profile.add(&spans));
        profile.report();
        profile.flame_svg();
        AgentGraph::default().add(&spans);
        let options = WaterfallOptions {
            limit: 1000,
            ..WaterfallOptions::default()
        };
        assert!(waterfall(&spans, options).contains("... 99000 more spans"));
    }
}
