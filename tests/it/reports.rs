//! Overview, health and performance report against figures that the test works out itself.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use longwatch::model::Timestamp;
use serde_json::{Value, json};

use crate::server::{QUIET, Server, now_ms, past};

const HOUR_MS: i64 = 3_600_000;
const PERFORMANCE: &str = "/api/v1/reports/performance";
const CPU: &str = "system_cpu_usage";
const MEMORY: &str = "system_memory_usage";

fn rfc3339(ms: i64) -> String {
    Timestamp::from_millis(ms).to_rfc3339()
}

/// Samples of one metric, one every ten minutes of the 24 hours that end at `end`.
fn day(end: i64, value: impl Fn(i64) -> f64) -> Vec<(i64, f64)> {
    (0..144).map(|i| (end - i * 600_000, value(i))).collect()
}

async fn push(server: &Server, agent: &str, name: &str, samples: &[(i64, f64)]) {
    let metrics: Vec<Value> = samples
        .iter()
        .map(|(time, value)| json!({"name": name, "value": value, "timestamp": rfc3339(*time)}))
        .collect();
    let answer = server.push(agent, &json!(metrics)).await;
    assert_eq!(answer["rejected"], 0, "{answer}");
}

fn mean(samples: &[(i64, f64)]) -> f64 {
    samples.iter().map(|(_, v)| v).sum::<f64>() / samples.len() as f64
}

fn max(samples: &[(i64, f64)]) -> f64 {
    samples.iter().map(|(_, v)| *v).fold(f64::MIN, f64::max)
}

/// By nearest rank.
fn percentile(samples: &[(i64, f64)], percent: usize) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(|(_, v)| *v).collect();
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent).div_ceil(100) - 1]
}

#[track_caller]
fn assert_close(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-9, "{found} is not {expected}");
}

/// An agent of the fleet: its samples, and what they must cost.
struct Role {
    id: &'static str,
    cpu: Vec<(i64, f64)>,
    memory: Vec<(i64, f64)>,
    cost: &'static [(&'static str, f64)],
}

fn fleet(end: i64) -> Vec<Role> {
    let role = |id, cpu: f64, memory: f64, cost| Role {
        id,
        // Around the mean, and never the mean itself.
        cpu: day(end, |i| cpu + if i % 2 == 0 { 4.5 } else { -4.5 }),
        memory: day(end, |i| memory + if i % 2 == 0 { 1.25 } else { -1.25 }),
        cost,
    };
    vec![
        role("a-calm", 30.0, 40.0, &[][..]),
        // Bounds are exclusive.
        role("b-edge", 60.0, 70.0, &[][..]),
        role("c-high", 65.0, 75.0, &[("cpu", 15.0), ("memory", 10.0)]),
        role("d-cpu", 90.5, 50.0, &[("cpu", 30.0)]),
        role("e-both", 81.0, 86.0, &[("cpu", 30.0), ("memory", 25.0)]),
    ]
}

