//! The room as a whole over small fleets in memory.

use serde_json::Value;

use super::{fake::FakeHistory, *};
use crate::{
    alerts::HEALTH_ALERT_NAME,
    model::{
        AgentId, AgentNo, AgentStatus, History, Run, STALE_MARKER, Severity, Timestamp, Unreadable,
        Window, names,
    },
};

pub(super) const MINUTE_MS: i64 = 60_000;
pub(super) const HOUR_MS: i64 = 60 * MINUTE_MS;

/// 2026-07-01T00:00:00Z; the window of the tests is the day before it.
pub(super) fn end() -> Timestamp {
    Timestamp::from_millis(1_782_864_000_000)
}

pub(super) fn before(ms: i64) -> Timestamp {
    end().plus_millis(-ms)
}

pub(super) fn day() -> ReportRequest {
    ReportRequest {
        window: Window::ending_at(end(), 24 * HOUR_MS),
        agent: None,
    }
}

/// A history whose server ran for a month.
pub(super) fn empty() -> FakeHistory {
    FakeHistory {
        runs: vec![Run {
            start: before(720 * HOUR_MS),
            end: end(),
        }],
        ..FakeHistory::default()
    }
}

/// Adds an agent whose last answer is 5 s before the end, with constant usage every ten minutes.
pub(super) fn add_steady(history: &mut FakeHistory, id: &str, cpu: f64, memory: f64) -> AgentNo {
    let no = history.add_agent(id, before(48 * HOUR_MS));
    set_interval(history, no, 10 * MINUTE_MS);
    let times = || (0..288).map(|i| before(5_000 + i * 10 * MINUTE_MS)).rev();
    history.add_series(no, names::UP, &[], times().map(|t| (t, 1.0)));
    history.add_series(
        no,
        names::SYSTEM_CPU_USAGE,
        &[("unit", "percent")],
        times().map(|t| (t, cpu)),
    );
    history.add_series(
        no,
        names::SYSTEM_MEMORY_USAGE,
        &[("unit", "percent")],
        times().map(|t| (t, memory)),
    );
    no
}

fn set_interval(history: &mut FakeHistory, agent: AgentNo, interval_ms: i64) {
    history.agents[agent.0 as usize - 1]
        .registration
        .interval_ms = Some(interval_ms);
}

/// A fleet with one agent of each kind of trouble.
fn troubled() -> FakeHistory {
    let mut history = empty();
    add_steady(&mut history, "calm", 12.5, 40.25);
    let hot = add_steady(&mut history, "hot", 91.25, 86.0);
    history.add_alert(
        hot,
        "High CPU",
        Severity::Warning,
        before(3 * HOUR_MS),
        None,
        "cpu of hot is 91.25",
    );
    let down = history.add_agent("down", before(48 * HOUR_MS));
    set_interval(&mut history, down, HOUR_MS);
    history.add_series(
        down,
        names::UP,
        &[],
        (0..4).map(|i| (before((4 - i) * HOUR_MS), if i < 2 { 1.0 } else { 0.0 })),
    );
    history.add_series(down, "tasks_total", &[], [(before(4 * HOUR_MS), 7.0)]);
    history.add_alert(
        down,
        HEALTH_ALERT_NAME,
        Severity::Critical,
        before(2 * HOUR_MS),
        None,
        "Agent down is experiencing health issues: connection refused",
    );
    let flappy = add_steady(&mut history, "flappy", 65.0, 20.0);
    history.add_alert(
        flappy,
        HEALTH_ALERT_NAME,
        Severity::Critical,
        before(25 * HOUR_MS),
        Some(before(23 * HOUR_MS)),
        "Agent flappy is experiencing health issues: timed out",
    );
    history.add_agent("silent", before(48 * HOUR_MS));
    history
}

pub(super) fn json_of(history: &FakeHistory, request: &ReportRequest) -> Value {
    let report = performance_report(history, request).unwrap();
    serde_json::from_str(&render(history, &report, Format::Json).unwrap()).unwrap()
}

pub(super) fn messages(report: &PerformanceReport, agent: &str) -> Vec<String> {
    report
        .findings
        .iter()
        .filter(|f| f.agent_id.as_ref().is_some_and(|id| id.as_str() == agent))
        .map(|f| f.message.clone())
        .collect()
}

