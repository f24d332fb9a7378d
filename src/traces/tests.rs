//! Small traces in full.

use super::{samples::*, *};
use crate::model::{AgentOrigin, AttributeValue, Resource, Span, SpanKind, SpanLink, TraceId};

/// A planner asks a researcher and a coder at once, and a reviewer after them.
pub(super) fn team() -> Vec<Span> {
    vec![
        span(1, 0, "planner:plan", 0, 1000),
        span(2, 1, "researcher:research", 100, 500),
        failed(
            span(4, 2, "researcher:search", 150, 250),
            "429 Too Many Requests",
        ),
        span(5, 2, "researcher:search", 300, 450),
        span(3, 1, "coder:code", 100, 700),
        kind(span(6, 3, "coder:chat", 120, 680), SpanKind::Client),
        span(7, 1, "reviewer:review", 720, 950),
    ]
}

#[test]
fn a_team_is_analysed() {
    let analysis = analyse(&team()).unwrap();
    let path: Vec<(String, i64, i64)> = analysis
        .segments
        .iter()
        .map(|s| (s.label(), s.start_ns / MS, s.duration_ns / MS))
        .collect();
    let expected = [
        ("planner:plan", 0, 100),
        ("coder:code", 100, 20),
        ("coder:chat", 120, 560),
        ("coder:code", 680, 20),
        ("planner:plan", 700, 20),
        ("reviewer:review", 720, 230),
        ("planner:plan", 950, 50),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(l, a, b)| ((*l).to_owned(), *a, *b))
        .collect();
    assert_eq!(path, expected);
    let planner = &analysis.agents[&agent("planner")];
    assert_eq!(planner.self_ns, 170 * MS);
    // The chat can lose 200 ms of its 560 before the researcher is waited for.
    assert_eq!(analysis.segments[2].drag_ns, Some(200 * MS));
    assert_eq!(analysis.segments[5].drag_ns, Some(230 * MS));
    let [retry] = &analysis.retries[..] else {
        panic!("{:?}", analysis.retries);
    };
    assert_eq!(
        (&retry.gaps_ns[..], retry.has_succeeded),
        (&[50 * MS][..], true)
    );
    assert_eq!(&*analysis.errors[0].message, "429 Too Many Requests");
    assert!(analysis.errors[0].is_origin);
    let json = serde_json::to_string_pretty(&to_json(&analysis)).unwrap() + "\n";
    assert_eq!(json, include_str!("analysis/team.json"));
    assert_eq!(to_text(&analysis), include_str!("analysis/team.txt"));
    let retimed = what_if(&team(), |node| node.agent_name() == "coder", 0.5).unwrap();
    assert_eq!((retimed.before_ns, retimed.after_ns), (1000 * MS, 800 * MS));
}

#[test]
fn an_unknown_trace_and_one_without_an_end_are_told_apart() {
    assert_eq!(analyse(&[]).unwrap_err().to_string(), "Trace not found");
    let running = [open(span(1, 0, "a:b", 0, 0))];
    let error = analyse(&running).unwrap_err();
    assert_eq!(error.to_string(), "No completed spans in trace");
    let failed = [failed(span(1, 0, "a:b", 0, 10), "")];
    assert_eq!(analyse(&failed).unwrap().failed_spans, 1);
}

#[test]
fn what_came_twice_counts_once() {
    let mut odd = span(2, 1, "b:y", 10, 20);
    odd.attributes.set("x", AttributeValue::Float(f64::NAN));
    let spans = [
        span(1, 0, "a:x", 0, 100),
        odd.clone(),
        open(odd.clone()),
        odd,
        span(1, 0, "a:x", 0, 100),
        span(1, 0, "a:x", 0, 90),
    ];
    let forest = Forest::new(&spans);
    assert_eq!(forest.nodes.len(), 3);
    assert_eq!(
        (forest.duplicates, forest.superseded, forest.conflicts),
        (2, 1, 1)
    );
}

#[test]
fn missing_parents_cycles_and_halves_are_survived() {
    let mut server = span(2, 1, "b:serve", 12, 18);
    server.is_shared = true;
    let spans = [
        span(2, 1, "a:call", 10, 20),
        server,
        span(3, 2, "b:work", 13, 14),
        // 1 never came, 5 is its own parent, 6 and 7 are each other's.
        span(4, 1, "a:other", 30, 40),
        span(5, 5, "a:self", 50, 51),
        span(6, 7, "a:cycle", 60, 61),
        span(7, 6, "a:cycle", 62, 63),
    ];
    let forest = Forest::new(&spans);
    assert_eq!(
        (forest.nodes.len(), forest.roots.len(), forest.cycles),
        (8, 3, 2)
    );
    let work = forest.find(TraceId::new(1).unwrap(), id(3)).unwrap();
    assert_eq!(forest.nodes[work].depth, 3);
    let root = forest.main_root().unwrap();
    assert_eq!(forest.nodes[root].operation(), NOT_RECEIVED);
    assert_eq!(forest.nodes[root].duration_ns(), 30 * MS);
    assert_eq!(analyse(&spans).unwrap().missing_parents[0].children, 2);
}

