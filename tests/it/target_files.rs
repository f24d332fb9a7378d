//! Target files: what they say, what is refused and where, and how a server follows them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::{fmt::Write as _, fs, path::Path};

use longwatch::{
    config::{FileTarget, TargetLimits, call_roll, parse_targets},
    model::{AgentId, Limits, RegistrationSource},
};
use serde_json::{Value, json};

use crate::{
    server::{QUIET, Server, eventually, run},
    target::Target,
};

fn parse(name: &str, text: &str) -> Result<Vec<FileTarget>, Vec<String>> {
    let limits = Limits {
        labels_per_series: 20,
        label_value_bytes: 40,
        ..Limits::default()
    };
    let limits = TargetLimits {
        targets_max: 4,
        labels: &limits,
    };
    parse_targets(Path::new(name), text.to_owned(), &limits)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn good(name: &str, text: &str) -> Vec<FileTarget> {
    parse(name, text).unwrap_or_else(|errors| panic!("{text}\n{}", errors.join("\n")))
}

/// Id, endpoints and labels of each agent.
fn told(targets: &[FileTarget]) -> Vec<(String, Value)> {
    targets
        .iter()
        .map(|target| {
            let said = &target.agent.registration;
            let labels: serde_json::Map<_, _> = said
                .labels
                .iter()
                .map(|(k, v)| (k.clone(), json!(v)))
                .collect();
            let told = json!({
                "metrics": said.metrics_endpoint, "health": said.health_endpoint,
                "interval": said.interval_ms, "timeout": said.timeout_ms, "labels": labels,
            });
            (target.agent.id.to_string(), told)
        })
        .collect()
}

#[test]
fn json_and_yaml_say_the_same() {
    let json_text = r#"[
  {"targets": ["10.0.0.7:9100", "[::1]:80"], "labels": {"job": "planners", "zone": "b", "none": ""}},
  {"targets": ["db"], "labels": {
    "__scheme__": "https", "__metrics_path__": "/a b", "__param_q": "x&y", "__param_a": "1",
    "__health_path__": "/health", "__scrape_interval__": "1m30s", "__scrape_timeout__": "5s",
    "__meta_datacenter": "x", "__tmp": "y", "agent_id": "db/1", "instance": "db:443", "port": "8080"}},
  {"labels": {"instance": "unused"}},
  {"targets": ["web:1"], "labels": {"instance": "web"}}
]"#;
    let yaml_text = r"
- targets: ['10.0.0.7:9100', '[::1]:80']
  labels: {job: planners, zone: b, none: }
- labels: # an order of its own
    agent_id: db/1
    port: 8080
    __scheme__: https
    __metrics_path__: /a b
    __param_q: x&y
    __param_a: 1
    __health_path__: /health
    __scrape_interval__: 1m30s
    __scrape_timeout__: 5s
    __meta_datacenter: x
    __tmp: y
    instance: db:443
  targets: [db]
- labels: {instance: unused}
- targets:
    - web:1
  labels:
    instance: web
";
    let of_json = good("t/a.json", json_text);
    let plain = |metrics: &str, labels: Value| {
        json!({"metrics": metrics, "health": null, "interval": null, "timeout": null,
            "labels": labels})
    };
    let expected = [
        (
            "10.0.0.7:9100",
            plain(
                "http://10.0.0.7:9100/metrics",
                json!({"job": "planners", "zone": "b"}),
            ),
        ),
        (
            "[::1]:80",
            plain(
                "http://[::1]/metrics",
                json!({"job": "planners", "zone": "b"}),
            ),
        ),
        (
            "db/1",
            json!({"metrics": "https://db/a%20b?a=1&q=x%26y", "health": "https://db/health",
                "interval": 90_000, "timeout": 5_000, "labels": {"port": "8080"}}),
        ),
        ("web", plain("http://web:1/metrics", json!({}))),
    ];
    let expected = expected.map(|(id, told)| (id.to_owned(), told));
    assert_eq!(told(&of_json), expected);
    assert_eq!(told(&good("t/a.yml", yaml_text)), expected);
    assert!(
        of_json
            .iter()
            .all(|t| t.agent.registration.source == RegistrationSource::FileSd)
    );
    let places: Vec<_> = of_json.iter().map(|t| t.origin.to_string()).collect();
    let lines = ["2:16", "2:33", "3:16", "8:16"];
    assert_eq!(places, lines.map(|place| format!("t/a.json:{place}")));
    let of_yaml = good("a.YAML", yaml_text);
    assert_eq!(of_yaml[2].origin.to_string(), "a.YAML:17:13");
    assert_eq!(of_yaml[3].origin.to_string(), "a.YAML:20:7");
}

