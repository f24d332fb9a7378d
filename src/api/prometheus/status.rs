//! What the server is, as Prometheus would say it.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::State;
use serde_json::{Value, json};

use super::answer::{Failure, Success};
use crate::{
    api::context::{Edge, blocking},
    model::{NAME_LABEL, Timestamp, Window},
    query::{HistorySource, Source},
};

/// Entries of each list.
const TOP: usize = 10;

/// The version of Prometheus whose API this is: clients decide by it what they may ask. No `features`, which would make
/// Grafana take the server for Mimir.
const SPOKEN_VERSION: &str = "3.5.0";

/// What stands at the base address.
pub(in crate::api) async fn root() -> &'static str {
    "longwatch answers as Prometheus does, below /prometheus/api/v1\n"
}

pub(in crate::api) async fn build_info() -> Success {
    Success::of(&json!({
        "version": SPOKEN_VERSION,
        "revision": concat!("longwatch-", env!("CARGO_PKG_VERSION")),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    }))
}

pub(in crate::api) async fn runtime_info(
    State(edge): State<Arc<Edge>>,
) -> Result<Success, Failure> {
    let store = edge.context.store.clone();
    let status = blocking(move || Ok(store.status())).await?;
    Ok(Success::of(&json!({
        "startTime": edge.context.started.to_rfc3339(),
        "CWD": "",
        "hostname": "",
        "serverTime": edge.now().to_rfc3339(),
        "reloadConfigSuccess": true,
        "lastConfigTime": edge.context.started.to_rfc3339(),
        "corruptionCount": status.quarantined,
        "storageRetention": crate::model::format_duration_ms(status.retention_ms),
    })))
}

/// The configuration holds secrets and is written in another language: what is asked for here is empty.
pub(in crate::api) async fn config() -> Success {
    Success::of(&json!({"yaml": ""}))
}

pub(in crate::api) async fn flags() -> Success {
    Success::of(&json!({}))
}

pub(in crate::api) async fn tsdb(State(edge): State<Arc<Edge>>) -> Result<Success, Failure> {
    let store = edge.context.store.clone();
    let found = edge.read(move |view| {
        let status = store.status();
        let window = Window::until(Timestamp::MAX);
        let mut of_metric: BTreeMap<String, u64> = BTreeMap::new();
        let mut values: BTreeMap<String, std::collections::BTreeSet<String>> = BTreeMap::new();
        let mut pairs: BTreeMap<String, u64> = BTreeMap::new();
        for series in HistorySource::new(&*view).select(&[], window)? {
            for (name, value) in series.labels.iter() {
                if name == NAME_LABEL {
                    *of_metric.entry(value.to_owned()).or_default() += 1;
                }
                *pairs.entry(format!("{name}={value}")).or_default() += 1;
                let known = values.entry(name.to_owned()).or_default();
                if !known.contains(value) {
                    known.insert(value.to_owned());
                }
            }
        }
        let bytes = |texts: &std::collections::BTreeSet<String>| {
            texts.iter().map(|text| text.len() as u64).sum::<u64>()
        };
        Ok(Success::of(&json!({
            "headStats": {
                "numSeries": status.series,
                "numLabelPairs": pairs.len(),
                "chunkCount": status.blocks,
                "minTime": 0,
                "maxTime": status.last_commit_ms.unwrap_or(0),
            },
            "seriesCountByMetricName": top(of_metric.iter().map(|(n, c)| (n, *c))),
            "labelValueCountByLabelName": top(values.iter().map(|(n, v)| (n, v.len() as u64))),
            "memoryInBytesByLabelName": top(values.iter().map(|(n, v)| (n, bytes(v)))),
            "seriesCountByLabelValuePair": top(pairs.iter().map(|(n, c)| (n, *c))),
        })))
    });
    Ok(found.await?)
}

fn top<'n>(counts: impl Iterator<Item = (&'n String, u64)>) -> Vec<Value> {
    let mut counts: Vec<(&String, u64)> = counts.collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let shown = counts.into_iter().take(TOP);
    shown
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect()
}
