//! Counts by agent.

use hashbrown::HashMap;

use super::series::AgentSeries;
use crate::{
    model::{AgentId, Batch, Timestamp},
    traces::{Edge, tap::ToldSpan},
};

/// Agents that are counted.
const AGENTS_MAX: usize = 10_000;
/// Durations that a percentile of an operation needs.
const DURATIONS_MIN: u64 = 20;

/// Rate, errors and duration of every operation, tokens and service graph, by agent, since the start: the series
/// `traces_spanmetrics_*` and `traces_service_graph_*` of Grafana Tempo's metrics generator. Room is bounded; a span
/// that is told twice counts twice.
#[derive(Debug, Default)]
pub struct SpanMetrics {
    agents: HashMap<AgentId, AgentSeries>,
}

impl SpanMetrics {
    fn agent(&mut self, agent: &AgentId) -> Option<&mut AgentSeries> {
        if self.agents.len() >= AGENTS_MAX && !self.agents.contains_key(agent) {
            return None;
        }
        Some(self.agents.entry_ref(agent).or_default())
    }

    /// Counts a span if it has ended.
    pub fn count(&mut self, span: &ToldSpan) {
        if span.end_ns.is_some()
            && let Some(series) = self.agent(&span.agent)
        {
            series.count(span);
        }
    }

    /// Learns from a span of the past how long its operation takes; it is not counted.
    pub fn learn(&mut self, span: &ToldSpan) {
        if span.end_ns.is_some()
            && let Some(series) = self.agent(&span.agent)
        {
            series.learn(span);
        }
    }

    /// Counts one use of an edge, for the agent that asked.
    pub fn count_edge(&mut self, edge: &Edge) {
        if let Some(series) = self.agent(&edge.source) {
            series.count_edge(edge);
        }
    }

    /// 99th percentile of an operation's durations since the start, nanoseconds; `None` of fewer than 20 spans.
    pub fn p99_ns(&self, agent: &AgentId, operation: &str) -> Option<i64> {
        let series = self.agents.get(agent)?;
        let p99 = series.percentile_ns(operation, 99.0, DURATIONS_MIN)?;
        Some(i64::try_from(p99).unwrap_or(i64::MAX))
    }

    /// Samples of `now` of all agents that anything was counted of since this was asked last, which was at `before`.
    pub fn write(&mut self, before: Timestamp, now: Timestamp) -> Vec<(AgentId, Batch)> {
        let changed = self
            .agents
            .iter_mut()
            .filter(|(_, series)| series.has_changed);
        changed
            .map(|(agent, series)| (agent.clone(), series.write(agent, before, now)))
            .collect()
    }

    /// Forgets agents that `keep` does not hold to.
    pub fn retain(&mut self, mut keep: impl FnMut(&AgentId) -> bool) {
        self.agents.retain(|agent, _| keep(agent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{SeriesKey, Span, TokenUsage},
        traces::{
            edges_of,
            samples::{agent, failed, open, span},
        },
    };

    fn told(span: &Span) -> ToldSpan {
        ToldSpan::from(span)
    }

    fn values(batch: &Batch) -> Vec<(String, i64, f64)> {
        let shown = |row: &crate::model::Row| {
            let key = SeriesKey::from_bytes(batch.key(row)).unwrap().to_string();
            (key, row.time.as_millis(), row.value)
        };
        batch.rows().iter().map(shown).collect()
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn spans_become_rates_errors_and_durations() {
        let mut metrics = SpanMetrics::default();
        let mut chat = span(1, 0, "coder:chat", 0, 1_500);
        chat.usage = Some(TokenUsage {
            input: 100,
            output: 20,
            cost: Some(0.5),
            ..TokenUsage::default()
        });
        metrics.count(&told(&chat));
        metrics.count(&told(&failed(span(2, 0, "coder:chat", 0, 1), "no")));
        metrics.count(&told(&open(span(3, 0, "coder:chat", 0, 0))));
        let written = metrics.write(at(1_000), at(16_000));
        assert_eq!(written.len(), 1);
        let rows = values(&written[0].1);
        let of = |name: &str| -> Vec<(i64, f64)> {
            let rows = rows.iter().filter(|(key, ..)| key.starts_with(name));
            rows.map(|(_, time, value)| (*time, *value)).collect()
        };
        assert_eq!(
            of(
                "traces_spanmetrics_calls_total{span_kind=\"SPAN_KIND_UNSPECIFIED\",span_name=\"chat\",status_code=\"STATUS_CODE_ERROR\"}"
            ),
            [(1_000, 0.0), (16_000, 1.0)]
        );
        assert_eq!(
            of(
                "traces_spanmetrics_latency_bucket{le=\"2.048\",span_kind=\"SPAN_KIND_UNSPECIFIED\",span_name=\"chat\",status_code=\"STATUS_CODE_UNSET\"}"
            ),
            [(1_000, 0.0), (16_000, 1.0)]
        );
        assert_eq!(
            of("traces_spanmetrics_tokens_total{direction=\"output\",model=\"unknown\"}"),
            [(1_000, 0.0), (16_000, 20.0)]
        );
        assert_eq!(
            of("traces_spanmetrics_cost_total{model=\"unknown\"}")[1],
            (16_000, 0.5)
        );
        assert_eq!(written[0].1.metadata.len(), 8);
        // Nothing changed, nothing is written; later only what is now.
        assert!(metrics.write(at(16_000), at(31_000)).is_empty());
        metrics.count(&told(&span(4, 0, "coder:chat", 0, 1)));
        let rows = values(&metrics.write(at(31_000), at(46_000))[0].1);
        assert!(rows.iter().all(|(_, time, _)| *time == 46_000));
    }

    #[test]
    fn edges_are_counted_for_the_one_who_asked() {
        let spans = [
            span(1, 0, "planner:plan", 0, 100),
            failed(span(2, 1, "coder:write", 10, 60), "no"),
        ];
        let mut metrics = SpanMetrics::default();
        edges_of(&spans)
            .iter()
            .for_each(|edge| metrics.count_edge(edge));
        let written = metrics.write(at(0), at(15_000));
        assert_eq!(written[0].0, agent("planner"));
        let rows = values(&written[0].1);
        let labels = "{client=\"planner\",connection_type=\"call\",server=\"coder\"}";
        for (name, value) in [
            ("traces_service_graph_request_total", 1.0),
            ("traces_service_graph_request_failed_total", 1.0),
            ("traces_service_graph_request_server_seconds_sum", 0.05),
            ("traces_service_graph_request_client_seconds_count", 1.0),
        ] {
            let key = format!("{name}{labels}");
            assert!(rows.contains(&(key.clone(), 15_000, value)), "{key}");
        }
    }

    #[test]
    fn room_is_bounded_and_percentiles_need_enough() {
        let mut metrics = SpanMetrics::default();
        for no in 0..1_000 {
            let name = format!("a:operation {no}");
            metrics.count(&told(&span(1, 0, &name, 0, 1)));
        }
        for ms in 1..=19 {
            metrics.count(&told(&span(1, 0, "a:operation 7", 0, ms)));
            assert_eq!(
                metrics.p99_ns(&agent("a"), "operation 7").is_some(),
                ms == 19
            );
        }
        let batch = &metrics.write(at(0), at(1))[0].1;
        let calls = values(batch);
        let calls = calls
            .iter()
            .filter(|(key, time, _)| *time == 1 && key.contains("calls_total"));
        let (count, sum) = calls.fold((0, 0.0), |(count, sum), (.., value)| {
            (count + 1, sum + value)
        });
        assert_eq!((count, sum), (201, 1_019.0));
    }
}
