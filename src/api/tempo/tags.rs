//! Names and values of attributes, for choice. They are those of the newest traces; services and operations are known
//! in full.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use super::question::{given, number, window};
use crate::{
    api::{
        context::Edge,
        parameters::Parameters,
        problem::Problem,
        trace_search::{Effort, each_whole_trace},
        traceql::{self, Field, Query},
    },
    model::{
        AttributeValue, Attributes, History, Span, SpanFilter, SpanKind, TraceSummary, Window,
    },
};

/// Of lists of names; `limit` and staleness ask for no more than is told anyhow.
pub(in crate::api) const TAG_PARAMETERS: [&str; 7] = [
    "scope",
    "start",
    "end",
    "limit",
    "maxStaleValues",
    "maxTagsPerScope",
    "q",
];
/// Of lists of values.
pub(in crate::api) const VALUE_PARAMETERS: [&str; 5] =
    ["start", "end", "limit", "maxStaleValues", "q"];

/// What is looked at.
const EFFORT: Effort = Effort {
    traces: 1_000,
    spans: 50_000,
};
/// Names or values of an answer, and bytes of a value that is offered.
const LIMIT_MAX: usize = 5_000;
const VALUE_BYTES_MAX: usize = 1_024;

/// Fields that are no attributes.
const INTRINSICS: [&str; 8] = [
    "duration",
    "kind",
    "name",
    "rootName",
    "rootServiceName",
    "status",
    "statusMessage",
    "traceDuration",
];

/// Names by scope.
#[derive(Default)]
struct Names {
    resource: BTreeSet<String>,
    span: BTreeSet<String>,
}

async fn names(edge: &Edge, parameters: &Parameters) -> Result<Names, Problem> {
    let window = window(parameters, edge.now())?;
    edge.read(move |view| {
        let mut names = Names::default();
        let add = |names: &mut BTreeSet<String>, attributes: &Attributes| {
            for (key, _) in attributes.iter() {
                if names.len() < LIMIT_MAX && !names.contains(&**key) {
                    names.insert(key.to_string());
                }
            }
        };
        each_whole_trace(
            &*view,
            window,
            &SpanFilter::default(),
            EFFORT,
            |_, spans| {
                for span in &spans {
                    add(&mut names.resource, &span.resource.attributes);
                    add(&mut names.span, &span.attributes);
                }
                true
            },
        )?;
        // Every span has a service.
        names.resource.insert("service.name".to_owned());
        Ok(names)
    })
    .await
}

/// Whether a scope is asked for.
fn is_asked(parameters: &Parameters, scope: &str) -> bool {
    given(parameters, "scope").is_none_or(|asked| asked == scope || asked == "none")
}

fn check_scope(parameters: &Parameters) -> Result<(), Problem> {
    let scopes = [
        ("resource", ()),
        ("span", ()),
        ("intrinsic", ()),
        ("none", ()),
        // These have no attributes of their own here.
        ("event", ()),
        ("link", ()),
        ("instrumentation", ()),
        ("", ()),
    ];
    parameters.choice("scope", &scopes).map(|_| ())
}

pub(in crate::api) async fn tag_names(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    check_scope(&parameters)?;
    let names = names(&edge, &parameters).await?;
    let mut told: BTreeSet<String> = BTreeSet::new();
    for (scope, of_scope) in [("resource", names.resource), ("span", names.span)] {
        if is_asked(&parameters, scope) {
            told.extend(of_scope);
        }
    }
    if is_asked(&parameters, "intrinsic") {
        told.extend(INTRINSICS.map(str::to_owned));
    }
    Ok(Json(json!({"tagNames": told})))
}

pub(in crate::api) async fn tag_names_v2(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    check_scope(&parameters)?;
    let names = names(&edge, &parameters).await?;
    let scopes: Vec<Value> = [
        ("resource", names.resource),
        ("span", names.span),
        ("intrinsic", INTRINSICS.map(str::to_owned).into()),
    ]
    .into_iter()
    .filter(|(scope, _)| is_asked(&parameters, scope))
    .map(|(scope, tags)| json!({"name": scope, "tags": tags}))
    .collect();
    Ok(Json(json!({"scopes": scopes})))
}