#[test]
fn spans_that_name_no_agent_are_of_the_one_above() {
    let mut tool = span(2, 1, "service:tool", 1, 2);
    tool.agent_origin = AgentOrigin::Service;
    let mut lone = span(3, 0, "service:lone", 1, 2);
    lone.agent_origin = AgentOrigin::Service;
    let spans = [span(1, 0, "planner:plan", 0, 3), tool, lone];
    let forest = Forest::new(&spans);
    let agents: Vec<&str> = forest.nodes.iter().map(Node::agent_name).collect();
    assert_eq!(agents, ["planner", "planner", "service"]);
}

#[test]
fn messages_that_were_waited_for_are_on_the_path() {
    let message = |until: i64| {
        vec![
            span(1, 0, "planner:run", 0, 100),
            kind(span(2, 1, "planner:publish", 10, 12), SpanKind::Producer),
            kind(span(3, 2, "coder:process", 30, until), SpanKind::Consumer),
        ]
    };
    let analysis = analyse(&message(90)).unwrap();
    let path = ["planner:run", "coder:process", "planner:run"];
    // The queue is the planner's, and noted as a wait.
    assert_eq!(
        analysis.critical_path,
        ["planner:run", "planner:publish", path[0], path[1], path[2]]
    );
    let [wait] = &analysis.waits[..] else {
        panic!()
    };
    assert_eq!((wait.kind, wait.total_ns), (WaitKind::Queue, 18 * MS));
    let late = analyse(&message(130)).unwrap();
    assert_eq!(late.beside, [id(3).to_string()]);
    assert!(!late.critical_path.contains(&"coder:process".to_owned()));
}

#[test]
fn a_linked_root_that_was_waited_for_is_on_the_path() {
    let linked = |no: u64, to: u64, from: i64, until: i64| {
        let mut root = span(no, 0, "coder:process", from, until);
        root.links.push(SpanLink {
            trace_id: TraceId::new(1).unwrap(),
            span_id: id(to),
            ..SpanLink::default()
        });
        root
    };
    // 4 comes from within 3, ends after it, and before the run that 3 came from.
    let spans = [
        span(1, 0, "planner:run", 0, 100),
        span(2, 1, "planner:publish", 10, 12),
        linked(3, 2, 20, 40),
        linked(4, 3, 50, 90),
    ];
    let forest = Forest::new(&spans);
    let path = CriticalPath::of(&forest);
    let awaited: Vec<_> = path.handovers.iter().map(|h| h.awaited_by).collect();
    assert_eq!(awaited, [Some(0), Some(0)]);
    let way: Vec<_> = path
        .segments
        .iter()
        .map(|s| forest.nodes[s.node].span_id)
        .collect();
    assert_eq!(way, [1, 2, 1, 3, 1, 4, 1].map(id));
    // Links in a ring: one of them is not followed.
    let ring = [linked(1, 2, 0, 10), linked(2, 1, 0, 10)];
    assert_eq!(CriticalPath::of(&Forest::new(&ring)).handovers.len(), 1);
}

#[test]
fn a_linked_root_leads_back_to_what_it_came_from() {
    let link = SpanLink {
        trace_id: TraceId::new(1).unwrap(),
        span_id: id(2),
        ..SpanLink::default()
    };
    let mut root = span(3, 0, "coder:process", 50, 500);
    root.links = vec![link];
    let spans = [
        span(1, 0, "planner:run", 0, 60),
        span(2, 1, "planner:publish", 10, 20),
        root,
        span(4, 1, "planner:other", 5, 60),
    ];
    let analysis = analyse(&spans).unwrap();
    assert_eq!(analysis.critical_path, ["coder:process"]);
    let [(wait, segments)] = &analysis.earlier[..] else {
        panic!()
    };
    assert_eq!(*wait, 30 * MS);
    let way: Vec<String> = segments.iter().map(PathSegment::label).collect();
    // Through the linked span, whatever else was going on.
    assert_eq!(way, ["planner:run", "planner:publish"]);
}

#[test]
fn clocks_are_corrected_between_known_hosts_only() {
    let on = |mut span: Span, host: &str| {
        let mut resource = Resource::default();
        resource
            .attributes
            .set("host.name", AttributeValue::Text(host.into()));
        span.resource = resource.into();
        span
    };
    let spans = |a: &str, b: &str| {
        [
            on(span(1, 0, "a:call", 100, 200), a),
            on(span(2, 1, "b:serve", 0, 60), b),
            on(span(3, 2, "b:work", 10, 20), b),
        ]
    };
    let shifts = |spans: &[Span]| {
        let mut forest = Forest::new(spans);
        let shifts = correct_skew(&mut forest);
        shifts.iter().map(|s| s.shift_ns / MS).collect::<Vec<_>>()
    };
    assert_eq!(shifts(&spans("one", "two")), [120, 120]);
    assert!(shifts(&spans("one", "one")).is_empty());
    assert!(shifts(&spans("", "two")).is_empty());
}

