//! `query`, `query_range`, `query_exemplars`.

use std::{fmt::Write, sync::Arc};

use axum::extract::State;

use super::{
    answer::{Failure, Success},
    asked::Asked,
};
use crate::{
    api::context::Edge,
    query::{Answer, Answered, Cancel, HistorySource, QueryRange, Question, answer, parse},
};

/// Stops a query when the client hangs up, which drops the handler.
struct StopsWithClient(Cancel);

impl Drop for StopsWithClient {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

pub(in crate::api) async fn instant(
    State(edge): State<Arc<Edge>>,
    asked: Asked,
) -> Result<Success, Failure> {
    let at = asked.time("time")?.unwrap_or_else(|| edge.now());
    answered(&edge, &asked, QueryRange::At(at.as_millis())).await
}

pub(in crate::api) async fn range(
    State(edge): State<Arc<Edge>>,
    asked: Asked,
) -> Result<Success, Failure> {
    let start = asked.required_time("start")?;
    let end = asked.required_time("end")?;
    if end < start {
        return Err(Failure::parameter(
            "end",
            "end timestamp must not be before start time",
        ));
    }
    let step_ms = asked.duration_ms("step")?;
    let step_ms = step_ms
        .ok_or_else(|| Failure::parameter("step", "cannot parse \"\" to a valid duration"))?;
    if step_ms <= 0 {
        return Err(Failure::parameter(
            "step",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ));
    }
    let range = QueryRange::Steps {
        start_ms: start.as_millis(),
        end_ms: end.as_millis(),
        step_ms,
    };
    answered(&edge, &asked, range).await
}

async fn answered(edge: &Edge, asked: &Asked, range: QueryRange) -> Result<Success, Failure> {
    let query = asked.query().to_owned();
    let lookback_ms = asked.duration_ms("lookback_delta")?.filter(|ms| *ms > 0);
    let lookback_ms = lookback_ms.unwrap_or(edge.settings.query_lookback_ms);
    let mut limits = edge.settings.query_limits.clone();
    if let Some(ms) = asked.duration_ms("timeout")?.filter(|ms| *ms > 0) {
        limits.timeout_ms = limits.timeout_ms.min(ms.max(0) as u64);
    }
    let limit = asked.limit("limit")?;
    let wants_statistics = asked.text("stats").is_some();
    let stops = StopsWithClient(Cancel::default());
    let cancel = stops.0.clone();
    let json = edge.read(move |view| {
        let question = Question {
            query: &query,
            range,
            lookback_ms,
            limits,
            cancel,
        };
        let answered = answer(&HistorySource::new(&*view), &question);
        Ok(answered.map(|answered| rendered(answered, limit, wants_statistics)))
    });
    let answer = json.await?;
    drop(stops);
    Ok(answer?)
}

fn rendered(mut answered: Answered, limit: Option<usize>, wants_statistics: bool) -> Success {
    let mut is_truncated = false;
    if let (Some(limit), Answer::Vector(series) | Answer::Matrix(series)) =
        (limit, &mut answered.answer)
    {
        is_truncated = series.len() > limit;
        series.truncate(limit);
    }
    let mut json = answered.answer.to_json();
    if wants_statistics {
        json.pop();
        let samples = answered.samples_read;
        // Writing to a String cannot fail.
        let _ = write!(
            json,
            ",\"stats\":{{\"samples\":{{\"totalQueryableSamples\":{samples}}}}}}}"
        );
    }
    Success::of_json(json)
        .telling(answered.told)
        .truncated(is_truncated)
}

/// Exemplars are counted and dropped, so that there are none. The question is checked all the same, its times are
/// not: Grafana sends milliseconds.
pub(in crate::api) async fn exemplars(asked: Asked) -> Result<Success, Failure> {
    parse(asked.query()).map_err(|why| Failure::parameter("query", why))?;
    Ok(Success::of_json("[]".to_owned()))
}
