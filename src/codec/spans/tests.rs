use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::codec::varint;
use crate::model::{
    AgentId, AgentNo, AgentOrigin, AttributeValue, Attributes, Resource, Scope, Span, SpanEvent,
    SpanFilter, SpanId, SpanKind, SpanLink, SpanStatus, TokenUsage, TraceId,
};

fn text() -> impl Strategy<Value = Arc<str>> {
    prop_oneof![
        Just("".into()),
        Just("gpt".into()),
        ".{0,6}".prop_map(|s| s.as_str().into())
    ]
}

fn value() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        Just(AttributeValue::Empty),
        text().prop_map(AttributeValue::Text),
        any::<bool>().prop_map(AttributeValue::Bool),
        any::<i64>().prop_map(AttributeValue::Int),
        (-1e9..1e9f64).prop_map(AttributeValue::Float),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(|b| AttributeValue::Bytes(b.into())),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(AttributeValue::List),
            prop::collection::vec((text(), inner), 0..3)
                .prop_map(|pairs| AttributeValue::Map(pairs.into_iter().collect())),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Attributes> {
    prop::collection::vec((text(), value()), 0..4).prop_map(|pairs| pairs.into_iter().collect())
}

prop_compose! {
    fn event()(time_ns: i64, name in text(), attributes in attributes(), dropped_attributes: u32) -> SpanEvent {
        SpanEvent { time_ns, name, attributes, dropped_attributes }
    }
}

prop_compose! {
    fn link()(trace in 1..u128::MAX, span in 1..u64::MAX, trace_state in text(), attributes in attributes(), flags: u32) -> SpanLink {
        SpanLink {
            trace_id: TraceId::new(trace).unwrap(),
            span_id: SpanId::new(span).unwrap(),
            trace_state,
            attributes,
            dropped_attributes: 0,
            flags,
        }
    }
}

prop_compose! {
    fn usage()(input: u64, output: u64, cache_read: u64, cost in prop::option::of(0.0..1e6f64)) -> TokenUsage {
        TokenUsage { input, output, cache_read, cost, ..TokenUsage::default() }
    }
}

prop_compose! {
    fn span()(
        ids in (1..4u128, 1..9u64, prop::option::of(1..9u64)),
        name in text(),
        times in (any::<i64>(), prop::option::of(any::<i64>())),
        kind in 0..6u8,
        status in 0..4u8,
        told in (text(), text(), any::<u32>(), any::<bool>(), 0..4usize),
        attributes in attributes(),
        events in prop::collection::vec(event(), 0..3),
        links in prop::collection::vec(link(), 0..2),
        usage in prop::option::of(usage()),
        origin in (attributes(), attributes(), text()),
    ) -> Span {
        let mut span = Span::new(TraceId::new(ids.0).unwrap(), SpanId::new(ids.1).unwrap(), agent(), &name, times.0);
        span.parent_id = ids.2.and_then(SpanId::new);
        span.end_ns = times.1;
        span.kind = SpanKind::of_number(kind).unwrap();
        span.status = [SpanStatus::Unset, SpanStatus::Ok, SpanStatus::Error, SpanStatus::Other("gone".into())][usize::from(status)].clone();
        (span.status_message, span.trace_state, span.flags, span.is_shared) = (told.0, told.1, told.2, told.3);
        span.agent_origin = AgentOrigin::ALL[told.4];
        span.attributes = attributes;
        span.events = events;
        span.links = links;
        span.usage = usage;
        span.resource = Arc::new(Resource { attributes: origin.0, dropped_attributes: 1, schema_url: origin.2.clone() });
        span.scope = Arc::new(Scope { attributes: origin.1, name: origin.2, ..Scope::default() });
        span
    }
}

fn agent() -> AgentId {
    AgentId::new("planner").unwrap()
}

