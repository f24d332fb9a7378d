//! Rule unit tests: files of our own, and Prometheus' where they are here.

use std::path::{Path, PathBuf};

use crate::server::run;

/// The folder of conformance data, if it is here.
fn conformance() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance/rules");
    if !folder.is_dir() {
        eprintln!("skipped: {} is not here", folder.display());
        return None;
    }
    Some(folder)
}

const RULES: &str = "groups:\n- name: g\n  rules:\n  - record: job:up:sum\n    expr: sum by (job) (up)\n  \
    - alert: Down\n    expr: job:up:sum < 1\n    for: 2m\n    labels: {severity: page}\n    \
    annotations: {summary: \"{{ $labels.job }} down in {{ $externalLabels.region }}, {{ $value }}\"}\n";

const TESTS: &str = r#"
rule_files: ["*.rules.yml"]
evaluation_interval: 1m
tests:
- name: down
  external_labels: {region: eu}
  input_series:
  - {series: 'up{job="a",instance="1"}', values: "1x2 0x5"}
  - {series: 'up{job="b",instance="2"}', values: "1x9 stale"}
  promql_expr_test:
  - expr: job:up:sum
    eval_time: 4m
    exp_samples:
    - {labels: 'job:up:sum{job="a"}', value: 0}
    - {labels: 'job:up:sum{job="b"}', value: 1}
  - expr: ALERTS
    eval_time: 4m
    exp_samples:
    - {labels: 'ALERTS{alertname="Down",alertstate="pending",job="a",severity="page"}', value: 1}
  - expr: job:up:sum{job="b"}
    eval_time: 10m
  alert_rule_test:
  - {eval_time: 4m, alertname: Down, exp_alerts: []}
  - eval_time: 5m
    alertname: Down
    exp_alerts:
    - exp_labels: {job: a, severity: page}
      exp_annotations: {summary: "a down in eu, 0"}
- name: fails
  input_series: [{series: up, values: "1"}]
  promql_expr_test:
  - {expr: up, eval_time: 0, exp_samples: [{labels: up, value: 2}]}
"#;

#[test]
fn tests_hold_or_say_what_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("a.rules.yml", RULES);
    write("tests.yml", TESTS);
    let held = run(
        &["rules", "test", "tests.yml", "--run", "^down$"],
        folder.path(),
    );
    let said = String::from_utf8_lossy(&held.out).into_owned();
    assert!(
        held.status == Some(0) && said.contains("SUCCESS"),
        "{said} {}",
        held.err
    );
    let failed = run(&["rules", "test", "tests.yml"], folder.path());
    assert_eq!(failed.status, Some(1));
    let said = String::from_utf8(failed.out).unwrap();
    assert!(
        said.contains("name: fails") && said.contains("exp: up 2") && said.contains("got: up 1"),
        "{said}"
    );
    let json = run(
        &["rules", "test", "tests.yml", "--format", "json"],
        folder.path(),
    );
    let json: serde_json::Value = serde_json::from_slice(&json.out).unwrap();
    assert_eq!(
        (&json["files"][0]["tests"], &json["files"][0]["holds"]),
        (&2.into(), &false.into())
    );
    write(
        "histograms.yml",
        "tests:\n- input_series: [{series: h, values: '{{sum:1 count:2 buckets:[2]}}+{{sum:1}}x3'}]\n  \
         promql_expr_test:\n  - {expr: h, eval_time: 2m, exp_samples: [{labels: h, histogram: '{{sum:4 count:2 buckets:[2]}}'}]}\n  \
         - {expr: 'rate(h[2m])', eval_time: 2m}\n",
    );
    let histograms = run(&["rules", "test", "histograms.yml"], folder.path());
    let said = String::from_utf8(histograms.out).unwrap();
    assert_eq!(histograms.status, Some(1));
    assert!(
        said.contains("got: h {{schema:0 sum:3") && said.contains("not computed with"),
        "{said}"
    );
    write("unknown.yml", "tests:\n- promql_expr_tests: []\n");
    let unknown = run(&["rules", "test", "unknown.yml"], folder.path());
    let said = String::from_utf8(unknown.out).unwrap();
    assert!(
        unknown.status == Some(1)
            && said.contains("unknown.yml:2:3")
            && said.contains("promql_expr_tests"),
        "{said}"
    );
    assert_eq!(
        run(&["rules", "test", "none.yml"], folder.path()).status,
        Some(2)
    );
    assert_eq!(
        run(&["rules", "test", "tests.yml", "--run", "("], folder.path()).status,
        Some(2)
    );
}