/// Values with their types, by both.
type Values = BTreeSet<(&'static str, String)>;

async fn values(edge: &Edge, tag: String, parameters: &Parameters) -> Result<Values, Problem> {
    let window = window(parameters, edge.now())?;
    let limit = number(parameters, "limit", usize::MAX)?.filter(|limit| *limit != 0);
    let limit = limit.unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
    // What is being typed is often no query yet, and Tempo then offers all.
    let query = given(parameters, "q").and_then(|q| traceql::parse(q).ok());
    // Version 1 names attributes without a scope.
    let field = traceql::field_of(&tag).or_else(|| traceql::field_of(&format!(".{tag}")));
    let field = field.ok_or_else(|| Problem::parameter("tag", "is no name of a field"))?;
    edge.read(move |view| values_of(&*view, &field, query.as_ref(), window, limit))
        .await
}

fn values_of(
    history: &dyn History,
    field: &Field,
    query: Option<&Query>,
    window: Window,
    limit: usize,
) -> Result<Values, Problem> {
    let mut values = Values::new();
    let keywords = |words: &[&str]| {
        let words = words.iter();
        words.map(|word| ("keyword", (*word).to_owned())).collect()
    };
    match (field, query) {
        (Field::Status, _) => return Ok(keywords(&["error", "ok", "unset"])),
        (Field::Kind, _) => return Ok(keywords(&SpanKind::ALL.map(SpanKind::name))),
        // Any will do; there is nothing to choose from.
        (Field::Duration | Field::TraceDuration, _) => return Ok(values),
        (Field::Name | Field::Service, None) => {
            for operation in history.operations(window.from)? {
                let text = match field {
                    Field::Name => operation.name,
                    _ => operation.service,
                };
                values.insert(("string", text.to_string()));
                if values.len() >= limit {
                    break;
                }
            }
            return Ok(values);
        }
        _ => {}
    }
    let filter = query.map_or_else(SpanFilter::default, Query::narrow);
    each_whole_trace(history, window, &filter, EFFORT, |summary, spans| {
        let places = match query {
            Some(query) => query.find(&summary, &spans),
            None => (0..spans.len()).collect(),
        };
        for place in places {
            let value = value_of(field, &summary, &spans[place]);
            values.extend(value.filter(|(_, text)| text.len() <= VALUE_BYTES_MAX));
            if values.len() >= limit {
                return false;
            }
        }
        true
    })?;
    Ok(values)
}

fn value_of(field: &Field, summary: &TraceSummary, span: &Span) -> Option<(&'static str, String)> {
    let text = |text: &str| (!text.is_empty()).then(|| ("string", text.to_owned()));
    match field {
        Field::Name => text(&span.name),
        Field::StatusMessage => text(&span.status_message),
        Field::RootName => text(&summary.root_operation),
        Field::RootService => text(traceql::root_service(summary)),
        Field::Service => text(span.service()),
        Field::Status | Field::Kind | Field::Duration | Field::TraceDuration => None,
        Field::Attribute(scope, key) => typed(traceql::attribute(span, *scope, key)?),
    }
}

fn typed(value: &AttributeValue) -> Option<(&'static str, String)> {
    let kind = match value {
        AttributeValue::Text(_) => "string",
        AttributeValue::Int(_) => "int",
        AttributeValue::Float(_) => "float",
        AttributeValue::Bool(_) => "bool",
        _ => return None,
    };
    Some((kind, value.to_string()))
}

pub(in crate::api) async fn tag_values(
    State(edge): State<Arc<Edge>>,
    Path(tag): Path<String>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let values = values(&edge, tag, &parameters).await?;
    let texts: BTreeSet<String> = values.into_iter().map(|(_, text)| text).collect();
    Ok(Json(json!({"tagValues": texts})))
}

pub(in crate::api) async fn tag_values_v2(
    State(edge): State<Arc<Edge>>,
    Path(tag): Path<String>,
    parameters: Parameters,
) -> Result<Json<Value>, Problem> {
    let values = values(&edge, tag, &parameters).await?;
    let values: Vec<Value> = values
        .into_iter()
        .map(|(kind, value)| json!({"type": kind, "value": value}))
        .collect();
    Ok(Json(json!({"tagValues": values})))
}
