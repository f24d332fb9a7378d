//! Search: by TraceQL, or by tags in logfmt as older versions of Grafana ask.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde_json::{Value, json};

use super::question::{duration_ns, given, number, window};
use crate::{
    api::{
        context::Edge,
        parameters::Parameters,
        problem::Problem,
        trace_search::{Effort, each_whole_trace},
        traceql::{self, Query, Scope},
    },
    model::{AttributeValue, History, Span, SpanFilter, TraceSummary, Window},
};

pub(in crate::api) const PARAMETERS: [&str; 8] = [
    "q",
    "tags",
    "minDuration",
    "maxDuration",
    "limit",
    "spss",
    "start",
    "end",
];

/// What a search may look at.
const EFFORT: Effort = Effort {
    traces: 10_000,
    spans: 1_000_000,
};
/// Traces of an answer, where the question does not say; and at most.
const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 1_000;
/// Spans that are shown of a trace, where the question does not say; and at most.
const SPANS_DEFAULT: usize = 3;
const SPANS_MAX: usize = 100;

/// How spans are chosen.
enum Choice {
    /// By a query.
    Query(Query),
    /// By a filter; also the name and the service that the root must have.
    Filter(SpanFilter, Option<String>, Option<String>),
}

struct Question {
    choice: Choice,
    window: Window,
    /// Of the whole trace, nanoseconds.
    min_ns: i64,
    max_ns: i64,
    limit: usize,
    spans: usize,
}

pub(in crate::api) async fn search(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let question = Question {
        choice: choice(&parameters)?,
        window: window(&parameters, edge.now())?,
        min_ns: duration_ns(&parameters, "minDuration")?.unwrap_or(0),
        max_ns: duration_ns(&parameters, "maxDuration")?
            .filter(|ns| *ns != 0)
            .unwrap_or(i64::MAX),
        limit: number(&parameters, "limit", LIMIT_MAX)?
            .filter(|limit| *limit != 0)
            .unwrap_or(LIMIT_DEFAULT),
        spans: number(&parameters, "spss", usize::MAX)?
            .filter(|spans| *spans != 0)
            .unwrap_or(SPANS_DEFAULT)
            .min(SPANS_MAX),
    };
    edge.read(move |view| question.answer(&*view)).await
}

fn choice(parameters: &Parameters) -> Result<Choice, Problem> {
    match (given(parameters, "q"), given(parameters, "tags")) {
        (Some(_), Some(_)) => Err(Problem::parameter(
            "tags",
            "contradicts `q`: give one of them",
        )),
        (Some(q), None) => traceql::parse(q)
            .map(Choice::Query)
            .map_err(|why| Problem::parameter("q", why.to_string())),
        (None, tags) => by_tags(tags.unwrap_or_default()),
    }
}

/// Tags in logfmt: `key=value key="a value"`.
fn by_tags(text: &str) -> Result<Choice, Problem> {
    let mut filter = SpanFilter::default();
    let (mut root_name, mut root_service) = (None, None);
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest
            .split_once('=')
            .filter(|(key, _)| !key.is_empty() && !key.contains(char::is_whitespace))
            .ok_or_else(|| {
                Problem::parameter("tags", "must be logfmt: key=value key=\"a value\"")
            })?;
        let (value, after) = logfmt_value(after)?;
        match key {
            "service.name" => filter.service = Some(value),
            "name" => filter.operation = Some(value),
            "root.name" => root_name = Some(value),
            "root.service.name" => root_service = Some(value),
            "status.code" if value == "error" => {
                filter.attributes.push(("error".into(), "true".into()));
            }
            _ => filter.attributes.push((key.to_owned(), value)),
        }
        rest = after.trim_start();
    }
    Ok(Choice::Filter(filter, root_name, root_service))
}

/// A value, and what comes after it.
fn logfmt_value(text: &str) -> Result<(String, &str), Problem> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return Ok((value.to_owned(), after));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    Err(Problem::parameter("tags", "a value in quotes does not end"))
}

impl Choice {
    fn narrow(&self) -> SpanFilter {
        match self {
            Self::Query(query) => query.narrow(),
            Self::Filter(filter, ..) => filter.clone(),
        }
    }

    /// Places of the spans that it finds.
    fn find(&self, summary: &TraceSummary, spans: &[Span]) -> Vec<usize> {
        match self {
            Self::Query(query) => query.find(summary, spans),
            Self::Filter(filter, name, service) => {
                let is_root = name
                    .as_deref()
                    .is_none_or(|name| *name == *summary.root_operation)
                    && service
                        .as_deref()
                        .is_none_or(|name| name == traceql::root_service(summary));
                (0..spans.len())
                    .filter(|place| is_root && filter.fits(&spans[*place]))
                    .collect()
            }
        }
    }

