//! What has been counted of one agent, and how it is written as samples.

use std::{collections::BTreeMap, sync::Arc};

use super::buckets::Buckets;
use crate::{
    model::{AgentId, Batch, MetricKind, MetricMetadata, SpanKind, Timestamp, TokenUsage},
    traces::{
        Edge, EdgeKind, LatencyHistogram,
        tap::{StatusCode, ToldSpan},
    },
};

/// Operations of one agent, by name, kind and status; more count as [`OTHER`].
const OPERATIONS_MAX: usize = 200;
/// Edges from one agent; more count as to [`OTHER`].
const EDGES_MAX: usize = 50;
/// Models of one agent; more count as [`OTHER`].
const MODELS_MAX: usize = 50;
/// What further names are counted as.
const OTHER: &str = "other";

const CALLS: &str = "traces_spanmetrics_calls_total";
const LATENCY: &str = "traces_spanmetrics_latency";
const TOKENS: &str = "traces_spanmetrics_tokens_total";
const COST: &str = "traces_spanmetrics_cost_total";
const REQUESTS: &str = "traces_service_graph_request_total";
const FAILED: &str = "traces_service_graph_request_failed_total";
const SERVER: &str = "traces_service_graph_request_server_seconds";
const CLIENT: &str = "traces_service_graph_request_client_seconds";

/// Families, their kinds, units and meanings.
const FAMILIES: [(&str, MetricKind, &str, &str); 8] = [
    (CALLS, MetricKind::Counter, "", "Spans that ended"),
    (
        LATENCY,
        MetricKind::Histogram,
        "seconds",
        "How long spans lasted",
    ),
    (TOKENS, MetricKind::Counter, "", "Tokens of inferences"),
    (
        COST,
        MetricKind::Counter,
        "",
        "Cost of inferences by the price table",
    ),
    (
        REQUESTS,
        MetricKind::Counter,
        "",
        "Requests between two agents",
    ),
    (
        FAILED,
        MetricKind::Counter,
        "",
        "Requests between two agents that failed",
    ),
    (
        SERVER,
        MetricKind::Histogram,
        "seconds",
        "How long the asked agent worked",
    ),
    (
        CLIENT,
        MetricKind::Histogram,
        "seconds",
        "How long the asking agent waited",
    ),
];

/// The metrics generator's words for kinds.
const fn kind_label(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "SPAN_KIND_UNSPECIFIED",
        SpanKind::Internal => "SPAN_KIND_INTERNAL",
        SpanKind::Server => "SPAN_KIND_SERVER",
        SpanKind::Client => "SPAN_KIND_CLIENT",
        SpanKind::Producer => "SPAN_KIND_PRODUCER",
        SpanKind::Consumer => "SPAN_KIND_CONSUMER",
    }
}

const fn status_label(status: StatusCode) -> &'static str {
    match status {
        StatusCode::Unset => "STATUS_CODE_UNSET",
        StatusCode::Ok => "STATUS_CODE_OK",
        StatusCode::Error => "STATUS_CODE_ERROR",
    }
}

/// A count that is written as samples.
#[derive(Debug, Default)]
struct Written<T> {
    value: T,
    /// Whether a sample of it was written since the start.
    is_known: bool,
}

type Operation = (Arc<str>, SpanKind, StatusCode);

#[derive(Debug, Default)]
struct Calls {
    count: u64,
    latency: Buckets,
}

#[derive(Debug, Default)]
struct Requests {
    count: u64,
    failed: u64,
    server: Buckets,
    client: Buckets,
}

/// What has been counted of one agent.
#[derive(Debug, Default)]
pub(super) struct AgentSeries {
    operations: BTreeMap<Operation, Written<Calls>>,
    models: BTreeMap<Arc<str>, Written<TokenUsage>>,
    edges: BTreeMap<(Arc<str>, EdgeKind), Written<Requests>>,
    latencies: BTreeMap<Arc<str>, LatencyHistogram>,
    /// Whether anything was counted since it was written last.
    pub(super) has_changed: bool,
}

/// The key, or the one of all others where the map is full.
fn entry<K: Ord + Clone, T: Default>(
    map: &mut BTreeMap<K, T>,
    key: K,
    max: usize,
    other: impl FnOnce(K) -> K,
) -> &mut T {
    let key = if map.len() >= max && !map.contains_key(&key) {
        other(key)
    } else {
        key
    };
    map.entry(key).or_default()
}

impl AgentSeries {
    /// Counts a span that ended.
    pub(super) fn count(&mut self, span: &ToldSpan) {
        self.has_changed = true;
        let key = (Arc::clone(&span.name), span.kind, span.status);
        let calls = entry(&mut self.operations, key, OPERATIONS_MAX, |key| {
            (OTHER.into(), key.1, key.2)
        });
        calls.value.count += 1;
        if let Some(ns) = span.duration_ns {
            calls.value.latency.add(ns);
        }
        self.learn(span);
        if let Some(usage) = &span.usage {
            let model = span.model.clone().unwrap_or_else(|| "unknown".into());
            let tokens = entry(&mut self.models, model, MODELS_MAX, |_| OTHER.into());
            tokens.value.add(usage);
        }
    }