#[test]
fn files_without_targets() {
    for (name, text) in [
        ("a.json", "[]"),
        ("a.json", " [ {} ] "),
        ("a.json", r#"[{"targets": null, "labels": null}]"#),
        ("a.yml", "[]"),
        ("a.yml", "- {}"),
        ("a.yml", "- targets:\n  labels:\n"),
    ] {
        assert_eq!(told(&good(name, text)), [], "{text}");
    }
}

#[test]
fn mistakes_are_told_with_their_places() {
    for (name, text, expected) in [
        ("a.json", "", "a.json:1:1: EOF while parsing a value"),
        (
            "a.json",
            "[\n {\n",
            "a.json:3:1: EOF while parsing an object",
        ),
        (
            "a.json",
            "{}",
            "a.json:1:1: invalid type: map, expected a sequence",
        ),
        (
            "a.json",
            "[\n  5]",
            "a.json:2:3: invalid type: integer `5`, expected an object with `targets` and `labels`",
        ),
        (
            "a.json",
            "[{\"targets\": [],\n \"lables\": {}}]",
            "a.json:2:9: unknown field `lables`, expected `targets` or `labels`",
        ),
        (
            "a.json",
            r#"[{"targets": ["é", 5]}]"#,
            "a.json:1:20: targets: expected a text",
        ),
        (
            "a.json",
            "[{\"targets\": [\"a\"],\n\n \"labels\": {\"a\": \"1\",\n\"a\": \"2\"}}]",
            "a.json:4:6: labels.a: is given twice",
        ),
        (
            "a.json",
            r#"[{"labels": {"a": ["1"]}}]"#,
            "a.json:1:19: labels.a: expected a text",
        ),
        ("a.json", "[] []", "a.json:1:4: trailing characters"),
        (
            "a.json",
            r#"[{"targets": ["a", "b", "c"]}, {"targets": ["d", "e"]}]"#,
            "a.json:1:50: targets: more than 4 targets (collect.file_sd_targets_max)",
        ),
        (
            "a.yml",
            "",
            "a.yml:1:1: the file says nothing; write [] for no targets",
        ),
        (
            "a.yml",
            "# [a]\n",
            "a.yml:1:1: the file says nothing; write [] for no targets",
        ),
        ("a.toml", "", "a.toml:1:1: neither .json nor .yml nor .yaml"),
    ] {
        assert_eq!(parse(name, text).unwrap_err(), [expected], "{text}");
    }
    // The words are the parser's; the places and what they name are what counts.
    for (text, place, word) in [
        ("a: b", "1:1", "sequence"),
        ("- tragets: [a]", "1:3", "tragets"),
        ("- targets: a", "1:12", "sequence"),
        ("- targets: [a", "1:12", "bracket"),
        ("- labels: {a: 1,\n    a: 2}", "2:5", "duplicate"),
        ("- labels: {a: [1]}", "1:15", "string"),
        ("[]\n---\n[]", "3:1", "multiple"),
        ("-\n", "1:2", "mapping"),
        ("- targets: [a]\n   labels: {}", "2:4", "mapping"),
    ] {
        let errors = parse("a.yml", text).unwrap_err();
        assert_eq!(errors.len(), 1);
        let told = &errors[0];
        let tail = told.strip_prefix(&format!("a.yml:{place}: "));
        let tail = tail.unwrap_or_else(|| panic!("{text}: {told}"));
        assert!(
            tail.contains(word) && !tail.contains(" line "),
            "{text}: {told}"
        );
    }
}

#[test]
fn every_target_and_label_is_checked() {
    let long = "x".repeat(41);
    let text = format!(
        r#"[{{"targets": ["", "a/b", "http://a", "u:p@a"],
  "labels": {{"a": "1"}}}},
{{"labels": {{
  "__scheme__": "ftp",
  "__scrape_interval__": "often",
  "__scrape_timeout__": "2h",
  "agent_id": "longwatch",
  "instance": " a",
  "": "x",
  "zone": "{long}"}}}},
{{"labels": {{"__scrape_interval__": "1s", "__scrape_timeout__": "2s"}}}}
]"#
    );
    let address = "must be a host and port, such as 10.0.0.7:9100";
    let expected = [
        format!("1:15: targets: {address}"),
        format!("1:19: targets: {address}"),
        format!("1:26: targets: {address}"),
        format!("1:38: targets: {address}"),
        "4:17: labels.__scheme__: must be http or https".to_owned(),
        "5:26: labels.__scrape_interval__: `often` is not a duration: give a number and a unit, such as `30s`, `5m`, `24h`, `7d`".to_owned(),
        "6:25: labels.__scrape_timeout__: must be between 10ms and 1h, not 2h".to_owned(),
        "7:15: labels.agent_id: `longwatch` is longwatch's own id".to_owned(),
        "8:15: labels.instance: an agent id must not begin or end with a blank".to_owned(),
        "9:7: labels.: a label name must not be empty".to_owned(),
        "10:11: labels.zone: a label value has at most 40 bytes".to_owned(),
        "11:64: labels.__scrape_timeout__: must not be longer than `__scrape_interval__`".to_owned(),
    ];
    let expected: Vec<_> = expected.iter().map(|e| format!("a.json:{e}")).collect();
    assert_eq!(parse("a.json", &text).unwrap_err(), expected);
    let errors = parse("a.json", r#"[{"targets": ["a:b", "[::1"]}]"#).unwrap_err();
    assert!(
        errors.len() == 2 && errors.iter().all(|e| e.contains("not a host and port: ")),
        "{errors:?}"
    );
    let many: Vec<_> = (0..21).map(|n| format!("\"l{n}\": \"x\"")).collect();
    let text = format!("[{{\"labels\": {{{}}}}}]", many.join(","));
    let errors = parse("a.json", &text).unwrap_err();
    assert!(
        errors[0].ends_with("labels: more than 20 labels"),
        "{errors:?}"
    );
}

