//! Errors as HTTP tells them: RFC 9457 `application/problem+json`, mapped in this one place.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    ingest::BodyError,
    model::{AgentId, BadAgentId, ReadError, Timestamp},
    store::WriteError,
};

/// A question that the disk kept from being answered may be asked again after this.
const READ_AGAIN_SECONDS: u32 = 2;

/// One thing that is wrong with the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct InputError {
    /// JSON pointer into the body as a fragment (`#/labels/job`), or the name of a query parameter.
    pub(super) pointer: String,
    /// What is wrong with it.
    pub(super) detail: String,
}

/// An answer that says what went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    pub(super) detail: String,
    pub(super) errors: Vec<InputError>,
    retry_after_seconds: Option<u32>,
    challenge: Option<&'static str>,
    closes: bool,
}

impl Problem {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after_seconds: None,
            challenge: None,
            closes: false,
        }
    }

    /// A query parameter that cannot be understood.
    pub(super) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self {
            errors: vec![InputError {
                pointer: name.to_owned(),
                detail: detail.clone(),
            }],
            ..Self::new(StatusCode::BAD_REQUEST, format!("`{name}`: {detail}"))
        }
    }

    /// A JSON body that is well formed and breaks rules.
    pub(super) fn invalid_body(errors: Vec<InputError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.detail),
            many => format!("{} things are wrong with the body", many.len()),
        };
        Self {
            errors,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
        }
    }

    /// Nobody may have this agent id, at the place that `pointer` names.
    pub(super) fn agent_id(pointer: &str, why: &BadAgentId) -> Self {
        Self::invalid_body(vec![InputError {
            pointer: pointer.to_owned(),
            detail: why.to_string(),
        }])
    }

    pub(super) fn unknown_agent(id: &AgentId, at: Timestamp) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("no agent `{id}` was registered by {at}"),
        )
    }

    pub(super) fn busy(detail: &str, retry_after_seconds: u32) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(retry_after_seconds)
    }

    /// An answer of 500; `detail` must not hold anything secret.
    pub(super) fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Adds the `WWW-Authenticate` that RFC 6750 asks for.
    pub(super) fn challenge(mut self, challenge: &'static str) -> Self {
        self.challenge = Some(challenge);
        self
    }

    /// Ends the connection after the answer, since the rest of the request will not be read.
    pub(super) fn closing(mut self) -> Self {
        self.closes = true;
        self
    }
}

#[derive(Serialize)]
struct Document<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[InputError]>::is_empty")]
    errors: &'a [InputError],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            errors: &self.errors,
        };
        // Strings and numbers always serialise.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(challenge) = self.challenge {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        if self.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        tracing::error!(%error, "a question could not be answered");
        let detail = error.to_string();
        match error {
            ReadError::Damaged(_) | ReadError::Newer(_) => Self::internal(detail),
            // The file is opened anew after an error of the disk, without anybody's doing.
            ReadError::Backend(_) => Self::busy(&detail, READ_AGAIN_SECONDS),
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let detail = error.to_string();
        match error {
            WriteError::Busy {
                retry_after_seconds,
            }
            | WriteError::Unavailable {
                retry_after_seconds,
                ..
            } => Self::busy(&detail, retry_after_seconds),
            WriteError::DiskFull {
                retry_after_seconds,
                ..
            } => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, detail).retry_after(retry_after_seconds)
            }
            WriteError::Closing => Self::busy(&detail, 5),
            WriteError::Limit(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
            WriteError::Owned(_) => Self::new(StatusCode::CONFLICT, detail),
            WriteError::Backend(_) => {
                tracing::error!(error = detail, "a write was not done");
                Self::internal(detail)
            }
        }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let status = match error {
            BodyError::Syntax { .. } | BodyError::Encoding(_) | BodyError::Refused(_) => {
                StatusCode::BAD_REQUEST
            }
            BodyError::Limit(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::ContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        };
        let detail = error.to_string();
        Self {
            errors: vec![InputError {
                pointer: "#".to_owned(),
                detail: detail.clone(),
            }],
            ..Self::new(status, detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status_and_headers(problem: impl Into<Problem>) -> (u16, Response) {
        let response = problem.into().into_response();
        (response.status().as_u16(), response)
    }

    #[test]
    fn each_write_error_has_its_status() {
        let why = || "x".to_owned();
        for (error, expected) in [
            (
                WriteError::Busy {
                    retry_after_seconds: 7,
                },
                503,
            ),
            (
                WriteError::Unavailable {
                    why: why(),
                    retry_after_seconds: 7,
                },
                503,
            ),
            (
                WriteError::DiskFull {
                    why: why(),
                    retry_after_seconds: 7,
                },
                507,
            ),
        ] {
            let (status, response) = status_and_headers(error);
            assert_eq!(status, expected);
            assert_eq!(response.headers()[header::RETRY_AFTER], "7");
        }
        assert_eq!(status_and_headers(WriteError::Closing).0, 503);
        assert_eq!(status_and_headers(WriteError::Limit("x".into())).0, 422);
        assert_eq!(status_and_headers(WriteError::Owned("a".into())).0, 409);
        assert_eq!(status_and_headers(WriteError::Backend("x".into())).0, 500);
        assert_eq!(status_and_headers(ReadError::Damaged("x".into())).0, 500);
        assert_eq!(status_and_headers(ReadError::Backend("x".into())).0, 503);
    }

    #[tokio::test]
    async fn the_document_is_a_problem() {
        let response = Problem::parameter("at", "`x` is not a time").into_response();
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "application/problem+json"
        );
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"title": "Bad Request", "status": 400, "detail": "`at`: `x` is not a time",
                "errors": [{"pointer": "at", "detail": "`x` is not a time"}]})
        );
    }
}
