//! Traces: durable append of spans, bytes a span, and searches over a file of `LONGWATCH_BENCH_SPANS` spans (200,000).

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a measurement that cannot go on should stop"
)]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use longwatch::{
    ingest::{SpanLimits, parse_otlp_protobuf, resolve_agents, to_otlp_protobuf},
    model::{
        AgentId, AttributeValue, ManualClock, Resource, Span, SpanEvent, SpanFilter, SpanId,
        SpanStatus, Timestamp, TraceId, TraceQuery, Window,
    },
    store::{Settings, SpanAppend, Store, View},
    telemetry::OwnMetrics,
};

const NOW: i64 = 1_790_000_000_000;
const BATCH: u64 = 512;
const AGENTS: u64 = 20;
/// Spans of one trace.
const TRACE: u64 = 10;
/// The spans are spread over so many hours.
const HOURS: i64 = 24;

fn mixed(number: u64) -> u64 {
    let hash = (number ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Span `number` of `total`: ten attributes, two events.
fn span(number: u64, total: u64, resource: &Arc<Resource>) -> Span {
    let trace = number / TRACE;
    let id = u128::from(mixed(trace)) << 64 | u128::from(mixed(trace + (1 << 40)) | 1);
    let agent = mixed(trace * 3 + number % 3) % AGENTS;
    let operations = ["plan", "chat gpt-4o", "execute_tool search", "invoke_agent"];
    let operation = operations[mixed(number) as usize % 4];
    let age_ms = (total - number) as i64 * (HOURS * 3_600_000 / total as i64).max(1);
    let start_ns = (NOW - age_ms) * 1_000_000 + (mixed(number) % 1_000_000) as i64;
    let span_id = SpanId::new(mixed(number + (1 << 41)) | 1).unwrap();
    let agent = AgentId::new(&format!("agent-{agent}")).unwrap();
    let mut span = Span::new(
        TraceId::new(id).unwrap(),
        span_id,
        agent,
        operation,
        start_ns,
    );
    if !number.is_multiple_of(TRACE) {
        span.parent_id = SpanId::new(mixed(trace * TRACE + (1 << 41)) | 1);
    }
    span.end_ns = Some(start_ns + 1_000_000 + (mixed(number + 3) % 2_000_000_000) as i64);
    if mixed(number + 4).is_multiple_of(200) {
        span.status = SpanStatus::Error;
        span.status_message = format!("timeout after {} ms", mixed(number) % 100).into();
    }
    let text = |text: String| AttributeValue::Text(text.into());
    for (key, value) in [
        ("gen_ai.agent.name", text(span.agent.to_string())),
        ("gen_ai.operation.name", text("chat".to_owned())),
        ("gen_ai.provider.name", text("openai".to_owned())),
        ("gen_ai.request.model", text("gpt-4o".to_owned())),
        (
            "gen_ai.conversation.id",
            text(format!("c-{:x}", mixed(trace) >> 40)),
        ),
        ("server.address", text("api.example.org".to_owned())),
        (
            "gen_ai.usage.input_tokens",
            AttributeValue::Int((mixed(number + 5) % 4_000) as i64),
        ),
        (
            "gen_ai.usage.output_tokens",
            AttributeValue::Int((mixed(number + 6) % 900) as i64),
        ),
        ("http.response.status_code", AttributeValue::Int(200)),
        ("try", AttributeValue::Int((number % 3) as i64)),
    ] {
        span.attributes.set(key, value);
    }
    for (name, after) in [("request sent", 200_000), ("first token", 900_000)] {
        span.events.push(SpanEvent {
            time_ns: start_ns + after,
            name: name.into(),
            ..SpanEvent::default()
        });
    }
    span.resource = Arc::clone(resource);
    span
}

fn resource() -> Arc<Resource> {
    let service = AttributeValue::Text("team".into());
    Arc::new(Resource {
        attributes: [(Arc::from("service.name"), service)].into_iter().collect(),
        ..Resource::default()
    })
}

struct Bench {
    _folder: tempfile::TempDir,
    path: std::path::PathBuf,
    clock: Arc<ManualClock>,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("traces.redb");
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
        let settings = Settings {
            disk_reserve: Some(0),
            ..Settings::default()
        };
        let metrics = Arc::new(OwnMetrics::default());
        let store = Store::open(&path, settings, Arc::clone(&clock) as _, metrics).unwrap();
        Self {
            _folder: folder,
            path,
            clock,
            store,
        }
    }

    /// Appends all spans, each batch durable, at the times that they have; returns how long that took.
    fn fill(&self, total: u64) -> Duration {
        let resource = resource();
        let mut took = Duration::ZERO;
        for first in (0..total).step_by(BATCH as usize) {
            let last = (first + BATCH).min(total);
            let spans: Vec<Span> = (first..last).map(|n| span(n, total, &resource)).collect();
            let newest = spans.iter().map(|s| s.start_ns).max().unwrap_or(0);
            self.clock
                .set(Timestamp::from_millis(newest / 1_000_000 + 1));
            let began = Instant::now();
            let append = SpanAppend {
                spans,
                contacts: Vec::new(),
            };
            self.store.append_spans_blocking(append).unwrap();
            took += began.elapsed();
        }
        self.clock.set(Timestamp::from_millis(NOW));
        took
    }
}

fn searches() -> Vec<(&'static str, SpanFilter)> {
    let attribute = |key: &str, value: String| vec![(key.to_owned(), value)];
    let conversation = format!("c-{:x}", mixed(7) >> 40);
    let agent = || Some(AgentId::new("agent-3").unwrap());
    vec![
        ("newest", SpanFilter::default()),
        (
            "agent",
            SpanFilter {
                agent: agent(),
                ..SpanFilter::default()
            },
        ),
        (
            "failed",
            SpanFilter {
                status: Some("failed".into()),
                ..SpanFilter::default()
            },
        ),
        (
            "one conversation, the oldest",
            SpanFilter {
                attributes: attribute("gen_ai.conversation.id", conversation),
                ..SpanFilter::default()
            },
        ),
        (
            "agent, failed, slow",
            SpanFilter {
                agent: agent(),
                status: Some("failed".into()),
                min_duration_ns: Some(1_900_000_000),
                ..SpanFilter::default()
            },
        ),
        (
            "nothing fits",
            SpanFilter {
                operation: Some("never".into()),
                ..SpanFilter::default()
            },
        ),
        (
            "text of the error",
            SpanFilter {
                error_text: Some("after 42 ms".into()),
                status: Some("failed".into()),
                ..SpanFilter::default()
            },
        ),
    ]
}

fn ask(view: &View, filter: &SpanFilter) -> usize {
    let query = TraceQuery {
        window: Window::until(Timestamp::from_millis(NOW)),
        filter: filter.clone(),
        after: None,
        limit: 20,
    };
    view.find_traces(&query).unwrap().traces.len()
}

fn traces(c: &mut Criterion) {
    let total = std::env::var("LONGWATCH_BENCH_SPANS").map_or(200_000, |n| n.parse().unwrap());
    let bench = Bench::new();
    let took = bench.fill(total);
    let per_second = total as f64 / took.as_secs_f64();
    bench.store.checkpoint_blocking().unwrap();
    let written = bench.store.status().bytes_written as f64 / total as f64;
    println!(
        "{total} spans by one writer in batches of {BATCH}: {per_second:.0} spans/s, {written:.0} bytes written a span"
    );
    let view = bench.store.view();
    for (name, filter) in searches() {
        let mut times: Vec<Duration> = (0..20)
            .map(|_| {
                let began = Instant::now();
                black_box(ask(&view, &filter));
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        println!(
            "search, {name}: {} found; median {:.1} ms, p95 {:.1} ms",
            ask(&view, &filter),
            times[9].as_secs_f64() * 1e3,
            times[18].as_secs_f64() * 1e3,
        );
    }
    let resource = resource();
    let spans: Vec<Span> = (0..BATCH).map(|n| span(n, total, &resource)).collect();
    let body = to_otlp_protobuf(&spans);
    let mut group = c.benchmark_group("traces");
    group
        .sample_size(20)
        .throughput(Throughput::Elements(BATCH));
    group.bench_function("read 512 spans of protobuf", |b| {
        b.iter(|| {
            let mut received = parse_otlp_protobuf(&body, &SpanLimits::default()).unwrap();
            resolve_agents(&mut received.spans, None);
            received.spans.len()
        });
    });
    let trace = spans[0].trace_id;
    group.throughput(Throughput::Elements(1));
    group.bench_function("show a trace", |b| {
        b.iter(|| view.trace(trace).unwrap().len());
    });
    group.finish();
    drop(view);
    bench.store.close_blocking().unwrap();
    let Bench {
        _folder,
        path,
        store,
        ..
    } = bench;
    drop(store);
    let snapshot = path.with_file_name("snapshot.redb");
    longwatch::store::snapshot_file(&path, &snapshot, &mut |_, _| {}).unwrap();
    let length = std::fs::metadata(snapshot).unwrap().len();
    println!(
        "{:.0} bytes of a snapshot a span",
        length as f64 / total as f64
    );
}

criterion_group!(benches, traces);
criterion_main!(benches);
