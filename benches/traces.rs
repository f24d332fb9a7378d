//! Traces: durable append of spans, bytes a span, and searches over a file of `LONGWATCH_BENCH_SPANS` spans (200,000).
//!
//! The file is filled with larger batches than clients send, several of which wait for the disk at once: 10,000,000 spans
//! in commits of 512 take most of an hour. Packed blocks are cut from 100,000 spans that wait in memory, whatever the
//! batches were, so they are those of real traffic; the log's blocks are larger than there, and commits fewer. What one
//! writer of batches of 512 attains is measured apart.
//!
//! `LONGWATCH_BENCH_FILE` names a file that is kept, and asked again without being filled when it is there.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a measurement that cannot go on should stop"
)]

use std::{
    collections::VecDeque,
    hint::black_box,
    ops::Range,
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
    store::{Settings, SpanAppend, SpanTicket, Store, View},
    telemetry::OwnMetrics,
};

const NOW: i64 = 1_790_000_000_000;
/// Spans of a batch as clients send them.
const BATCH: u64 = 512;
/// Spans of a batch that fills the file: whole traces.
const FILL_BATCH: u64 = 5_120;
/// So many of those wait to be durable.
const FILL_PENDING: usize = 4;
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
    /// Holds the file where it is not to be kept.
    folder: tempfile::TempDir,
    path: std::path::PathBuf,
    clock: Arc<ManualClock>,
    store: Store,
}

impl Bench {
    /// Opens a file, and says whether it was there.
    fn new(kept: Option<std::path::PathBuf>) -> (Self, bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = kept.unwrap_or_else(|| folder.path().join("traces.redb"));
        let is_there = path.exists();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(NOW)));
        let settings = Settings {
            disk_reserve: Some(0),
            ..Settings::default()
        };
        let metrics = Arc::new(OwnMetrics::default());
        let store = Store::open(&path, settings, Arc::clone(&clock) as _, metrics).unwrap();
        let bench = Self {
            folder,
            path,
            clock,
            store,
        };
        (bench, is_there)
    }

    /// Makes spans, and sets the clock to when the last of them begins.
    fn spans(&self, numbers: Range<u64>, total: u64, resource: &Arc<Resource>) -> SpanAppend {
        let spans: Vec<Span> = numbers.map(|n| span(n, total, resource)).collect();
        let newest = spans.iter().map(|s| s.start_ns).max().unwrap_or(0);
        self.clock
            .set(Timestamp::from_millis(newest / 1_000_000 + 1));
        SpanAppend {
            spans,
            contacts: Vec::new(),
        }
    }

    /// Appends spans one batch after the other, each durable, at the times that they have; returns how long that took.
    fn append(&self, numbers: Range<u64>, total: u64) -> Duration {
        let resource = resource();
        let mut took = Duration::ZERO;
        for first in numbers.clone().step_by(BATCH as usize) {
            let last = (first + BATCH).min(numbers.end);
            let append = self.spans(first..last, total, &resource);
            let began = Instant::now();
            self.store.append_spans_blocking(append).unwrap();
            took += began.elapsed();
        }
        took
    }

    /// Appends spans as quickly as they come.
    fn fill(&self, numbers: Range<u64>, total: u64) {
        let resource = resource();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let mut pending: VecDeque<SpanTicket> = VecDeque::new();
        let mut wait = |ticket: SpanTicket| runtime.block_on(ticket.done()).unwrap();
        for first in numbers.clone().step_by(FILL_BATCH as usize) {
            let last = (first + FILL_BATCH).min(numbers.end);
            let append = self.spans(first..last, total, &resource);
            pending.push_back(self.store.submit_spans(append).unwrap());
            if pending.len() >= FILL_PENDING {
                pending.pop_front().map(&mut wait);
            }
        }
        for ticket in pending {
            wait(ticket);
        }
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
            "text of an error",
            SpanFilter {
                error_text: Some("after 42 ms".into()),
                ..SpanFilter::default()
            },
        ),
        (
            "text that no error has",
            SpanFilter {
                error_text: Some("connection refused".into()),
                ..SpanFilter::default()
            },
        ),
        (
            "two letters that no error has",
            SpanFilter {
                error_text: Some("qx".into()),
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
    let kept = std::env::var_os("LONGWATCH_BENCH_FILE").map(Into::into);
    let (bench, is_filled) = Bench::new(kept);
    if !is_filled {
        // The oldest fifth, 100,000 spans at most, comes as from one client.
        let apart = (total / 5).min(100_000);
        let took = bench.append(0..apart, total);
        let per_second = apart as f64 / took.as_secs_f64();
        let written = bench.store.status().bytes_written as f64 / apart as f64;
        println!(
            "{apart} spans by one writer in batches of {BATCH}: {per_second:.0} spans/s, {written:.0} bytes written a span"
        );
        let began = Instant::now();
        bench.fill(apart..total, total);
        println!("filled in {:.0} s", began.elapsed().as_secs_f64());
        bench.store.checkpoint_blocking().unwrap();
    }
    bench.clock.set(Timestamp::from_millis(NOW));
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
        folder,
        path,
        store,
        ..
    } = bench;
    drop(store);
    let snapshot = folder.path().join("snapshot.redb");
    longwatch::store::snapshot_file(&path, &snapshot, &mut |_, _| {}).unwrap();
    let length = std::fs::metadata(snapshot).unwrap().len();
    println!(
        "{:.0} bytes of a snapshot a span",
        length as f64 / total as f64
    );
}

criterion_group!(benches, traces);
criterion_main!(benches);