#[test]
fn aliases_cannot_blow_a_file_up() {
    let shared = "- targets: [a:1]\n  labels: &l {zone: b}\n- targets: [b:1]\n  labels: *l\n";
    let targets = good("a.yml", shared);
    assert_eq!(targets[1].agent.registration.labels.len(), 1);
    assert_eq!(targets[1].origin.to_string(), "a.yml:3:13");
    // 8 levels of 100 are 10^16 texts; 1 MB a thousand times is 1 GB.
    let mut levels = String::from("- &a0 [x]\n");
    for level in 1..9 {
        let before = format!("*a{},", level - 1).repeat(100);
        writeln!(levels, "- &a{level} [{before}]").unwrap();
    }
    let large = format!(
        "- labels: &l {{a: {}}}\n{}",
        "x".repeat(1_000_000),
        "- labels: *l\n".repeat(1_000)
    );
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_blocks = "- ".repeat(100_000);
    for text in [levels, large, deep, deep_blocks] {
        let errors = parse("a.yml", &text).unwrap_err();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].starts_with("a.yml:"), "{errors:?}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(parse("a.json", &deep).unwrap_err().len(), 1);
}

#[test]
fn the_first_of_two_targets_with_one_id_counts() {
    let one = good(
        "a.json",
        r#"[{"targets": ["a:1", "b:1"]}, {"targets": ["a:1"]}]"#,
    );
    let two = good("b.yml", "- targets: [b:1, c:1, mine, host]");
    let roll = call_roll(one.iter().chain(&two), |id: &AgentId| match id.as_str() {
        "mine" => Some("an agent of the configuration"),
        "host" => Some("this host"),
        _ => None,
    });
    let ids: Vec<_> = roll.agents.iter().map(|a| a.id.as_str()).collect();
    assert_eq!(ids, ["a:1", "b:1", "c:1"]);
    let left_out: Vec<_> = roll
        .left_out
        .iter()
        .map(|l| format!("{} {} {}", l.origin, l.id, l.why))
        .collect();
    assert_eq!(
        left_out,
        [
            "a.json:1:44 a:1 it is given twice, first at a.json:1:15",
            "b.yml:1:13 b:1 it is given twice, first at a.json:1:22",
            "b.yml:1:23 mine it is the id of an agent of the configuration",
            "b.yml:1:29 host it is the id of this host",
        ]
    );
}

