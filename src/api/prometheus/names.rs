//! Which series, labels and metrics there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::{
    answer::{Failure, Success},
    asked::Asked,
};
use crate::{
    api::context::Edge,
    model::{Labels, MetricMetadata, ReadError, Window},
    query::{HistorySource, Source, put_labels},
    store::View,
};

pub(in crate::api) async fn series(
    State(edge): State<Arc<Edge>>,
    asked: Asked,
) -> Result<Success, Failure> {
    let selectors = asked.selectors()?;
    if selectors.is_empty() {
        return Err(Failure::bad("no match[] parameter provided"));
    }
    let (window, limit) = (asked.window()?, asked.limit("limit")?);
    let found = edge.read(move |view| {
        let mut found = BTreeSet::new();
        for matchers in &selectors {
            let selected = sampled(&view, matchers, window)?;
            found.extend(selected);
        }
        let is_truncated = limit.is_some_and(|limit| found.len() > limit);
        let mut out = String::from("[");
        for (at, labels) in found.iter().take(limit.unwrap_or(usize::MAX)).enumerate() {
            if at > 0 {
                out.push(',');
            }
            put_labels(&mut out, labels);
        }
        out.push(']');
        Ok(Success::of_json(out).truncated(is_truncated))
    });
    Ok(found.await?)
}

/// Labels of series that matchers find and that have samples in the window.
fn sampled(
    view: &View,
    matchers: &[crate::model::Matcher],
    window: Window,
) -> Result<Vec<Labels>, ReadError> {
    let mut found = HistorySource::new(&**view).select(matchers, window)?;
    let last = view.last_commit();
    // Everything that is known has samples somewhere: only a window that leaves time out needs a look.
    let is_everything = window.from.as_millis() <= 0 && last.is_none_or(|last| window.to >= last);
    if !is_everything {
        let mut extents = std::collections::HashMap::new();
        for series in &found {
            if let std::collections::hash_map::Entry::Vacant(place) = extents.entry(series.agent) {
                let of_agent = view.extents(series.agent, window)?;
                place.insert(of_agent.into_iter().map(|e| e.no).collect::<BTreeSet<_>>());
            }
        }
        found.retain(|series| {
            let mut stored = series
                .others
                .iter()
                .copied()
                .chain([(series.agent, series.no)]);
            stored.any(|(agent, no)| extents.get(&agent).is_some_and(|with| with.contains(&no)))
        });
    }
    Ok(found.into_iter().map(|series| series.labels).collect())
}

/// Labels of the series that `match[]` finds; of all without it.
fn labels_of(
    view: &View,
    selectors: &[Vec<crate::model::Matcher>],
    window: Window,
) -> Result<Vec<Labels>, ReadError> {
    if selectors.is_empty() {
        return sampled(view, &[], window);
    }
    let mut found = Vec::new();
    for matchers in selectors {
        found.extend(sampled(view, matchers, window)?);
    }
    Ok(found)
}

pub(in crate::api) async fn label_names(
    State(edge): State<Arc<Edge>>,
    asked: Asked,
) -> Result<Success, Failure> {
    let (selectors, window) = (asked.selectors()?, asked.window()?);
    let limit = asked.limit("limit")?;
    let names = edge.read(move |view| {
        let mut names = BTreeSet::new();
        for labels in labels_of(&view, &selectors, window)? {
            for (name, _) in labels.iter() {
                if !names.contains(name) {
                    names.insert(name.to_owned());
                }
            }
        }
        Ok(texts(names, limit))
    });
    Ok(names.await?)
}

pub(in crate::api) async fn label_values(
    State(edge): State<Arc<Edge>>,
    Path(name): Path<String>,
    asked: Asked,
) -> Result<Success, Failure> {
    let name = unescaped(name);
    let (selectors, window) = (asked.selectors()?, asked.window()?);
    let limit = asked.limit("limit")?;
    let values = edge.read(move |view| {
        let mut values = BTreeSet::new();
        for labels in labels_of(&view, &selectors, window)? {
            let value = labels.get(&name);
            if !value.is_empty() && !values.contains(value) {
                values.insert(value.to_owned());
            }
        }
        Ok(texts(values, limit))
    });
    Ok(values.await?)
}

fn texts(found: BTreeSet<String>, limit: Option<usize>) -> Success {
    let is_truncated = limit.is_some_and(|limit| found.len() > limit);
    let shown: Vec<String> = found
        .into_iter()
        .take(limit.unwrap_or(usize::MAX))
        .collect();
    Success::of(&json!(shown)).truncated(is_truncated)
}

/// A label's name in the escaped form `U__...` of Prometheus: `_` doubled, other characters as `_HEX_`.
fn unescaped(name: String) -> String {
    let Some(mut rest) = name.strip_prefix("U__") else {
        return name;
    };
    let mut out = String::new();
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let character = rest.split_once('_').and_then(|(hex, after)| {
            Some((char::from_u32(u32::from_str_radix(hex, 16).ok()?)?, after))
        });
        let Some((character, after)) = character else {
            return name;
        };
        out.push(character);
        rest = after;
    }
    out.push_str(rest);
    out
}

pub(in crate::api) async fn metadata(
    State(edge): State<Arc<Edge>>,
    asked: Asked,
) -> Result<Success, Failure> {
    let metric = asked.text("metric").map(str::to_owned);
    let limit = asked.limit("limit")?.unwrap_or(usize::MAX);
    let limit_per_metric = asked.limit("limit_per_metric")?.unwrap_or(usize::MAX);
    let told = edge.read(move |view| {
        let mut told: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for agent in view.known_agents() {
            for metadata in view.metadata(agent) {
                if metric
                    .as_ref()
                    .is_some_and(|wanted| *wanted != metadata.name)
                {
                    continue;
                }
                let entry = entry(&metadata);
                let of_metric = told.entry(metadata.name).or_default();
                if of_metric.len() < limit_per_metric && !of_metric.contains(&entry) {
                    of_metric.push(entry);
                }
            }
        }
        let shown: BTreeMap<_, _> = told.into_iter().take(limit).collect();
        Ok(Success::of(&json!(shown)))
    });
    Ok(told.await?)
}

fn entry(metadata: &MetricMetadata) -> Value {
    json!({"type": metadata.kind.as_str(), "help": metadata.help, "unit": metadata.unit})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_read() {
        for (escaped, name) in [
            ("job", "job"),
            ("U__http_2e_status", "http.status"),
            ("U__a__b", "a_b"),
            ("U__bad_zz", "U__bad_zz"),
        ] {
            assert_eq!(unescaped(escaped.to_owned()), name);
        }
    }
}