/// A span like those of the usual libraries: ten attributes, two events.
fn typical(number: u64) -> Span {
    // Ids look random, as those of clients do.
    let mix = |n: u64| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((n + 7) << 13);
    let trace = u128::from(mix(number / 8)) << 64 | u128::from(mix(number / 8 + 1_000_000));
    let mut span = Span::new(
        TraceId::new(trace).unwrap(),
        SpanId::new(mix(number + 5_000_000)).unwrap(),
        agent(),
        ["chat gpt-4o", "execute_tool search", "invoke_agent planner"][number as usize % 3],
        1_790_000_000_000_000_000 + number as i64 * 13_000_017 + (mix(number) % 1_000_000) as i64,
    );
    span.parent_id =
        (!number.is_multiple_of(8)).then(|| SpanId::new(mix(number / 8 * 8 + 5_000_000)).unwrap());
    span.end_ns = Some(span.start_ns + 5_000_000 + (mix(number + 3) % 900_000_000) as i64);
    span.kind = SpanKind::Client;
    let set = |span: &mut Span, key: &str, value: AttributeValue| span.attributes.set(key, value);
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "openai"),
        ("gen_ai.request.model", "gpt-4o"),
        ("gen_ai.response.model", "gpt-4o-2024-08-06"),
        ("gen_ai.agent.name", "planner"),
        ("server.address", "api.openai.com"),
    ] {
        set(&mut span, key, AttributeValue::Text(value.into()));
    }
    set(
        &mut span,
        "gen_ai.conversation.id",
        AttributeValue::Text(format!("conversation-{:08x}", mix(number / 8) >> 32).into()),
    );
    set(
        &mut span,
        "gen_ai.usage.input_tokens",
        AttributeValue::Int((mix(number + 11) % 4_000) as i64),
    );
    set(
        &mut span,
        "gen_ai.usage.output_tokens",
        AttributeValue::Int((mix(number + 12) % 800) as i64),
    );
    set(
        &mut span,
        "http.response.status_code",
        AttributeValue::Int(200),
    );
    for (name, after) in [("request sent", 1_000_000), ("first token", 3_000_000)] {
        span.events.push(SpanEvent {
            time_ns: span.start_ns + after + (mix(number + 13) % 1_000_000) as i64,
            name: name.into(),
            ..SpanEvent::default()
        });
    }
    span
}

#[test]
fn a_typical_span_takes_less_than_a_hundred_bytes() {
    let resource = Arc::new(Resource::default());
    let spans: Vec<Span> = (0..512)
        .map(|number| Span {
            resource: Arc::clone(&resource),
            ..typical(number)
        })
        .collect();
    let (header, body) = encode_spans(&spans.iter().collect::<Vec<_>>(), 3);
    let bytes = (header.encode().len() + body.len()) as f64 / spans.len() as f64;
    println!(
        "{bytes:.1} bytes a span, of which {} are the header",
        header.encode().len() as f64 / 512.0
    );
    assert!(bytes < 80.0, "{bytes}");
    assert_eq!(decode_spans(&body, &agent()).unwrap(), spans);
}

#[test]
fn a_header_says_what_cannot_be_there() {
    let spans: Vec<Span> = (0..100).map(typical).collect();
    let (header, _) = encode_spans(&spans.iter().collect::<Vec<_>>(), 1);
    let asks = |filter: SpanFilter| header.may_fit(&filter, &terms_of_filter(&filter));
    assert!(asks(SpanFilter::default()));
    let operation = |name: &str| SpanFilter {
        operation: Some(name.into()),
        ..SpanFilter::default()
    };
    assert!(asks(operation("chat gpt-4o")));
    let attribute = |key: &str, value: &str| SpanFilter {
        attributes: vec![(key.into(), value.into())],
        ..SpanFilter::default()
    };
    assert!(asks(attribute("http.response.status_code", "200")));
    assert!(asks(attribute("span.kind", "client")));
    let false_alarms = (0..1_000)
        .filter(|n| asks(operation(&format!("chat {n}"))))
        .count();
    assert!(false_alarms < 40, "{false_alarms}");
    let mut failed = spans.clone();
    failed[7].status = SpanStatus::Error;
    failed[7].status_message = "Timeout after 42 ms".into();
    let (header, _) = encode_spans(&failed.iter().collect::<Vec<_>>(), 1);
    let says = |text: &str| {
        let filter = SpanFilter {
            error_text: Some(text.into()),
            ..SpanFilter::default()
        };
        header.may_fit(&filter, &terms_of_filter(&filter))
    };
    assert!(says("TIMEOUT") && says("ter 42") && says("42") && says(""));
    assert!(!says("after 43") && !says("refused"));
    let mut older = header.clone();
    older.has_error_parts = false;
    assert_eq!(SpanHeader::decode(&older.encode()).unwrap(), older);
    let filter = SpanFilter {
        error_text: Some("refused".into()),
        ..SpanFilter::default()
    };
    assert!(older.may_fit(&filter, &terms_of_filter(&filter)));
    let asks = |filter: SpanFilter| header.may_fit(&filter, &terms_of_filter(&filter));
    assert!(!asks(SpanFilter {
        min_duration_ns: Some(10_000_000_000),
        ..SpanFilter::default()
    }));
    assert!(!asks(SpanFilter {
        max_duration_ns: Some(1_000),
        ..SpanFilter::default()
    }));
}

