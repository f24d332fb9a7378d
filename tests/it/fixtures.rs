//! Files of every released version, as they were written then: each opens, and says what it said.
//!
//! `LONGWATCH_WRITE_FIXTURES=1 cargo test --test it fixtures` writes the newest version's file anew; do that
//! only before its release.

use std::{fmt::Write, path::PathBuf, sync::Arc};

use longwatch::{
    alerts::{Finding, read_rule},
    model::{
        AgentId, Alert, AttributeValue, Batch, Contact, DAY_MS, EvidenceSample, ManualClock,
        Matcher, MetricKind, MetricMetadata, Registration, RegistrationSource, RuleOrigin,
        STALE_MARKER, Silence, Span, SpanEvent, SpanFilter, SpanId, SpanLink, SpanStatus,
        StoredRule, Timestamp, TokenUsage, TraceId, TraceQuery, Window, names,
    },
    store::{
        self, Append, Change, Observation, Settings, SpanAppend, SpanChange, Store, TracePin,
        Urgency, View,
    },
    telemetry::OwnMetrics,
};

/// Every released version of the schema.
const VERSIONS: [&str; 5] = ["v1", "v2", "v3", "v4", "v5"];
const NOW: i64 = 20_000 * DAY_MS + 5_000;

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "migrations", "fixtures", name]
        .iter()
        .collect()
}

fn open(path: &std::path::Path) -> Store {
    open_at(path, NOW)
}

fn open_at(path: &std::path::Path, now: i64) -> Store {
    let clock = Arc::new(ManualClock::new(Timestamp::from_millis(now)));
    Store::open(
        path,
        Settings {
            disk_reserve: Some(0),
            ..Settings::default()
        },
        clock,
        Arc::new(OwnMetrics::default()),
    )
    .unwrap()
}

/// A little of everything that version 5 can hold: a series of which sums alone are left, a settled day with its rollups,
/// one that late samples unsettled, a log, an alert, events, a rule with a pending and a fired alert, a silence, a delivery,
/// a trace in blocks, one in the log that is pinned, and a span that has not ended.
fn write_v5(path: &std::path::Path) {
    let store = open_at(path, 19_960 * DAY_MS + DAY_MS / 2);
    let mut batch = Batch::new();
    for i in 0..50 {
        let time = Timestamp::from_millis(19_960 * DAY_MS + i * 600_000);
        let labels = &mut [("zone", "b")];
        batch.push("gone", labels, time, (i % 9) as f64).unwrap();
    }
    append(&store, &AgentId::new("agent 7/ä").unwrap(), batch, None);
    store.settle_blocking().unwrap();
    store.close_blocking().unwrap();
    drop(store);
    let store = open(path);
    // A clock is trusted no further than a day beyond the last commit, and old days go at the next start.
    append(&store, &AgentId::new("agent 7/ä").unwrap(), at_now(), None);
    store.close_blocking().unwrap();
    drop(store);
    let store = open(path);
    let agent = AgentId::new("agent 7/ä").unwrap();
    let mut registration = Registration::bare(RegistrationSource::Api);
    registration.metrics_endpoint = Some("http://127.0.0.1:9/metrics".into());
    registration.labels = vec![("job".into(), "fleet".into())];
    registration.info = r#"{"team":"red"}"#.into();
    store
        .register_blocking(agent.clone(), registration)
        .unwrap();
    for day in [19_990, 19_995] {
        let mut batch = Batch::new();
        for i in 0..120 {
            let time = Timestamp::from_millis(day * DAY_MS + i * 700_000);
            let cpu = (i * 7 % 90) as f64 / 10.0;
            batch
                .push(names::SYSTEM_CPU_USAGE, &mut [], time, cpu)
                .unwrap();
            let total = (i % 80 * 3) as f64;
            batch.push("jobs_total", &mut [], time, total).unwrap();
        }
        append(&store, &agent, batch, None);
    }
    store.settle_blocking().unwrap();
    let mut batch = Batch::new();
    for i in 0..40 {
        let time = Timestamp::from_millis(20_000 * DAY_MS - 200_000 + i * 10_000);
        let value = if i == 30 {
            STALE_MARKER
        } else {
            (i * 3 % 17) as f64 / 10.0
        };
        batch
            .push("load", &mut [("zone", "a")], time, value)
            .unwrap();
        batch
            .push("jobs_total", &mut [], time, (i % 25) as f64)
            .unwrap();
        if i % 4 != 0 {
            batch.push("sparse", &mut [], time, f64::NAN).unwrap();
        }
    }
    batch.metadata.push(MetricMetadata {
        name: "jobs_total".into(),
        kind: MetricKind::Counter,
        help: "Jobs done".into(),
        unit: String::new(),
    });
    append(&store, &agent, batch, None);
    store.checkpoint_blocking().unwrap();
    write_traces(&store);
    let mut batch = Batch::new();
    batch
        .push(names::UP, &mut [], Timestamp::from_millis(NOW), 0.0)
        .unwrap();
    let error = Some("connection refused".to_owned());
    append(&store, &agent, batch, Some(Contact::Scrape { error }));
    write_alerting(&store, &agent);
    store.close_blocking().unwrap();
}

