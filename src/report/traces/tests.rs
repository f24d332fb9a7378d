//! Traces in reports; figures by hand.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::reading::{nanoseconds, read_at_most};
use crate::{
    model::{
        AgentId, AttributeValue, Severity, Span, SpanId, SpanStatus, TokenUsage, TraceId, Window,
    },
    report::{
        Format, PerformanceReport, ReportRequest, agent_traces,
        fake::FakeHistory,
        fleet_tests::{HOUR_MS, MINUTE_MS, add_steady, before, day, empty, end, json_of, messages},
        performance_report, render, report_with_previous,
    },
};

const ALL: [Format; 5] = [
    Format::Json,
    Format::Text,
    Format::Markdown,
    Format::Csv,
    Format::Html,
];
const MS: i64 = 1_000_000;

fn id(text: &str) -> AgentId {
    AgentId::new(text).unwrap()
}

/// A span of a trace that begins so many milliseconds before the end, from and to milliseconds after that.
fn span(trace: u128, no: u64, agent: &str, began: i64, from: i64, to: Option<i64>) -> Span {
    let zero = nanoseconds(before(began));
    let trace_id = TraceId::new(trace).unwrap();
    let span_id = SpanId::new(no).unwrap();
    let mut span = Span::new(trace_id, span_id, id(agent), "work", zero + from * MS);
    span.end_ns = to.map(|to| zero + to * MS);
    span.parent_id = (no > 1).then(|| SpanId::new(1).unwrap());
    span
}

fn inference(mut span: Span, model: &str, cost: Option<f64>) -> Span {
    let key = "gen_ai.request.model".into();
    span.attributes
        .push(key, AttributeValue::Text(model.into()));
    span.usage = Some(TokenUsage {
        input: 1_000,
        output: 100,
        cost,
        ..TokenUsage::default()
    });
    span
}

/// The planner waits 100 ms, 80 of them for the coder, who asks a model and fails every fifth time.
fn job(no: u128, began: i64) -> Vec<Span> {
    let root = span(no, 1, "planner", began, 0, Some(100));
    let coder = span(no, 2, "coder", began, 10, Some(90));
    let mut coder = inference(coder, "swift-1", Some(0.1));
    if no.is_multiple_of(5) {
        coder.status = SpanStatus::Error;
    }
    vec![root, coder]
}

/// Thirty jobs in the window and ten in the one before; spans that have not ended; agents without traces.
fn team() -> FakeHistory {
    let mut history = empty();
    for agent in ["coder", "planner", "quiet"] {
        add_steady(&mut history, agent, 10.0, 10.0);
    }
    let jobs = (1..=30).map(|no| job(no, no as i64 * 30 * MINUTE_MS));
    history.traces.extend(jobs);
    let earlier = (31..=40).map(|no| job(no, (no as i64 - 6) * HOUR_MS));
    history.traces.extend(earlier);
    // Of before the window, and still open.
    let lasting = span(50, 1, "coder", 30 * HOUR_MS, 0, None);
    history.traces.push(vec![lasting]);
    // Ends after the window: open at its end, for a minute. No model has been told, so the tokens count as they are.
    let late = span(51, 1, "planner", MINUTE_MS, 0, Some(2 * MINUTE_MS));
    let slow = inference(
        span(51, 2, "coder", MINUTE_MS, 0, Some(2_000)),
        "swift-2",
        None,
    );
    // Begins after the window.
    let never = span(
        51,
        3,
        "quiet",
        MINUTE_MS,
        2 * MINUTE_MS,
        Some(3 * MINUTE_MS),
    );
    history.traces.push(vec![late, slow, never]);
    history
        .traces
        .push(vec![span(52, 1, "quiet", -1, 0, Some(1))]);
    history
}

fn traces_of(report: &PerformanceReport, agent: &str) -> Value {
    let found = report.agents.iter().find(|a| a.agent_id.as_str() == agent);
    serde_json::to_value(&found.unwrap().traces).unwrap()
}

