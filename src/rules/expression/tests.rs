//! Expression rules over a store, on a clock that is set: data that stops, a start, what is recorded, intervals.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    alerts::read_definition,
    model::{
        AgentId, Alert, Batch, ManualClock, RuleOrigin, StoredRule, Timestamp, is_stale_marker,
    },
    rules::{Evaluated, Evaluator, Scope},
    store::{Append, Change, Settings, Store, Urgency},
    telemetry::OwnMetrics,
};

const START: i64 = 1_700_000_040_000;

/// A store with its clock; times are seconds after [`START`].
struct Bench {
    store: Store,
    clock: Arc<ManualClock>,
    evaluator: Evaluator,
    listening_since: Option<Timestamp>,
    _folder: tempfile::TempDir,
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(START + seconds * 1_000)
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(at(0)));
        let settings = Settings {
            disk_reserve: Some(0),
            ..Settings::default()
        };
        let path = folder.path().join("test.redb");
        let metrics = Arc::new(OwnMetrics::default());
        let opened = Store::open(&path, settings, Arc::clone(&clock) as _, metrics);
        Self {
            store: opened.unwrap(),
            clock,
            evaluator: Evaluator::default(),
            listening_since: None,
            _folder: folder,
        }
    }

    async fn rule(&self, definition: &Value) {
        let rule = StoredRule {
            rule: read_definition(definition.as_object().unwrap()).unwrap(),
            definition: definition.to_string(),
            origin: RuleOrigin::Api,
            updated_at: at(0),
        };
        self.store.alerting(Change::PutRule(rule)).await.unwrap();
    }

    async fn push(&self, agent: &str, name: &str, seconds: i64, value: f64) {
        let mut batch = Batch::new();
        batch.push(name, &mut [], at(seconds), value).unwrap();
        self.append(AgentId::new(agent).unwrap(), batch).await;
    }

    async fn append(&self, agent: AgentId, batch: Batch) {
        let append = Append {
            agent,
            batch,
            contact: None,
            urgency: Urgency::Prompt,
        };
        self.store.append(append).await.unwrap();
    }

    /// Evaluates, and commits what was found.
    async fn evaluate(&mut self, seconds: i64) -> Evaluated {
        self.clock.set(at(seconds));
        let view = self.store.view();
        let since = self.listening_since;
        let evaluated = self
            .evaluator
            .evaluate(&*view, &Scope::Schedule, since, at(seconds));
        let change = Change::Observe(evaluated.observations.clone());
        self.store.alerting(change).await.unwrap();
        for (agent, batch) in evaluated.recorded.clone() {
            self.append(agent, batch).await;
        }
        evaluated
    }

    fn open(&self) -> Vec<Arc<Alert>> {
        self.store.view().book().all_open()
    }
}

fn own(more: &Value) -> Value {
    let mut rule = json!({"name": "hot", "description": "{value}", "condition_type": "expr", "expr": "m > 90"});
    rule.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    rule
}

