//! Files of rule unit tests, in promtool's form.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_saphyr::{Location, Options, Spanned};

use super::{
    ConfigError, ConfigErrors,
    file::Source,
    read_rule_file,
    yaml::{mistake, place},
};
use crate::{
    model::{LabelPairs, Rule, Timestamp, parse_duration_ms, parse_time},
    rules::{AlertTest, ExpectedAlert, ExpectedSample, ExpressionTest, UnitTest},
};

/// Longest file, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Lists, mappings and scalars of a file, those that an alias repeats included.
const NODES_MAX: usize = 2_000_000;
/// A file is nested 7 deep.
const DEPTH_MAX: usize = 24;
/// Samples and evaluations are so far apart unless the file says otherwise, in milliseconds.
const INTERVAL_MS: i64 = 60_000;

/// A file of tests with the rules that it names.
#[derive(Debug)]
pub struct RuleTests {
    /// Rules, in the order of their evaluation.
    pub rules: Vec<Rule>,
    /// Tests.
    pub tests: Vec<UnitTest>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a mapping with `tests`")]
struct TestFile {
    #[serde(default)]
    rule_files: Vec<Spanned<String>>,
    #[serde(default)]
    evaluation_interval: Option<Spanned<String>>,
    #[serde(default)]
    group_eval_order: Vec<String>,
    #[serde(default)]
    fuzzy_compare: bool,
    #[serde(default)]
    tests: Vec<TestGroup>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a test")]
struct TestGroup {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    interval: Option<Spanned<String>>,
    #[serde(default)]
    start_timestamp: Option<Spanned<String>>,
    #[serde(default)]
    input_series: Vec<InputSeries>,
    #[serde(default)]
    alert_rule_test: Vec<WrittenAlertTest>,
    #[serde(default)]
    promql_expr_test: Vec<WrittenExpressionTest>,
    #[serde(default)]
    external_labels: BTreeMap<String, Option<String>>,
    #[serde(default)]
    external_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a series with `series` and `values`")]
struct InputSeries {
    series: String,
    #[serde(default)]
    values: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a test of alerts")]
struct WrittenAlertTest {
    eval_time: Spanned<String>,
    alertname: String,
    #[serde(default)]
    exp_alerts: Option<Vec<WrittenAlert>>,
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an alert with `exp_labels` and `exp_annotations`"
)]
struct WrittenAlert {
    #[serde(default)]
    exp_labels: BTreeMap<String, Option<String>>,
    #[serde(default)]
    exp_annotations: BTreeMap<String, Option<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a test of an expression")]
struct WrittenExpressionTest {
    expr: String,
    #[serde(default)]
    eval_time: Option<Spanned<String>>,
    #[serde(default)]
    exp_samples: Option<Vec<WrittenSample>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a sample with `labels` and `value`")]
struct WrittenSample {
    #[serde(default)]
    labels: Option<String>,
    #[serde(default)]
    value: f64,
    #[serde(default)]
    histogram: Option<String>,
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_documents: 2,
            max_total_scalar_bytes: 2 * FILE_BYTES_MAX as usize,
            max_recorded_anchor_bytes: FILE_BYTES_MAX as usize,
        },
        with_snippet: false,
    }
}

/// Reads a file of tests, and the rule files that it names relative to itself.
///
/// # Errors
/// Every mistake with its place; of unknown keys and wrong kinds of values the first.
pub fn read_rule_tests(path: &Path) -> Result<RuleTests, ConfigErrors> {
    let source = Source::read(path, FILE_BYTES_MAX).map_err(ConfigErrors::one)?;
    let read: Result<Option<TestFile>, _> =
        serde_saphyr::from_str_with_options(source.text(), options());
    let file = read.map_err(|error| ConfigErrors::one(mistake(&source, &error)))?;
    let Some(file) = file else {
        return Ok(RuleTests {
            rules: Vec::new(),
            tests: Vec::new(),
        });
    };
    let mut reader = Reader {
        source: &source,
        errors: Vec::new(),
    };
    let rules = reader.rules(&file);
    let tests = reader.tests(&file);
    match ConfigErrors::of(reader.errors) {
        Some(errors) => Err(errors),
        None => Ok(RuleTests { rules, tests }),
    }
}

struct Reader<'a> {
    source: &'a Source,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn report(&mut self, at: Location, key: &str, reason: String) {
        self.errors.push(ConfigError {
            origin: place(self.source, at),
            key: key.to_owned(),
            reason,
        });
    }

