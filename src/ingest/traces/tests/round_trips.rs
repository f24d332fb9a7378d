//! Any spans, written and read again.

use std::sync::Arc;

use proptest::prelude::*;

use super::check_round_trip;
use crate::{
    ingest::traces::*,
    model::{
        AgentId, AgentOrigin, AttributeValue, Attributes, Resource, Scope, Span, SpanEvent, SpanId,
        SpanKind, SpanLink, SpanStatus, TraceId, genai,
    },
};

fn text() -> impl Strategy<Value = Arc<str>> {
    "\\PC{0,12}|[\\x00-\\x7f]{0,8}".prop_map(Arc::from)
}

fn value() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        Just(AttributeValue::Empty),
        text().prop_map(AttributeValue::Text),
        any::<bool>().prop_map(AttributeValue::Bool),
        any::<i64>().prop_map(AttributeValue::Int),
        any::<f64>().prop_map(AttributeValue::Float),
        Just(AttributeValue::Float(f64::NEG_INFINITY)),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(|b| AttributeValue::Bytes(b.into())),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(AttributeValue::List),
            prop::collection::vec((text(), inner), 0..4)
                .prop_map(|pairs| AttributeValue::Map(pairs.into_iter().collect())),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Attributes> {
    prop::collection::vec(("[a-z.]{1,6}".prop_map(Arc::from), value()), 0..4)
        .prop_map(|pairs| pairs.into_iter().collect())
}

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![
        1..=i64::MAX,
        1_700_000_000_000_000_000..1_700_000_001_000_000_000_i64
    ]
}

fn status() -> impl Strategy<Value = SpanStatus> {
    prop_oneof![
        Just(SpanStatus::Unset),
        Just(SpanStatus::Ok),
        Just(SpanStatus::Error),
        "[a-z]{1,9}".prop_map(|word| SpanStatus::Other(word.into())),
    ]
}

fn event() -> impl Strategy<Value = SpanEvent> {
    (0..=i64::MAX, text(), attributes(), any::<u32>()).prop_map(
        |(time_ns, name, attributes, dropped_attributes)| SpanEvent {
            time_ns,
            name,
            attributes,
            dropped_attributes,
        },
    )
}

fn link() -> impl Strategy<Value = SpanLink> {
    (
        1..=u128::MAX,
        1..=u64::MAX,
        text(),
        attributes(),
        any::<u32>(),
        any::<u32>(),
    )
        .prop_map(
            |(trace, span, trace_state, attributes, dropped_attributes, flags)| SpanLink {
                trace_id: TraceId::new(trace).unwrap(),
                span_id: SpanId::new(span).unwrap(),
                trace_state,
                attributes,
                dropped_attributes,
                flags,
            },
        )
}

fn span() -> impl Strategy<Value = Span> {
    let ids = (1..=u128::MAX, 1..=u64::MAX, any::<u64>());
    let named = (text(), text(), text(), status(), 0..6_u8, any::<bool>());
    let times = (time(), prop::option::of(time()), any::<u32>());
    let parts = (
        attributes(),
        prop::collection::vec(event(), 0..3),
        prop::collection::vec(link(), 0..3),
        (any::<u32>(), any::<u32>(), any::<u32>()),
    );
    let sent = (
        attributes(),
        text(),
        text(),
        text(),
        prop::option::of("[a-z]{1,9}"),
    );
    (ids, named, times, parts, sent).prop_map(|(ids, named, times, parts, sent)| {
        let agent = sent.4.as_deref().and_then(AgentId::of_text);
        let id = SpanId::new(ids.1).unwrap();
        let mut span = Span::new(
            TraceId::new(ids.0).unwrap(),
            id,
            AgentId::unknown(),
            &named.0,
            times.0,
        );
        span.agent_origin = AgentOrigin::Unknown;
        if let Some(agent) = agent {
            (span.agent, span.agent_origin) = (agent, AgentOrigin::Own);
        }
        span.parent_id = SpanId::new(ids.2);
        (span.trace_state, span.status_message) = (named.1, named.2);
        span.status = named.3;
        span.kind = SpanKind::of_number(named.4).unwrap();
        span.is_shared = named.5;
        (span.end_ns, span.flags) = (times.1, times.2);
        (span.attributes, span.events, span.links) = (parts.0, parts.1, parts.2);
        (
            span.dropped_attributes,
            span.dropped_events,
            span.dropped_links,
        ) = parts.3;
        let mut resource = Resource {
            attributes: sent.0.clone(),
            schema_url: sent.1,
            ..Resource::default()
        };
        resource
            .attributes
            .set("service.name", AttributeValue::Text("s".into()));
        span.resource = Arc::new(resource);
        span.scope = Arc::new(Scope {
            name: sent.2,
            version: sent.3,
            attributes: sent.0,
            ..Scope::default()
        });
        span.usage = genai::token_usage(&span);
        span
    })
}

proptest! {
    #[test]
    fn otlp_gives_back_what_it_was_given(spans in prop::collection::vec(span(), 1..6)) {
        check_round_trip(&spans);
    }

    #[test]
    fn jaeger_gives_back_the_tree(spans in prop::collection::vec(span(), 1..6)) {
        let written = to_jaeger_json(&spans);
        let read = parse_jaeger_json(written.to_string().as_bytes(), &SpanLimits::default());
        let microsecond = |time: i64| time >= 1000;
        if spans.iter().all(|span| microsecond(span.start_ns)) {
            let read = read.unwrap();
            prop_assert_eq!(read.rejected, 0);
            for (read, span) in read.spans.iter().zip(&spans) {
                prop_assert_eq!((read.trace_id, read.span_id), (span.trace_id, span.span_id));
                prop_assert_eq!(read.parent_id, span.parent_id);
                prop_assert_eq!(read.start_ns, span.start_ns / 1000 * 1000);
            }
        }
    }
}