fn write_alerting(store: &Store, agent: &AgentId) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let change = |change: Change| runtime.block_on(store.alerting(change)).unwrap();
    let rule = |name: &str, length: &str| {
        let definition = serde_json::json!({"name": name, "description": "{value}", "condition_type": "threshold",
            "metric_name": "load", "threshold": 1, "for": length});
        StoredRule {
            rule: read_rule(definition.as_object().unwrap()).unwrap(),
            definition: definition.to_string(),
            origin: RuleOrigin::Api,
            updated_at: Timestamp::from_millis(0),
        }
    };
    let now = Timestamp::from_millis(NOW);
    let no = store.view().agent(agent, now).unwrap().no;
    for (name, length) in [("fires", "0s"), ("waits", "5m")] {
        change(Change::PutRule(rule(name, length)));
        let rule = Arc::clone(&store.view().book().rules[name]);
        change(Change::Observe(vec![Observation {
            severity: rule.rule.severity,
            rule,
            agent: no,
            alert_id: format!("{name}:{agent}:load"),
            series: "load{zone=\"c\"}".into(),
            labels: vec![
                ("alertname".into(), name.into()),
                ("agent_id".into(), agent.to_string()),
            ],
            finding: Finding::Holds,
            value: Some(1.5),
            threshold: Some(1.0),
            description: "1.5".into(),
            annotations: vec![("summary".into(), "s".into())],
            samples: vec![EvidenceSample(now, 1.5), EvidenceSample(now, f64::INFINITY)],
            traces: Vec::new(),
        }]));
    }
    change(Change::PutSilence(Silence {
        id: "silence-1".into(),
        matchers: vec![Matcher::parse("alertname=~w.*").unwrap()],
        starts_at: now,
        ends_at: now.plus_millis(3_600_000),
        created_by: "me".into(),
        comment: "known".into(),
        created_at: now,
        updated_at: now,
    }));
}

/// A trace of two agents; the second span is an inference that failed.
fn trace(number: u128) -> Vec<Span> {
    let id = TraceId::new(number).unwrap();
    let agent = |name: &str| AgentId::new(name).unwrap();
    let mut root = Span::new(
        id,
        SpanId::new(1).unwrap(),
        agent("agent 7/ä"),
        "plan",
        NOW * 1_000_000,
    );
    root.end_ns = Some(root.start_ns + 5_000_000);
    root.events.push(SpanEvent {
        time_ns: root.start_ns + 7,
        name: "began".into(),
        ..SpanEvent::default()
    });
    let mut child = Span::new(
        id,
        SpanId::new(2).unwrap(),
        agent("helper"),
        "chat",
        root.start_ns + 1_000_000,
    );
    child.parent_id = Some(root.span_id);
    child.end_ns = Some(child.start_ns + 2_000_001);
    child.status = SpanStatus::Error;
    child.status_message = "no route".into();
    child.links.push(SpanLink {
        trace_id: TraceId::new(9).unwrap(),
        span_id: root.span_id,
        ..SpanLink::default()
    });
    let json = serde_json::json!({"a": [1, 2.5, "b", null, true], "c": {}});
    child
        .attributes
        .set("nested", AttributeValue::of_json(&json));
    child.usage = Some(TokenUsage {
        input: 10,
        output: 3,
        cost: Some(0.25),
        ..TokenUsage::default()
    });
    vec![root, child]
}