    /// Rules of all files, group by group in the order that the file wants.
    fn rules(&mut self, file: &TestFile) -> Vec<Rule> {
        let mut rules: Vec<Rule> = Vec::new();
        for pattern in &file.rule_files {
            let folder = self.source.path().parent().unwrap_or(Path::new(""));
            let files = matching(folder, &pattern.value);
            if files.is_empty() {
                let why = format!("{:?}: no such file", pattern.value);
                self.report(pattern.referenced, "rule_files", why);
            }
            for path in files {
                match read_rule_file(&path) {
                    Ok(found) => rules.extend(found.into_iter().map(|found| found.rule.rule)),
                    Err(errors) => self.errors.extend(errors.iter().cloned()),
                }
            }
        }
        let order = |rule: &Rule| {
            let group = rule.member.as_ref().map(|member| &member.group);
            file.group_eval_order
                .iter()
                .position(|name| Some(name) == group)
        };
        if !file.group_eval_order.is_empty() {
            rules.sort_by_key(|rule| order(rule).unwrap_or(usize::MAX));
        }
        rules
    }

    fn tests(&mut self, file: &TestFile) -> Vec<UnitTest> {
        let evaluation_ms = self.duration(file.evaluation_interval.as_ref(), "evaluation_interval");
        let evaluation_interval_ms = evaluation_ms.unwrap_or(INTERVAL_MS);
        file.tests
            .iter()
            .map(|group| {
                let interval_ms = self.duration(group.interval.as_ref(), "interval");
                UnitTest {
                    name: group.name.clone().unwrap_or_default(),
                    interval_ms: interval_ms.unwrap_or(evaluation_interval_ms),
                    evaluation_interval_ms,
                    start: self.start(group.start_timestamp.as_ref()),
                    series: group
                        .input_series
                        .iter()
                        .map(|series| (series.series.clone(), series.values.clone()))
                        .collect(),
                    alerts: group
                        .alert_rule_test
                        .iter()
                        .map(|t| self.alert_test(t))
                        .collect(),
                    expressions: group
                        .promql_expr_test
                        .iter()
                        .map(|t| self.expression_test(t))
                        .collect(),
                    external_labels: pairs(&group.external_labels),
                    external_url: group.external_url.clone().unwrap_or_default(),
                    fuzzy_compare: file.fuzzy_compare,
                }
            })
            .collect()
    }

    fn duration(&mut self, text: Option<&Spanned<String>>, key: &str) -> Option<i64> {
        let text = text?;
        match parse_duration_ms(&text.value) {
            Ok(ms) => Some(ms),
            Err(why) => {
                self.report(text.referenced, key, why.to_string());
                None
            }
        }
    }

    fn start(&mut self, text: Option<&Spanned<String>>) -> Timestamp {
        let epoch = Timestamp::from_millis(0);
        let Some(text) = text else {
            return epoch;
        };
        parse_time(&text.value, epoch).unwrap_or_else(|why| {
            self.report(text.referenced, "start_timestamp", why.to_string());
            epoch
        })
    }

    fn alert_test(&mut self, test: &WrittenAlertTest) -> AlertTest {
        let expected = test.exp_alerts.iter().flatten();
        AlertTest {
            eval_time_ms: self
                .duration(Some(&test.eval_time), "eval_time")
                .unwrap_or(0),
            alertname: test.alertname.clone(),
            expected: expected
                .map(|alert| ExpectedAlert {
                    labels: pairs(&alert.exp_labels),
                    annotations: pairs(&alert.exp_annotations),
                })
                .collect(),
        }
    }

    fn expression_test(&mut self, test: &WrittenExpressionTest) -> ExpressionTest {
        let expected = test.exp_samples.iter().flatten();
        ExpressionTest {
            expr: test.expr.clone(),
            eval_time_ms: self
                .duration(test.eval_time.as_ref(), "eval_time")
                .unwrap_or(0),
            expected: expected
                .map(|sample| ExpectedSample {
                    labels: sample.labels.clone().unwrap_or_default(),
                    value: sample.value,
                    histogram: sample.histogram.clone(),
                })
                .collect(),
        }
    }
}

fn pairs(table: &BTreeMap<String, Option<String>>) -> LabelPairs {
    let pairs = table
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().unwrap_or_default()));
    pairs.collect()
}

/// Files that fit a name in which `*` stands for any run of characters in the last part.
fn matching(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let whole = folder.join(pattern);
    if whole.is_file() {
        return vec![whole];
    }
    let (Some(name), Some(parent)) = (whole.file_name(), whole.parent()) else {
        return Vec::new();
    };
    let name = name.to_string_lossy();
    if !name.contains('*') {
        return Vec::new();
    }
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let glob = crate::model::Glob::new(name.into_owned());
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter(|entry| glob.fits(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}
