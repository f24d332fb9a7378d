//! What questions about traces are answered with, over HTTP and from a file alike.

use axum::{
    Json,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

use super::{graph, list, profile, runs, show};
use crate::{
    api::{context::Edge, parameters::Parameters, problem::Problem},
    model::{History, Timestamp},
};

/// An answer.
pub(in crate::api) enum Answer {
    Json(Value),
    Text(String),
    Svg(String),
}

impl Answer {
    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Json(value) => value.to_string().into_bytes(),
            Self::Text(text) | Self::Svg(text) => text.into_bytes(),
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let typed = |kind: &'static str, body: String| {
            let kind = HeaderValue::from_static(kind);
            ([(header::CONTENT_TYPE, kind)], body).into_response()
        };
        match self {
            Self::Json(value) => Json(value).into_response(),
            Self::Text(text) => typed("text/plain; charset=utf-8", text),
            Self::Svg(text) => typed("image/svg+xml", text),
        }
    }
}

/// A question about traces in general: what it asks for is in its parameters.
pub(super) type Question = fn(&dyn History, Timestamp, &Parameters) -> Result<Answer, Problem>;

/// Answers it over HTTP.
pub(super) async fn answered(
    edge: &Edge,
    parameters: Parameters,
    question: Question,
) -> Result<Answer, Problem> {
    let now = edge.now();
    edge.read(move |view| question(&*view, now, &parameters))
        .await
}

/// Why a question about traces has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct TraceQuestionError {
    /// The status that HTTP would tell.
    pub status: u16,
    /// What is wrong.
    pub detail: String,
}

impl From<Problem> for TraceQuestionError {
    fn from(problem: Problem) -> Self {
        Self {
            status: problem.status.as_u16(),
            detail: problem.detail,
        }
    }
}

/// Answers a question about traces as the server would: `path` has the segments after `/api/v1`, `query` what stands
/// behind the question mark.
///
/// # Errors
/// The question cannot be understood, names no trace that there is, or the file cannot be read.
pub fn ask_traces(
    history: &dyn History,
    now: Timestamp,
    path: &[&str],
    query: &str,
) -> Result<Vec<u8>, TraceQuestionError> {
    let read = |known: &[&str]| Parameters::read(Some(query), known);
    let answer = match path {
        ["traces"] => list::answer(history, now, &read(&list::LIST_PARAMETERS)?)?,
        ["spans", "open"] => list::open(history, now, &read(&list::OPEN_PARAMETERS)?)?,
        ["traces", "profile"] => {
            profile::answer(history, now, &read(&profile::PROFILE_PARAMETERS)?)?
        }
        ["traces", name] => show::answer(history, now, name, &read(&show::SHOW_PARAMETERS)?)?,
        ["traces", name, "analysis"] => show::analysed(history, name, &read(&["format"])?)?,
        ["traces", name, "compare"] => show::compared(history, name, &read(&["with", "format"])?)?,
        ["runs"] => runs::answer(history, now, &read(&runs::RUN_PARAMETERS)?)?,
        ["agent-graph"] => graph::answer(history, now, &read(&graph::GRAPH_PARAMETERS)?)?,
        _ => {
            return Err(TraceQuestionError {
                status: 404,
                detail: "there is no such question about traces".to_owned(),
            });
        }
    };
    Ok(answer.into_bytes())
}