/// Asks about every column that is looked at before spans are decoded.
fn filter() -> SpanFilter {
    SpanFilter {
        status: Some("gone".into()),
        min_duration_ns: Some(1),
        max_duration_ns: Some(i64::MAX - 1),
        ..SpanFilter::default()
    }
}

#[test]
fn columns_say_what_cannot_be_there() {
    let mut spans: Vec<Span> = (0..100).map(typical).collect();
    spans[7].status = SpanStatus::Error;
    spans[7].status_message = "Timeout after 42 ms".into();
    spans[9].status = SpanStatus::Other("gone".into());
    let ratio = AttributeValue::Float(0.5);
    spans[9].attributes.set("ratio", ratio);
    spans[9]
        .attributes
        .set("is_cached", AttributeValue::Bool(true));
    let (_, body) = encode_spans(&spans.iter().collect::<Vec<_>>(), 1);
    let block = SpanBlock::open(&body).unwrap();
    assert_eq!(block.spans(&agent()).unwrap(), spans);
    let asks = |filter: SpanFilter| block.may_fit(&filter, &agent()).unwrap();
    let attribute = |key: &str, value: &str| {
        asks(SpanFilter {
            attributes: vec![(key.into(), value.into())],
            ..SpanFilter::default()
        })
    };
    assert!(attribute("server.address", "api.openai.com"));
    assert!(attribute("http.response.status_code", "200"));
    assert!(attribute("is_cached", "true") && attribute("ratio", "0.5"));
    assert!(attribute("span.kind", "client") && attribute("error", "true"));
    // Both are there, each with another key.
    assert!(!attribute("server.address", "openai"));
    assert!(!attribute("http.response.status_code", "gpt-4o"));
    assert!(!attribute("http.response.status_code", "404"));
    assert!(!attribute("is_cached", "false") && !attribute("address", "api.openai.com"));
    let service = |name: &str| {
        asks(SpanFilter {
            service: Some(name.into()),
            ..SpanFilter::default()
        })
    };
    assert!(service("planner") && !service("writer"));
    let error = |text: &str| {
        asks(SpanFilter {
            error_text: Some(text.into()),
            ..SpanFilter::default()
        })
    };
    assert!(error("TIMEOUT after 4") && !error("after 43"));
    let outline = |operation: Option<&str>, status: &str, min: i64| {
        asks(SpanFilter {
            operation: operation.map(str::to_owned),
            status: Some(status.to_owned()),
            min_duration_ns: Some(min),
            ..SpanFilter::default()
        })
    };
    let failed = &spans[7];
    let lasted = failed.duration_ns().unwrap();
    assert!(outline(Some(&failed.name), "failed", lasted));
    // One span each has the status, the duration and the operation; none has all.
    assert!(!outline(None, "failed", lasted + 1));
    assert!(!outline(Some(&spans[8].name), "failed", lasted));
    assert!(outline(None, "gone", 0) && outline(None, "completed", 0));
    assert!(!outline(None, "open", 0) && !outline(Some("never"), "gone", 0));
}