#[tokio::test]
async fn a_day_of_a_fleet_adds_up() {
    let server = Server::start();
    let end = now_ms() / 1000 * 1000;
    let fleet = fleet(end);
    for role in &fleet {
        push(&server, role.id, CPU, &role.cpu).await;
        push(&server, role.id, MEMORY, &role.memory).await;
        push(&server, role.id, "queue_depth", &day(end, |i| i as f64)).await;
    }
    let bare = json!({"agent_id": "f-bare"});
    server.post_json("/api/v1/agents", &bare).await.expect(201);
    // Their contacts are after `end`; the report is as of a moment after them.
    let to = now_ms();
    let path = format!("{PERFORMANCE}?time_window_hours=24&to={}", rfc3339(to));
    let told = server.get_json(&path).await["performance_report"].clone();
    assert_eq!(told["time_window_hours"], 24);
    assert_eq!(told["to"], rfc3339(to));
    assert_eq!(told["report_timestamp"], rfc3339(to));
    assert_eq!(told["from"], rfc3339(to - 24 * HOUR_MS));

    let in_window = |samples: &[(i64, f64)]| -> Vec<(i64, f64)> {
        let inside = |t: i64| t > to - 24 * HOUR_MS && t <= to;
        samples
            .iter()
            .copied()
            .filter(|(t, _)| inside(*t))
            .collect()
    };
    let (mut all_cpu, mut all_memory) = (Vec::new(), Vec::new());
    for role in &fleet {
        let shown = &told["agent_performance"][role.id];
        let (cpu, memory) = (in_window(&role.cpu), in_window(&role.memory));
        assert_eq!(
            shown["total_metrics"],
            2 * cpu.len() + memory.len(),
            "{shown}"
        );
        assert_eq!(shown["cpu_samples"], cpu.len());
        assert_close(&shown["avg_cpu_usage"], mean(&cpu));
        assert_close(&shown["max_cpu_usage"], max(&cpu));
        assert_close(&shown["avg_memory_usage"], mean(&memory));
        assert_close(&shown["max_memory_usage"], max(&memory));
        for percent in [50, 95, 99] {
            let of = |name| &shown[format!("p{percent}_{name}_usage").as_str()];
            assert_close(of("cpu"), percentile(&cpu, percent));
            assert_close(of("memory"), percentile(&memory, percent));
        }
        assert_eq!(shown["status"], "active");
        let cost: f64 = role.cost.iter().map(|(_, points)| points).sum();
        assert_eq!(shown["health_score"], 100.0 - cost, "{shown}");
        let deductions: Vec<_> = shown["deductions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| (d["factor"].as_str().unwrap(), d["points"].as_f64().unwrap()))
            .collect();
        assert_eq!(deductions, role.cost);
        all_cpu.extend(cpu);
        all_memory.extend(memory);
    }
    let bare = &told["agent_performance"]["f-bare"];
    assert_eq!(
        (&bare["total_metrics"], &bare["health_score"]),
        (&json!(0), &json!(0.0))
    );
    assert_eq!(bare["status"], "unknown");

    // longwatch's own samples have no place in averages only if it is left out by hand.
    let own = &told["agent_performance"]["longwatch"];
    let own_sum =
        |mean: &str, count: &str| own[mean].as_f64().unwrap() * own[count].as_f64().unwrap();
    let trends = &told["system_trends"];
    let cpu_count = all_cpu.len() as f64 + own["cpu_samples"].as_f64().unwrap();
    let cpu_sum = mean(&all_cpu) * all_cpu.len() as f64 + own_sum("avg_cpu_usage", "cpu_samples");
    assert_close(&trends["average_system_cpu"], cpu_sum / cpu_count);
    let memory_count = all_memory.len() as f64 + own["memory_samples"].as_f64().unwrap();
    let memory_sum =
        mean(&all_memory) * all_memory.len() as f64 + own_sum("avg_memory_usage", "memory_samples");
    assert_close(&trends["average_system_memory"], memory_sum / memory_count);

    let expected = [
        "Agent e-both has low health score (45.0), investigate resource usage",
        "Agent e-both showing high CPU usage (81.0%), consider scaling",
        "Agent e-both showing high memory usage (86.0%), check for memory leaks",
        "Agent d-cpu showing high CPU usage (90.5%), consider scaling",
    ];
    assert_eq!(told["recommendations"], json!(expected));
    let findings = told["findings"].as_array().unwrap();
    let finding = |agent: &str, message: &str| {
        let mut all = findings.iter();
        all.any(|f| f["agent_id"] == agent && f["message"] == message)
    };
    assert!(finding("f-bare", "no data"), "{findings:?}");
    // What a finding refers to can be asked for.
    for finding in findings {
        let query = finding["evidence"]["query"].as_str().unwrap();
        server.get_json(query).await;
    }

    let one = server.get_json(&format!("{path}&agent_id=d-cpu")).await;
    let one = &one["performance_report"];
    assert_eq!(one["agent_performance"].as_object().unwrap().len(), 1);
    assert_eq!(
        one["agent_performance"]["d-cpu"],
        told["agent_performance"]["d-cpu"]
    );
    assert_close(
        &one["system_trends"]["average_system_cpu"],
        mean(&in_window(&fleet[3].cpu)),
    );
    assert_eq!(one["recommendations"], json!([expected[3]]));
    server
        .get(&format!("{path}&agent_id=nobody"))
        .await
        .problem(404);
}

#[tokio::test]
async fn a_third_of_the_fleet_is_a_matter_of_the_system() {
    let server = Server::start();
    let end = now_ms() / 1000 * 1000;
    for (agent, cpu) in [("a", 85.0), ("b", 10.0), ("c", 10.0)] {
        push(&server, agent, CPU, &day(end, |_| cpu)).await;
        push(&server, agent, MEMORY, &day(end, |_| cpu)).await;
    }
    // Agents without data are not counted.
    for agent in ["x", "y"] {
        let body = json!({ "agent_id": agent });
        server.post_json("/api/v1/agents", &body).await.expect(201);
    }
    let config = server
        .get_json(&format!("{PERFORMANCE}?window=2h&format=json"))
        .await;
    let report = &config["performance_report"];
    let with_data = report["agent_performance"].as_object().unwrap().values();
    let low = 1;
    let counted = with_data.filter(|a| a["total_metrics"] != 0).count();
    let system = "More than 30% of agents are unhealthy, investigate system-wide issues";
    let said = report["recommendations"]
        .as_array()
        .unwrap()
        .iter()
        .any(|r| r == system);
    // longwatch itself counts as soon as it has samples: 1 of 3 is more than 30 %, 1 of 4 is not.
    assert_eq!(
        said,
        low * 10 > counted * 3,
        "{counted} with data: {report}"
    );
    let single = server
        .get_json(&format!("{PERFORMANCE}?window=2h&agent_id=a"))
        .await;
    let single = &single["performance_report"]["recommendations"];
    let mine = "Agent a has low health score (60.0), investigate resource usage";
    assert_eq!(
        single[0], mine,
        "the system is no matter of one agent: {single}"
    );
}

#[tokio::test]
async fn windows_leave_out_their_beginning_and_lists_do_not() {
    let server = Server::start();
    let to = now_ms() / 1000 * 1000 - HOUR_MS;
    let from = to - HOUR_MS;
    let samples = [
        (from, 1.0),
        (from + 1, 2.0),
        (to - 1, 4.0),
        (to, 8.0),
        (to + 1, 16.0),
    ];
    push(&server, "a", CPU, &samples).await;
    let borders = format!("from={}&to={}", rfc3339(from), rfc3339(to));
    // It is registered as of now, so that only the list knows of it then.
    let listed = server
        .samples(&format!("agent_id=a&metric_name={CPU}&{borders}"))
        .await;
    let values: Vec<f64> = listed.iter().map(|(_, v)| v.as_f64().unwrap()).collect();
    assert_eq!(values, [1.0, 2.0, 4.0, 8.0], "lists hold both ends");
    let stepped = server
        .samples(&format!(
            "agent_id=a&metric_name={CPU}&{borders}&step=1h&aggregate=sum"
        ))
        .await;
    let total: f64 = stepped.iter().map(|(_, v)| v.as_f64().unwrap()).sum();
    assert_eq!(total, 15.0);
    for (time, _) in stepped {
        assert_eq!(time % HOUR_MS, 0, "aligned to the epoch");
    }

    // Of the same samples a window that ends now takes those after its beginning.
    for (start, expected) in [
        (from, 4),
        (from + 1, 3),
        (to, 1),
        (to + 1, 0),
        (from - 1, 5),
    ] {
        let path = format!("{PERFORMANCE}?from={}&to=now&agent_id=a", rfc3339(start));
        let told = server.get_json(&path).await["performance_report"].clone();
        assert_eq!(
            told["agent_performance"]["a"]["total_metrics"], expected,
            "from {start}"
        );
    }
    let at = now_ms();
    for (start, expected) in [(to, 100.0), (to + 1, 0.0)] {
        let window = at - start;
        let path = format!(
            "/api/v1/agents/a/health?at={}&window={window}ms",
            rfc3339(at)
        );
        assert_eq!(server.get_json(&path).await["health_score"], expected);
    }
}

#[tokio::test]
async fn moments_are_told_as_they_were() {
    let server = Server::start();
    server
        .push(
            "a",
            &json!([{"name": CPU, "value": 95}, {"name": "m", "value": 1}]),
        )
        .await;
    let then = now_ms();
    past(then).await;
    server
        .push(
            "b",
            &json!([{"name": CPU, "value": 5, "timestamp": rfc3339(then + 1)}]),
        )
        .await;
    let at = rfc3339(then);
    let overview = server.get_json(&format!("/api/v1/overview?at={at}")).await;
    let overview = &overview["system_overview"];
    assert_eq!(overview["timestamp"], at);
    let detail = &overview["agents"]["agents_detail"];
    assert!(
        detail["a"].is_object() && detail["b"].is_null(),
        "{overview}"
    );
    assert_eq!(detail["a"]["health_score"], 70.0);
    let shown = server
        .get_json(&format!("/api/v1/agents/a/health?at={at}&window=5m"))
        .await;
    assert_eq!(shown["health_score"], 70.0);
    assert_eq!(
        shown["deductions"],
        json!([{"factor": "cpu", "points": 30.0, "value": 95.0, "threshold": 80.0,
            "reason": "average cpu usage 95.0 % is above 80 %"}])
    );
    let early = format!("/api/v1/agents/a/health?at={}", rfc3339(then - HOUR_MS));
    server.get(&early).await.problem(404);
    let now = server.get_json("/api/v1/overview").await;
    assert!(now["system_overview"]["agents"]["agents_detail"]["b"].is_object());
    let seconds = (then as f64 / 1000.0).to_string();
    for form in [
        seconds.as_str(),
        &rfc3339(then).replace('Z', "%2B00:00"),
        "-0s",
        "now",
    ] {
        server
            .get_json(&format!("/api/v1/overview?at={form}"))
            .await;
    }
}

#[tokio::test]
async fn each_format_has_its_type_and_its_shape() {
    const HOSTILE: &str = "a,\"<xyz>";
    let server = Server::start();
    server
        .push(HOSTILE, &json!([{"name": CPU, "value": 95}]))
        .await;
    for (format, content_type, holds) in [
        ("json", "application/json", "performance_report"),
        ("html", "text/html; charset=utf-8", "<svg"),
        ("md", "text/markdown; charset=utf-8", "| Agent | Score |"),
        (
            "csv",
            "text/csv; charset=utf-8; header=present",
            "\r\n\"a,\"\"<xyz>\",active,",
        ),
        ("text", "text/plain; charset=utf-8", "AGENT "),
    ] {
        let path = format!("{PERFORMANCE}?format={format}");
        let answer = server.get(&path).await.expect(200);
        assert_eq!(answer.header("content-type"), content_type);
        let text = answer.text();
        assert!(
            text.contains(holds) && text.contains("xyz"),
            "{format}: {text}"
        );
        let is_markup = matches!(format, "html" | "md");
        assert!(
            !(is_markup && text.contains("<xyz")),
            "{format}: not escaped"
        );
        if format == "json" {
            let agents = &answer.json()["performance_report"]["agent_performance"];
            assert!(agents[HOSTILE].is_object());
        }
    }
    let page = server.get("/").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(
        page.header("content-security-policy")
            .contains("default-src 'none'")
    );
    assert!(!page.text().contains("<xyz"));
}

#[tokio::test]
async fn questions_that_make_no_sense_are_told_where() {
    let server = Server::with(&format!("{QUIET}[http]\nsamples_per_query_max = 3\n"), &[]);
    server.push("a", &json!([{"name": "m", "value": 1}])).await;
    for (path, pointer) in [
        ("/api/v1/overview?at=yesterday", "at"),
        ("/api/v1/overview?when=now", "when"),
        ("/api/v1/overview?at=1790000000000", "at"),
        ("/api/v1/samples?agentid=a", "agentid"),
        ("/api/v1/samples?agent_id=", "agent_id"),
        ("/api/v1/samples?from=now&to=-1h", "from"),
        ("/api/v1/samples?step=0s", "step"),
        ("/api/v1/samples?step=5", "step"),
        ("/api/v1/samples?aggregate=avg", "aggregate"),
        ("/api/v1/samples?step=1m&aggregate=median", "aggregate"),
        ("/api/v1/samples?from=-1h&from=-2h", "from"),
        ("/api/v1/agents/a/health?window=0s", "window"),
        ("/api/v1/agents/a/health?window=hour", "window"),
        ("/api/v1/alerts?state=open", "state"),
        ("/api/v1/alerts?severity=bad", "severity"),
        ("/api/v1/reports/performance?format=pdf", "format"),
        (
            "/api/v1/reports/performance?time_window_hours=many",
            "time_window_hours",
        ),
        (
            "/api/v1/reports/performance?time_window_hours=-1",
            "time_window_hours",
        ),
        ("/api/v1/reports/performance?window=1h&from=-1h", "from"),
        ("/api/v1/reports/performance?compare=next", "compare"),
        ("/api/v1/reports/performance?from=now&to=-1h", "from"),
        ("/api/v1/status?verbose=1", "verbose"),
    ] {
        let problem = server.get(path).await.problem(400);
        assert_eq!(
            problem["errors"][0]["pointer"], pointer,
            "{path}: {problem}"
        );
        assert!(problem["errors"][0]["detail"].is_string());
    }
    let more: Vec<Value> = (0..5)
        .map(|i| json!({"name": format!("m{i}"), "value": 1}))
        .collect();
    server.push("a", &json!(more)).await;
    let problem = server.get("/api/v1/samples?agent_id=a").await.problem(422);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("samples_per_query_max")
    );
}
