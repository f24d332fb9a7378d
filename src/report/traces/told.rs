//! How figures of traces read in tables for people.

use super::{
    super::{
        comparison::Changes,
        performance::PerformanceReport,
        wording::{counted, duration, moment, one_digit, percent_of, plain, signed, thousands},
    },
    figures::{AgentTraces, SystemTraces},
    usage::TokenTotals,
};

/// What stands where there is no figure.
const NONE: &str = "-";

/// One agent's figures as text.
pub(in crate::report) struct TraceRow {
    /// Place of the agent from the worst.
    pub(in crate::report) place: usize,
    /// Its id.
    pub(in crate::report) agent: String,
    /// Traces that it took part in.
    pub(in crate::report) traces: String,
    /// Its spans that ended.
    pub(in crate::report) spans: String,
    /// Percent of them that failed.
    pub(in crate::report) failed: String,
    /// p50, p95, p99 and the longest.
    pub(in crate::report) latencies: [String; 4],
    /// Tokens of prompts.
    pub(in crate::report) input: String,
    /// Tokens of answers.
    pub(in crate::report) output: String,
    /// What they cost, as far as is known.
    pub(in crate::report) cost: String,
    /// Open spans, and how old the oldest is.
    pub(in crate::report) open: String,
    /// Percent of the critical path.
    pub(in crate::report) critical: String,
    /// What failed percent, p95, tokens and cost rose by, where the report is compared.
    pub(in crate::report) changes: [Option<String>; 4],
}

/// The agents that have traces, worst first.
pub(in crate::report) fn rows(report: &PerformanceReport) -> Vec<TraceRow> {
    let agents = report.worst_first().into_iter().enumerate();
    agents
        .filter_map(|(place, agent)| {
            let traces = agent.traces.as_ref()?;
            let comparison = report.comparison.as_ref();
            let changes = comparison.and_then(|c| c.agents.get(&agent.agent_id));
            Some(TraceRow {
                agent: plain(agent.agent_id.as_str()),
                changes: changes.map(changed).unwrap_or_default(),
                ..row(place, traces)
            })
        })
        .collect()
}

fn row(place: usize, traces: &AgentTraces) -> TraceRow {
    let AgentTraces { usage, .. } = traces;
    let percent = |share: Option<f64>| share.map_or_else(dash, percent_of);
    let open = match (traces.open_spans, traces.oldest_open_seconds) {
        (0, _) | (_, None) => "0".to_owned(),
        (count, Some(age)) => {
            let age = duration((age * 1000.0) as i64);
            format!("{}, {age}", thousands(count))
        }
    };
    TraceRow {
        place,
        agent: String::new(),
        traces: thousands(traces.traces),
        spans: thousands(traces.spans),
        failed: percent(traces.error_rate),
        latencies: [traces.p50_ms, traces.p95_ms, traces.p99_ms, traces.max_ms]
            .map(|ms| ms.map_or_else(dash, latency)),
        input: thousands(usage.input_tokens),
        output: thousands(usage.output_tokens),
        cost: told_cost(usage),
        open,
        critical: percent(traces.critical_path_share),
        changes: [const { None }; 4],
    }
}

fn changed(changes: &Changes) -> [Option<String>; 4] {
    let change = |name| changes.of(name).change();
    [
        change("span_error_rate").map(|share| signed(share * 100.0)),
        change("span_p95_ms").map(|ms| with_sign(ms, latency)),
        change("tokens").map(|tokens| with_sign(tokens, count)),
        change("cost").map(|rise| with_sign(rise, cost)),
    ]
}

/// All traces in a few sentences: how they went, their spans, what they used.
pub(in crate::report) fn summary(report: &PerformanceReport, traces: &SystemTraces) -> Vec<String> {
    let system = report.comparison.as_ref().map(|c| &c.system);
    let change = |name: &str| system?.of(name).change();
    let lines = [
        Some(courses(traces, &change)),
        Some(spans(traces, &change)),
        used(&traces.usage, &change),
    ];
    let lines = lines.into_iter().flatten();
    lines.map(|line| format!("{line}.")).collect()
}

/// What a figure of the system rose by, where the report is compared.
type Rise<'a> = dyn Fn(&str) -> Option<f64> + 'a;

fn courses(traces: &SystemTraces, change: &Rise<'_>) -> String {
    let rise = change("traces").map(|rise| with_sign(rise, count));
    let told = with(counted(traces.traces as usize, "trace"), rise);
    let failed = thousands(traces.failed_traces);
    let lasted = match (traces.p50_duration_ms, traces.p95_duration_ms) {
        (Some(p50), Some(p95)) => {
            let rise = change("p95_trace_duration_ms").map(|rise| with_sign(rise, latency));
            format!("; p50 {}, p95 {}", latency(p50), with(latency(p95), rise))
        }
        _ => String::new(),
    };
    format!("{told}, {failed} with a failed span{lasted}")
}

