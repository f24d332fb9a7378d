//! How often services call each other.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use super::{
    answer::{V1, answer},
    question::given,
};
use crate::{
    api::{context::Edge, parameters::Parameters, problem::Problem},
    model::{DAY_MS, History, Span, SpanFilter, SpanId, Timestamp, Window},
};

/// Of `/dependencies`: milliseconds.
pub(in crate::api) const PARAMETERS: [&str; 2] = ["endTs", "lookback"];

pub(in crate::api) async fn dependencies(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, V1> {
    let milliseconds = |name| {
        let read = |text: &str| {
            let ms: Result<i64, _> = text.parse();
            ms.map_err(|_| Problem::parameter(name, "is no number of milliseconds"))
        };
        given(&parameters, name).map(read).transpose()
    };
    let to = milliseconds("endTs")?.map_or(edge.now(), Timestamp::from_millis);
    let lookback = milliseconds("lookback")?.unwrap_or(DAY_MS).max(0);
    let window = Window::new(to.plus_millis(-lookback), to);
    let spans_max = edge.settings.samples_per_query_max;
    let data = edge
        .read(move |view| calls_within(&*view, window, spans_max))
        .await?;
    Ok(answer(data, 0))
}

/// Calls between services within the window, by caller and called.
fn calls_within(
    history: &dyn History,
    window: Window,
    spans_max: usize,
) -> Result<Vec<Value>, Problem> {
    let mut calls: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut seen = 0;
    history.each_trace(window, &SpanFilter::default(), &mut |_, spans| {
        seen += spans.len();
        count(&spans, &mut calls);
        seen <= spans_max
    })?;
    if seen > spans_max {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!(
                "there are more than {spans_max} spans in that time (http.samples_per_query_max); ask with a shorter \
                 `lookback`"
            ),
        ));
    }
    Ok(calls
        .into_iter()
        .map(|((parent, child), count)| json!({"parent": parent, "child": child, "callCount": count}))
        .collect())
}

/// Counts the spans of a trace whose parent is of another service. A span that came twice counts once.
fn count(spans: &[Span], calls: &mut BTreeMap<(String, String), u64>) {
    // Both halves of a Zipkin call have one id: children are the server's, and the server's parent is the client's half.
    let mut clients: HashMap<SpanId, &Span> = HashMap::new();
    let mut servers: HashMap<SpanId, &Span> = HashMap::new();
    for span in spans {
        let halves = if span.is_shared {
            &mut servers
        } else {
            &mut clients
        };
        halves.insert(span.span_id, span);
    }
    let mut counted = HashSet::new();
    for span in spans {
        if !counted.insert((span.span_id, span.is_shared)) {
            continue;
        }
        let client = clients.get(&span.span_id).filter(|_| span.is_shared);
        let of_parent = || {
            let id = span.parent_id?;
            servers.get(&id).or_else(|| clients.get(&id))
        };
        let Some(parent) = client.or_else(of_parent) else {
            continue;
        };
        if parent.service() != span.service() {
            let edge = (parent.service().to_owned(), span.service().to_owned());
            *calls.entry(edge).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AgentId, TraceId};

    #[test]
    fn calls_cross_services_and_count_once() {
        let span = |id: u64, parent: u64, agent: &str, is_shared| {
            let agent = AgentId::new(agent).unwrap();
            let id = SpanId::new(id).unwrap();
            let mut span = Span::new(TraceId::default(), id, agent, "x", 0);
            span.parent_id = SpanId::new(parent);
            span.is_shared = is_shared;
            span
        };
        let spans = [
            span(1, 0, "front", false),
            span(2, 1, "front", false),
            // The client's half, the server's, and a child of it; one came twice.
            span(3, 2, "front", false),
            span(3, 2, "back", true),
            span(3, 2, "back", true),
            span(4, 3, "store", false),
            span(5, 9, "lost", false),
            span(6, 6, "self", false),
        ];
        let mut calls = BTreeMap::new();
        count(&spans, &mut calls);
        let edge = |parent: &str, child: &str| (parent.to_owned(), child.to_owned());
        let expected = [(edge("back", "store"), 1), (edge("front", "back"), 1)];
        assert_eq!(calls.into_iter().collect::<Vec<_>>(), expected);
    }
}