#[test]
fn promtool_s_own_tests_hold_or_fail_as_there() {
    let Some(folder) = conformance() else { return };
    let folder = folder.join("promtool");
    let holds = [
        "unittest.yml",
        "long-period.yml",
        "at-modifier-test.yml",
        "negative-offset-test.yml",
        "no-test-group-interval.yml",
    ];
    for file in holds {
        let ran = run(&["rules", "test", file], &folder);
        assert_eq!(
            ran.status,
            Some(0),
            "{file}: {}",
            String::from_utf8_lossy(&ran.out)
        );
    }
    for (file, why) in [
        ("failing.yml", "name: Failing alert test"),
        ("bad-input-series.yml", "series"),
        ("bad-promql.yml", "join_1 + on(a) join_2"),
        ("bad-rules-error-test.yml", "rule: joined"),
        ("rules_run_no_fuzzy.yml", "test_low"),
        ("rules_run.yml", "name: wrong test"),
        ("rules_run_fuzzy.yml", "name: wrong fuzzy match"),
        ("rules_run_extrafields.yml", "namespace"),
    ] {
        let ran = run(&["rules", "test", file], &folder);
        let said = String::from_utf8_lossy(&ran.out).into_owned();
        assert!(
            ran.status == Some(1) && said.contains(why),
            "{file}: {said}"
        );
    }
    for file in ["rules_run.yml", "rules_run_fuzzy.yml"] {
        assert_eq!(
            run(&["rules", "test", file, "--run", "correct"], &folder).status,
            Some(0),
            "{file}"
        );
        assert_eq!(
            run(&["rules", "test", file, "--run", "wrong"], &folder).status,
            Some(1),
            "{file}"
        );
    }
}

#[test]
fn prometheus_rule_files_load_or_are_refused_as_there() {
    let Some(folder) = conformance() else { return };
    let files = |sub: &str| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder.join(sub)).unwrap();
        let mut files: Vec<PathBuf> = entries
            .map(|e| e.unwrap().path())
            .filter(|p| p.is_file())
            .collect();
        files.sort();
        files
    };
    let real = files("real")
        .into_iter()
        .chain(files("real/awesome-prometheus-alerts"));
    let good = files("rulefmt")
        .into_iter()
        .filter(|path| !path.to_string_lossy().contains(".bad."));
    let fixtures = files("fixtures")
        .into_iter()
        .filter(|p| !p.ends_with("invalid_rules.yaml"));
    let promtool = [
        "rules.yml",
        "rules_duplicates.yml",
        "at-modifier.yml",
        "negative-offset.yml",
        "bad-rules-error.yml",
    ];
    let promtool = promtool
        .iter()
        .map(|name| folder.join("promtool").join(name));
    let mut count = 0;
    for path in real.chain(good).chain(fixtures).chain(promtool) {
        let found = longwatch::config::read_rule_file(&path);
        assert!(
            found.is_ok(),
            "{}: {:?}",
            path.display(),
            found.err().map(|e| e.to_string())
        );
        count += found.unwrap().len();
    }
    assert!(count > 800, "{count}");
    // The legacy scheme of names, by which one more is refused, has been given up by Prometheus 3.
    let bad = files("rulefmt").into_iter().filter(|path| {
        let name = path.to_string_lossy();
        name.contains(".bad.") && !name.contains("legacy_validation")
    });
    let others = [
        "fixtures/invalid_rules.yaml",
        "promtool/rules-bad.yml",
        "promtool/rules_extrafields.yml",
    ];
    for path in bad.chain(others.iter().map(|name| folder.join(name))) {
        assert!(
            longwatch::config::read_rule_file(&path).is_err(),
            "{} is refused",
            path.display()
        );
    }
    let twice =
        longwatch::config::read_rule_file(&folder.join("promtool/rules_duplicates.yml")).unwrap();
    assert_eq!(longwatch::config::rule_remarks(&twice).len(), 2);
}

#[test]
fn real_rules_are_evaluated_over_an_empty_and_a_small_store_without_an_error() {
    let Some(folder) = conformance() else { return };
    let real = folder.join("real/awesome-prometheus-alerts");
    let all = longwatch::config::read_rule_directory(&real).unwrap();
    let kube = longwatch::config::read_rule_file(&folder.join("real/kube-good.rules.yml")).unwrap();
    let rules: Vec<longwatch::model::Rule> = all
        .into_iter()
        .chain(kube)
        .map(|found| found.rule.rule)
        .collect();
    let test = |series: &[(&str, &str)]| longwatch::rules::UnitTest {
        name: String::new(),
        interval_ms: 60_000,
        evaluation_interval_ms: 60_000,
        start: longwatch::model::Timestamp::from_millis(0),
        series: series
            .iter()
            .map(|(s, v)| ((*s).to_owned(), (*v).to_owned()))
            .collect(),
        alerts: Vec::new(),
        expressions: vec![longwatch::rules::ExpressionTest {
            expr: "vector(1)".to_owned(),
            eval_time_ms: 180_000,
            expected: vec![longwatch::rules::ExpectedSample {
                labels: "{}".to_owned(),
                value: 1.0,
                histogram: None,
            }],
        }],
        external_labels: Vec::new(),
        external_url: String::new(),
        fuzzy_compare: false,
    };
    assert_eq!(longwatch::rules::run_unit_test(&test(&[]), &rules), [""; 0]);
    let small = test(&[
        ("up{job=\"node\",instance=\"a:9100\"}", "0x9"),
        (
            "node_memory_MemAvailable_bytes{job=\"node\",instance=\"a:9100\"}",
            "1x9",
        ),
        (
            "node_memory_MemTotal_bytes{job=\"node\",instance=\"a:9100\"}",
            "100x9",
        ),
        (
            "kube_pod_status_phase{job=\"kube-state-metrics\",namespace=\"n\",pod=\"p\",phase=\"Pending\"}",
            "1x9",
        ),
    ]);
    assert_eq!(longwatch::rules::run_unit_test(&small, &rules), [""; 0]);
}