#[test]
fn figures_are_those_of_the_traces() {
    let report = performance_report(&team(), &day()).unwrap();
    let coder = traces_of(&report, "coder");
    let about = |value: &Value, expected: f64| {
        let off = value.as_f64().unwrap() / expected - 1.0;
        assert!(off.abs() <= 1.0 / 64.0, "{value} is not {expected}");
    };
    assert_eq!(coder["traces"], 31);
    assert_eq!(
        (&coder["spans"], &coder["failed_spans"]),
        (&json!(31), &json!(6))
    );
    assert_eq!(coder["error_rate"], json!(6.0 / 31.0));
    about(&coder["p50_ms"], 80.0);
    about(&coder["p99_ms"], 2_000.0);
    assert_eq!(coder["max_ms"], 2_000.0);
    assert_eq!(
        (&coder["input_tokens"], &coder["output_tokens"]),
        (&json!(31_000), &json!(3_100))
    );
    // Thirty times a tenth is three: the sum is rounded once.
    assert_eq!(coder["cost"], 3.0);
    assert_eq!(coder["unpriced_tokens"], 1_100);
    let models: Vec<&String> = coder["models"].as_object().unwrap().keys().collect();
    assert_eq!(models, ["swift-1", "swift-2"]);
    assert_eq!(coder["models"]["swift-2"]["cost"], Value::Null);
    assert_eq!(coder["open_spans"], 1);
    assert_eq!(coder["oldest_open_seconds"], 30 * 3_600);
    // 80 of 100 ms thirty times, and 2 s of the minute that is not over.
    let whole = 30.0 * 100.0 + 2_000.0;
    let share = coder["critical_path_share"].as_f64().unwrap();
    assert!(
        (share - (30.0 * 80.0 + 2_000.0) / whole).abs() < 1e-12,
        "{share}"
    );
    let planner = traces_of(&report, "planner");
    assert_eq!(
        (&planner["spans"], &planner["open_spans"]),
        (&json!(30), &json!(1))
    );
    assert_eq!(planner["oldest_open_seconds"], 60);
    assert_eq!(traces_of(&report, "quiet"), Value::Null);

    let all = report.trends.traces.unwrap();
    assert_eq!((all.traces, all.failed_traces, all.spans), (31, 6, 61));
    assert_eq!((all.open_spans, all.usage.cost), (2, Some(3.0)));
    assert!(all.traces_complete && all.traces_from.is_none());
    let p95 = all.p95_duration_ms.unwrap();
    assert!((p95 / 100.0 - 1.0).abs() < 1.0 / 64.0, "{p95}");
}

#[test]
fn what_is_wrong_is_told_with_its_evidence() {
    let report = report_with_previous(&team(), &day()).unwrap();
    assert_eq!(
        messages(&report, "coder"),
        [
            "19.3 % of its spans failed (6 of 31)",
            "1 span open for more than 10 minutes, the oldest for 30h",
            "cost 3.0 times that of the window before (1.00, then 3.00)",
            "takes 88.0 % of the critical path of 31 traces with other agents: faster traces begin here",
        ]
    );
    assert!(messages(&report, "planner").is_empty());
    assert!(
        report
            .findings
            .is_sorted_by(|a, b| a.severity >= b.severity)
    );
    let queries: Vec<Value> = report
        .findings
        .iter()
        .map(|f| serde_json::to_value(&f.evidence.last().unwrap().1).unwrap())
        .collect();
    assert_eq!(
        queries,
        [
            "/api/v1/traces?agent_id=coder&status=failed&from=2026-06-30T00:00:00.001Z&to=2026-07-01T00:00:00.000Z",
            "/api/v1/spans/open?agent_id=coder",
            "/api/v1/traces?agent_id=coder&from=2026-06-30T00:00:00.001Z&to=2026-07-01T00:00:00.000Z",
            "/api/v1/traces/profile?agent_id=coder&from=2026-06-30T00:00:00.001Z&to=2026-07-01T00:00:00.000Z",
        ]
    );
    let told = json_of_report(&report);
    let comparison = &told["comparison"];
    let change = |before: Value, after: Value, change: Value| json!({"before": before, "after": after, "change": change});
    let coder = &comparison["agents"]["coder"];
    assert_eq!(
        coder["tokens"],
        change(json!(11_000), json!(34_100), json!(23_100))
    );
    assert_eq!(coder["cost"], change(json!(1), json!(3), json!(2)));
    let (was, is) = (0.2, 6.0 / 31.0);
    assert_eq!(
        coder["span_error_rate"],
        change(json!(was), json!(is), json!(is - was))
    );
    assert_eq!(
        comparison["agents"]["quiet"]["span_p95_ms"],
        change(Value::Null, Value::Null, Value::Null)
    );
    assert_eq!(
        comparison["system"]["traces"],
        change(json!(11), json!(31), json!(20))
    );
}