/// The server's own word on its target files.
async fn target_files(server: &Server) -> Value {
    server.get_json("/api/v1/status").await["target_files"].clone()
}

/// Waits until the files are told like this.
async fn until_told(server: &Server, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    eventually(what, async || {
        let told = target_files(server).await;
        holds(&told).then_some(told)
    })
    .await
}

async fn agents(server: &Server) -> Vec<String> {
    let agents = server.get_json("/api/v1/agents").await;
    let agents = agents["agents"].as_array().unwrap();
    let ids = agents.iter().map(|a| a["agent_id"].as_str().unwrap());
    ids.filter(|id| *id != "longwatch")
        .map(str::to_owned)
        .collect()
}

async fn until_agents(server: &Server, expected: &[&str]) {
    eventually(&format!("agents {expected:?}"), async || {
        (agents(server).await == expected).then_some(())
    })
    .await;
}

/// Replaces a file in one step, as those do who write target files.
fn put(folder: &Path, name: &str, text: &str) {
    let new = folder.join(format!("{name}.new"));
    fs::write(&new, text).unwrap();
    fs::rename(new, folder.join(name)).unwrap();
}

fn config(refresh: &str) -> String {
    format!(
        "{QUIET}[collect]\nfile_sd = [\"targets/*.json\", \"targets/*.yml\"]\nfile_sd_refresh = \"{refresh}\"\n\
         [[agents]]\nagent_id = \"mine\"\n"
    )
}

fn address(target: &Target) -> &str {
    target
        .url()
        .trim_start_matches("http://")
        .trim_end_matches('/')
}

#[tokio::test]
async fn a_server_follows_its_target_files() {
    let target = Target::start("text/plain", "m 7\n").await;
    let folder = tempfile::tempdir().unwrap();
    let targets = folder.path().join("targets");
    fs::create_dir(&targets).unwrap();
    let one = format!(
        r#"[{{"targets": ["{}"], "labels": {{"agent_id": "one", "job": "j", "__scrape_interval__": "500ms"}}}}]"#,
        address(&target)
    );
    put(&targets, "a.json", &one);
    // Read again only when a change is told.
    let mut server = Server::within(folder, &config("24h"), &[]);
    assert_eq!(
        agents(&server).await,
        ["mine", "one"],
        "from the very start"
    );
    let shown = server.get_json("/api/v1/agents/one").await;
    assert_eq!(shown["labels"], json!({"job": "j"}));
    assert_eq!(
        shown["metrics_endpoint"],
        format!("{}metrics", target.url())
    );
    eventually("a scrape", async || {
        let samples = server.samples("agent_id=one&metric_name=m").await;
        samples.first().cloned()
    })
    .await;

    // They belong to the file.
    let body = json!({"agent_id": "one"});
    let problem = server.post_json("/api/v1/agents", &body).await.problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("target file"));
    server.delete("/api/v1/agents/one").await.problem(409);

    // A second file; who is named before, or in the configuration, stays who he is.
    put(
        &targets,
        "b.yml",
        "- targets: [two:1]\n- targets: [x:1, y:1]\n  labels: {agent_id: one}\n- targets: [mine]\n",
    );
    until_agents(&server, &["mine", "one", "two:1"]).await;
    let told = target_files(&server).await;
    assert_eq!(told["left_out_total"], 3, "{told}");
    let left_out = told["left_out"].as_array().unwrap();
    assert!(
        left_out[0]
            .as_str()
            .unwrap()
            .contains("b.yml:2:13: `one`: it is given twice")
    );
    assert!(
        left_out[2]
            .as_str()
            .unwrap()
            .contains("an agent of the configuration")
    );
    let shown = server.get_json("/api/v1/agents/one").await;
    assert_eq!(
        shown["metrics_endpoint"],
        format!("{}metrics", target.url())
    );

    // A bad content changes nothing, and is told once.
    put(&targets, "b.yml", "- targets: [three:1\n");
    let told = until_told(&server, "the mistake", |t| {
        t["files"][1]["error"].is_string()
    })
    .await;
    let error = told["files"][1]["error"].as_str().unwrap();
    assert!(error.starts_with("targets/b.yml:1:12: "), "{error}");
    assert_eq!(told["files"][1]["targets"], 4);
    assert_eq!(agents(&server).await, ["mine", "one", "two:1"]);
    // Another file's change makes both be read.
    put(&targets, "c.yml", "- targets: [four:1]\n");
    until_agents(&server, &["four:1", "mine", "one", "two:1"]).await;
    let told = server.log().matches("target file is refused").count();
    assert_eq!(told, 1, "{}", server.log());
    let metrics = server.get("/metrics").await.text();
    for line in [
        "longwatch_target_files 3",
        "longwatch_target_files_refused_total 1",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }

    // Good again, another content; a file that is gone ends its agents.
    put(&targets, "b.yml", "- targets: [three:1]\n");
    until_agents(&server, &["four:1", "mine", "one", "three:1"]).await;
    fs::remove_file(targets.join("a.json")).unwrap();
    until_agents(&server, &["four:1", "mine", "three:1"]).await;
    let gone = server.get_json("/api/v1/agents/one").await;
    assert!(gone["deregistered_at"].is_string(), "{gone}");

    // What changes while the server is down counts when it is back; what is bad then still stands for what it
    // said before.
    server.terminate();
    put(&targets, "c.yml", "oops\n");
    server.restart();
    assert_eq!(agents(&server).await, ["four:1", "mine", "three:1"]);
    put(&targets, "b.yml", "- targets: [five:1]\n");
    until_agents(&server, &["five:1", "four:1", "mine", "three:1"]).await;
    put(&targets, "c.yml", "[]\n");
    until_agents(&server, &["five:1", "mine"]).await;
    server.terminate();
    put(&targets, "b.yml", "[]\n");
    server.restart();
    assert_eq!(agents(&server).await, ["mine"]);
}