#[test]
fn renderings_are_as_they_were() {
    let mut history = troubled();
    // Twelve of the 24 hours.
    history.runs[0].start = before(12 * HOUR_MS);
    let report = performance_report(&history, &day()).unwrap();
    let form = |format| render(&history, &report, format).unwrap();
    insta::assert_snapshot!("report_json", form(Format::Json));
    insta::assert_snapshot!("report_text", form(Format::Text));
    insta::assert_snapshot!("report_markdown", form(Format::Markdown));
    insta::assert_snapshot!("report_csv", form(Format::Csv).replace('\r', "<CR>"));
    for line in form(Format::Text).lines() {
        assert!(line.len() <= 100 || line.starts_with("  "), "{line}");
    }
}

#[test]
fn recommendations_have_the_documents_words_and_worst_first() {
    let report = performance_report(&troubled(), &day()).unwrap();
    assert_eq!(
        report.recommendations,
        [
            "More than 30% of agents are unhealthy, investigate system-wide issues",
            "Agent hot has low health score (35.0), investigate resource usage",
            "Agent hot showing high CPU usage (91.2%), consider scaling",
            "Agent hot showing high memory usage (86.0%), check for memory leaks",
            "Agent down has low health score (40.0), investigate resource usage",
        ]
    );
    for recommendation in &report.recommendations {
        let finding = report
            .findings
            .iter()
            .find(|f| f.message == *recommendation);
        let (name, query) = finding.unwrap().evidence.last().unwrap();
        assert_eq!(*name, "query");
        assert!(
            matches!(query, Evidence::Value(Value::String(path)) if path.starts_with("/api/v1/samples?"))
        );
    }
    assert!(
        report
            .findings
            .is_sorted_by(|a, b| a.severity >= b.severity)
    );
    assert_eq!(
        messages(&report, "silent"),
        ["no data", "status unknown (never reached)"]
    );
    assert_eq!(
        messages(&report, "down"),
        [
            "Agent down has low health score (40.0), investigate resource usage",
            "status unhealthy (last heartbeat 2026-06-30 21:00:00 UTC, 3h before)",
            "Agent Health Issue firing since 2026-06-30 22:00:00 UTC: \
             Agent down is experiencing health issues: connection refused",
            "no contact for 20h until 2026-06-30 20:00:00 UTC",
            "no cpu/memory data",
        ]
    );
    assert_eq!(
        messages(&report, "flappy"),
        [
            "Agent Health Issue fired for 1h, resolved 2026-06-30 01:00:00 UTC: \
             Agent flappy is experiencing health issues: timed out"
        ]
    );
    assert!(messages(&report, "calm").is_empty());
}

#[test]
fn bounds_of_recommendations_are_exclusive() {
    let recommended = |cpu, memory| {
        let mut history = empty();
        add_steady(&mut history, "a", cpu, memory);
        let report = performance_report(&history, &day()).unwrap();
        (report.agents[0].health_score, report.recommendations)
    };
    assert_eq!(recommended(70.0, 80.0), (75.0, vec![]));
    assert_eq!(recommended(70.5, 10.0).1.len(), 1);
    assert_eq!(recommended(10.0, 80.5).1.len(), 1);
    // A score of exactly 70 is not low.
    let (score, texts) = recommended(80.5, 10.0);
    assert_eq!(score, 70.0);
    assert_eq!(
        texts,
        ["Agent a showing high CPU usage (80.5%), consider scaling"]
    );
}

#[test]
fn the_thirty_percent_rule_counts_agents_with_data_only() {
    let system_wide = |bad: usize, good: usize, silent: usize| {
        let mut history = empty();
        for i in 0..bad {
            add_steady(&mut history, &format!("bad-{i}"), 90.0, 90.0);
        }
        for i in 0..good {
            add_steady(&mut history, &format!("good-{i}"), 10.0, 10.0);
        }
        for i in 0..silent {
            history.add_agent(&format!("silent-{i}"), before(HOUR_MS));
        }
        let report = performance_report(&history, &day()).unwrap();
        report
            .recommendations
            .iter()
            .any(|r| r.starts_with("More than 30%"))
    };
    assert!(!system_wide(3, 7, 0));
    assert!(system_wide(3, 6, 0));
    assert!(
        !system_wide(3, 7, 50),
        "silent agents are no unhealthy ones"
    );
    assert!(system_wide(3, 6, 50), "nor do they dilute the share");
    assert!(!system_wide(0, 0, 5));
}

#[test]
fn one_agent_alone_is_no_system() {
    let history = troubled();
    let request = ReportRequest {
        agent: Some(AgentId::new("hot").unwrap()),
        ..day()
    };
    let report = performance_report(&history, &request).unwrap();
    assert_eq!(report.agents.len(), 1);
    assert_eq!(report.alerts.len(), 1);
    assert_eq!(report.recommendations.len(), 3);
    assert_eq!(report.trends.average_system_cpu, 91.25);
}

