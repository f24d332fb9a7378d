//! `GET /api/v1/traces/profile`: where the time of many traces of one operation goes.

use std::sync::Arc;

use axum::extract::State;
use serde_json::{Value, json};

use super::{
    answer::{Answer, answered},
    asked,
    span_json::milliseconds,
};
use crate::{
    api::{context::Edge, parameters::Parameters, problem::Problem},
    model::{History, Span, SpanFilter, Timestamp, Window},
    traces::{self, Profile, Retimed, WhatIf},
};

/// Traces that a profile is made of, unless said otherwise, and at most: the first that are found of the window.
const TRACES: usize = 10_000;
const TRACES_MAX: usize = 100_000;
/// What is looked at when the question names no beginning.
const WINDOW_MS: i64 = 24 * 3_600_000;

pub(in crate::api) const PROFILE_PARAMETERS: [&str; 10] = [
    "operation",
    "agent_id",
    "from",
    "to",
    "at",
    "limit",
    "format",
    "what_if",
    "compare_from",
    "compare_to",
];

#[derive(Clone, Copy)]
enum Form {
    Json,
    Text,
    Folded,
    Svg,
}

/// A question what would be if something took another time.
struct Supposed {
    what: String,
    factor: f64,
}

pub(in crate::api) async fn profile(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Answer, Problem> {
    answered(&edge, parameters, answer).await
}

pub(super) fn answer(
    history: &dyn History,
    now: Timestamp,
    parameters: &Parameters,
) -> Result<Answer, Problem> {
    let words = [
        ("json", Form::Json),
        ("text", Form::Text),
        ("folded", Form::Folded),
        ("svg", Form::Svg),
    ];
    let form = parameters.choice("format", &words)?.unwrap_or(Form::Json);
    let last_day = |to| Window::ending_at(to, WINDOW_MS);
    let window = parameters.closed_window(now, last_day)?;
    let filter = asked::filter(parameters)?;
    let traces_max = asked::count(parameters, "limit", TRACES, TRACES_MAX)?;
    let supposed = parameters.text("what_if").map(supposed).transpose()?;
    let other = other_window(parameters, now)?;
    let mut retimed = Vec::new();
    let mut each = |spans: &[Span]| {
        if let Some(supposed) = &supposed {
            let fits = |node: &traces::Node<'_>| {
                node.agent_name() == supposed.what || node.label() == supposed.what
            };
            retimed.extend(traces::what_if(spans, fits, supposed.factor));
        }
    };
    let profile = collect(history, window, &filter, traces_max, &mut each)?;
    let compared = match other {
        None => None,
        Some(other) => {
            let other = collect(history, other, &filter, traces_max, &mut |_| {})?;
            Some(traces::compare_profiles(&other, &profile))
        }
    };
    let what_if = supposed
        .as_ref()
        .and_then(|supposed| told(supposed, &retimed));
    Ok(match form {
        Form::Folded => Answer::Text(profile.folded()),
        Form::Svg => Answer::Svg(profile.flame_svg()),
        Form::Text => {
            let mut answer = profile.report().to_text();
            if let Some((_, line)) = &what_if {
                answer.push_str(line);
                answer.push('\n');
            }
            if let Some(compared) = &compared {
                answer.push_str(&compared.to_text());
            }
            Answer::Text(answer)
        }
        Form::Json => {
            let mut answer = profile.report().to_json();
            answer["from"] = window.from.to_rfc3339().into();
            answer["to"] = window.to.to_rfc3339().into();
            if let Some((figures, _)) = what_if {
                answer["what_if"] = figures;
            }
            if let Some(compared) = compared {
                answer["comparison"] = compared.to_json();
            }
            Answer::Json(answer)
        }
    })
}

/// The profile of the traces of a window whose root fits.
fn collect(
    view: &dyn History,
    window: Window,
    filter: &SpanFilter,
    traces_max: usize,
    each: &mut dyn FnMut(&[Span]),
) -> Result<Profile, Problem> {
    let mut profile = Profile::new(filter.operation.as_deref());
    let mut taken = 0;
    view.each_trace(window, filter, &mut |_, spans| {
        if profile.add(&spans) {
            each(&spans);
            taken += 1;
        }
        taken < traces_max
    })?;
    Ok(profile)
}

/// `AGENT:FACTOR` or `AGENT:OPERATION:FACTOR`.
fn supposed(text: &str) -> Result<Supposed, Problem> {
    let read = text.rsplit_once(':').and_then(|(what, factor)| {
        let factor: f64 = factor.parse().ok()?;
        (!what.is_empty() && (0.0..=1_000.0).contains(&factor)).then(|| Supposed {
            what: what.to_owned(),
            factor,
        })
    });
    read.ok_or_else(|| {
        Problem::parameter(
            "what_if",
            "must be AGENT:FACTOR or AGENT:OPERATION:FACTOR, e.g. researcher:0.7 for 30 % less time",
        )
    })
}

fn told(supposed: &Supposed, retimed: &[Retimed]) -> Option<(Value, String)> {
    let sum = WhatIf::over(retimed)?;
    let side = |of: Retimed| {
        let (before, after) = (milliseconds(of.before_ns), milliseconds(of.after_ns));
        json!({ "before_ms": before, "after_ms": after, "saved_ms": before - after })
    };
    let figures = json!({
        "what": supposed.what,
        "factor": supposed.factor,
        "traces": sum.traces,
        "p50": side(sum.p50),
        "p95": side(sum.p95),
    });
    let saved = |of: Retimed| (of.before_ns - of.after_ns) as f64 / 1e9;
    let line = format!(
        "{} at {} times its time saves {:.3} s of p50 and {:.3} s of p95",
        supposed.what,
        supposed.factor,
        saved(sum.p50),
        saved(sum.p95)
    );
    Some((figures, line))
}

/// The window to compare with.
fn other_window(parameters: &Parameters, now: Timestamp) -> Result<Option<Window>, Problem> {
    let from = parameters.time("compare_from", now)?;
    let to = parameters.time("compare_to", now)?;
    match (from, to) {
        (None, None) => Ok(None),
        (Some(from), Some(to)) if from <= to => Ok(Some(Window::closed(from, to))),
        (Some(_), Some(_)) => Err(Problem::parameter(
            "compare_from",
            "lies after `compare_to`",
        )),
        _ => Err(Problem::parameter(
            "compare_from",
            "goes with `compare_to`: give both",
        )),
    }
}