#[tokio::test]
async fn folders_that_come_later_are_found_at_the_next_refresh() {
    let server = Server::with(&config("1s"), &[]);
    assert_eq!(agents(&server).await, ["mine"]);
    let targets = server.folder().join("targets");
    fs::create_dir(&targets).unwrap();
    put(&targets, "a.yml", "- targets: [one:1]\n");
    until_agents(&server, &["mine", "one:1"]).await;
    fs::remove_dir_all(&targets).unwrap();
    until_agents(&server, &["mine"]).await;
}

#[test]
fn the_check_of_a_configuration_reads_its_target_files() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(
        here.join("c.toml"),
        config("5m").replace("*.json", "a.json"),
    )
    .unwrap();
    let check = || run(&["check", "config", "c.toml"], here);
    let missing = check();
    assert_eq!(missing.status, Some(0), "{}", missing.err);
    assert!(
        missing.err.contains("targets/a.json: no such file"),
        "{}",
        missing.err
    );

    fs::create_dir(here.join("targets")).unwrap();
    put(
        &here.join("targets"),
        "a.json",
        r#"[{"targets": ["a:1", "mine"]}]"#,
    );
    let good = check();
    assert_eq!(good.status, Some(0), "{}", good.err);
    assert!(good.err.contains("a.json:1:22: `mine`"), "{}", good.err);
    assert!(
        good.err.contains("targets/*.yml: no such file"),
        "{}",
        good.err
    );

    put(
        &here.join("targets"),
        "b.yml",
        "- targets: [a:1]\n- tragets: [b]\n",
    );
    let bad = check();
    assert_eq!(bad.status, Some(1));
    assert!(
        bad.err
            .contains("targets/b.yml:2:3: unknown field `tragets`"),
        "{}",
        bad.err
    );
    let as_json = run(&["check", "config", "c.toml", "--format", "json"], here);
    assert_eq!(as_json.status, Some(1));
    let told: Value = serde_json::from_slice(&as_json.out).unwrap();
    let error = &told["errors"][0];
    assert_eq!(
        (&error["file"], &error["line"], &error["column"]),
        (&json!("targets/b.yml"), &json!(2), &json!(3))
    );

    fs::write(here.join("c.toml"), "[collect]\nfile_sd = [\"targets\"]\n").unwrap();
    let bad = check();
    assert!(
        bad.err
            .contains("c.toml:2:11: collect.file_sd: `targets` must end in .json"),
        "{}",
        bad.err
    );
}
