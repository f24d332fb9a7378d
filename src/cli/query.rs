//! `longwatch query`

use std::{fmt::Write, path::Path};

use clap::Args;
use serde_json::Value;

use super::{
    command::usage,
    failure::{Failure, Status},
    output,
    server::{Server, converse},
    source::SourceArgs,
    window::{open, read_time},
};
use crate::{
    model::{Clock, SystemClock, Timestamp, parse_duration_ms},
    query::{HistorySource, QueryError, QueryRange, Question, answer, parse},
};

/// Steps of a range query that names none, about.
const STEPS: i64 = 100;
/// Its step is at least this, in milliseconds.
const STEP_MS_MIN: i64 = 1_000;

/// Answer of a PromQL expression, at one moment or over a range of time.
///
/// With --db the file is only read, never written, and "now" is the last moment that was committed to it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    longwatch query 'sum by (agent_id) (rate(tasks_completed_total[5m]))'\n  \
    longwatch query 'up == 0' --at 2026-01-31T03:00:00Z --db copy.redb\n  \
    longwatch query 'avg(cpu_usage)' --from -24h --to now --step 5m --format json")]
pub(super) struct Query {
    /// The expression
    #[arg(value_name = "EXPR", allow_hyphen_values = true)]
    expression: String,
    #[command(flatten)]
    source: SourceArgs,
    /// The moment of an instant query [default: now]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, conflicts_with_all = ["from", "to", "step"])]
    at: Option<String>,
    /// Beginning of a range query
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Its end [default: now]
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        requires = "from"
    )]
    to: Option<String>,
    /// Its step [default: about a hundred steps]
    #[arg(long, value_name = "DURATION", requires = "from")]
    step: Option<String>,
    /// How far back an instant selector looks [default: 5m, or the server's query.lookback]
    #[arg(long, value_name = "DURATION")]
    lookback: Option<String>,
    /// text or json, as Prometheus answers
    #[arg(long, value_name = "FORMAT", value_parser = ["text", "json"], default_value = "text")]
    format: String,
}

impl Query {
    /// Asks and prints the answer.
    pub(super) fn run(self) -> Result<(), Failure> {
        parse(&self.expression).map_err(|error| usage(error.to_string()))?;
        let body = match &self.source.db {
            Some(db) => self.of_file(db)?,
            None => converse(self.of_server())?,
        };
        if self.format == "json" {
            return output::print(format!("{body}\n").as_bytes());
        }
        for key in ["warnings", "infos"] {
            for text in body[key].as_array().into_iter().flatten() {
                output::tell(text.as_str().unwrap_or_default());
            }
        }
        output::print(shown(&body["data"]).as_bytes())
    }

    fn range(&self, now: Timestamp) -> Result<QueryRange, Failure> {
        let time = |flag, text: &Option<String>| match text {
            Some(text) => read_time(flag, text, now),
            None => Ok(now),
        };
        if self.from.is_none() {
            return Ok(QueryRange::At(time("--at", &self.at)?.as_millis()));
        }
        let (from, to) = (time("--from", &self.from)?, time("--to", &self.to)?);
        if from > to {
            return Err(usage(format!(
                "--from ({from}) must not be after --to ({to})"
            )));
        }
        let step_ms = match &self.step {
            Some(text) => parse_duration_ms(text).map_err(|e| usage(format!("--step: {e}")))?,
            None => (to.since(from) / STEPS / 1_000 * 1_000).max(STEP_MS_MIN),
        };
        if step_ms == 0 {
            return Err(usage("--step: must be longer than 0"));
        }
        Ok(QueryRange::Steps {
            start_ms: from.as_millis(),
            end_ms: to.as_millis(),
            step_ms,
        })
    }

    fn lookback_ms(&self) -> Result<Option<i64>, Failure> {
        let read = |text: &String| match parse_duration_ms(text) {
            Ok(0) => Err(usage("--lookback: must be longer than 0")),
            Ok(ms) => Ok(ms),
            Err(error) => Err(usage(format!("--lookback: {error}"))),
        };
        self.lookback.as_ref().map(read).transpose()
    }

