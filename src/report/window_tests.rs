//! What a window's samples add up to beyond averages, and how two windows differ; figures by hand.

use serde_json::{Value, json};

use super::{
    fake::FakeHistory,
    fleet_tests::{HOUR_MS, MINUTE_MS, add_steady, before, day, empty, end, json_of, messages},
    *,
};
use crate::model::{AgentId, AgentNo, Severity, Timestamp, Window, names};

const ALL: [Format; 5] = [
    Format::Json,
    Format::Text,
    Format::Markdown,
    Format::Csv,
    Format::Html,
];

fn agent_of<'a>(report: &'a PerformanceReport, id: &str) -> &'a AgentPerformance {
    let found = report.agents.iter().find(|a| a.agent_id.as_str() == id);
    found.unwrap()
}

#[test]
fn percentiles_are_those_of_the_samples() {
    let mut history = empty();
    let a = history.add_agent("a", before(48 * HOUR_MS));
    let one_to_twenty = (1..=20).map(|i| (before(i * MINUTE_MS), i as f64)).rev();
    history.add_series(a, names::SYSTEM_CPU_USAGE, &[], one_to_twenty);
    let b = history.add_agent("b", before(48 * HOUR_MS));
    for (core, value) in [("0", 100.0), ("1", 0.05)] {
        let sample = [(before(MINUTE_MS), value)];
        history.add_series(b, names::SYSTEM_CPU_USAGE, &[("core", core)], sample);
    }
    // Beyond the window's ends.
    history.add_series(
        b,
        names::SYSTEM_CPU_USAGE,
        &[("core", "2")],
        [
            (before(24 * HOUR_MS), 77.0),
            (before(MINUTE_MS), f64::NAN),
            (end().plus_millis(1), 77.0),
        ],
    );
    let report = performance_report(&history, &day()).unwrap();
    let of = |a: &AgentPerformance| [a.p50_cpu_usage, a.p95_cpu_usage, a.p99_cpu_usage];
    assert_eq!(of(agent_of(&report, "a")), [10.0, 19.0, 20.0]);
    assert_eq!(of(agent_of(&report, "b")), [0.05, 100.0, 100.0]);
    // Of the 22 samples of both, the 11th, the 21st and the 22nd.
    let SystemTrends {
        p50_system_cpu,
        p95_system_cpu,
        p99_system_cpu,
        p99_system_memory,
        ..
    } = report.trends;
    assert_eq!(
        [p50_system_cpu, p95_system_cpu, p99_system_cpu],
        [10.0, 20.0, 100.0]
    );
    assert_eq!(p99_system_memory, 0.0);
}

#[test]
fn traffic_is_what_counters_rose_by() {
    let mut history = empty();
    let at = |seconds: i64| before(HOUR_MS - seconds * 1000);
    let a = history.add_agent("a", before(48 * HOUR_MS));
    let sent = [(0, 100.0), (10, 250.0), (20, 50.0), (30, 80.0)];
    let sent = sent.map(|(s, v)| (at(s), v));
    history.add_series(a, names::NETWORK_BYTES_SENT, &[], sent);
    for (interface, samples) in [
        ("eth0", &[(0, 0.0), (20, 1000.0)][..]),
        ("eth1", &[(5, 400.0)]),
        ("eth2", &[(10, 5.0), (15, f64::NAN), (40, 15.0)]),
    ] {
        let samples = samples.iter().map(|(s, v)| (at(*s), *v));
        let labels = [("interface", interface)];
        history.add_series(a, names::NETWORK_BYTES_RECV, &labels, samples);
    }
    let b = history.add_agent("b", before(48 * HOUR_MS));
    let other = [(at(-20), 7.0), (at(30), 77.0)];
    history.add_series(b, names::NETWORK_BYTES_SENT, &[], other);
    history.add_agent("c", before(48 * HOUR_MS));

    let told = json_of(&history, &day());
    let told = &told["performance_report"];
    let agents = &told["agent_performance"];
    // 150, the reset to 50, 30; in 30 s.
    assert_eq!(agents["a"]["network_bytes_sent"], json!(230));
    assert_eq!(
        agents["a"]["network_bytes_sent_per_second"],
        json!(230.0 / 30.0)
    );
    // 1,000 and 10, between the first sample of either and the last.
    assert_eq!(agents["a"]["network_bytes_received"], json!(1010));
    assert_eq!(
        agents["a"]["network_bytes_received_per_second"],
        json!(1010.0 / 40.0)
    );
    assert_eq!(agents["b"]["network_bytes_received"], Value::Null);
    assert_eq!(agents["c"]["network_bytes_sent"], Value::Null);
    assert_eq!(told["system_trends"]["network_bytes_sent"], json!(300));
    assert_eq!(
        told["system_trends"]["network_bytes_sent_per_second"],
        json!(300.0 / 50.0)
    );
    let report = performance_report(&history, &day()).unwrap();
    let text = render(&history, &report, Format::Text).unwrap();
    assert!(
        text.contains("Network   300 B sent (6 B/s), 1.0 kB received (25.2 B/s)"),
        "{text}"
    );
    assert!(text.contains("SENT/S"), "{text}");
}