fn json_of_report(report: &PerformanceReport) -> Value {
    serde_json::to_value(report).unwrap()["performance_report"].clone()
}

#[test]
fn bounds_of_findings() {
    let told = |failed: u64, spans: u64| {
        let mut history = empty();
        add_steady(&mut history, "a", 10.0, 10.0);
        history.traces = (1..=spans)
            .map(|no| {
                let mut only = span(u128::from(no), 1, "a", HOUR_MS, 0, Some(1));
                if no <= failed {
                    only.status = SpanStatus::Error;
                }
                vec![only]
            })
            .collect();
        let report = performance_report(&history, &day()).unwrap();
        report.findings.first().map(|f| f.severity)
    };
    assert_eq!(told(1, 20), None, "exactly 5 % are not more");
    assert_eq!(told(2, 20), Some(Severity::Warning));
    assert_eq!(told(19, 19), None, "too few to say");
    assert_eq!(told(11, 20), Some(Severity::Critical));
    // Alone in its traces, an agent is all of their path.
    assert_eq!(told(0, 100), None);
}

#[test]
fn renderings_are_as_they_were() {
    let history = team();
    let report = report_with_previous(&history, &day()).unwrap();
    let form = |format| render(&history, &report, format).unwrap();
    let told = json_of_report(&report);
    let of_traces = json!({
        "coder": told["agent_performance"]["coder"]["traces"],
        "system": told["system_trends"]["traces"],
        "findings": told["findings"],
    });
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&of_traces).unwrap());
    insta::assert_snapshot!("text", form(Format::Text));
    insta::assert_snapshot!("markdown", form(Format::Markdown));
    insta::assert_snapshot!("csv", form(Format::Csv).replace('\r', "<CR>"));
    let html = form(Format::Html);
    let (_, section) = html
        .split_once("<section aria-labelledby=\"traces\">")
        .unwrap();
    let (section, _) = section.split_once("</section>").unwrap();
    insta::assert_snapshot!("html", section);
    // Cells and columns agree.
    let csv = form(Format::Csv);
    let widths: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}");
}

#[test]
fn without_traces_a_report_is_what_it_was() {
    let mut history = team();
    history.traces.clear();
    let report = report_with_previous(&history, &day()).unwrap();
    for format in ALL {
        let told = render(&history, &report, format).unwrap().to_lowercase();
        assert!(
            !told.contains("trace") && !told.contains("tokens"),
            "{format:?}: {told}"
        );
    }
    // Traces of another time are none.
    history.traces = vec![job(1, 50 * HOUR_MS), job(2, -1)];
    assert_eq!(
        performance_report(&history, &day()).unwrap().trends.traces,
        None
    );
    let mut bare = team();
    bare.traces.clear();
    let bytes = |history| {
        let report = performance_report(history, &day()).unwrap();
        ALL.map(|format| render(history, &report, format).unwrap())
    };
    assert_eq!(bytes(&history), bytes(&bare));
}

#[test]
fn one_agent_alone_has_the_same_figures() {
    let history = team();
    let whole = performance_report(&history, &day()).unwrap();
    for agent in &whole.agents {
        let request = ReportRequest {
            agent: Some(agent.agent_id.clone()),
            ..day()
        };
        let alone = performance_report(&history, &request).unwrap();
        assert_eq!(alone.agents, std::slice::from_ref(agent));
        let health = agent_traces(&history, &agent.agent_id, day().window).unwrap();
        assert_eq!(health, agent.traces);
        let system = alone.trends.traces;
        assert_eq!(
            system.map(|s| (s.traces, s.spans, s.usage)),
            agent.traces.clone().map(|a| (a.traces, a.spans, a.usage))
        );
    }
}

#[test]
fn of_too_many_traces_the_newest_are_told_in_whatever_order_they_come() {
    let mut history = team();
    let read = |history: &FakeHistory, most| {
        let reading = read_at_most(history, day().window, None, most).unwrap();
        let reading = reading.unwrap();
        (reading.system(), reading.agent(&id("coder")))
    };
    let (system, coder) = read(&history, 7);
    // The one that is not over, and the six jobs that began last.
    assert_eq!(system.traces, 7);
    assert!(!system.traces_complete);
    assert_eq!(system.traces_from, Some(before(6 * 30 * MINUTE_MS)));
    let coder = coder.unwrap();
    assert!(!coder.traces_complete);
    assert_eq!((coder.traces, coder.open_spans), (7, 1));
    assert!(read(&history, 31).0.traces_complete);
    let first = read(&history, 7);
    for _ in 0..3 {
        history.traces.rotate_left(11);
        assert_eq!(read(&history, 7), first);
        history.traces.reverse();
        assert_eq!(read(&history, 7), first);
    }
}