#[test]
fn values_that_are_no_numbers() {
    let mut history = empty();
    let no = history.add_agent("odd", before(48 * HOUR_MS));
    let at = |minutes: i64| before(minutes * MINUTE_MS);
    history.add_series(
        no,
        names::SYSTEM_CPU_USAGE,
        &[("core", "0")],
        [(at(9), f64::NAN), (at(8), 10.0), (at(7), STALE_MARKER)],
    );
    history.add_series(
        no,
        names::SYSTEM_CPU_USAGE,
        &[("core", "1")],
        [(at(6), 30.0)],
    );
    history.add_series(
        no,
        names::SYSTEM_MEMORY_USAGE,
        &[],
        [(at(5), f64::INFINITY), (at(4), f64::NEG_INFINITY)],
    );
    let report = performance_report(&history, &day()).unwrap();
    let agent = &report.agents[0];
    assert_eq!((agent.avg_cpu_usage, agent.cpu_samples), (20.0, 2));
    assert_eq!(
        agent.total_metrics, 5,
        "a NaN is a sample, a stale marker is none"
    );
    let json = json_of(&history, &day());
    let shown = &json["performance_report"]["agent_performance"]["odd"];
    assert_eq!(shown["avg_memory_usage"], "NaN");
    assert_eq!(shown["max_memory_usage"], "+Inf");
    assert_eq!(shown["min_memory_usage"], "-Inf");
    for format in [Format::Text, Format::Markdown, Format::Csv, Format::Html] {
        assert!(render(&history, &report, format).unwrap().contains("NaN"));
    }
}

#[test]
fn the_window_is_left_open_and_averages_are_over_samples() {
    let mut history = empty();
    let a = history.add_agent("a", before(48 * HOUR_MS));
    let samples = [
        (before(24 * HOUR_MS), 1000.0),
        (before(24 * HOUR_MS - 1), 10.0),
        (before(HOUR_MS), 20.0),
        (end(), 30.0),
        (end().plus_millis(1), 1000.0),
    ];
    history.add_series(a, names::SYSTEM_CPU_USAGE, &[], samples);
    let b = history.add_agent("b", before(48 * HOUR_MS));
    history.add_series(b, names::SYSTEM_CPU_USAGE, &[], [(end(), 80.0)]);
    let report = performance_report(&history, &day()).unwrap();
    assert_eq!(report.agents[0].avg_cpu_usage, 20.0);
    assert_eq!(report.agents[0].max_cpu_usage, 30.0);
    assert_eq!(report.agents[0].min_cpu_usage, 10.0);
    assert_eq!(report.trends.average_system_cpu, 35.0);
    assert_eq!(report.trends.total_metrics_in_window, 4);
}

#[test]
fn only_agents_registered_at_the_end_are_in_it() {
    let mut history = troubled();
    history.agents[1].deregistered_at = Some(before(HOUR_MS));
    history.add_agent("later", end().plus_millis(1));
    let report = performance_report(&history, &day()).unwrap();
    let ids: Vec<&str> = report.agents.iter().map(|a| a.agent_id.as_str()).collect();
    assert_eq!(ids, ["calm", "down", "flappy", "silent"]);
    assert!(report.alerts.iter().all(|a| a.agent_id.as_str() != "hot"));
}

#[test]
fn hours_are_whole_where_they_can_be() {
    let history = troubled();
    let hours = |ms| {
        let request = ReportRequest {
            window: Window::ending_at(end(), ms),
            agent: None,
        };
        json_of(&history, &request)["performance_report"]["time_window_hours"].to_string()
    };
    assert_eq!(hours(24 * HOUR_MS), "24");
    assert_eq!(hours(90 * MINUTE_MS), "1.5");
}

#[test]
fn damaged_blocks_are_told_everywhere() {
    let mut history = troubled();
    let agent = history.agents[0].clone();
    let lack = |from: i64, to: i64| Unreadable {
        first: before(from),
        last: before(to),
        reason: "block (group 0, start 1, sequence 2): for a test".to_owned(),
    };
    // Two that overlap, and one that a look at the status met before the window.
    history.unreadable = vec![
        (agent.no, lack(30 * HOUR_MS, 29 * HOUR_MS)),
        (agent.no, lack(12 * HOUR_MS - 1, 9 * HOUR_MS)),
        (agent.no, lack(10 * HOUR_MS, 6 * HOUR_MS)),
    ];
    let report = performance_report(&history, &day()).unwrap();
    assert_eq!(report.coverage, 0.75);
    let found: Vec<_> = report
        .findings
        .iter()
        .filter(|f| f.message.contains("damaged blocks left out"))
        .collect();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].agent_id.as_ref(), Some(&agent.id));
    assert!(found[0].message.starts_with("3 damaged blocks"));
    let other = "the figures cover 75.0 % of the window";
    assert!(report.findings.iter().any(|f| f.message.starts_with(other)));
    for format in [Format::Text, Format::Markdown, Format::Html] {
        let text = render(&history, &report, format).unwrap();
        assert!(text.contains("cannot be read, for the rest"), "{text}");
    }
    // A report about somebody else lacks nothing.
    let request = ReportRequest {
        agent: Some(history.agents[1].id.clone()),
        ..day()
    };
    assert_eq!(
        performance_report(&history, &request).unwrap().coverage,
        1.0
    );
}