#[test]
fn parts_of_a_trace_add_up_in_any_order() {
    let spans: Vec<Span> = (0..8).map(typical).collect();
    let parts: Vec<TracePart> = spans
        .iter()
        .zip([3, 1, 2, 3, 1, 1, 9, 9])
        .map(|(s, no)| TracePart::of(s, AgentNo(no)))
        .collect();
    let sum = |order: &[usize]| {
        let mut parts = order.iter().map(|place| &parts[*place]);
        let mut sum = parts.next().unwrap().clone();
        parts.for_each(|part| sum.add(part));
        sum
    };
    let all = sum(&[0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(sum(&[7, 2, 5, 0, 1, 6, 4, 3]), all);
    assert_eq!(all.spans(), 8);
    assert_eq!(
        all.agents,
        [
            (AgentNo(1), 3),
            (AgentNo(2), 1),
            (AgentNo(3), 2),
            (AgentNo(9), 2)
        ]
    );
    assert!(all.has_root);
    assert_eq!(all.told_agent, AgentNo(3));
    let blocks = vec![
        BlockRef {
            agent: AgentNo(1),
            start_ms: 5,
            sequence: 9,
            part: 0,
        },
        BlockRef {
            agent: AgentNo(3),
            start_ms: 2,
            sequence: 9,
            part: 4,
        },
    ];
    let entry = TraceEntry { part: all, blocks };
    assert_eq!(TraceEntry::decode(&entry.encode()).unwrap(), entry);
}

proptest! {
    #[test]
    fn spans_round_trip(spans in prop::collection::vec(span(), 1..8)) {
        let (header, body) = encode_spans(&spans.iter().collect::<Vec<_>>(), 1);
        prop_assert_eq!(SpanHeader::decode(&header.encode()).unwrap(), header);
        prop_assert_eq!(decode_spans(&body, &agent()).unwrap(), spans);
    }

    #[test]
    fn headers_and_columns_never_hide_a_span(spans in prop::collection::vec(span(), 1..6), at in any::<prop::sample::Index>()) {
        let (header, body) = encode_spans(&spans.iter().collect::<Vec<_>>(), 1);
        let span = &spans[at.index(spans.len())];
        let mut filter = SpanFilter {
            operation: Some(span.name.to_string()),
            service: Some(span.service().to_owned()),
            status: Some(span.status_word().to_owned()),
            min_duration_ns: span.duration_ns(),
            max_duration_ns: span.duration_ns(),
            ..SpanFilter::default()
        };
        filter.attributes.extend(span.attributes.iter().next().map(|(k, v)| (k.to_string(), v.to_string())));
        filter.attributes.extend(span.resource.attributes.iter().next().map(|(k, v)| (k.to_string(), v.to_string())));
        let mut errors = Vec::new();
        span.each_error_text(|text| errors.push(text.to_uppercase()));
        // Upper and lower case are not each other's inverse in every alphabet.
        filter.error_text = errors.pop().filter(|text| text.is_ascii());
        prop_assert!(filter.fits(span));
        prop_assert!(header.may_fit(&filter, &terms_of_filter(&filter)));
        prop_assert!(SpanBlock::open(&body).unwrap().may_fit(&filter, &agent()).unwrap());
    }

    #[test]
    fn damage_is_noticed(at: prop::sample::Index, bit in 0u8..8) {
        let spans: Vec<Span> = (0..3).map(typical).collect();
        let (_, mut body) = encode_spans(&spans.iter().collect::<Vec<_>>(), 1);
        let at = at.index(body.len());
        body[at] ^= 1 << bit;
        prop_assert!(decode_spans(&body, &agent()).is_err());
    }

    #[test]
    fn any_columns_are_survived(count in 0u64..3, columns in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), Column::COUNT)) {
        let mut plain = Vec::new();
        varint::put_u64(&mut plain, count);
        for (place, column) in columns.iter().enumerate() {
            let ids = vec![1; count as usize * 8];
            varint::put_bytes(&mut plain, if place == Column::SpanIds as usize { &ids } else { column });
        }
        let mut body = vec![FORMAT];
        varint::put_u64(&mut body, plain.len() as u64);
        body.extend(zstd::bulk::compress(&plain, 1).unwrap());
        body.extend(crc32c::crc32c(&body).to_le_bytes());
        let block = SpanBlock::open(&body).unwrap();
        let _ = block.may_fit(&filter(), &agent());
        let _ = block.spans(&agent());
    }

    #[test]
    fn any_bytes_are_survived(mut bytes: Vec<u8>) {
        bytes.insert(0, FORMAT);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend(checksum.to_le_bytes());
        let _ = decode_spans(&bytes, &agent());
        let _ = SpanBlock::open(&bytes).map(|block| block.may_fit(&filter(), &agent()));
        let _ = SpanHeader::decode(&bytes);
        let _ = TraceEntry::decode(&bytes);
    }
}
