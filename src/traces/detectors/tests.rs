//! Every detector fires on what it is for, and stays quiet on what looks like it.

use std::sync::Arc;

use super::*;
use crate::{
    model::{
        AgentStatus, AttributeValue, Severity, Span, SpanKind, Timestamp, TokenUsage, TraceId,
    },
    traces::{
        ToldSpan,
        samples::{MS, START, agent, failed, id, kind, open, span},
    },
};

fn with(mut span: Span, attributes: &[(&str, &str)]) -> Span {
    for (key, value) in attributes {
        span.attributes
            .set(key, AttributeValue::Text((*value).into()));
    }
    span
}

fn settings() -> DetectorSettings {
    DetectorSettings::default()
}

/// What all detectors find in these spans, an hour after they began.
fn judged(spans: &[Span]) -> Vec<Finding> {
    let run = RunView::new("run", spans, START + 3_600_000 * MS);
    judge_run(&run, &settings(), &EdgeHistory::default())
}

fn detectors(spans: &[Span]) -> Vec<Detector> {
    judged(spans).iter().map(|found| found.detector).collect()
}

/// Agents below one root, one after the other.
fn in_turn(names: &[&str]) -> Vec<Span> {
    let mut spans = vec![span(1, 0, "host:run", 0, 100_000)];
    for (no, name) in (2..).zip(names) {
        let from = no as i64 * 10;
        spans.push(span(no, 1, &format!("{name}:reply"), from, from + 9));
    }
    spans
}

#[test]
fn a_circle_of_agents_is_a_loop() {
    let turns = ["writer", "critic", "editor"].repeat(5);
    let found = judged(&in_turn(&turns));
    let [found] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!(found.alert_id(), "trace_loop:writer:run");
    assert_eq!((found.value, found.threshold), (5.0, 5.0));
    assert_eq!(
        found.message,
        "writer -> critic -> editor -> writer 5 times in a row"
    );
    assert_eq!(found.spans.len(), 15);
    assert_eq!(found.spans[0].span_id, id(16));
    // One that goes on is the same alert.
    let longer = judged(&in_turn(&["writer", "critic", "editor"].repeat(7)));
    assert_eq!(
        (longer[0].alert_id(), longer[0].value),
        (found.alert_id(), 7.0)
    );
    // The same agent alone, in a row.
    let alone = judged(&in_turn(&["writer"; 10]));
    assert_eq!(alone[0].alert_id(), "trace_loop:writer:run");
    assert_eq!(alone[0].value, 10.0);
}

#[test]
fn rounds_that_end_and_work_side_by_side_are_no_loop() {
    assert_eq!(detectors(&in_turn(&["writer", "critic"].repeat(4))), []);
    assert_eq!(detectors(&in_turn(&["writer"; 9])), []);
    let mut mixed = ["writer", "critic"].repeat(4);
    mixed.insert(4, "editor");
    assert_eq!(detectors(&in_turn(&mixed)), []);
    // Twenty calls at the same time.
    let mut spans = vec![span(1, 0, "host:run", 0, 1_000)];
    spans.extend((2..22).map(|no| span(no, 1, "worker:map", 10, 900)));
    assert_eq!(detectors(&spans), []);
}

#[test]
fn an_edge_used_more_than_is_usual_is_a_loop() {
    let mut history = EdgeHistory::default();
    let calm = |calls: usize| {
        let names: Vec<&str> = ["a", "b", "c", "d", "e", "f", "g"]
            .into_iter()
            .cycle()
            .take(calls)
            .collect();
        in_turn(&names)
    };
    let usual = calm(14);
    for _ in 0..30 {
        history.note(&RunView::new("x", &usual, START));
    }
    let judge = |spans: &[Span]| judge_run(&RunView::new("x", spans, START), &settings(), &history);
    assert_eq!(judge(&usual), []);
    // No circle: the others come in another order every time.
    let mut names = Vec::new();
    for no in 0..21 {
        names.push("a");
        names.extend(
            ["b", "c", "d", "e"]
                .into_iter()
                .cycle()
                .skip(no * no)
                .take(1 + no % 3),
        );
    }
    let found = judge(&in_turn(&names));
    assert_eq!(
        found[0].message,
        "host -> a 21 times in one run, where 2 is usual at most"
    );
    assert_eq!(found[0].alert_id(), "trace_loop:host:x");
}

fn tool(no: u64, name: &str, arguments: &str) -> Span {
    let from = no as i64 * 10;
    let span = span(no, 1, &format!("coder:execute_tool {name}"), from, from + 5);
    with(
        span,
        &[
            ("gen_ai.tool.name", name),
            ("gen_ai.tool.call.arguments", arguments),
        ],
    )
}