#[test]
fn partial_coverage_is_told_everywhere() {
    let mut history = troubled();
    assert_eq!(performance_report(&history, &day()).unwrap().coverage, 1.0);
    history.runs[0].start = before(6 * HOUR_MS);
    let report = performance_report(&history, &day()).unwrap();
    assert_eq!(report.coverage, 0.25);
    assert!(report.findings.iter().any(|f| {
        f.agent_id.is_none()
            && f.message
                .starts_with("the server ran for 25.0 % of the window")
    }));
    for format in [Format::Text, Format::Markdown, Format::Html] {
        assert!(
            render(&history, &report, format)
                .unwrap()
                .contains("Coverage")
        );
    }
}

#[test]
fn scores_outside_of_reports_agree_with_the_report() {
    let history = troubled();
    let report = performance_report(&history, &day()).unwrap();
    for (agent, shown) in history.agents(end()).iter().zip(&report.agents) {
        let health = health_score(&history, agent, day().window).unwrap();
        assert_eq!(health.score, shown.health_score);
        assert_eq!(health.deductions, shown.deductions);
        let verdict = agent_status(&history, agent, end()).unwrap();
        assert_eq!(verdict.status, shown.status);
    }
}

#[test]
fn status_looks_at_the_series_without_labels_and_the_moment_asked() {
    let mut history = empty();
    let no = history.add_agent("a", before(48 * HOUR_MS));
    let status = |history: &FakeHistory, at| {
        let agent = history.agents(end()).remove(0);
        agent_status(history, &agent, at).unwrap()
    };
    assert_eq!(status(&history, end()).status, AgentStatus::Unknown);
    history.add_series(no, names::UP, &[("job", "x")], [(before(HOUR_MS), 1.0)]);
    assert_eq!(status(&history, end()).status, AgentStatus::Unknown);
    history.add_series(
        no,
        names::UP,
        &[],
        [
            (before(HOUR_MS), 1.0),
            (before(20_000), 1.0),
            (before(10_000), 0.0),
        ],
    );
    assert_eq!(status(&history, end()).status, AgentStatus::Unhealthy);
    assert_eq!(status(&history, end()).last_heartbeat, Some(before(20_000)));
    assert_eq!(status(&history, before(15_000)).status, AgentStatus::Active);
    assert_eq!(status(&history, before(30_000)).status, AgentStatus::Stale);
    // Just after a start nothing is stale.
    history.runs.push(Run {
        start: before(40_000),
        end: before(35_000),
    });
    assert_eq!(status(&history, before(30_000)).status, AgentStatus::Active);
}

#[test]
fn the_overview_has_the_contracts_shape() {
    let shown = serde_json::to_string_pretty(&overview(&troubled(), end()).unwrap()).unwrap();
    insta::assert_snapshot!("overview_json", shown);
    let earlier = overview(&troubled(), before(150 * MINUTE_MS)).unwrap();
    assert_eq!(earlier.alerts.active_alerts, 1);
    assert_eq!(earlier.alerts.total_alerts, 2);
}

#[test]
fn an_agent_has_the_contracts_shape() {
    let mut history = troubled();
    let down = history.agents(end()).remove(1);
    insta::assert_json_snapshot!("agent_json", agent_json(&history, &down, end()).unwrap());
    let all = agents_json(&history, &history.agents(end()), end()).unwrap();
    assert_eq!(all.len(), 5);
    // An agent that is back has no error.
    assert!(all[2]["last_error"].is_null());
    assert!(all[0]["last_error"].is_null() && all[0].get("deregistered_at").is_none());
    history.agents[2].deregistered_at = Some(before(1));
    let gone = agent_json(&history, &history.agents[2], end()).unwrap();
    assert_eq!(gone["deregistered_at"], before(1).to_rfc3339());
}

