//! Answers and errors in Prometheus' envelope.

use std::fmt::Write;

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::Value;

use crate::{
    api::{problem::Problem, routes::json_response},
    model::ReadError,
    query::{QueryError, Told, put_text},
};

/// Why a question has no answer.
#[derive(Debug)]
pub(in crate::api) struct Failure {
    status: StatusCode,
    kind: &'static str,
    text: String,
    retry_after: Option<String>,
}

impl Failure {
    /// A parameter that cannot be understood.
    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_data", text)
    }

    /// The same with its name.
    pub(super) fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::bad(format!("invalid parameter {name:?}: {why}"))
    }

    fn new(status: StatusCode, kind: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            text: text.into(),
            retry_after: None,
        }
    }
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        let text = error.to_string();
        match error {
            QueryError::Parse(_) | QueryError::Bad(_) => Self::bad(text),
            QueryError::Execution(_) | QueryError::Limit { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "execution", text)
            }
            QueryError::TimedOut(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", text),
            QueryError::Cancelled => Self::new(StatusCode::SERVICE_UNAVAILABLE, "canceled", text),
            QueryError::Read(error) => error.into(),
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Problem::from(error).into()
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        let (status, text) = (problem.status, problem.detail.clone());
        let kind = match status {
            StatusCode::NOT_FOUND => "not_found",
            status if status.is_client_error() => "bad_data",
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            _ => "internal",
        };
        let headers = problem.into_response().headers().clone();
        let retry_after = headers.get(axum::http::header::RETRY_AFTER);
        Self {
            retry_after: retry_after.and_then(|value| value.to_str().ok().map(str::to_owned)),
            ..Self::new(status, kind, text)
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = format!(
            "{{\"status\":\"error\",\"errorType\":\"{}\",\"error\":",
            self.kind
        );
        put_text(&mut body, &self.text);
        body.push('}');
        let mut response = json_response(self.status, body);
        if let Some(value) = self.retry_after.and_then(|text| text.parse().ok()) {
            response
                .headers_mut()
                .insert(axum::http::header::RETRY_AFTER, value);
        }
        response
    }
}

/// An answer: JSON, with warnings and infos beside it.
#[derive(Debug, Default)]
pub(in crate::api) struct Success {
    data: String,
    told: Told,
}

impl Success {
    /// Data that are JSON already.
    pub(super) fn of_json(data: String) -> Self {
        Self {
            data,
            told: Told::default(),
        }
    }

    pub(super) fn of(data: &Value) -> Self {
        Self::of_json(data.to_string())
    }

    pub(super) fn telling(mut self, told: Told) -> Self {
        self.told.warnings.extend(told.warnings);
        self.told.infos.extend(told.infos);
        self
    }

    /// Says that there was more.
    pub(super) fn truncated(mut self, is_truncated: bool) -> Self {
        if is_truncated {
            let text = "results truncated due to limit";
            self.told.warnings.push(text.to_owned());
        }
        self
    }
}

impl IntoResponse for Success {
    fn into_response(self) -> Response {
        let mut body = format!("{{\"status\":\"success\",\"data\":{}", self.data);
        for (name, texts) in [("warnings", self.told.warnings), ("infos", self.told.infos)] {
            if !texts.is_empty() {
                // Writing to a String cannot fail.
                let _ = write!(body, ",\"{name}\":{}", serde_json::json!(texts));
            }
        }
        body.push('}');
        json_response(StatusCode::OK, body)
    }
}
