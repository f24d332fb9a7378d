//! `GET /api/v1/samples`: samples of series, raw or in steps.

use std::{
    collections::{HashMap, HashSet},
    io::Write,
    sync::Arc,
};

use axum::{extract::State, http::StatusCode, response::Response};

use super::{
    context::Edge,
    parameters::Parameters,
    problem::Problem,
    routes::json_response,
    selection::{Selection, write_identity, write_value},
    steps::Aggregate,
    warnings::{add_warnings, warnings},
};
use crate::model::{
    Agent, Bucket, DAY_MS, History, SeriesInfo, SeriesNo, Timestamp, Window, is_stale_marker,
};

/// What is looked at when the question names no beginning.
const WINDOW_MS_DEFAULT: i64 = 3_600_000;
/// Longest step.
const STEP_MS_MAX: i64 = 3_650 * DAY_MS;
/// In steps a question may read so many times more samples than it may return.
const READ_PER_RETURNED: u64 = 20;

/// What is asked.
#[derive(Clone, Debug)]
struct Question {
    selection: Selection,
    window: Window,
    step: Option<(i64, Aggregate)>,
    samples_max: u64,
    now: Timestamp,
}

pub(super) async fn show(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let question = read(&parameters, edge.now(), edge.settings.samples_per_query_max)?;
    let body = edge.read(move |view| question.answer(&*view)).await?;
    Ok(json_response(StatusCode::OK, body))
}

fn read(parameters: &Parameters, now: Timestamp, samples_max: usize) -> Result<Question, Problem> {
    // Both ends are included.
    let last_hour = |to: Timestamp| Window::closed(to.plus_millis(-WINDOW_MS_DEFAULT), to);
    let aggregate = parameters.choice("aggregate", &Aggregate::WORDS)?;
    let step = match (parameters.duration_ms("step")?, aggregate) {
        (None, None) => None,
        (None, Some(_)) => {
            return Err(Problem::parameter("aggregate", "needs `step`"));
        }
        (Some(step_ms), _) if step_ms > STEP_MS_MAX => {
            return Err(Problem::parameter("step", "is longer than 3650d"));
        }
        (Some(step_ms), aggregate) => Some((step_ms, aggregate.unwrap_or(Aggregate::Avg))),
    };
    Ok(Question {
        selection: Selection::read(parameters)?,
        window: parameters.closed_window(now, last_hour)?,
        step,
        samples_max: samples_max as u64,
        now,
    })
}

impl Question {
    /// The whole answer as JSON text. It is counted before it is read, so that too much is refused early.
    fn answer(&self, history: &dyn History) -> Result<Vec<u8>, Problem> {
        let mut chosen: Vec<(Agent, Vec<SeriesInfo>)> = Vec::new();
        for agent in self.selection.agents(history, self.window.to, self.now) {
            let series = self.selection.series(history, &agent, self.window)?;
            if !series.is_empty() {
                chosen.push((agent, series));
            }
        }
        self.check_size(history, &chosen)?;
        let mut out = b"{\"series\":[".to_vec();
        let mut left = self.samples_max;
        for (agent, series) in &chosen {
            self.write_agent(history, agent, series, &mut left, &mut out)?;
        }
        out.extend_from_slice(b"]}");
        let agents = chosen.iter().map(|(agent, _)| agent);
        add_warnings(&mut out, &warnings(history, agents, self.window));
        Ok(out)
    }

    fn check_size(
        &self,
        history: &dyn History,
        chosen: &[(Agent, Vec<SeriesInfo>)],
    ) -> Result<(), Problem> {
        let most = match self.step {
            None => self.samples_max,
            Some(_) => self.samples_max.saturating_mul(READ_PER_RETURNED),
        };
        let mut samples = 0;
        for (agent, series) in chosen {
            let asked: HashSet<SeriesNo> = series.iter().map(|info| info.no).collect();
            samples += history
                .extents(agent.no, self.window)?
                .iter()
                .filter(|extent| asked.contains(&extent.no))
                .map(|extent| extent.samples)
                .sum::<u64>();
            if samples > most {
                return Err(self.too_many());
            }
        }
        Ok(())
    }

    fn too_many(&self) -> Problem {
        let most = self.samples_max;
        let advice = match self.step {
            None => "ask for a shorter time, fewer series, or with `step`",
            Some(_) => "ask for a shorter time, fewer series, or a longer `step`",
        };
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!(
                "the answer would be too large: http.samples_per_query_max is {most}; {advice}"
            ),
        )
    }

    fn write_agent(
        &self,
        history: &dyn History,
        agent: &Agent,
        series: &[SeriesInfo],
        left: &mut u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Problem> {
        let numbers: Vec<SeriesNo> = series.iter().map(|info| info.no).collect();
        let mut written: HashMap<SeriesNo, Vec<u8>> = HashMap::new();
        let mut is_full = false;
        let mut write = |no: SeriesNo, time: i64, value: f64| match left.checked_sub(1) {
            Some(rest) => {
                *left = rest;
                write_point(written.entry(no).or_default(), time, value);
            }
            None => is_full = true,
        };
        match self.step {
            Some((step_ms, aggregate)) => {
                let with_rate = aggregate == Aggregate::Rate;
                let mut visit = |no: SeriesNo, buckets: Vec<Bucket>| {
                    for bucket in &buckets {
                        if let Some(value) = aggregate.of(bucket) {
                            write(no, bucket.end_ms, value);
                        }
                    }
                };
                let window = self.window;
                history.buckets(agent.no, &numbers, window, step_ms, with_rate, &mut visit)?;
            }
            None => history.scan(agent.no, &numbers, self.window, &mut |no, times, values| {
                times
                    .iter()
                    .zip(values)
                    .filter(|(_, value)| !is_stale_marker(**value))
                    .for_each(|(time, value)| write(no, *time, *value));
            })?,
        }
        if is_full {
            return Err(self.too_many());
        }
        for info in series {
            let Some(points) = written.get(&info.no).filter(|points| !points.is_empty()) else {
                continue;
            };
            if out.last() == Some(&b'}') {
                out.push(b',');
            }
            write_identity(out, agent, info);
            out.extend_from_slice(b",\"samples\":[");
            out.extend_from_slice(points);
            out.extend_from_slice(b"]}");
        }
        Ok(())
    }
}

fn write_point(points: &mut Vec<u8>, time: i64, value: f64) {
    if !points.is_empty() {
        points.push(b',');
    }
    // Writing to a Vec cannot fail.
    let _ = write!(points, "[{time},");
    write_value(points, value);
    points.push(b']');
}