const HOSTILE_ID: &str =
    "</style></title><script>alert(\"1\")</script>' onload='x' \u{202e}&amp;|`=1`";

fn hostile() -> FakeHistory {
    let mut history = empty();
    let no = add_steady(&mut history, HOSTILE_ID, 90.0, 90.0);
    history.add_alert(
        no,
        "<b onclick=\"x\">",
        Severity::Emergency,
        before(HOUR_MS),
        None,
        "</style><img src=x onerror='alert(1)'>\u{1b}[2J\n<!--",
    );
    history
}

#[test]
fn names_cannot_become_markup_anywhere() {
    let history = hostile();
    let report = performance_report(&history, &day()).unwrap();
    let html = render(&history, &report, Format::Html).unwrap();
    let tags_before = html.matches('<').count();
    for (bad, allowed) in [
        ("<script", 0),
        ("<img", 0),
        ("<b onclick", 0),
        ("<!--", 0),
        ("onload='x'", 0),
        ("</style>", 1),
        ("</title>", 1 + svg_titles(&html)),
        ("\u{1b}", 0),
        ("\u{202e}", 0),
    ] {
        assert_eq!(html.matches(bad).count(), allowed, "{bad}");
    }
    // The same page with an ordinary name has exactly as many tags.
    let mut tame = hostile();
    tame.agents[0].id = AgentId::new("tame").unwrap();
    tame.alerts[0].name = "tame".into();
    tame.alerts[0].description = "tame".into();
    let tame_report = performance_report(&tame, &day()).unwrap();
    let tame_html = render(&tame, &tame_report, Format::Html).unwrap();
    assert_eq!(tame_html.matches('<').count(), tags_before);
    for format in [Format::Text, Format::Markdown] {
        let text = render(&history, &report, format).unwrap();
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
    }
    let markdown = render(&history, &report, Format::Markdown).unwrap();
    assert!(!markdown.contains('<') && !markdown.contains("|`"));
}

fn svg_titles(html: &str) -> usize {
    html.matches("role=\"img\"><title>").count()
}

#[test]
fn the_page_stands_alone() {
    let history = troubled();
    let report = performance_report(&history, &day()).unwrap();
    let html = render(&history, &report, Format::Html).unwrap();
    assert!(html.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"));
    for outside in [
        "http://", "https://", "src=", "@import", "url(//", "<link", "<script",
    ] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert_eq!(html, render(&history, &report, Format::Html).unwrap());
    // Every measured agent has two sparklines and, among the first twelve, two charts.
    assert_eq!(html.matches("class=\"spark ").count(), 6);
    assert_eq!(html.matches("class=\"chart ").count(), 6);
}

#[test]
fn a_page_of_a_hundred_bad_agents_stays_light() {
    let mut history = empty();
    let window_ms = 24 * HOUR_MS;
    for i in 0..100_i64 {
        let no = history.add_agent(&format!("agent-{i:03}.region-1.example"), before(window_ms));
        let times = || (0..480).map(|s| before((479 - s) * 3 * MINUTE_MS));
        let wave = |phase: i64| {
            move |t: Timestamp| {
                (
                    t,
                    75.0 + 24.0 * ((t.as_millis() / MINUTE_MS * 37 + phase) as f64).sin(),
                )
            }
        };
        history.add_series(no, names::SYSTEM_CPU_USAGE, &[], times().map(wave(i)));
        history.add_series(
            no,
            names::SYSTEM_MEMORY_USAGE,
            &[],
            times().map(wave(i * 7)),
        );
    }
    let report = performance_report(&history, &day()).unwrap();
    assert!(report.findings.len() > 100);
    let html = render(&history, &report, Format::Html).unwrap();
    assert!(html.len() < 600_000, "{} bytes", html.len());
    assert_eq!(html.matches("class=\"chart ").count(), 24);
}

#[test]
fn an_empty_file_gives_a_report() {
    let history = FakeHistory::default();
    let report = performance_report(&history, &day()).unwrap();
    assert_eq!(report.coverage, 0.0);
    assert_eq!(report.trends.average_health_score, None);
    for format in [
        Format::Json,
        Format::Text,
        Format::Markdown,
        Format::Csv,
        Format::Html,
    ] {
        assert!(!render(&history, &report, format).unwrap().is_empty());
    }
    let everything = ReportRequest {
        window: Window::until(end()),
        agent: None,
    };
    let report = performance_report(&troubled(), &everything).unwrap();
    for format in [Format::Json, Format::Text, Format::Html] {
        assert!(!render(&troubled(), &report, format).unwrap().is_empty());
    }
}