/// An agent whose memory is `value` at so many hours before the end, every five minutes.
fn add_course(history: &mut FakeHistory, id: &str, hours: i64, value: impl Fn(f64) -> f64) {
    let no = add_steady(history, id, 10.0, 10.0);
    let memory = |s: &&mut (crate::model::SeriesInfo, Vec<crate::model::Sample>)| {
        s.0.agent == no && s.0.key.name() == names::SYSTEM_MEMORY_USAGE
    };
    let series = history.series.iter_mut().find(memory).unwrap();
    series.1 = (0..=hours * 12)
        .rev()
        .map(|i| crate::model::Sample {
            time: before(i * 5 * MINUTE_MS),
            value: value(i as f64 / 12.0),
        })
        .collect();
}

#[test]
fn memory_that_will_be_full_is_told_in_time() {
    let mut history = empty();
    add_course(&mut history, "leak", 12, |ago| 90.0 - 2.0 * ago);
    add_course(&mut history, "slow", 12, |ago| 40.0 - 2.0 * ago);
    add_course(&mut history, "sinking", 12, |ago| 40.0 + 4.0 * ago);
    add_course(&mut history, "noisy", 12, |ago| {
        60.0 - 2.0 * ago + 30.0 * (ago * 40.0).sin()
    });
    let report = performance_report(&history, &day()).unwrap();
    for (id, per_hour) in [("leak", 2.0), ("slow", 2.0), ("sinking", -4.0)] {
        let trend = agent_of(&report, id).memory_trend.unwrap();
        assert!((trend.per_hour - per_hour).abs() < 1e-6, "{id}: {trend:?}");
    }
    let rising: Vec<_> = report
        .findings
        .iter()
        .filter(|f| f.message.contains(" rising "))
        .collect();
    assert_eq!(rising.len(), 1, "{rising:?}");
    // 10 points at 2 an hour.
    assert_eq!(
        rising[0].message,
        "memory rising by 2.00 points an hour, at that rate 100 % in 5h"
    );
    assert_eq!(rising[0].severity, Severity::Warning);
    let names: Vec<&str> = rising[0].evidence.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "points_per_hour",
            "percent_at_end",
            "hours_to_100_percent",
            "hours_measured",
            "r_squared",
            "query"
        ]
    );
    // The trend is that of the window. A quarter of an hour is not yet enough to go by, five minutes
    // have none.
    let trend = |minutes: i64| {
        let request = ReportRequest {
            window: Window::ending_at(end(), minutes * MINUTE_MS + 1),
            agent: None,
        };
        let report = performance_report(&history, &request).unwrap();
        (agent_of(&report, "leak").memory_trend.is_some(), report)
    };
    assert!(!trend(5).0);
    let (has_trend, report) = trend(15);
    assert!(has_trend);
    assert_eq!(
        messages(&report, "leak"),
        ["Agent leak showing high memory usage (89.8%), check for memory leaks"]
    );
}