    fn of_file(&self, db: &Path) -> Result<Value, Failure> {
        let (view, now) = open(db)?;
        let mut question = Question::new(&self.expression, self.range(now)?);
        question.lookback_ms = self.lookback_ms()?.unwrap_or(question.lookback_ms);
        let answered = answer(&HistorySource::new(&*view), &question).map_err(|error| {
            let status = match error {
                QueryError::Parse(_) | QueryError::Bad(_) => Status::Usage,
                QueryError::Read(_) => Status::Database,
                _ => Status::NotHeld,
            };
            Failure::new(status, format!("{}: {error}", db.display()))
        })?;
        let data: Value = serde_json::from_str(&answered.answer.to_json()).unwrap_or_default();
        let mut body = serde_json::json!({"status": "success", "data": data});
        for (key, texts) in [
            ("warnings", answered.told.warnings),
            ("infos", answered.told.infos),
        ] {
            if !texts.is_empty() {
                body[key] = texts.into();
            }
        }
        Ok(body)
    }

    async fn of_server(&self) -> Result<Value, Failure> {
        let seconds = |ms: i64| Timestamp::from_millis(ms).as_seconds().to_string();
        let mut form = vec![("query", self.expression.clone())];
        if let Some(ms) = self.lookback_ms()? {
            form.push(("lookback_delta", seconds(ms)));
        }
        let path = match self.range(SystemClock.now())? {
            // The server's clock tells its "now".
            QueryRange::At(_) if self.at.is_none() => "query",
            QueryRange::At(at_ms) => {
                form.push(("time", seconds(at_ms)));
                "query"
            }
            QueryRange::Steps {
                start_ms,
                end_ms,
                step_ms,
            } => {
                form.push(("start", seconds(start_ms)));
                form.push(("end", seconds(end_ms)));
                form.push(("step", seconds(step_ms)));
                "query_range"
            }
        };
        let server = Server::new(&self.source.url, &self.source.token)?;
        let url = server.at(&["prometheus", "api", "v1", path]);
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = server
            .client()
            .post(url)
            .header(
                reqwest::header::CONTENT_TYPE,
                "application/x-www-form-urlencoded",
            )
            .body(body);
        let answer = server.send(request).await?;
        let bytes = server.body(answer).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::new(Status::NotHeld, format!("the answer is no JSON: {error}"))
        })
    }
}

/// `series => value @[time]` as promtool prints it; of a range, a line for each sample.
fn shown(data: &Value) -> String {
    // Writing to a String cannot fail.
    let result = &data["result"];
    let mut out = String::new();
    match data["resultType"].as_str() {
        Some("scalar" | "string") => {
            let text = result[1].as_str().unwrap_or_default();
            let _ = writeln!(out, "{}", output::printable(text));
        }
        _ => {
            for series in result.as_array().into_iter().flatten() {
                let metric = metric(&series["metric"]);
                let one = series.get("value").map(std::slice::from_ref);
                let many = series["values"].as_array().map(Vec::as_slice);
                match (one, many) {
                    (Some(samples), _) => {
                        for sample in samples {
                            let _ = writeln!(out, "{metric} => {}", sample_text(sample));
                        }
                    }
                    (None, samples) => {
                        let _ = writeln!(out, "{metric} =>");
                        for sample in samples.into_iter().flatten() {
                            let _ = writeln!(out, "{}", sample_text(sample));
                        }
                    }
                }
            }
        }
    }
    out
}

fn sample_text(sample: &Value) -> String {
    let value = sample[1].as_str().unwrap_or_default();
    let ms = (sample[0].as_f64().unwrap_or_default() * 1000.0).round() as i64;
    format!("{value} @[{}]", Timestamp::from_millis(ms))
}

fn metric(labels: &Value) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
    output::printable(&crate::model::Labels::new(pairs).to_string())
}
