//! What a search asks, as each version of the API writes it.

use serde_json::Value;

use crate::{
    api::{parameters::Parameters, problem::Problem, traceql::parse_go_duration},
    model::{AttributeValue, SpanFilter, Timestamp, TraceQuery, Window, parse_time},
};

/// Of `/traces`; the last ones change nothing here.
pub(in crate::api) const PARAMETERS: [&str; 15] = [
    "service",
    "operation",
    "tag",
    "tags",
    "start",
    "end",
    "lookback",
    "minDuration",
    "maxDuration",
    "limit",
    "traceID",
    "prettyPrint",
    "raw",
    "strategy",
    "spanKind",
];

/// Of version 3; also its older names.
pub(in crate::api) const PARAMETERS_V3: [&str; 11] = [
    "query.service_name",
    "query.operation_name",
    "query.attributes",
    "query.start_time_min",
    "query.start_time_max",
    "query.duration_min",
    "query.duration_max",
    "query.num_traces",
    "query.search_depth",
    "query.raw_traces",
    "raw_traces",
];

/// Traces of an answer, where the question does not say.
const LIMIT_DEFAULT: usize = 100;
/// Traces of an answer at most; 0 asks for it.
const LIMIT_MAX: usize = 10_000;
/// How far a search looks back, where the question does not say.
const LOOKBACK_MS_DEFAULT: i64 = 2 * crate::model::DAY_MS;

/// A search, and the exact times that it names: nanoseconds, both included.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) query: TraceQuery,
    pub(super) start_ns: Option<i64>,
    pub(super) end_ns: Option<i64>,
}

impl Question {
    /// Of version 1: times in microseconds.
    pub(super) fn read(parameters: &Parameters, now: Timestamp) -> Result<Self, Problem> {
        let given = |name| given(parameters, name);
        let service = given("service").ok_or_else(|| {
            Problem::parameter("service", "is required, unless `traceID` names traces")
        })?;
        let microseconds = |name| {
            let read = |text: &str| {
                let us: Option<i64> = text.parse().ok();
                us.and_then(|us| us.checked_mul(1_000))
                    .ok_or_else(|| Problem::parameter(name, "is no number of microseconds"))
            };
            given(name).map(read).transpose()
        };
        let (start_ns, end_ns) = (microseconds("start")?, microseconds("end")?);
        // Jaeger's page sends `custom` when it names both ends.
        let lookback = given("lookback").and_then(parse_go_duration);
        let lookback_ms = lookback.map_or(LOOKBACK_MS_DEFAULT, |ns| ns / 1_000_000);
        let to = end_ns.map_or(now, milliseconds);
        let from = start_ns.map_or(to.plus_millis(-lookback_ms), milliseconds);
        let mut attributes = Vec::new();
        for tag in parameters.all("tag").filter(|tag| !tag.is_empty()) {
            let (key, value) = tag
                .split_once(':')
                .ok_or_else(|| Problem::parameter("tag", "must be `key:value`"))?;
            attributes.push(wanted(key, value.to_owned()));
        }
        for tags in parameters.all("tags").filter(|tags| !tags.is_empty()) {
            attributes.extend(tags_of_json("tags", tags)?);
        }
        let kind = given("spanKind").map(|kind| wanted("span.kind", kind.to_ascii_lowercase()));
        attributes.extend(kind);
        let filter = SpanFilter {
            service: Some(service.to_owned()),
            operation: given("operation").map(str::to_owned),
            attributes,
            ..SpanFilter::default()
        };
        Ok(Self {
            query: TraceQuery {
                window: Window::new(from, to),
                filter: with_durations(filter, parameters, "minDuration", "maxDuration")?,
                after: None,
                limit: limit(parameters, "limit")?.unwrap_or(LIMIT_DEFAULT),
            },
            start_ns,
            end_ns,
        })
    }

