//! Services and their operations.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::{Path, State},
};
use serde_json::{Value, json};

use super::answer::{V1, answer};
use crate::{
    api::{context::Edge, parameters::Parameters, problem::Problem},
    model::{History, SpanKind, SpanOperation, Timestamp},
};

/// Of `/operations`.
pub(in crate::api) const OPERATION_PARAMETERS: [&str; 2] = ["service", "spanKind"];

/// All operations that traces tell of.
fn all(history: &dyn History) -> Result<Vec<SpanOperation>, Problem> {
    Ok(history.operations(Timestamp::from_millis(i64::MIN))?)
}

/// Names of services, sorted.
pub(super) async fn names(edge: &Edge) -> Result<Vec<Arc<str>>, Problem> {
    edge.read(|view| {
        let services: BTreeSet<_> = all(&*view)?.into_iter().map(|of| of.service).collect();
        Ok(services.into_iter().collect())
    })
    .await
}

/// Operations of a service with their kinds, sorted.
pub(super) async fn of_service(
    edge: &Edge,
    service: String,
    kind: Option<SpanKind>,
) -> Result<Vec<SpanOperation>, Problem> {
    edge.read(move |view| {
        let mut operations = all(&*view)?;
        operations.retain(|of| *of.service == service && kind.is_none_or(|kind| kind == of.kind));
        Ok(operations)
    })
    .await
}

/// What `/operations` asks, with the names that a version of the API has for it.
pub(super) fn asked(
    parameters: &Parameters,
    kind_name: &str,
) -> Result<(String, Option<SpanKind>), Problem> {
    let given = |name| parameters.text(name).filter(|text| !text.is_empty());
    let service = given("service")
        .ok_or_else(|| Problem::parameter("service", "is required"))?
        .to_owned();
    let kind = given(kind_name)
        .map(|word| {
            SpanKind::of_name(word).ok_or_else(|| {
                let kinds: Vec<_> = SpanKind::ALL.iter().map(|kind| kind.name()).collect();
                let what = format!("`{word}` is none of {}", kinds.join(", "));
                Problem::parameter(kind_name, what)
            })
        })
        .transpose()?;
    Ok((service, kind))
}

/// Operations as both versions list them.
pub(super) fn listed(operations: &[SpanOperation]) -> Vec<Value> {
    let row = |of: &SpanOperation| {
        // Jaeger has no word for a kind that was not told.
        let kind = match of.kind {
            SpanKind::Unspecified => "",
            kind => kind.name(),
        };
        json!({"name": &*of.name, "spanKind": kind})
    };
    operations.iter().map(row).collect()
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a Arc<str>>) -> Vec<Value> {
    texts.into_iter().map(|text| Value::from(&**text)).collect()
}

pub(in crate::api) async fn services(State(edge): State<Arc<Edge>>) -> Result<Json<Value>, V1> {
    let names = names(&edge).await?;
    Ok(answer(texts(&names), names.len()))
}

pub(in crate::api) async fn operations(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Json<Value>, V1> {
    let (service, kind) = asked(&parameters, "spanKind")?;
    let operations = of_service(&edge, service, kind).await?;
    Ok(answer(listed(&operations), operations.len()))
}

pub(in crate::api) async fn operations_of_service(
    State(edge): State<Arc<Edge>>,
    Path(service): Path<String>,
) -> Result<Json<Value>, V1> {
    let operations = of_service(&edge, service, None).await?;
    let names: BTreeSet<_> = operations.iter().map(|of| &of.name).collect();
    let total = names.len();
    Ok(answer(texts(names), total))
}
