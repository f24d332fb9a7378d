//! `GET /metrics`: longwatch's own metrics, as OpenMetrics or as Prometheus text 0.0.4.

use std::{collections::HashSet, fmt::Write, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};

use super::context::Edge;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn show(State(edge): State<Arc<Edge>>, headers: HeaderMap) -> Response {
    let text = edge.context.metrics.to_openmetrics();
    let (content_type, text) = if asks_for_openmetrics(&headers) {
        (OPENMETRICS, text)
    } else {
        (PROMETHEUS, to_prometheus_text(&text))
    };
    let mut response = Response::new(text.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// Clients that know OpenMetrics name it; whoever sends `*/*` gets the text that everybody reads.
fn asks_for_openmetrics(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let is_openmetrics = parts
                .next()
                .is_some_and(|t| t.eq_ignore_ascii_case("application/openmetrics-text"));
            is_openmetrics && !parts.any(|p| matches!(p, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        })
}

/// In text 0.0.4 a counter's family bears the name of its sample, and there are no units and no end.
///
/// Source: Prometheus, "Exposition formats"; OpenMetrics 1.0, section 4.
fn to_prometheus_text(openmetrics: &str) -> String {
    let counters: HashSet<&str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut out = String::with_capacity(openmetrics.len() + 1024);
    for line in openmetrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        let described = ["# HELP ", "# TYPE "].iter().find_map(|start| {
            let (family, rest) = line.strip_prefix(start)?.split_once(' ')?;
            counters.contains(family).then_some((start, family, rest))
        });
        // Writing to a String cannot fail.
        let _ = match described {
            Some((start, family, rest)) => writeln!(out, "{start}{family}_total {rest}"),
            None => writeln!(out, "{line}"),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{By, OwnMetrics, RequestLabels};

    #[test]
    fn counters_bear_the_name_of_their_sample() {
        let metrics = OwnMetrics::default();
        metrics.commits.inc_by(3);
        metrics.scrapes.get_or_create(&By { by: "ok" }).inc();
        metrics.commit_seconds.observe(0.01);
        let labels = RequestLabels {
            route: "/".into(),
            status: 200,
        };
        metrics.http_requests.get_or_create(&labels).inc();
        let text = to_prometheus_text(&metrics.to_openmetrics());
        for line in [
            "# HELP longwatch_commits_total Commits of the database.",
            "# TYPE longwatch_commits_total counter",
            "longwatch_commits_total 3",
            "# TYPE longwatch_file_written_bytes_total counter",
            "# TYPE longwatch_series gauge",
            "# TYPE longwatch_commit_duration_seconds histogram",
            "longwatch_commit_duration_seconds_count 1",
            "longwatch_scrapes_total{by=\"ok\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(
            !text.contains("# EOF") && !text.contains("# UNIT") && !text.contains("_total_total")
        );
    }

    #[test]
    fn the_format_is_chosen_by_accept() {
        let asks = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            asks_for_openmetrics(&headers)
        };
        assert!(asks(
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        ));
        assert!(!asks("text/plain;version=0.0.4, */*"));
        assert!(!asks("application/openmetrics-text;q=0, */*"));
        assert!(!asks_for_openmetrics(&HeaderMap::new()));
    }
}
