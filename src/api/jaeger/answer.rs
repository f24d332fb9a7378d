//! Answers and errors in Jaeger's shapes.

use axum::{
    Json,
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::api::problem::Problem;

/// What a client of version 1 reads.
pub(super) fn answer(data: impl Into<Value>, total: usize) -> Json<Value> {
    Json(json!({"data": data.into(), "total": total, "limit": 0, "offset": 0, "errors": null}))
}

/// An error as version 1 tells it.
#[derive(Debug)]
pub(in crate::api) struct V1(Problem);

/// An error as version 3 tells it.
#[derive(Debug)]
pub(in crate::api) struct V3(Problem);

impl From<Problem> for V1 {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<Problem> for V3 {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

/// The answer to a problem, with its status and headers, and another body.
fn told(problem: Problem, body: &Value) -> Response {
    let mut response = problem.into_response();
    *response.body_mut() = Body::from(body.to_string());
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

impl IntoResponse for V1 {
    fn into_response(self) -> Response {
        let error = json!({"code": self.0.status.as_u16(), "msg": self.0.detail});
        let body = json!({"data": null, "total": 0, "limit": 0, "offset": 0, "errors": [error]});
        told(self.0, &body)
    }
}

impl IntoResponse for V3 {
    fn into_response(self) -> Response {
        let body = json!({"error": {"httpCode": self.0.status.as_u16(), "message": self.0.detail}});
        told(self.0, &body)
    }
}