fn spans(traces: &SystemTraces, change: &Rise<'_>) -> String {
    let failed = traces.error_rate.map_or_else(String::new, |rate| {
        let rise = change("span_error_rate").map(|rise| signed(rise * 100.0));
        let rate = with(format!("{} %", percent_of(rate)), rise);
        format!(", {rate} of them failed")
    });
    let open = traces
        .oldest_open_seconds
        .map_or_else(String::new, |seconds| {
            let age = duration((seconds * 1000.0) as i64);
            format!("; {} open, for {age} at most", thousands(traces.open_spans))
        });
    format!("{}{failed}{open}", counted(traces.spans as usize, "span"))
}

/// Nothing where there are no tokens.
fn used(usage: &TokenTotals, change: &Rise<'_>) -> Option<String> {
    if usage.tokens() == 0 {
        return None;
    }
    let tokens = format!(
        "{} tokens in, {} out",
        thousands(usage.input_tokens),
        thousands(usage.output_tokens)
    );
    let tokens = with(tokens, change("tokens").map(|rise| with_sign(rise, count)));
    let costing = usage.cost.map_or_else(String::new, |all| {
        let rise = change("cost").map(|rise| with_sign(rise, cost));
        let lacks = match usage.unpriced_tokens {
            0 => String::new(),
            tokens => format!(", without {} tokens of unknown price", thousands(tokens)),
        };
        format!("; cost {}{lacks}", with(cost(all), rise))
    });
    Some(format!("{tokens}{costing}"))
}

/// A figure with its change beside it.
fn with(figure: String, change: Option<String>) -> String {
    match change {
        Some(change) => format!("{figure} ({change})"),
        None => figure,
    }
}

/// A count that is told as a change.
fn count(count: f64) -> String {
    thousands(count as u64)
}

/// What the figures lack, and how to see the traces.
pub(in crate::report) fn notes(traces: &SystemTraces) -> Vec<String> {
    let cut = traces.traces_from.map(|from| {
        format!(
            "Of the newest {} traces only, from {} UTC on.",
            thousands(traces.traces),
            moment(from)
        )
    });
    let unreadable = traces
        .unreadable
        .as_ref()
        .map(|why| format!("Some cannot be read: {}.", plain(why)));
    let mut lines: Vec<String> = [cut, unreadable].into_iter().flatten().collect();
    lines.push("An agent's traces: GET /api/v1/traces?agent_id=...".to_owned());
    lines
}

fn dash() -> String {
    NONE.to_owned()
}

fn told_cost(usage: &TokenTotals) -> String {
    usage.cost.map_or_else(dash, cost)
}

/// An amount of money: to a cent, or to three digits or so where it is less than one.
pub(super) fn cost(amount: f64) -> String {
    if amount != 0.0 && amount.abs() < 1.0 {
        format!("{amount:.4}")
    } else {
        format!("{amount:.2}")
    }
}

/// Milliseconds in three digits or so: `0.45 ms`, `12.3 ms`, `1.20 s`, `2m3s`.
fn latency(ms: f64) -> String {
    match ms.abs() {
        // What rounds to a thousand is told in the next unit.
        0.0..0.995 => format!("{ms:.2} ms"),
        0.995..99.95 => format!("{} ms", one_digit(ms)),
        99.95..999.5 => format!("{ms:.0} ms"),
        999.5..59_995.0 => format!("{:.2} s", ms / 1000.0),
        _ => duration(ms as i64),
    }
}

/// A difference with its sign, in the words of the figure; what reads as nothing has none.
fn with_sign(difference: f64, told: impl Fn(f64) -> String) -> String {
    let text = told(difference.abs());
    let is_nothing = !text.bytes().any(|b| (b'1'..=b'9').contains(&b));
    match difference {
        _ if is_nothing => text,
        d if d < 0.0 => format!("-{text}"),
        _ => format!("+{text}"),
    }
}

#[cfg(test)]
mod words {
    use super::*;

    #[test]
    fn latencies_have_three_digits_or_so() {
        let all = [0.0, 0.454, 12.34, 99.96, 999.6, 59_994.0, 123_000.0];
        let told = all.map(latency);
        let expected = [
            "0.00 ms", "0.45 ms", "12.3 ms", "100 ms", "1.00 s", "59.99 s", "2m3s",
        ];
        assert_eq!(told, expected);
        assert_eq!(with_sign(-12.34, latency), "-12.3 ms");
        assert_eq!(with_sign(0.001, latency), "0.00 ms");
        assert_eq!(
            [cost(0.0), cost(0.00125), cost(12.345)],
            ["0.00", "0.0013", "12.35"]
        );
    }
}