#[test]
fn a_profile_tells_where_the_time_goes() {
    let mut profile = Profile::new(Some("plan"));
    for no in 0..20 {
        let mut spans = team();
        // The slowest trace waits for its reviewer.
        if no == 19 {
            spans[6].end_ns = spans[6].end_ns.map(|end| end + 1000 * MS);
            spans[0].end_ns = spans[0].end_ns.map(|end| end + 1000 * MS);
        }
        assert!(profile.add(&spans));
    }
    assert!(!profile.add(&[span(1, 0, "planner:other", 0, 10)]));
    assert!(!profile.add(&[]));
    let report = profile.report();
    assert_eq!(
        (
            report.all.traces,
            report.middle.traces,
            report.slowest.traces
        ),
        (20, 4, 1)
    );
    assert_eq!((report.p50_ns, report.p99_ns), (1000 * MS, 2000 * MS));
    let review = report
        .labels
        .iter()
        .find(|l| &*l.label == "reviewer:review")
        .unwrap();
    assert_eq!((review.share_p50, review.share_p95), (0.23, 0.615));
    let chat = report
        .labels
        .iter()
        .find(|l| &*l.label == "coder:chat")
        .unwrap();
    assert_eq!(chat.drag_p50_ns, 200e6);
    let folded = "planner:plan 3400000\nplanner:plan;coder:code 800000\n\
                  planner:plan;coder:code;coder:chat 11200000\nplanner:plan;reviewer:review 5600000\n";
    assert_eq!(profile.folded(), folded);
    assert_eq!(report.to_json()["paths"][0]["path"][2], "coder:chat");
    let svg = profile.flame_svg();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(
        svg.contains("<title>planner:plan: 21.0 s (100.0 %)</title>"),
        "{svg}"
    );
    let each: Vec<Retimed> = (0..20)
        .filter_map(|_| what_if(&team(), |node| node.agent_name() == "reviewer", 0.7))
        .collect();
    let saved = WhatIf::over(&each).unwrap();
    assert_eq!(saved.p50.before_ns - saved.p50.after_ns, 69 * MS);
}

#[test]
fn two_traces_are_compared() {
    let before = team();
    let mut after = team();
    after.push(span(8, 7, "reviewer:chat", 730, 930));
    after.remove(3);
    let comparison = compare(&before, &after);
    let told = "\
1.00 s -> 1.00 s (0)

  on path      self   spans  errors  operation
  +200 ms   +200 ms      +1      +0  reviewer:chat
  -200 ms   -200 ms      +0      +0  reviewer:review
        0   +150 ms      +0      +0  researcher:research
        0   -150 ms      -1      +0  researcher:search

  before   after  call path
       2       1  planner:plan > researcher:research > researcher:search
       0       1  planner:plan > reviewer:review > reviewer:chat
";
    assert_eq!(comparison.to_text(), told);
    assert_eq!(comparison.to_json()["structure"][1]["after"], 1.0);
    let mut profiles = [Profile::new(None), Profile::new(None)];
    for (profile, spans) in profiles.iter_mut().zip([&before, &after]) {
        profile.add(spans);
        profile.add(spans);
    }
    let averaged = compare_profiles(&profiles[0], &profiles[1]);
    assert_eq!(
        (averaged.traces, averaged.labels),
        ((2, 2), comparison.labels)
    );
}

#[test]
fn a_waterfall_shows_path_errors_and_what_is_open() {
    let mut spans = team();
    spans.push(open(span(8, 7, "reviewer:chat", 800, 0)));
    let options = WaterfallOptions {
        width: 80,
        limit: 9,
        has_colour: false,
    };
    let drawn = waterfall(&spans, options);
    println!("{drawn}");
    assert_eq!(drawn, WATERFALL);
    let coloured = waterfall(
        &spans,
        WaterfallOptions {
            has_colour: true,
            ..options
        },
    );
    assert!(coloured.contains("\u{1b}[33m█"));
    assert_eq!(waterfall(&[], options), "no spans\n");
}

const WATERFALL: &str = "\
trace 00000000000000000000000000000001: 8 spans, 1 failed, 1 open, 1.00 s
planner:plan                      |████░░░░░░░░░░░░░░░░░░░██░░░░░░░██|   1.00 s
├ researcher:research             |   ░░░░░░░░░░░░░░                 |   400 ms
│ ├ researcher:search            !|     ░░░░                         |   100 ms
      ! 429 Too Many Requests
│ └ researcher:search             |          ░░░░░░                  |   150 ms
├ coder:code                      |   ██░░░░░░░░░░░░░░░░░░█          |   600 ms
│ └ coder:chat                    |    ████████████████████          |   560 ms
└ reviewer:review                 |                        ████░░░░░ |   230 ms
  └ reviewer:chat                 |                           ██████>|     open
";