    /// Of version 3: times in RFC 3339.
    pub(super) fn read_v3(parameters: &Parameters, now: Timestamp) -> Result<Self, Problem> {
        let given = |name| given(parameters, name);
        let time = |name| {
            given(name)
                .map(|text| {
                    parse_time(text, now).map_err(|why| Problem::parameter(name, why.to_string()))
                })
                .transpose()
        };
        let to = time("query.start_time_max")?.unwrap_or(now);
        let from = time("query.start_time_min")?.unwrap_or(to.plus_millis(-LOOKBACK_MS_DEFAULT));
        let attributes = match given("query.attributes") {
            Some(text) => tags_of_json("query.attributes", text)?,
            None => Vec::new(),
        };
        let filter = SpanFilter {
            service: given("query.service_name").map(str::to_owned),
            operation: given("query.operation_name").map(str::to_owned),
            attributes,
            ..SpanFilter::default()
        };
        let (min, max) = ("query.duration_min", "query.duration_max");
        let limit = match limit(parameters, "query.search_depth")? {
            None => limit(parameters, "query.num_traces")?,
            depth => depth,
        };
        Ok(Self {
            query: TraceQuery {
                window: Window::new(from, to),
                filter: with_durations(filter, parameters, min, max)?,
                after: None,
                limit: limit.unwrap_or(LIMIT_DEFAULT),
            },
            start_ns: None,
            end_ns: None,
        })
    }

    /// Whether a trace that begins then is asked for; the store knows milliseconds.
    pub(super) fn is_asked(&self, start_ns: i64) -> bool {
        self.start_ns.is_none_or(|first| start_ns >= first)
            // What lies within the last microsecond belongs to it.
            && self
                .end_ns
                .is_none_or(|last| start_ns < last.saturating_add(1_000))
    }
}

/// A parameter that is there and not empty: forms send all their fields.
pub(super) fn given<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.text(name).filter(|text| !text.is_empty())
}

const fn milliseconds(ns: i64) -> Timestamp {
    Timestamp::from_millis(ns.div_euclid(1_000_000))
}

/// A tag as spans have it: the status that Jaeger shows as a tag is no attribute here.
fn wanted(key: &str, value: String) -> (String, String) {
    if key == "otel.status_code" && value == "ERROR" {
        return ("error".to_owned(), "true".to_owned());
    }
    (key.to_owned(), value)
}

/// Tags of a JSON object; values are compared as texts.
fn tags_of_json(name: &str, text: &str) -> Result<Vec<(String, String)>, Problem> {
    let bad = |why: &str| Problem::parameter(name, why);
    let tags: Value = serde_json::from_str(text)
        .map_err(|why| bad(&format!("is no JSON object of texts: {why}")))?;
    let Value::Object(tags) = tags else {
        return Err(bad("is no JSON object of texts"));
    };
    let tag = |(key, value): (&String, &Value)| match value {
        Value::String(_) | Value::Number(_) | Value::Bool(_) => {
            Ok(wanted(key, AttributeValue::of_json(value).to_string()))
        }
        _ => Err(bad(&format!(
            "the value of `{key}` must be a text, a number, true or false"
        ))),
    };
    tags.iter().map(tag).collect()
}

/// A duration as Go writes it, or a bare number of microseconds; none where it is 0.
fn duration_ns(parameters: &Parameters, name: &str) -> Result<Option<i64>, Problem> {
    let Some(text) = given(parameters, name) else {
        return Ok(None);
    };
    let microseconds = text.parse().ok().filter(|us: &i64| *us >= 0);
    let ns = match microseconds {
        Some(us) => us.checked_mul(1_000),
        None => parse_go_duration(text),
    };
    let ns = ns.ok_or_else(|| {
        let what = format!("`{text}` is no duration such as 1.2s, 100ms or 250us");
        Problem::parameter(name, what)
    })?;
    Ok((ns != 0).then_some(ns))
}

fn with_durations(
    filter: SpanFilter,
    parameters: &Parameters,
    min_name: &str,
    max_name: &str,
) -> Result<SpanFilter, Problem> {
    let min_duration_ns = duration_ns(parameters, min_name)?;
    let max_duration_ns = duration_ns(parameters, max_name)?;
    if let (Some(min), Some(max)) = (min_duration_ns, max_duration_ns)
        && max < min
    {
        let what = format!("should be greater than `{min_name}`");
        return Err(Problem::parameter(max_name, what));
    }
    Ok(SpanFilter {
        min_duration_ns,
        max_duration_ns,
        ..filter
    })
}

fn limit(parameters: &Parameters, name: &str) -> Result<Option<usize>, Problem> {
    let Some(text) = given(parameters, name) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(0) => Ok(Some(LIMIT_MAX)),
        Ok(limit) if limit <= LIMIT_MAX => Ok(Some(limit)),
        _ => {
            let what = format!("must be a number up to {LIMIT_MAX}");
            Err(Problem::parameter(name, what))
        }
    }
}
