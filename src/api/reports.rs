//! Performance report and overview; what they say is worked out by `report`.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};

use super::{
    context::Edge,
    parameters::Parameters,
    problem::Problem,
    routes::json_response,
    selection::agent_parameter,
    warnings::{add_warnings, warnings},
};
use crate::{
    model::{AgentId, DAY_MS, Timestamp, Window},
    report::{self, Format, ReportRequest},
};

const WINDOW_MS_DEFAULT: i64 = DAY_MS;
const WINDOW_MS_MAX: i64 = 3_650 * DAY_MS;
const HOUR_MS: f64 = 3_600_000.0;

const FORMATS: [(&str, Format); 5] = [
    ("json", Format::Json),
    ("html", Format::Html),
    ("md", Format::Markdown),
    ("csv", Format::Csv),
    ("text", Format::Text),
];

pub(super) async fn overview(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let at = parameters.at(edge.now())?;
    let body = edge
        .read(move |view| {
            let mut body = serde_json::to_vec(&report::overview(&*view, at)?)
                .map_err(|why| Problem::internal(why.to_string()))?;
            let lacks = warnings(&*view, &view.agents(at), Window::until(at));
            add_warnings(&mut body, &lacks);
            Ok(body)
        })
        .await?;
    Ok(json_response(StatusCode::OK, body))
}

pub(super) async fn performance(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let request = ReportRequest {
        window: report_window(&parameters, edge.now())?,
        agent: agent_parameter(&parameters)?,
    };
    let with_previous = parameters.choice("compare", &[("previous", ())])?.is_some();
    let format = parameters.choice("format", &FORMATS)?;
    rendered(
        &edge,
        request,
        with_previous,
        format.unwrap_or(Format::Json),
    )
    .await
}

/// What a browser sees at `/`.
pub(super) async fn last_day(State(edge): State<Arc<Edge>>) -> Result<Response, Problem> {
    let request = ReportRequest {
        window: Window::ending_at(edge.now(), WINDOW_MS_DEFAULT),
        agent: None,
    };
    rendered(&edge, request, false, Format::Html).await
}

async fn rendered(
    edge: &Edge,
    request: ReportRequest,
    with_previous: bool,
    format: Format,
) -> Result<Response, Problem> {
    let body = edge
        .read(move |view| {
            let end = request.window.to;
            let is_unknown = |id: &&AgentId| view.agent(id, end).is_none();
            if let Some(id) = request.agent.as_ref().filter(is_unknown) {
                return Err(Problem::unknown_agent(id, end));
            }
            let report = if with_previous {
                report::report_with_previous(&*view, &request)?
            } else {
                report::performance_report(&*view, &request)?
            };
            Ok(report::render(&*view, &report, format)?)
        })
        .await?;
    let mut response = Response::new(body.into());
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(format.content_type()),
    );
    Ok(response)
}

/// `(from, to]`: a length that ends at `to` (or `at`, or now), or both ends.
fn report_window(parameters: &Parameters, now: Timestamp) -> Result<Window, Problem> {
    parameters.at_most_one(&["time_window_hours", "window", "from"])?;
    let to = parameters.end(now)?;
    let (name, window) = if let Some(from) = parameters.time("from", now)? {
        ("from", Window::new(from, to))
    } else if let Some(length_ms) = parameters.duration_ms("window")? {
        ("window", Window::ending_at(to, length_ms))
    } else if let Some(text) = parameters.text("time_window_hours") {
        const NAME: &str = "time_window_hours";
        let hours: f64 = text
            .trim()
            .parse()
            .ok()
            .filter(|hours: &f64| hours.is_finite())
            .ok_or_else(|| Problem::parameter(NAME, format!("`{text}` is no number of hours")))?;
        // The cast saturates; what is too long is refused below.
        (
            NAME,
            Window::ending_at(to, (hours * HOUR_MS).round() as i64),
        )
    } else {
        ("window", Window::ending_at(to, WINDOW_MS_DEFAULT))
    };
    if !(1..=WINDOW_MS_MAX).contains(&window.length_ms()) {
        return Err(Problem::parameter(
            name,
            "the window must be longer than nothing and at most 10y",
        ));
    }
    Ok(window)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn window(query: &str) -> Result<Window, String> {
        let known = ["time_window_hours", "window", "from", "to", "at"];
        let parameters = Parameters::read(Some(query), &known).unwrap();
        report_window(&parameters, NOW).map_err(|problem| {
            assert_eq!(problem.status, 400);
            problem.errors[0].pointer.clone()
        })
    }

    #[test]
    fn four_ways_to_say_a_window() {
        let day = Window::ending_at(NOW, DAY_MS);
        for query in [
            "",
            "time_window_hours=24",
            "window=24h",
            "from=-24h&to=now",
            "from=-24h",
            "window=1d&at=now",
            "time_window_hours=24.0&to=1700000000",
        ] {
            assert_eq!(window(query), Ok(day), "{query}");
        }
        assert_eq!(
            window("time_window_hours=0.5&at=-1h"),
            Ok(Window::ending_at(NOW.plus_millis(-3_600_000), 1_800_000))
        );
    }

    #[test]
    fn windows_that_are_none() {
        for (query, pointer) in [
            ("window=1h&time_window_hours=1", "window"),
            ("window=1h&from=-1h", "from"),
            ("to=now&at=now", "at"),
            ("time_window_hours=0", "time_window_hours"),
            ("time_window_hours=-1", "time_window_hours"),
            ("time_window_hours=NaN", "time_window_hours"),
            ("time_window_hours=1e300", "time_window_hours"),
            ("time_window_hours=day", "time_window_hours"),
            ("window=11y", "window"),
            ("window=0s", "window"),
            ("from=now&to=now", "from"),
            ("from=now&to=-1h", "from"),
            ("from=-5000y&to=now", "from"),
        ] {
            assert_eq!(window(query), Err(pointer.to_owned()), "{query}");
        }
    }
}
