//! Watching traces of a real file.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{watch::TraceWatch, watch_traces};
use crate::{
    alerts::read_rule,
    model::{
        AgentId, Alert, AlertSource, Batch, Clock, ManualClock, RuleOrigin, Span, SpanId,
        SpanStatus, StoredRule, Timestamp, TokenUsage, TraceId, Window,
    },
    rules::{Evaluator, Scope},
    store::{Append, Change, Detection, Settings, SpanAppend, SpanChange, Store, Urgency},
    telemetry::OwnMetrics,
    traces::{SpanTap, ToldSpan, WatchSettings},
};

/// 2024-01-01T12:00:00Z.
const START: i64 = 1_704_110_400_000;
const MS: i64 = 1_000_000;

struct Bench {
    store: Store,
    clock: Arc<ManualClock>,
    watch: TraceWatch,
    _folder: tempfile::TempDir,
}

fn agent(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

/// A span of a trace, in milliseconds after the start.
fn span(trace: u128, no: u64, parent: u64, label: &str, from: i64, to: i64) -> Span {
    let (who, what) = label.split_once(':').unwrap();
    let (trace, id) = (TraceId::new(trace).unwrap(), SpanId::new(no).unwrap());
    let mut span = Span::new(trace, id, agent(who), what, (START + from) * MS);
    span.parent_id = SpanId::new(parent);
    span.end_ns = Some((START + to) * MS);
    span
}

/// Two agents that answer each other so often.
fn ping_pong(trace: u128, rounds: u64) -> Vec<Span> {
    let mut spans = vec![span(trace, 1, 0, "host:run", 0, 5_000)];
    for no in 0..rounds * 2 {
        let name = ["writer:reply", "critic:reply"][no as usize % 2];
        let from = no as i64 * 10;
        spans.push(span(trace, no + 2, 1, name, from, from + 9));
    }
    spans
}

impl Bench {
    fn new(settings: WatchSettings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(START)));
        let store = Store::open(
            &folder.path().join("test.redb"),
            Settings {
                disk_reserve: Some(0),
                scrape_commit_delay_ms: 0,
                ..Settings::default()
            },
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::default(),
        );
        Self {
            store: store.unwrap(),
            watch: TraceWatch::new(settings, clock.now()),
            clock,
            _folder: folder,
        }
    }

    fn pass(&self, seconds: i64) {
        self.clock
            .set(self.clock.now().plus_millis(seconds * 1_000));
    }

    async fn append(&mut self, spans: Vec<Span>) {
        let told: Vec<ToldSpan> = spans.iter().map(ToldSpan::from).collect();
        let append = SpanAppend {
            spans,
            contacts: Vec::new(),
        };
        self.store
            .submit_spans(append)
            .unwrap()
            .done()
            .await
            .unwrap();
        self.watch.hear(&told, self.clock.now());
    }

    fn look(&mut self) -> Vec<Detection> {
        self.watch.look(&*self.store.view(), self.clock.now())
    }

    async fn raise(&self, found: Vec<Detection>) {
        self.store.alerting(Change::Detect(found)).await.unwrap();
    }

    fn open(&self) -> Vec<Arc<Alert>> {
        self.store.view().book().all_open()
    }

    /// Samples of a series of an agent, in milliseconds after the start.
    fn samples(&self, of: &str, series: &str) -> Vec<(i64, f64)> {
        let view = self.store.view();
        let no = view.agent(&agent(of), self.clock.now()).unwrap().no;
        let all = view.series(no, None);
        let found = all.iter().find(|s| s.key.to_string() == series);
        let Some(found) = found else {
            return Vec::new();
        };
        let mut samples = Vec::new();
        let window = Window::closed(Timestamp::from_millis(0), self.clock.now());
        view.scan(no, &[found.no], window, &mut |_, times, values| {
            let times = times.iter().map(|time| time - START);
            samples.extend(times.zip(values.iter().copied()));
        })
        .unwrap();
        samples
    }

    async fn write(&mut self) {
        let batches = self.watch.write(&*self.store.view(), self.clock.now());
        for (agent, batch) in batches {
            let append = Append {
                agent,
                batch,
                contact: None,
                urgency: Urgency::Prompt,
            };
            assert_eq!(self.store.append(append).await.unwrap().rejected, []);
        }
    }
}