#[test]
fn silence_that_ended_is_told() {
    let mut history = empty();
    let no = add_steady(&mut history, "a", 10.0, 10.0);
    let up = |s: &&mut (crate::model::SeriesInfo, Vec<crate::model::Sample>)| {
        s.0.agent == no && s.0.key.name() == names::UP
    };
    // Between 20 h and 19 h, and between 10 h and 8 h before the end.
    let quiet = |t: Timestamp| {
        let ago = end().since(t);
        (19 * HOUR_MS..20 * HOUR_MS).contains(&ago) || (8 * HOUR_MS..10 * HOUR_MS).contains(&ago)
    };
    let series = history.series.iter_mut().find(up).unwrap();
    series.1.retain(|sample| !quiet(sample.time));
    let report = performance_report(&history, &day()).unwrap();
    let agent = agent_of(&report, "a");
    // From the last contact before to the first after: 10 minutes more than what is missing.
    assert_eq!(agent.gap_count, 2);
    assert_eq!(
        agent.gap_seconds,
        (3 * HOUR_MS + 20 * MINUTE_MS) as f64 / 1000.0
    );
    let lengths: Vec<i64> = agent.gaps.iter().map(Gap::length_ms).collect();
    assert_eq!(lengths, [70 * MINUTE_MS, 130 * MINUTE_MS]);
    // For half an hour after a contact the next may still come.
    let lost = 40 + 100;
    assert_eq!(
        agent.availability,
        Some(((1.0 - f64::from(lost) / (24.0 * 60.0)) * 1e6).round() / 1e6)
    );
    assert_eq!(
        messages(&report, "a"),
        ["no contact for 3h20m in 2 gaps, one of 2h10m until 2026-06-30 16:09:55 UTC"]
    );
    for format in [Format::Text, Format::Markdown, Format::Html] {
        let shown = render(&history, &report, format).unwrap();
        assert!(shown.contains("2, 3h20m"), "{format:?}: {shown}");
    }
}

/// Two days: `a` goes from 20 to 30 % of cpu and sends as much again, `b` comes, `c` goes.
fn two_days() -> FakeHistory {
    let mut history = empty();
    let day_ago = before(24 * HOUR_MS);
    let a = history.add_agent("a", before(96 * HOUR_MS));
    let times = || (0..96).rev().map(|i| before(i * 30 * MINUTE_MS));
    let cpu = times().map(|t| (t, if t <= day_ago { 20.0 } else { 30.0 }));
    history.add_series(a, names::SYSTEM_CPU_USAGE, &[], cpu);
    let sent = times().zip(0..).map(|(t, i)| (t, f64::from(i * 10)));
    history.add_series(a, names::NETWORK_BYTES_SENT, &[], sent);
    history.add_agent("b", before(12 * HOUR_MS));
    let c = history.add_agent("c", before(96 * HOUR_MS));
    history.add_series(
        c,
        names::SYSTEM_CPU_USAGE,
        &[],
        [(before(30 * HOUR_MS), 50.0)],
    );
    history.agents[c.0 as usize - 1].deregistered_at = Some(before(6 * HOUR_MS));
    history
}