#[test]
fn damaged_spans_are_told_and_leave_the_rest() {
    let mut history = team();
    history.damaged_after = Some(12);
    let report = performance_report(&history, &day()).unwrap();
    let traces = report.trends.traces.clone().unwrap();
    assert_eq!((traces.traces, traces.traces_complete), (12, false));
    let last = report
        .findings
        .iter()
        .find(|f| f.agent_id.is_none())
        .unwrap();
    assert_eq!(
        last.message,
        "traces left out that cannot be read: a block of spans, for a test"
    );
    for format in [Format::Json, Format::Text, Format::Markdown, Format::Html] {
        let told = render(&history, &report, format).unwrap();
        assert!(told.contains("a block of spans, for a test"), "{format:?}");
    }
}

#[test]
fn models_beyond_twenty_are_one_and_names_cannot_steer_anything() {
    let mut history = empty();
    add_steady(&mut history, "<b>|`x", 10.0, 10.0);
    history.traces = (1..=30)
        .map(|no| {
            let only = span(no, 1, "<b>|`x", HOUR_MS, 0, Some(1));
            vec![inference(only, &format!("m-{no:02}"), Some(0.5))]
        })
        .collect();
    let report = performance_report(&history, &day()).unwrap();
    let models = &report.trends.traces.as_ref().unwrap().models.0;
    assert_eq!(models.len(), 21);
    let (name, rest) = &models[20];
    assert_eq!(
        (name.as_str(), rest.cost, rest.input_tokens),
        ("(other)", Some(5.0), 10_000)
    );
    for format in [Format::Markdown, Format::Html] {
        assert!(!render(&history, &report, format).unwrap().contains("<b>|"));
    }
    let told = json_of(&history, &day());
    let query = &told["performance_report"]["agent_performance"]["<b>|`x"]["traces"]["query"];
    assert!(
        query
            .as_str()
            .unwrap()
            .starts_with("/api/v1/traces?agent_id=%3Cb%3E%7C%60x&")
    );
}

/// Agent, start, end, whether it failed, cost.
type AnySpan = (u8, i64, Option<i64>, bool, Option<f64>);

fn any_trace() -> impl Strategy<Value = Vec<AnySpan>> {
    let one = (
        0..3_u8,
        0..5_000_i64,
        prop::option::of(0..9_000_i64),
        any::<bool>(),
        prop::option::of(0.0..1.0),
    );
    prop::collection::vec(one, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_order_of_traces_makes_no_difference(
        traces in prop::collection::vec(any_trace(), 0..12),
        began in prop::collection::vec(0..26_i64, 12),
        rotate in 0..12_usize,
    ) {
        let mut history = empty();
        for agent in ["a0", "a1", "a2"] {
            history.add_agent(agent, before(48 * HOUR_MS));
        }
        history.traces = traces.iter().zip(&began).enumerate().map(|(no, (spans, hours))| {
            let spans = spans.iter().zip(1..).map(|((agent, from, to, fails, cost), span_no)| {
                let agent = format!("a{agent}");
                let began = hours * HOUR_MS;
                let mut span = span(no as u128 + 1, span_no, &agent, began, *from, *to);
                if *fails {
                    span.status = SpanStatus::Error;
                }
                if cost.is_some() { inference(span, "m", *cost) } else { span }
            });
            spans.collect()
        }).collect();
        let bytes = |history: &FakeHistory| {
            let report = report_with_previous(history, &day()).unwrap();
            ALL.map(|format| render(history, &report, format).unwrap())
        };
        let first = bytes(&history);
        let shift = rotate.min(history.traces.len());
        history.traces.rotate_left(shift);
        prop_assert_eq!(&bytes(&history), &first);
        history.traces.reverse();
        prop_assert_eq!(&bytes(&history), &first);
        let window = Window::ending_at(end(), 24 * HOUR_MS);
        let two = |history: &FakeHistory| {
            let reading = read_at_most(history, window, None, 2).unwrap();
            reading.map(|reading| (reading.system(), reading.agent(&id("a0"))))
        };
        let cut = two(&history);
        history.traces.reverse();
        prop_assert_eq!(two(&history), cut);
    }
}