#[tokio::test]
async fn data_that_stops_is_an_end_only_where_the_rule_says_so() {
    for (no_data, is_open) in [("resolve", false), ("unknown", true), ("keep", true)] {
        let mut bench = Bench::new();
        bench.rule(&own(&json!({"no_data": no_data}))).await;
        bench.push("a", "m", 0, 95.0).await;
        bench.evaluate(1).await;
        assert_eq!(bench.open().len(), 1);
        // The sample is older than PromQL looks back.
        bench.evaluate(400).await;
        assert_eq!(bench.open().len(), usize::from(is_open), "{no_data}");
        // A value below the threshold ends it in any case.
        bench.push("a", "m", 410, 5.0).await;
        bench.evaluate(411).await;
        assert_eq!(bench.open().len(), 0, "{no_data}");
        bench.store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_start_without_data_resolves_nothing_from_before() {
    let mut bench = Bench::new();
    bench.rule(&own(&json!({"no_data": "resolve"}))).await;
    bench.push("a", "m", 0, 95.0).await;
    bench.push("b", "m", 0, 95.0).await;
    bench.evaluate(1).await;
    assert_eq!(bench.open().len(), 2);
    // A server that was away for an hour.
    bench.evaluator = Evaluator::default();
    bench.listening_since = Some(at(3_600));
    bench.evaluate(3_601).await;
    assert_eq!(bench.open().len(), 2);
    bench.push("a", "m", 3_602, 5.0).await;
    bench.evaluate(3_603).await;
    let open = bench.open();
    assert_eq!(
        open.len(),
        1,
        "what is there again, and has ended, ends at once"
    );
    assert_eq!(open[0].alert_id, "hot:b:m");
    bench.evaluate(3_600 + 301).await;
    assert_eq!(bench.open().len(), 0);
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn two_rows_of_one_identity_are_an_error_that_changes_nothing() {
    let mut bench = Bench::new();
    bench
        .rule(&own(&json!({"expr": "{__name__=~\"m|n\"} > 90"})))
        .await;
    bench.push("a", "m", 0, 95.0).await;
    bench.evaluate(1).await;
    assert_eq!(bench.open().len(), 1);
    bench.push("a", "n", 2, 95.0).await;
    let evaluated = bench.evaluate(3).await;
    assert!(
        evaluated.errors[0].1.contains("same labelset"),
        "{:?}",
        evaluated.errors
    );
    assert_eq!((bench.open().len(), evaluated.observations.len()), (1, 0));
    bench.store.close().await.unwrap();
}

fn member(kind: &str, title: &str, expr: &str, position: u32, interval: Option<&str>) -> Value {
    json!({"name": format!("g/{title}"), kind: title, "expr": expr,
        "group": {"name": "g", "position": position, "interval": interval}})
}

#[tokio::test]
async fn a_group_records_for_itself_and_ends_what_vanishes() {
    let mut bench = Bench::new();
    // By name the alert would come first; by its place the record does.
    bench
        .rule(&member(
            "record",
            "z:m:max",
            "max by (agent_id) (m) > 10",
            0,
            None,
        ))
        .await;
    bench
        .rule(&member("alert", "A", "z:m:max > 90", 1, None))
        .await;
    bench.push("a", "m", 0, 95.0).await;
    let evaluated = bench.evaluate(1).await;
    assert_eq!(
        bench.open().len(),
        1,
        "seen in the evaluation that records it"
    );
    assert_eq!(bench.open()[0].rule_name(), "g/A");
    let a = AgentId::new("a").unwrap();
    assert_eq!(evaluated.recorded[&a].rows()[0].value, 95.0);
    bench.push("a", "m", 2, 5.0).await;
    let evaluated = bench.evaluate(3).await;
    assert!(is_stale_marker(evaluated.recorded[&a].rows()[0].value));
    assert_eq!(bench.open().len(), 0);
    bench.push("a", "m", 4, 50.0).await;
    bench.evaluate(5).await;
    let deleted = Change::DeleteRule("g/z:m:max".to_owned());
    bench.store.alerting(deleted).await.unwrap();
    let evaluated = bench.evaluate(6).await;
    assert!(
        is_stale_marker(evaluated.recorded[&a].rows()[0].value),
        "with its rule"
    );
    bench.store.close().await.unwrap();
}

#[tokio::test]
async fn a_group_is_evaluated_once_in_each_of_its_intervals() {
    let mut bench = Bench::new();
    bench
        .rule(&member("record", "r", "vector(1)", 0, Some("1m")))
        .await;
    let mut moments = Vec::new();
    for seconds in [0, 15, 30, 59, 60, 75, 130] {
        if bench.evaluate(seconds).await.judged > 0 {
            moments.push(seconds);
        }
    }
    assert_eq!(moments, [0, 60, 130]);
    let view = bench.store.view();
    let longwatch = AgentId::new("longwatch").unwrap();
    assert!(
        view.agent(&longwatch, at(130)).is_some(),
        "what is no agent's is longwatch's own"
    );
    bench.store.close().await.unwrap();
}

/// The first agent that is heard of after a start says nothing about the sum of two.
#[tokio::test]
async fn a_part_of_a_sum_ends_no_alert_after_a_start() {
    let mut bench = Bench::new();
    bench.rule(&own(&json!({"expr": "sum(m) > 100"}))).await;
    bench.push("a", "m", 0, 60.0).await;
    bench.push("b", "m", 0, 60.0).await;
    bench.evaluate(1).await;
    assert_eq!(bench.open().len(), 1);
    bench.listening_since = Some(at(3_600));
    bench.push("a", "m", 3_610, 60.0).await;
    bench.evaluate(3_611).await;
    assert_eq!(bench.open().len(), 1);
    // With both it holds again, and the alert is the same one.
    bench.push("b", "m", 3_620, 60.0).await;
    bench.evaluate(3_621).await;
    assert_eq!(bench.open()[0].active_at, at(1));
    // Later a sum of those that are there counts.
    bench.push("a", "m", 4_000, 60.0).await;
    bench.evaluate(4_001).await;
    assert_eq!(bench.open().len(), 0);
}

/// A question that fails for want of unique labels must not hide rows that are there.
#[tokio::test]
async fn rows_are_told_although_it_is_unknown_what_the_rule_looks_at() {
    let mut bench = Bench::new();
    let rule = own(&json!({"expr": "{__name__=~\"m|n\"} > 90", "no_data": "keep"}));
    bench.rule(&rule).await;
    bench.push("a", "m", 0, 95.0).await;
    bench.push("b", "n", 0, 95.0).await;
    bench.evaluate(1).await;
    assert_eq!(bench.open().len(), 2);
    // Both metrics of one agent: as truths they would have the same labels.
    bench.push("a", "m", 10, 5.0).await;
    bench.push("a", "n", 10, 5.0).await;
    bench.push("c", "m", 10, 95.0).await;
    let evaluated = bench.evaluate(11).await;
    assert!(evaluated.errors.is_empty(), "{:?}", evaluated.errors);
    assert_eq!(bench.open().len(), 3);
}

#[tokio::test]
async fn a_rule_that_becomes_one_of_another_kind_ends_its_alerts() {
    let mut bench = Bench::new();
    bench.rule(&own(&json!({"expr": "sum(m) > 90"}))).await;
    bench.push("a", "m", 0, 95.0).await;
    bench.evaluate(1).await;
    assert_eq!(bench.open().len(), 1);
    bench.rule(&own(&json!({"expr": "sum(m) > 91"}))).await;
    assert_eq!(bench.open().len(), 1);
    let threshold = json!({"name": "hot", "description": "{value}", "condition_type": "threshold",
        "metric_name": "m", "threshold": 90});
    bench.rule(&threshold).await;
    assert_eq!(bench.open().len(), 0);
}