#[test]
fn what_changed_since_the_window_before() {
    let history = two_days();
    let report = report_with_previous(&history, &day()).unwrap();
    let told = render(&history, &report, Format::Json).unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    let told = &told["performance_report"]["comparison"];
    assert_eq!(told["from"], "2026-06-29T00:00:00.000Z");
    assert_eq!(told["to"], "2026-06-30T00:00:00.000Z");
    assert_eq!(
        (&told["source"], &told["coverage"]),
        (&json!("previous"), &json!(1))
    );
    assert!(told.get("file").is_none());
    let change = |before: Value, after: Value, change: Value| json!({"before": before, "after": after, "change": change});
    let a = &told["agents"]["a"];
    assert_eq!(a["avg_cpu_usage"], change(json!(20), json!(30), json!(10)));
    assert_eq!(a["p99_cpu_usage"], change(json!(20), json!(30), json!(10)));
    assert_eq!(a["total_metrics"], change(json!(96), json!(96), json!(0)));
    assert_eq!(
        a["avg_memory_usage"],
        change(Value::Null, Value::Null, Value::Null)
    );
    assert_eq!(
        a["network_bytes_sent"],
        change(json!(470), json!(470), json!(0))
    );
    assert_eq!(told["agents"].as_object().unwrap().len(), 1);
    // 48 samples at 20 and one at 50, against 48 at 30.
    let before = (48.0 * 20.0 + 50.0) / 49.0;
    assert_eq!(
        told["system"]["average_system_cpu"],
        change(json!(before), json!(30), json!(30.0 - before))
    );
    assert_eq!(told["appeared"], json!(["b"]));
    assert_eq!(told["disappeared"], json!(["c"]));
    // Otherwise the report is what it is without.
    let mut plain = performance_report(&history, &day()).unwrap();
    plain.comparison.clone_from(&report.comparison);
    assert_eq!(plain, report);

    insta::assert_snapshot!(
        "compared_text",
        render(&history, &report, Format::Text).unwrap()
    );
    insta::assert_snapshot!(
        "compared_markdown",
        render(&history, &report, Format::Markdown).unwrap()
    );
    let csv = render(&history, &report, Format::Csv).unwrap();
    let lines: Vec<Vec<&str>> = csv.lines().map(|l| l.split(',').collect()).collect();
    let cell = |row: usize, name: &str| {
        let at = lines[0].iter().position(|head| *head == name).unwrap();
        lines[row][at]
    };
    assert_eq!(
        (
            cell(1, "avg_cpu_usage_before"),
            cell(1, "avg_cpu_usage_change")
        ),
        ("20", "10")
    );
    assert_eq!(
        (cell(2, "agent_id"), cell(2, "avg_cpu_usage_change")),
        ("b", "")
    );
    assert!(lines.iter().all(|line| line.len() == lines[0].len()));
    let html = render(&history, &report, Format::Html).unwrap();
    assert!(
        html.contains("<b>30.0</b> <span class=\"change\">+10.0</span>"),
        "{html}"
    );
    assert!(
        html.contains("New: <bdi>b</bdi>. Gone: <bdi>c</bdi>."),
        "{html}"
    );
}

#[test]
fn another_file_is_named_and_cannot_steer_anything() {
    let history = two_days();
    let mut report = performance_report(&history, &day()).unwrap();
    let earlier = ReportRequest {
        window: Window::ending_at(before(48 * HOUR_MS), 24 * HOUR_MS),
        agent: Some(AgentId::new("a").unwrap()),
    };
    let other = FakeHistory::default();
    let before = performance_report(&other, &earlier).unwrap();
    let source = Source::File("<b>|`x\u{1b}[2J".to_owned());
    report.comparison = Some(Comparison::between(&before, &report, source));
    for format in ALL {
        let shown = render(&history, &report, format).unwrap();
        assert!(!shown.contains('\u{1b}'), "{format:?}");
        if matches!(format, Format::Markdown | Format::Html) {
            assert!(!shown.contains("<b>|"), "{format:?}");
        }
        if matches!(format, Format::Text | Format::Markdown | Format::Html) {
            assert!(shown.contains("cover 0.0 % of it"), "{format:?}: {shown}");
        }
    }
    let told = render(&history, &report, Format::Json).unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    let told = &told["performance_report"]["comparison"];
    assert_eq!(
        (&told["source"], &told["coverage"]),
        (&json!("file"), &json!(0))
    );
    assert_eq!(told["appeared"], json!(["a", "b"]));
}

#[test]
fn many_agents_on_many_threads_are_what_each_is_alone() {
    let mut history = empty();
    for i in 0..50_u32 {
        let (cpu, memory) = (f64::from(i) * 1.9, 100.0 / 3.0 + f64::from(i));
        let no: AgentNo = add_steady(&mut history, &format!("agent-{i:02}"), cpu, memory);
        let sent = [
            (before(2 * HOUR_MS), 0.1),
            (before(HOUR_MS), f64::from(i) / 7.0),
        ];
        history.add_series(no, names::NETWORK_BYTES_SENT, &[], sent);
    }
    let whole = performance_report(&history, &day()).unwrap();
    assert_eq!(whole.agents.len(), 50);
    for agent in &whole.agents {
        let alone = ReportRequest {
            agent: Some(agent.agent_id.clone()),
            ..day()
        };
        let alone = performance_report(&history, &alone).unwrap();
        assert_eq!(alone.agents, std::slice::from_ref(agent));
    }
    let bytes = |history: &FakeHistory| {
        let report = performance_report(history, &day()).unwrap();
        ALL.map(|format| render(history, &report, format).unwrap())
    };
    let first = bytes(&history);
    for _ in 0..5 {
        assert_eq!(bytes(&history), first);
    }
}
