//! Rules on the command line: checked, tried on history from a file and from a server, held against it.

use serde_json::{Value, json};

use crate::server::{Server, now_ms, run};

const HOT: &str = "[[rule]]\nname = \"hot\"\ndescription = \"d\"\ncondition_type = \"threshold\"\nmetric_name = \"m\"\n\
    threshold = 90\n";
const DEAD: &str = "[[rule]]\nname = \"dead\"\ndescription = \"d\"\ncondition_type = \"threshold\"\nmetric_name = \"nothing\"\n";

#[test]
fn mistakes_are_told_with_their_places() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("good.toml", HOT);
    write(
        "bad.toml",
        "[[rule]]\nname = \"x\"\ncondition_type = \"threshold\"\nthreshold = \"hot\"\n[other]\n",
    );
    write("torn.toml", "[[rule]\nname = ");
    let many: String = (0..5_001)
        .map(|n| HOT.replace("hot", &format!("r{n}")))
        .collect();
    write("many.toml", &many);
    assert_eq!(
        run(&["check", "rules", "good.toml"], folder.path()).ok(),
        b"good.toml: ok\n"
    );
    let bad = run(&["check", "rules", "bad.toml"], folder.path());
    assert_eq!(bad.status, Some(1));
    for line in [
        "bad.toml:1:1: rule.description: is missing. Alert rule must contain: ['name', 'description', 'condition_type']",
        "bad.toml:4:13: rule.threshold: \"hot\" is not a finite number",
        "bad.toml:5:2: other: a file of rules holds sections [[rule]] only",
    ] {
        assert!(bad.err.contains(line), "{}", bad.err);
    }
    let torn = run(&["check", "rules", "torn.toml"], folder.path());
    assert!(
        torn.status == Some(1) && torn.err.contains("torn.toml:1:"),
        "{}",
        torn.err
    );
    let many = run(&["check", "rules", "many.toml"], folder.path());
    assert!(
        many.status == Some(1) && many.err.contains("5001 rules"),
        "{}",
        many.err
    );
    assert_eq!(
        run(&["check", "rules", "none.toml"], folder.path()).status,
        Some(2)
    );
    let folder_as_json = run(&["check", "rules", ".", "--format", "json"], folder.path());
    assert_eq!(folder_as_json.status, Some(1));
    let found: Value = serde_json::from_slice(&folder_as_json.out).unwrap();
    assert_eq!(found["valid"], false);
}

#[tokio::test]
async fn rules_are_tried_on_a_file_and_on_a_server_alike() {
    let mut server = Server::start();
    // An hour of minutes: 100 twice for five minutes, 80 for the last ten, else 50.
    let end = now_ms() / 60_000 * 60_000;
    let value = |minute: i64| match minute {
        10..15 | 30..35 => 100,
        50.. => 80,
        _ => 50,
    };
    let samples: Vec<Value> = (0..60)
        .map(|minute| {
            let time = (end - (60 - minute) * 60_000) as f64 / 1000.0;
            json!({"name": "m", "value": value(minute), "timestamp": time})
        })
        .collect();
    server.push("a", &json!(samples)).await;
    std::fs::write(server.folder().join("rules.toml"), HOT.to_owned() + DEAD).unwrap();
    let to = longwatch::model::Timestamp::from_millis(end).to_rfc3339();
    let url = server.url("");
    let window = ["--window", "1h", "--to", &to];
    let backtest = |server: &Server, source: [&str; 2], more: &[&str]| -> Value {
        let mut arguments = vec!["rules", "backtest", "rules.toml", "--format", "json"];
        arguments.extend(source);
        arguments.extend(window);
        arguments.extend(more);
        serde_json::from_slice(&server.run(&arguments).ok()).unwrap()
    };
    let online = backtest(&server, ["--url", &url], &["--rule", "hot"]);
    let report = &online["backtests"][0];
    assert_eq!(
        (&report["fired"], &report["firing_seconds"]),
        (&json!(2), &json!(600.0)),
        "{report}"
    );
    assert_eq!(report["notifications"], 4, "each is told and its end, too");
    assert_eq!(report["episodes"][0]["peak_value"], 100.0);
    let swept = backtest(
        &server,
        ["--url", &url],
        &["--rule", "hot", "--sweep", "threshold=70..110:20"],
    );
    let fired: Vec<&Value> = swept["backtests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["fired"])
        .collect();
    assert_eq!(fired, [&json!(3), &json!(2), &json!(0)], "{swept}");
    server.kill();
    let offline = backtest(&server, ["--db", "live.redb"], &["--rule", "hot"]);
    assert_eq!(offline, online, "the same from the file");
    assert_eq!(
        backtest(
            &server,
            ["--db", "live.redb"],
            &["--rule", "hot", "--sweep", "threshold=70..110:20"]
        ),
        swept
    );

    let mut arguments = vec!["rules", "backtest", "rules.toml", "--db", "live.redb"];
    arguments.extend(window);
    let table = String::from_utf8(server.run(&arguments).ok()).unwrap();
    assert!(table.contains("hot") && table.contains("10m"), "{table}");
    let mut arguments = vec!["rules", "lint", "rules.toml", "--db", "live.redb"];
    arguments.extend(window);
    let lint = server.run(&arguments);
    assert_eq!(lint.status, Some(1));
    let said = String::from_utf8(lint.out).unwrap();
    assert_eq!(
        said,
        "dead: dead: no metric `nothing` is known of the agents that it looks at\n"
    );
    for wrong in ["threshold=1..2", "value=1..2:1", "threshold=2..1:1"] {
        let refused = server.run(&[
            "rules",
            "backtest",
            "rules.toml",
            "--db",
            "live.redb",
            "--sweep",
            wrong,
        ]);
        assert_eq!(refused.status, Some(2), "{}", refused.err);
    }
    let unknown = server.run(&[
        "rules",
        "backtest",
        "rules.toml",
        "--db",
        "live.redb",
        "--rule",
        "x",
    ]);
    assert!(
        unknown.status == Some(2) && unknown.err.contains("no rule `x`"),
        "{}",
        unknown.err
    );
}
