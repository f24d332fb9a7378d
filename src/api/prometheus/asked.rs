//! Parameters of a question: in the address, and of a POST in a form, too.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{Method, header},
};

use super::answer::Failure;
use crate::{
    api::{body::Payload, context::Edge, parameters::Parameters},
    model::{Matcher, Timestamp, Window, parse_duration_ms},
    query::parse_metric_selector,
};

/// Times before or after these are theirs: nothing is stored there.
const EARLIEST: Timestamp = Timestamp::from_millis(-(1 << 50));
const LATEST: Timestamp = Timestamp::from_millis(1 << 50);

/// Parameters of one question.
#[derive(Debug)]
pub(in crate::api) struct Asked(Parameters);

impl FromRequest<Arc<Edge>> for Asked {
    type Rejection = Failure;

    async fn from_request(request: Request, edge: &Arc<Edge>) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let address = Parameters::from_request_parts(&mut parts, edge).await?;
        let kind = parts.headers.get(header::CONTENT_TYPE);
        let is_form = kind.is_some_and(|kind| {
            kind.as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        });
        if parts.method != Method::POST || !is_form {
            return Ok(Self(address));
        }
        let payload = Payload::from_request(Request::from_parts(parts, body), edge).await?;
        let parameters = payload
            .parsed(move |form| Ok(Parameters::of_form(form, address)))
            .await?;
        Ok(Self(parameters))
    }
}

impl Asked {
    /// A parameter's text; an empty one counts as not given.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.text(name).filter(|text| !text.is_empty())
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.all(name)
    }

    /// The expression.
    pub(super) fn query(&self) -> &str {
        self.text("query").unwrap_or_default()
    }

    /// Unix seconds or RFC 3339.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Failure> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        if let Ok(seconds) = text.parse::<f64>()
            && seconds.is_finite()
        {
            let ms = (seconds * 1000.0).round();
            return Ok(Some(
                Timestamp::from_millis(ms as i64).clamp(EARLIEST, LATEST),
            ));
        }
        // Go's earliest and latest times, as its client sends them.
        match text {
            "-292273086-05-16T16:47:06Z" => return Ok(Some(EARLIEST)),
            "292277025-08-18T07:12:54.999999999Z" => return Ok(Some(LATEST)),
            _ => {}
        }
        let read = crate::model::parse_time(text, Timestamp::from_millis(0));
        let is_date = text.len() > 10 && text.as_bytes().get(4) == Some(&b'-');
        match read {
            Ok(time) if is_date => Ok(Some(time)),
            _ => Err(Failure::parameter(
                name,
                format!("cannot parse {text:?} to a valid timestamp"),
            )),
        }
    }

    pub(super) fn required_time(&self, name: &str) -> Result<Timestamp, Failure> {
        let missing = || Failure::parameter(name, "cannot parse \"\" to a valid timestamp");
        self.time(name)?.ok_or_else(missing)
    }

    /// Seconds or a duration, as milliseconds.
    pub(super) fn duration_ms(&self, name: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let bad = || Failure::parameter(name, format!("cannot parse {text:?} to a valid duration"));
        if let Ok(seconds) = text.parse::<f64>() {
            let ms = seconds * 1000.0;
            return if ms.abs() < 9e15 {
                Ok(Some(ms as i64))
            } else {
                Err(bad())
            };
        }
        parse_duration_ms(text).map(Some).map_err(|_| bad())
    }

    /// How many results are wanted; 0 and nothing: all.
    pub(super) fn limit(&self, name: &str) -> Result<Option<usize>, Failure> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let limit: Result<i64, _> = text.parse();
        match limit {
            Ok(limit) if limit >= 0 => Ok(usize::try_from(limit).ok().filter(|limit| *limit > 0)),
            Ok(_) => Err(Failure::parameter(name, "limit must be non-negative")),
            Err(error) => Err(Failure::parameter(name, error)),
        }
    }

    /// Everything between `start` and `end`, both included; without them all that there is.
    pub(super) fn window(&self) -> Result<Window, Failure> {
        let from = self.time("start")?.unwrap_or(EARLIEST);
        let to = self.time("end")?.unwrap_or(LATEST);
        if to < from {
            return Err(Failure::parameter(
                "end",
                "end timestamp must not be before start time",
            ));
        }
        Ok(Window::closed(from, to))
    }

    /// The selectors of `match[]`.
    pub(super) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, Failure> {
        let selectors = self.all("match[]").map(|text| {
            parse_metric_selector(text).map_err(|why| Failure::parameter("match[]", why))
        });
        selectors.collect()
    }
}