fn write_traces(store: &Store) {
    let append = |spans: Vec<Span>| {
        let append = SpanAppend {
            spans,
            contacts: Vec::new(),
        };
        assert!(
            store
                .append_spans_blocking(append)
                .unwrap()
                .rejected
                .is_empty()
        );
    };
    append(trace(7));
    store.checkpoint_blocking().unwrap();
    append(trace(8));
    let mut open = trace(10).remove(0);
    open.end_ns = None;
    let pin = TracePin {
        by: "me".into(),
        comment: "look".into(),
        at: Timestamp::from_millis(NOW),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for change in [
        SpanChange::Start(Box::new(open)),
        SpanChange::Pin(TraceId::new(8).unwrap(), Some(pin)),
    ] {
        runtime
            .block_on(store.change_spans(change, Vec::new()))
            .unwrap();
    }
}

fn at_now() -> Batch {
    let mut batch = Batch::new();
    let now = Timestamp::from_millis(NOW);
    batch.push("load", &mut [("zone", "c")], now, 1.5).unwrap();
    batch
}

fn append(store: &Store, agent: &AgentId, batch: Batch, contact: Option<Contact>) {
    let append = Append {
        agent: agent.clone(),
        batch,
        contact,
        urgency: Urgency::Prompt,
    };
    assert!(store.append_blocking(append).unwrap().rejected.is_empty());
}

/// Everything that a view tells, as text.
fn dump(view: &View) -> String {
    let end = Timestamp::from_millis(NOW + 3_600_000);
    let mut out = String::new();
    for agent in view.agents(end) {
        writeln!(out, "{agent:?}").unwrap();
        for series in view.series(agent.no, None) {
            writeln!(out, "  {} {} {}", series.no.0, series.key, series.kind).unwrap();
            view.scan(
                agent.no,
                &[series.no],
                Window::until(end),
                &mut |_, times, values| {
                    for (time, value) in times.iter().zip(values) {
                        writeln!(out, "    {time} {value} {:016x}", value.to_bits()).unwrap();
                    }
                },
            )
            .unwrap();
        }
    }
    for alert in view.alerts(Window::until(end)).unwrap() {
        writeln!(out, "{} [{}]", shown(&alert), events(view, &alert)).unwrap();
    }
    writeln!(out, "{:?}", view.policy(end)).unwrap();
    out
}

/// An alert as versions before the fourth knew it.
fn shown(alert: &Alert) -> String {
    format!(
        "Alert {{ occurrence: {:?}, alert_id: {:?}, name: {:?}, severity: {:?}, description: {:?}, agent: {:?}, fired_at: {:?}, resolved_at: {:?} }}",
        alert.occurrence,
        alert.alert_id,
        alert.name,
        alert.severity,
        alert.description,
        alert.agent,
        alert.fired_at.unwrap(),
        alert.resolved_at
    )
}

fn events(view: &View, alert: &Alert) -> String {
    let events = view.alert_events(alert).unwrap();
    let shown = events.iter().map(|event| {
        format!(
            "AlertEvent {{ occurrence: {:?}, time: {:?}, kind: {:?}, reason: {:?} }}",
            event.occurrence, event.time, event.kind, event.reason
        )
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// Everything of alerting, as text.
fn dump_alerting(view: &View) -> String {
    let mut out = String::new();
    let book = view.book();
    writeln!(out, "{:?}", book.rules).unwrap();
    writeln!(out, "{:?}", book.silences).unwrap();
    writeln!(out, "{:?}", book.groups).unwrap();
    writeln!(out, "{:?}", book.outbox).unwrap();
    for alert in book.all_open() {
        writeln!(out, "{alert:?} {:?}", view.evidence(&alert).unwrap()).unwrap();
    }
    out
}

/// Those versions knew no groups of rules, so that nothing of them is in any.
fn ungrouped(text: &str) -> String {
    text.replace(", member: None", "")
        .replace("rule: \"\", ", "")
}

/// Evidence as versions before the fifth knew it.
fn without_spans(text: &str) -> String {
    text.replace(", spans: [], traces: []", "")
}

/// All traces and open spans, as text.
fn dump_traces(view: &View) -> String {
    let mut out = String::new();
    let query = TraceQuery {
        window: Window::until(Timestamp::from_millis(NOW + 3_600_000)),
        filter: SpanFilter::default(),
        after: None,
        limit: 100,
    };
    for trace in view.find_traces(&query).unwrap().traces {
        writeln!(out, "{trace:?}").unwrap();
        for span in view.trace(trace.trace_id).unwrap() {
            writeln!(out, "  {span:?}").unwrap();
        }
    }
    writeln!(out, "{:?}", view.open_spans()).unwrap();
    out
}

/// Steps and whole days of all series, as text.
fn dump_rollups(view: &View) -> String {
    let end = Timestamp::from_millis(NOW + 3_600_000);
    let mut out = String::new();
    for agent in view.agents(end) {
        let window = Window::until(end);
        for series in view.series_within(agent.no, None, window).unwrap() {
            let summary = view.summarise(agent.no, &[series.no], window).unwrap();
            let summary = &summary[0];
            writeln!(
                out,
                "{}: {} samples, sum {:?}, {:?} to {:?}, {:?} to {:?}, rose by {:?}",
                series.key,
                summary.samples,
                summary.sum,
                summary.min,
                summary.max,
                summary.first,
                summary.last,
                summary.increased_by(),
            )
            .unwrap();
            view.buckets(
                agent.no,
                &[series.no],
                window,
                6 * 3_600_000,
                true,
                &mut |_, b| {
                    b.iter().for_each(|b| writeln!(out, "  {b:?}").unwrap());
                },
            )
            .unwrap();
        }
    }
    out
}

fn expected(name: &str, view: &View) -> String {
    // The first version's text was written when there were no rollups.
    match name {
        "v1" => dump(view),
        "v2" | "v3" => dump(view) + &dump_rollups(view),
        "v4" => dump(view) + &dump_rollups(view) + &without_spans(&ungrouped(&dump_alerting(view))),
        _ => {
            let alerting = ungrouped(&dump_alerting(view));
            dump(view) + &dump_rollups(view) + &alerting + &dump_traces(view)
        }
    }
}

#[test]
fn files_of_every_version_open_and_say_what_they_said() {
    if std::env::var_os("LONGWATCH_WRITE_FIXTURES").is_some() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v5.redb");
        write_v5(&path);
        let to = fixture("v5.redb");
        let _ = std::fs::remove_file(&to);
        store::snapshot_file(&path, &to, &mut |_, _| {}).unwrap();
        let text = expected("v5", &store::open_copy(&to).unwrap());
        std::fs::write(fixture("v5.txt"), text).unwrap();
    }
    for version in VERSIONS {
        let file = fixture(&format!("{version}.redb"));
        let text = std::fs::read_to_string(fixture(&format!("{version}.txt"))).unwrap();
        assert_eq!(
            expected(version, &store::open_copy(&file).unwrap()),
            text,
            "{version} read as a copy"
        );
        let report = store::verify(&file, &mut |_, _| {}).unwrap();
        assert_eq!(report.bad, Vec::<String>::new(), "{version}");

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("opened.redb");
        std::fs::copy(&file, &path).unwrap();
        let store = open(&path);
        assert_eq!(
            expected(version, &store.view()),
            text,
            "{version} opened for writing"
        );
        // What is merged and rolled up now says the same.
        store.settle_blocking().unwrap();
        assert_eq!(expected(version, &store.view()), text, "{version} settled");
        store.close_blocking().unwrap();
    }
}