#[test]
fn the_same_call_again_and_again_is_a_repeated_step() {
    let mut spans = vec![span(1, 0, "coder:run", 0, 1_000)];
    let forms = [r#"{"q": "x", "n": 1}"#, r#"{"n":1,"q":"x"}"#];
    spans.extend((2..7).map(|no| tool(no, "grep", forms[no as usize % 2])));
    // Told by two libraries: counts once.
    let mut inner = tool(7, "grep", forms[0]);
    inner.parent_id = Some(id(6));
    spans.push(inner);
    let found = judged(&spans);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].alert_id(), "trace_repeated_step:coder:run");
    assert_eq!((found[0].value, found[0].spans.len()), (5.0, 5));
    assert!(
        found[0]
            .message
            .ends_with(r#"with the same arguments: {"n":1,"q":"x"}"#)
    );
    spans.remove(3);
    assert_eq!(detectors(&spans), []);
    // Other arguments, or none that are told.
    let mut others = vec![span(1, 0, "coder:run", 0, 1_000)];
    others.extend((2..12).map(|no| tool(no, "grep", &format!(r#"{{"n":{no}}}"#))));
    others.extend((12..22).map(|no| {
        let mut span = tool(no, "ls", "");
        span.attributes.remove("gen_ai.tool.call.arguments");
        span
    }));
    assert_eq!(detectors(&others), []);
}

fn inference(no: u64, name: &str, tokens: u64, cost: f64) -> Span {
    let mut span = span(no, 1, &format!("{name}:chat"), 10, 20);
    span.usage = Some(TokenUsage {
        input: tokens,
        cost: Some(cost),
        ..TokenUsage::default()
    });
    span
}

#[test]
fn budgets_are_told_at_half_at_four_fifths_and_when_used_up() {
    let budget = BudgetSettings {
        tokens_per_run: 1_000,
        cost_per_run: 10.0,
        ..settings().runaway_cost
    };
    let told = |tokens: u64, cost: f64| -> Vec<(String, Severity)> {
        let spans = [
            span(1, 0, "host:run", 0, 100),
            inference(2, "coder", tokens, cost),
            inference(3, "other", 9, 0.0),
        ];
        let run = RunView::new("run", &spans, START);
        let found = run_budgets(&run, &budget);
        found.iter().map(|f| (f.alert_id(), f.severity)).collect()
    };
    assert_eq!(told(499, 4.9), []);
    let id = |mark: &str| format!("trace_runaway_cost:coder:run:{mark}");
    assert_eq!(
        told(500, 8.0),
        [
            (id("tokens_50"), Severity::Info),
            (id("cost_80"), Severity::Warning)
        ]
    );
    assert_eq!(told(5_000, 0.0), [(id("tokens_100"), Severity::Critical)]);
}

#[test]
fn a_budget_of_a_day_begins_anew_with_the_day() {
    let budget = BudgetSettings {
        tokens_per_day: 1_000,
        ..settings().runaway_cost
    };
    let mut ledger = DayLedger::default();
    let now = Timestamp::from_millis(START / MS + 1_000);
    for no in 0..7 {
        let span = inference(no + 1, "coder", 100 + no, 0.0);
        ledger.add(&ToldSpan::from(&span), now);
        // Yesterday's does not count.
        let mut late = span.clone();
        late.end_ns = Some(START - 1);
        ledger.add(&ToldSpan::from(&late), now);
    }
    let found = ledger.findings(&budget, now);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (
            found[0].alert_id().as_str(),
            found[0].value,
            found[0].spans.len()
        ),
        ("trace_runaway_cost:coder:2024-01-01:tokens_50", 721.0, 5)
    );
    assert_eq!(found[0].spans[0].span_id, id(7));
    let tomorrow = now.plus_millis(86_400_000);
    assert!(
        found[0]
            .until
            .is_some_and(|until| until > now && until < tomorrow)
    );
    assert_eq!(ledger.findings(&budget, tomorrow), []);
    assert_eq!(ledger.findings(&settings().runaway_cost, now), []);
}

/// Findings about open spans, so many seconds after the start.
fn still(
    spans: &[Span],
    seconds: i64,
    p99_s: Option<i64>,
    status: AgentStatus,
) -> (Vec<Finding>, Vec<Finding>) {
    let around = Surroundings {
        now_ns: START + seconds * 1_000 * MS,
        p99_ns: &|_, _| p99_s.map(|s| s * 1_000 * MS),
        status: &|_| status,
    };
    let open_ones = spans.iter().filter(|span| span.is_open());
    let open_ones: Vec<Arc<Span>> = open_ones.cloned().map(Arc::new).collect();
    (
        stalls(&open_ones, &around, &settings()),
        quiet_agents(spans, &around, &settings()),
    )
}

#[test]
fn an_open_span_is_open_then_stalled_and_lost_without_its_agent() {
    let span = open(span(1, 0, "coder:write", 0, 0));
    let stall = settings().silent_stall;
    let state = |seconds: i64, p99: Option<i64>, status| {
        let p99 = p99.map(|s| s * 1_000 * MS);
        open_state(&span, START + seconds * 1_000 * MS, p99, status, &stall)
    };
    assert_eq!(state(300, None, AgentStatus::Active), OpenState::Open);
    assert_eq!(state(301, None, AgentStatus::Unknown), OpenState::Stalled);
    assert_eq!(state(599, Some(200), AgentStatus::Active), OpenState::Open);
    assert_eq!(
        state(601, Some(200), AgentStatus::Active),
        OpenState::Stalled
    );
    assert_eq!(state(301, Some(1), AgentStatus::Active), OpenState::Stalled);
    assert_eq!(state(1, None, AgentStatus::Stale), OpenState::Lost);
    assert_eq!(state(1, None, AgentStatus::Unhealthy), OpenState::Lost);
    assert_eq!(state(-1, None, AgentStatus::Active), OpenState::Open);
}

#[test]
fn work_that_stands_still_is_a_silent_stall() {
    let spans = [
        open(span(1, 0, "planner:plan", 0, 0)),
        open(span(2, 1, "coder:write", 1_000, 0)),
    ];
    let (found, _) = still(&spans, 400, None, AgentStatus::Active);
    assert_eq!(found.len(), 1, "the planner only waits: {found:?}");
    let trace = TraceId::new(1).unwrap();
    assert_eq!(
        found[0].alert_id(),
        format!("trace_silent_stall:coder:{trace}")
    );
    assert_eq!(
        found[0].message,
        "coder has been at write for 6m39s, where 5m is the most to be expected"
    );
    assert_eq!((found[0].value, found[0].threshold), (399.0, 300.0));
    assert_eq!(found[0].spans[0].span_id, id(2));
    assert_eq!(still(&spans, 300, None, AgentStatus::Active).0, []);
    assert_eq!(still(&spans, 400, Some(150), AgentStatus::Active).0, []);
    // Of an agent that is gone, after the floor.
    let (gone, _) = still(&spans, 400, Some(150), AgentStatus::Stale);
    assert!(
        gone[0].message.ends_with("and the agent is stale"),
        "{gone:?}"
    );
    assert_eq!(still(&spans, 200, Some(150), AgentStatus::Stale).0, []);
}

#[test]
fn an_agent_that_is_alive_and_ends_nothing_is_idle() {
    let spans = [
        open(span(1, 0, "coder:run", 0, 0)),
        span(2, 1, "coder:step", 1_000, 5_000),
    ];
    let (_, found) = still(&spans, 606, None, AgentStatus::Active);
    assert_eq!(found[0].detector, Detector::Idle);
    assert_eq!(
        found[0].message,
        "coder is alive, but began and ended nothing for 10m1s while run is open"
    );
    // Not alive for all that is known: silent.
    let (_, silent) = still(&spans, 606, None, AgentStatus::Unknown);
    assert_eq!(silent[0].detector, Detector::SilentStall);
    // Soon after its last step, and where such runs take long.
    assert_eq!(still(&spans, 604, None, AgentStatus::Active).1, []);
    assert_eq!(still(&spans, 606, Some(600), AgentStatus::Active).1, []);
    // It waits for another agent.
    let waits = [
        open(span(1, 0, "coder:run", 0, 0)),
        open(span(2, 1, "tester:test", 600_000, 0)),
    ];
    assert_eq!(still(&waits, 1_100, None, AgentStatus::Active).1, []);
}

#[test]
fn a_hand_off_fails_when_nobody_begins_when_it_says_nothing_and_to_oneself() {
    let handoff = |to: &str, arguments: &[(&str, &str)]| {
        let attributes = [arguments, &[("gen_ai.transfer.target.name", to)]].concat();
        with(span(2, 1, "triage:transfer", 10, 20), &attributes)
    };
    let root = span(1, 0, "triage:run", 0, 100_000);
    let taken = span(3, 1, "coder:write", 15_000, 16_000);
    let one = |spans: &[Span]| -> Option<String> {
        let found = judged(spans);
        assert!(found.len() <= 1, "{found:?}");
        found.first().map(|found| {
            assert_eq!(found.alert_id(), "trace_failed_handoff:triage:run");
            assert_eq!(found.spans[0].span_id, id(2));
            found.message.clone()
        })
    };
    let good = [root.clone(), handoff("coder", &[]), taken.clone()];
    assert_eq!(one(&good), None);
    let told = [root.clone(), handoff("coder", &[])];
    assert_eq!(
        one(&told).unwrap(),
        "triage hands over to coder, which does not begin within 30s"
    );
    // It may still begin.
    let run = RunView::new("run", &told, START + 1_000 * MS);
    assert_eq!(failed_handoffs(&run, &settings().failed_handoff), []);
    let mut late = taken.clone();
    late.start_ns += 40_000 * MS;
    late.end_ns = None;
    let late = [root.clone(), handoff("coder", &[]), late];
    assert_eq!(
        one(&late).unwrap(),
        "triage hands over to coder, which begins 54s980ms later"
    );
    assert_eq!(
        one(&[root.clone(), handoff("triage", &[])]).unwrap(),
        "triage hands over to itself"
    );
    let empty = [
        ("gen_ai.tool.name", "handoff"),
        ("gen_ai.tool.call.arguments", "{}"),
    ];
    assert_eq!(
        one(&[root, handoff("coder", &empty), taken]).unwrap(),
        "triage hands over to coder with empty arguments"
    );
}

#[test]
fn attempts_in_a_row_after_errors_are_a_retry_storm() {
    let attempts = |count: u64| {
        let mut spans = vec![span(1, 0, "coder:run", 0, 100_000)];
        spans.extend((2..2 + count).map(|no| {
            let from = no as i64 * 100;
            let span = failed(span(no, 1, "coder:chat", from, from + 50), "no");
            with(
                span,
                &[(
                    "http.response.status_code",
                    if no == 2 { "500" } else { "429" },
                )],
            )
        }));
        spans
    };
    let found = judged(&attempts(5));
    assert_eq!(found[0].alert_id(), "trace_retry_storm:coder:run");
    assert_eq!(
        found[0].message,
        "coder tried chat 5 times within 450ms, each time after an error, 50ms to 50ms apart; 4 of 5 errors were 429"
    );
    assert_eq!((found[0].value, found[0].spans.len()), (5.0, 5));
    assert_eq!(detectors(&attempts(4)), []);
    // Not one after the other's error.
    let mut well = attempts(8);
    for span in &mut well {
        span.status = crate::model::SpanStatus::Ok;
    }
    assert_eq!(detectors(&well), []);
}

#[test]
fn callers_that_give_up_one_above_the_other_are_a_cascade() {
    let spans = [
        failed(span(1, 0, "gateway:ask", 0, 300), "timed out"),
        failed(span(2, 1, "planner:plan", 10, 200), "timed out"),
        failed(span(3, 2, "coder:write", 20, 100), "timed out"),
        span(4, 3, "model:chat", 30, 5_000),
    ];
    let found = judged(&spans);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].alert_id(), "trace_cascading_timeout:coder:run");
    assert_eq!((found[0].value, found[0].threshold), (3.0, 2.0));
    let order: Vec<u64> = found[0].spans.iter().map(|s| s.span_id.as_u64()).collect();
    assert_eq!(order, [4, 3, 2, 1]);
    assert!(
        found[0]
            .message
            .starts_with("model:chat ended 4s900ms later, after 3 callers had given up")
    );
    // What they waited for is still open.
    let mut hangs = spans.clone();
    hangs[3] = open(hangs[3].clone());
    assert!(
        judged(&hangs)[0]
            .message
            .starts_with("model:chat is still open")
    );
}

#[test]
fn failures_that_are_waited_for_and_messages_are_no_cascade() {
    let spans = [
        failed(span(1, 0, "gateway:ask", 0, 300), "no"),
        failed(span(2, 1, "planner:plan", 10, 200), "no"),
        failed(span(3, 2, "coder:write", 20, 100), "no"),
    ];
    assert_eq!(detectors(&spans), []);
    // Work that a message started may end when it likes.
    let mut message = spans.to_vec();
    message.push(kind(
        span(4, 3, "mailer:send", 30, 5_000),
        SpanKind::Consumer,
    ));
    assert_eq!(detectors(&message), []);
    // One caller alone.
    let alone = [
        failed(span(1, 0, "gateway:ask", 0, 300), "timed out"),
        span(2, 1, "planner:plan", 10, 900),
    ];
    assert_eq!(detectors(&alone), []);
}

#[test]
fn detectors_that_are_switched_off_find_nothing() {
    let spans = in_turn(&["writer", "critic"].repeat(9));
    let mut off = settings();
    for detector in Detector::ALL {
        off.switch_mut(detector).enabled = false;
    }
    let run = RunView::new("run", &spans, START);
    assert_eq!(judge_run(&run, &off, &EdgeHistory::default()), []);
    let labels = judged(&spans)[0].labels();
    assert_eq!(
        labels,
        [
            ("agent_id", "writer"),
            ("alertname", "trace_loop"),
            ("run_id", "run"),
            ("severity", "warning")
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert_eq!(agent("writer"), judged(&spans)[0].agent);
}