    fn attributes(&self) -> Vec<(Scope, &str)> {
        match self {
            Self::Query(query) => query.attributes(),
            Self::Filter(filter, ..) => filter
                .attributes
                .iter()
                .map(|(key, _)| (Scope::Either, key.as_str()))
                .collect(),
        }
    }
}

impl Question {
    fn answer(&self, history: &dyn History) -> Result<Json<Value>, Problem> {
        let shown = self.choice.attributes();
        let mut traces = Vec::new();
        let filter = self.choice.narrow();
        let looked = each_whole_trace(history, self.window, &filter, EFFORT, |summary, spans| {
            let duration = summary.end_ns.saturating_sub(summary.start_ns);
            if (self.min_ns..=self.max_ns).contains(&duration) {
                let found = self.choice.find(&summary, &spans);
                if !found.is_empty() {
                    traces.push(self.trace_json(&summary, &spans, &found, &shown));
                }
            }
            traces.len() < self.limit
        })?;
        let mut metrics = json!({
            "inspectedTraces": looked.traces,
            "inspectedSpans": looked.spans.to_string(),
            "completedJobs": 1,
            "totalJobs": if looked.is_cut { 2 } else { 1 },
        });
        if looked.is_cut {
            metrics["partial"] = true.into();
            metrics["message"] = format!(
                "the search ended after {} traces, the newest ones; ask for a shorter time or name a service, an \
                 operation or an attribute",
                looked.traces
            )
            .into();
        }
        Ok(Json(json!({"traces": traces, "metrics": metrics})))
    }

    fn trace_json(
        &self,
        summary: &TraceSummary,
        spans: &[Span],
        found: &[usize],
        shown: &[(Scope, &str)],
    ) -> Value {
        let first = found.iter().take(self.spans);
        let told: Vec<Value> = first
            .map(|place| span_json(&spans[*place], shown))
            .collect();
        let set = json!({"spans": told, "matched": found.len()});
        let duration_ns = summary.end_ns.saturating_sub(summary.start_ns).max(0);
        json!({
            "traceID": summary.trace_id.to_string(),
            "rootServiceName": traceql::root_service(summary),
            "rootTraceName": &*summary.root_operation,
            "startTimeUnixNano": summary.start_ns.to_string(),
            "durationMs": duration_ns / 1_000_000,
            "spanSets": [&set],
            "spanSet": &set,
        })
    }
}

fn span_json(span: &Span, shown: &[(Scope, &str)]) -> Value {
    let attributes = shown.iter().filter_map(|(scope, key)| {
        let value = match traceql::attribute(span, *scope, key) {
            Some(value) => value_json(value),
            None if *key == "service.name" => json!({"stringValue": span.service()}),
            None => return None,
        };
        Some(json!({"key": key, "value": value}))
    });
    json!({
        "spanID": span.span_id.to_string(),
        "name": &*span.name,
        "startTimeUnixNano": span.start_ns.to_string(),
        "durationNanos": span.duration_ns().unwrap_or(0).to_string(),
        "attributes": attributes.collect::<Vec<_>>(),
    })
}

/// A value as OTLP writes it; lists and maps as texts.
fn value_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::Bool(is) => json!({"boolValue": is}),
        AttributeValue::Int(number) => json!({"intValue": number.to_string()}),
        AttributeValue::Float(_) => json!({"doubleValue": value.to_json()}),
        other => json!({"stringValue": other.to_string()}),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_are_logfmt() {
        let Ok(Choice::Filter(filter, root, service)) = by_tags(
            r#" service.name=front http.status_code=500 msg="a \"b\"" name=x root.name=r status.code=error empty= "#,
        ) else {
            panic!("is no filter");
        };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            filter.attributes,
            [
                pair("http.status_code", "500"),
                pair("msg", "a \"b\""),
                pair("error", "true"),
                pair("empty", "")
            ]
        );
        assert_eq!(
            (filter.service.as_deref(), filter.operation.as_deref()),
            (Some("front"), Some("x"))
        );
        assert_eq!((root.as_deref(), service), (Some("r"), None));
        for bad in ["a", "=b", "a b=c", "a=\"b"] {
            assert!(by_tags(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_tags_are_survived(text: String) {
            let _ = by_tags(&text);
        }
    }
}