#[tokio::test]
async fn a_loop_raises_one_alert_that_names_its_spans_and_ends_by_itself() {
    let mut bench = Bench::new(WatchSettings::default());
    bench.append(ping_pong(1, 5)).await;
    bench.pass(9);
    assert_eq!(bench.look(), []);
    bench.pass(1);
    let found = bench.look();
    assert_eq!(found.len(), 1);
    bench.raise(found).await;
    let open = bench.open();
    let trace = TraceId::new(1).unwrap();
    let id = format!("trace_loop:writer:{trace}");
    assert_eq!((open.len(), &open[0].alert_id), (1, &id));
    assert_eq!(
        (open[0].source, open[0].label("run_id")),
        (AlertSource::Detector, Some(&*trace.to_string()))
    );
    let view = bench.store.view();
    let evidence = view.evidence(&open[0]).unwrap();
    assert_eq!(evidence[0].spans.len(), 10);
    assert_eq!(evidence[0].spans[0].agent_id, "critic");
    assert!(evidence[0].spans.iter().all(|span| span.trace_id == trace));

    // What is known is not told again, also not after a restart; what has grown is.
    bench
        .append(vec![span(1, 99, 1, "host:sum", 5_000, 5_001)])
        .await;
    bench.pass(10);
    assert_eq!(bench.look(), []);
    bench.watch = TraceWatch::new(WatchSettings::default(), bench.clock.now());
    bench
        .append(vec![span(1, 100, 1, "host:sum", 5_001, 5_002)])
        .await;
    bench.pass(10);
    assert_eq!(bench.look(), []);
    let grown = ping_pong(1, 6).split_off(11);
    bench.append(grown).await;
    bench.pass(10);
    let found = bench.look();
    assert_eq!(found[0].value, 6.0);
    bench.raise(found).await;
    assert_eq!(bench.open().len(), 1);

    bench.pass(899);
    bench.store.alerting(Change::Dispatch).await.unwrap();
    assert_eq!(bench.open().len(), 1);
    bench.pass(1);
    bench.store.alerting(Change::Dispatch).await.unwrap();
    assert_eq!(bench.open(), []);
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn a_stall_ends_with_its_span_and_very_old_spans_are_closed() {
    let mut bench = Bench::new(WatchSettings::default());
    let open = Span {
        end_ns: None,
        ..span(1, 1, 0, "coder:write", 0, 0)
    };
    bench.append(vec![span(2, 1, 0, "coder:other", 0, 1)]).await;
    let start = SpanChange::Start(Box::new(open.clone()));
    bench.store.change_spans(start, Vec::new()).await.unwrap();
    let look = |bench: &mut Bench| {
        bench
            .watch
            .look_at_open(&*bench.store.view(), bench.clock.now())
    };
    bench.pass(300);
    assert_eq!(look(&mut bench).detections, []);
    bench.pass(1);
    let work = look(&mut bench);
    assert_eq!(work.detections.len(), 1);
    assert_eq!(work.detections[0].name, "trace_silent_stall");
    bench.raise(work.detections).await;
    let alerts = bench.open();
    assert_eq!((alerts.len(), alerts[0].ends_at), (1, None));
    // While it goes on there is nothing to commit.
    bench.pass(600);
    let work = look(&mut bench);
    assert_eq!(
        (work.detections, work.over, work.close),
        (vec![], vec![], vec![])
    );
    bench.pass(86_400);
    let work = look(&mut bench);
    assert_eq!(work.close, [(open.trace_id, open.span_id)]);
    let close = SpanChange::Close(work.close);
    bench.store.change_spans(close, Vec::new()).await.unwrap();
    assert!(bench.store.view().open_spans().is_empty());
    let work = look(&mut bench);
    assert_eq!(work.over, [alerts[0].occurrence]);
    bench
        .store
        .alerting(Change::EndDetected(work.over))
        .await
        .unwrap();
    assert_eq!(bench.open(), []);
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn span_metrics_are_series_of_the_agents_and_edges_count_once() {
    let mut bench = Bench::new(WatchSettings::default());
    let spans = vec![
        span(1, 1, 0, "planner:plan", 0, 100),
        span(1, 2, 1, "coder:write", 10, 60),
    ];
    bench.append(spans).await;
    bench.pass(15);
    assert_eq!(bench.look(), []);
    bench.write().await;
    let calls = "traces_spanmetrics_calls_total{span_kind=\"SPAN_KIND_UNSPECIFIED\",span_name=\"write\",status_code=\"STATUS_CODE_UNSET\"}";
    assert_eq!(bench.samples("coder", calls), [(0, 0.0), (15_000, 1.0)]);
    let edge = "traces_service_graph_request_total{client=\"planner\",connection_type=\"call\",server=\"coder\"}";
    assert_eq!(bench.samples("planner", edge), [(0, 0.0), (15_000, 1.0)]);
    // One more span of the trace adds its edge alone.
    let mut late = span(1, 3, 1, "coder:write", 70, 80);
    late.status = SpanStatus::Error;
    bench.append(vec![late]).await;
    bench.pass(15);
    assert_eq!(bench.look(), []);
    bench.write().await;
    assert_eq!(bench.samples("planner", edge)[2..], [(30_000, 2.0)]);
    let failed = edge.replace("request_total", "request_failed_total");
    assert_eq!(bench.samples("planner", &failed)[2..], [(30_000, 1.0)]);
    // An agent that was deregistered does not come back by its metrics.
    bench.append(vec![span(2, 1, 0, "coder:write", 0, 1)]).await;
    bench.store.deregister(agent("coder")).await.unwrap();
    bench.pass(15);
    let written = bench.watch.write(&*bench.store.view(), bench.clock.now());
    assert!(written.is_empty());
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn a_budget_of_the_day_is_told_once_also_after_a_restart() {
    let mut settings = WatchSettings::default();
    settings.detectors.runaway_cost.tokens_per_day = 100;
    let mut bench = Bench::new(settings);
    let mut chat = span(1, 1, 0, "coder:chat", 0, 1);
    chat.usage = Some(TokenUsage {
        input: 90,
        ..TokenUsage::default()
    });
    bench.append(vec![chat]).await;
    let look = |bench: &mut Bench| {
        bench
            .watch
            .look_at_open(&*bench.store.view(), bench.clock.now())
            .detections
    };
    let found = look(&mut bench);
    assert_eq!(
        found[0].alert_id,
        "trace_runaway_cost:coder:2024-01-01:tokens_80"
    );
    assert_eq!(
        found[0].ends_at,
        Some(Timestamp::from_millis(START + 43_200_000))
    );
    bench.raise(found).await;
    assert_eq!(look(&mut bench), []);
    bench.watch = TraceWatch::new(settings, bench.clock.now());
    bench.watch.learn(&*bench.store.view(), bench.clock.now());
    assert_eq!(look(&mut bench), []);
    bench.store.close().await.unwrap();
}

/// The task itself: what is told becomes an alert and samples.
#[tokio::test(start_paused = true)]
async fn the_task_hears_looks_and_commits() {
    let bench = Bench::new(WatchSettings::default());
    let (tap, told) = SpanTap::new();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(watch_traces(
        bench.store.clone(),
        Arc::clone(&bench.clock) as Arc<dyn Clock>,
        Arc::<OwnMetrics>::default(),
        WatchSettings::default(),
        told,
        shutdown.clone(),
    ));
    let spans = ping_pong(1, 9);
    let append = SpanAppend {
        spans: spans.clone(),
        contacts: Vec::new(),
    };
    bench
        .store
        .submit_spans(append)
        .unwrap()
        .done()
        .await
        .unwrap();
    tap.tell(&spans);
    let edge = "traces_service_graph_request_total{client=\"host\",connection_type=\"call\",server=\"critic\"}";
    // Virtual time runs ahead of the committer, which lives in real time: the alert may have ended again before the
    // series is there, so each is waited for by itself.
    let (mut has_fired, mut has_edge) = (false, false);
    for _ in 0..10_000 {
        has_fired |= bench.open().len() == 1;
        has_edge |= !bench.samples("host", edge).is_empty();
        if has_fired && has_edge {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.pass(1);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(has_fired && has_edge, "fired {has_fired}, edge {has_edge}");
    shutdown.cancel();
    task.await.unwrap();
    bench.store.close().await.unwrap();
}

/// The alert of a rule names the agent's traces of the last minutes, those that failed first.
#[tokio::test]
async fn alerts_of_rules_name_traces_around_them() {
    let mut bench = Bench::new(WatchSettings::default());
    let mut failed = span(1, 1, 0, "coder:write", 0, 10);
    failed.status = SpanStatus::Error;
    bench.append(vec![failed]).await;
    bench
        .append(vec![span(2, 1, 0, "coder:write", 20, 30)])
        .await;
    bench
        .append(vec![span(3, 1, 0, "other:write", 20, 30)])
        .await;
    let long_ago = span(4, 1, 0, "coder:write", -900_001, -900_000);
    bench.append(vec![long_ago]).await;
    let definition = serde_json::json!({
        "name": "queue", "description": "{value} wait", "condition_type": "threshold",
        "metric_name": "queue_length", "operator": ">", "threshold": 10, "for": "0s",
    });
    let serde_json::Value::Object(object) = &definition else {
        panic!("an object");
    };
    let rule = StoredRule {
        rule: read_rule(object).unwrap(),
        definition: definition.to_string(),
        origin: RuleOrigin::Api,
        updated_at: Timestamp::from_millis(0),
    };
    bench.store.alerting(Change::PutRule(rule)).await.unwrap();
    bench.pass(1);
    let mut batch = Batch::new();
    let now = bench.clock.now();
    batch.push("queue_length", &mut [], now, 11.0).unwrap();
    let append = Append {
        agent: agent("coder"),
        batch,
        contact: None,
        urgency: Urgency::Prompt,
    };
    bench.store.append(append).await.unwrap();
    let view = bench.store.view();
    let evaluated = Evaluator::default().evaluate(&*view, &Scope::Schedule, None, now);
    let observations = evaluated.observations;
    assert_eq!(observations.len(), 1, "{:?}", evaluated.errors);
    let change = Change::Observe(observations);
    bench.store.alerting(change).await.unwrap();
    let view = bench.store.view();
    let evidence = view.evidence(&bench.open()[0]).unwrap();
    let traces: Vec<u128> = evidence[0].traces.iter().map(|id| id.as_u128()).collect();
    assert_eq!(traces, [1, 2]);
    bench.store.close().await.unwrap();
}
