//! Rules over a fleet: 1,000 rules on 500 agents x 20 metrics, evaluated when every agent has sent something and on
//! schedule; and a backtest of a few rules over days of 100 agents.
//!
//! `LONGWATCH_BENCH_DAYS` sets the days of the backtest (3). It prints figures and is no criterion bench, since filling takes
//! minutes.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "a bench stops when it cannot go on"
)]

#[path = "fleet/mod.rs"]
#[allow(dead_code, reason = "each bench uses its part")]
mod fleet;

use std::{
    collections::HashSet,
    path::Path,
    time::{Duration, Instant},
};

use longwatch::{
    alerts::{Routing, read_rule},
    model::{DAY_MS, RuleOrigin, StoredRule, Timestamp, Window},
    rules::{Evaluator, Scope, backtest},
    store::Change,
};
use serde_json::{Value, json};

const RULES: usize = 1_000;
const AGENTS: u64 = 500;
/// Times that an evaluation is made; the best counts.
const ROUNDS: usize = 5;

fn rule(definition: &Value) -> StoredRule {
    StoredRule {
        rule: read_rule(definition.as_object().unwrap()).unwrap(),
        definition: definition.to_string(),
        origin: RuleOrigin::Api,
        updated_at: Timestamp::from_millis(0),
    }
}

/// Of each ten rules: seven thresholds, a rate, an average over five minutes, one about absence.
fn rules(metrics: &[String]) -> Vec<StoredRule> {
    let of = |number: usize| {
        let metric = &metrics[number / 10 % metrics.len()];
        let mut rule = json!({"name": format!("rule {number}"), "description": "{agent_id}: {value}",
            "condition_type": "threshold", "metric_name": metric, "threshold": 1e9 + number as f64});
        match number % 10 {
            7 => rule["condition_type"] = json!("rate_of_change"),
            8 => {
                rule["aggregate"] = json!("avg");
                rule["window"] = json!("5m");
            }
            9 => {
                rule["condition_type"] = json!("absent");
                rule.as_object_mut().unwrap().remove("threshold");
            }
            _ => {}
        }
        rule
    };
    (0..RULES).map(|number| self::rule(&of(number))).collect()
}

fn evaluate(folder: &Path) {
    let store = fleet::open(&folder.join("live.redb"));
    fleet::fill(&store, AGENTS, 1);
    let at = Timestamp::from_millis(fleet::END_MS);
    let view = store.view();
    let agents = view.agents(at);
    let names = view.series(agents[0].no, None);
    let names: Vec<String> = names.iter().map(|s| s.key.name().to_owned()).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let change = Change::ReplaceRules(vec![(RuleOrigin::Api, rules(&names))]);
    runtime.block_on(store.alerting(change)).unwrap();
    let view = store.view();
    let touched: HashSet<_> = agents.iter().map(|agent| agent.no).collect();
    let mut evaluator = Evaluator::default();
    let started = Instant::now();
    let first = evaluator.evaluate(&*view, &Scope::Schedule, None, at);
    println!(
        "{RULES} rules x {AGENTS} agents: first evaluation {:.0?}, {} conditions, {} changes",
        started.elapsed(),
        first.judged,
        first.observations.len()
    );
    for (what, scope) in [
        ("samples of every agent", Scope::Arrivals(touched)),
        ("on schedule", Scope::Schedule),
    ] {
        let mut best = Duration::MAX;
        let mut judged = 0;
        for _ in 0..ROUNDS {
            let started = Instant::now();
            judged = evaluator.evaluate(&*view, &scope, None, at).judged;
            best = best.min(started.elapsed());
        }
        println!("{what}: {best:.1?}, {judged} conditions");
    }
}

fn try_on_history(folder: &Path) {
    let days = std::env::var("LONGWATCH_BENCH_DAYS").map_or(3, |d| d.parse().unwrap());
    let store = fleet::open(&folder.join("history.redb"));
    fleet::fill(&store, 100, days * 24);
    store.settle_blocking().unwrap();
    let view = store.view();
    let agents = view.agents(Timestamp::from_millis(fleet::END_MS));
    let names = view.series(agents[0].no, None);
    let metric = names[0].key.name();
    let common = json!({"description": "d", "metric_name": metric});
    for (name, more) in [
        (
            "threshold",
            json!({"condition_type": "threshold", "threshold": 80, "for": "1m"}),
        ),
        (
            "rate",
            json!({"condition_type": "rate_of_change", "threshold": 1}),
        ),
        (
            "average",
            json!({"condition_type": "threshold", "aggregate": "avg", "window": "5m", "threshold": 80}),
        ),
        ("absent", json!({"condition_type": "absent"})),
        ("anomaly", json!({"condition_type": "anomaly"})),
        (
            "forecast",
            json!({"condition_type": "forecast", "threshold": 100, "window": "10m"}),
        ),
    ] {
        let mut definition = common.as_object().unwrap().clone();
        definition.insert("name".into(), json!(name));
        definition.extend(more.as_object().unwrap().clone());
        let rule = read_rule(&definition).unwrap();
        let window = Window::ending_at(Timestamp::from_millis(fleet::END_MS), days * DAY_MS);
        let started = Instant::now();
        let report =
            backtest(&*view, &[rule], window, &Routing::default(), &mut |_, _| {}).unwrap();
        println!(
            "backtest of a {name} rule, 100 agents, {days} days: {:.2?}, {} evaluations, {} episodes",
            started.elapsed(),
            report[0].evaluations,
            report[0].episodes.len()
        );
    }
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    evaluate(folder.path());
    try_on_history(folder.path());
}