    /// Takes in how long its operation took.
    pub(super) fn learn(&mut self, span: &ToldSpan) {
        if let Some(ns) = span.duration_ns {
            let name = Arc::clone(&span.name);
            entry(&mut self.latencies, name, OPERATIONS_MAX, |_| OTHER.into()).add(ns);
        }
    }

    /// Counts one use of an edge that begins here.
    pub(super) fn count_edge(&mut self, edge: &Edge) {
        self.has_changed = true;
        let key = (Arc::from(edge.target.as_str()), edge.kind);
        let requests = entry(&mut self.edges, key, EDGES_MAX, |key| (OTHER.into(), key.1));
        let requests = &mut requests.value;
        requests.count += 1;
        requests.failed += u64::from(edge.is_failed);
        if let Some(ns) = edge.latency_ns {
            requests.server.add(ns);
            let wait = edge.wait_ns.unwrap_or_default();
            requests.client.add(ns.saturating_add(wait));
        }
    }

    /// A percentile of an operation's durations, nanoseconds; `None` below so many of them.
    pub(super) fn percentile_ns(&self, operation: &str, percent: f64, least: u64) -> Option<u64> {
        let latency = self.latencies.get(operation)?;
        (latency.count() >= least).then(|| latency.percentile_ns(percent))?
    }

    /// All counts as samples of `now`. What is written for the first time was 0 at `before`, so that rates see its
    /// first calls.
    pub(super) fn write(&mut self, client: &AgentId, before: Timestamp, now: Timestamp) -> Batch {
        let mut out = Samples {
            batch: Batch::new(),
            before: None,
            now,
        };
        for ((name, kind, status), calls) in &mut self.operations {
            out.before = (!calls.is_known).then_some(before);
            calls.is_known = true;
            let labels = [
                ("span_name", &**name),
                ("span_kind", kind_label(*kind)),
                ("status_code", status_label(*status)),
            ];
            out.push(CALLS, &labels, calls.value.count as f64);
            out.push_buckets(LATENCY, &labels, &calls.value.latency);
        }
        for (model, usage) in &mut self.models {
            out.before = (!usage.is_known).then_some(before);
            usage.is_known = true;
            let usage = &usage.value;
            for (direction, tokens) in [("input", usage.input), ("output", usage.output)] {
                let labels = [("direction", direction), ("model", &**model)];
                out.push(TOKENS, &labels, tokens as f64);
            }
            if let Some(cost) = usage.cost {
                out.push(COST, &[("model", model)], cost);
            }
        }
        for ((server, kind), requests) in &mut self.edges {
            out.before = (!requests.is_known).then_some(before);
            requests.is_known = true;
            let labels = [
                ("client", client.as_str()),
                ("server", server),
                ("connection_type", kind.name()),
            ];
            let requests = &requests.value;
            out.push(REQUESTS, &labels, requests.count as f64);
            out.push(FAILED, &labels, requests.failed as f64);
            out.push_buckets(SERVER, &labels, &requests.server);
            out.push_buckets(CLIENT, &labels, &requests.client);
        }
        self.has_changed = false;
        out.batch.metadata = FAMILIES.iter().map(metadata).collect();
        out.batch
    }
}

fn metadata(family: &(&str, MetricKind, &str, &str)) -> MetricMetadata {
    let (name, kind, unit, help) = family;
    MetricMetadata {
        name: (*name).to_owned(),
        kind: *kind,
        help: (*help).to_owned(),
        unit: (*unit).to_owned(),
    }
}

/// A batch while it is written.
struct Samples {
    batch: Batch,
    /// When the series was 0, of one that is written for the first time.
    before: Option<Timestamp>,
    now: Timestamp,
}

impl Samples {
    fn push(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let mut labels = labels.to_vec();
        let zero = self.before.filter(|before| *before < self.now);
        let zero = zero.map(|before| (before, 0.0));
        for (time, value) in zero.into_iter().chain([(self.now, value)]) {
            // Names of operations and agents are bounded at the edge; a series that cannot be is left out.
            if let Err(error) = self.batch.push(name, &mut labels, time, value) {
                tracing::debug!(name, %error, "a span has a name that no series can have");
            }
        }
    }

    fn push_buckets(&mut self, name: &str, labels: &[(&str, &str)], buckets: &Buckets) {
        let bucket = format!("{name}_bucket");
        for (bound, count) in buckets.cumulative() {
            let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("le", bound)]).collect();
            self.push(&bucket, &labels, count as f64);
        }
        self.push(&format!("{name}_sum"), labels, buckets.sum);
        self.push(&format!("{name}_count"), labels, buckets.count() as f64);
    }
}
