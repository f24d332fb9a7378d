//! `longwatch rules`

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::{
    check::Answer,
    command::usage,
    failure::{Failure, Status},
    output::{self, printable},
    progress::Progress,
    rule_tests::RuleTest,
    server::{Server, TokenArgs, converse},
    window::{WindowArgs, open},
};
use crate::{
    alerts::Routing,
    config::{self, Overrides},
    model::{
        Clock, History, Rule, StoredRule, SystemClock, Window, format_duration_ms, parse_time,
    },
    rules::{self, Remark, Weight, backtest_json},
};

/// Thresholds that one sweep tries.
const SWEEP_MAX: usize = 200;

/// Alert rules: test them, try them on stored history, find what is wrong with them.
#[derive(Debug, Subcommand)]
#[command(
    after_help = "Example:\n  longwatch rules backtest rules.toml --db copy.redb --window 14d"
)]
pub(super) enum Rules {
    Backtest(Backtest),
    Lint(Lint),
    Test(RuleTest),
}

impl Rules {
    /// Tries or looks.
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Backtest(backtest) => backtest.run(),
            Self::Lint(lint) => lint.run(),
            Self::Test(test) => test.run(),
        }
    }
}

/// What rules would have done on stored history: episodes, firing time, notifications.
///
/// The conditions and the state machine are those of the server, on a simulated clock. Nothing is written.
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("source").required(true).args(["db", "url"])),
    after_help = "Examples:\n  longwatch rules backtest rules.toml --db copy.redb --window 14d\n  \
        longwatch rules backtest rules.toml --db copy.redb --rule hot --sweep threshold=70..95:5\n  \
        longwatch rules backtest rules.toml --url http://127.0.0.1:7464 --window 7d --format json"
)]
pub(super) struct Backtest {
    /// File of rules (TOML, or YAML in Prometheus' form), or a directory of such files
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Database file to read
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
    /// Server to ask
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    token: TokenArgs,
    #[command(flatten)]
    window: WindowArgs,
    /// This rule only; may be given several times
    #[arg(long = "rule", value_name = "NAME")]
    only: Vec<String>,
    /// Try several thresholds: from, to, step
    #[arg(long, value_name = "threshold=FROM..TO:STEP")]
    sweep: Option<String>,
    /// Configuration whose routes and maintenance windows count for notifications (with --db)
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

impl Backtest {
    fn run(self) -> Result<(), Failure> {
        let thresholds = self.sweep.as_deref().map(sweep).transpose()?;
        let rules = chosen(read(&self.file)?, &self.only)?;
        self.window.check()?;
        let reports = match (&self.db, &self.url) {
            (Some(db), _) => self.of_file(db, &rules, thresholds.as_deref())?,
            (None, Some(url)) => {
                let server = Server::new(url, &self.token)?;
                converse(self.of_server(&server, &rules, thresholds.as_deref()))?
            }
            (None, None) => return Err(usage("give --db FILE or --url URL")),
        };
        let text = match self.format {
            Answer::Json => output::pretty(&json!({ "backtests": reports })),
            Answer::Text => table(&reports),
        };
        output::print(text.as_bytes())
    }

    fn of_file(
        &self,
        db: &Path,
        rules: &[StoredRule],
        thresholds: Option<&[f64]>,
    ) -> Result<Vec<Value>, Failure> {
        let routing = match &self.config {
            Some(file) => {
                let no_environment = std::iter::empty::<(String, String)>();
                let config = config::load(Some(file), no_environment, &Overrides::default())?;
                Routing::clone(&config.store.routing)
            }
            None => Routing::default(),
        };
        let (view, now) = open(db)?;
        let window = self.window.at(now)?;
        let tried = variants(rules, thresholds);
        let mut progress = Progress::of("backtest");
        let reports = rules::backtest(&*view, &tried, window, &routing, &mut |done, total| {
            progress.at(done as u64, total as u64);
        });
        let reports = reports.map_err(Failure::from)?;
        progress.end();
        Ok(reports
            .iter()
            .map(|report| backtest_json(report, window))
            .collect())
    }

    /// What the server is asked. It reads relative times by its own clock, so the texts are passed on.
    fn body(&self, definition: &Value) -> Value {
        let (window, to) = (&self.window, self.window.to.as_deref());
        let mut body = json!({"rule": definition, "to": to});
        body["from"] = match (&window.from, to) {
            (Some(from), _) => json!(from),
            (None, None) => json!(format!("-{}", window.length())),
            // A length before a given end is worked out here.
            (None, Some(to)) => {
                let now = SystemClock.now();
                let end = parse_time(to, now).unwrap_or(now);
                json!(
                    end.plus_millis(-window.length_ms().unwrap_or_default())
                        .to_rfc3339()
                )
            }
        };
        body
    }

    async fn of_server(
        &self,
        server: &Server,
        rules: &[StoredRule],
        thresholds: Option<&[f64]>,
    ) -> Result<Vec<Value>, Failure> {
        let mut reports = Vec::new();
        let mut progress = Progress::of("backtest");
        let bodies: Vec<Value> = rules
            .iter()
            .flat_map(|rule| definitions(rule, thresholds))
            .map(|definition| self.body(&definition))
            .collect();
        for (done, body) in bodies.iter().enumerate() {
            progress.at(done as u64, bodies.len() as u64);
            let url = server.at(&["api", "v1", "rules", "backtest"]);
            let request = server.client().post(url).json(body);
            let answer = server.body(server.send(request).await?).await?;
            let report = serde_json::from_slice(&answer).map_err(|e| {
                Failure::new(Status::NotHeld, format!("the answer is not JSON: {e}"))
            })?;
            reports.push(report);
        }
        Ok(reports)
    }
}

/// Rules of a file or of a directory of files.
fn read(path: &Path) -> Result<Vec<StoredRule>, Failure> {
    let read = if path.is_dir() {
        config::read_rule_directory(path)
    } else {
        config::read_rule_file(path)
    };
    Ok(read?.into_iter().map(|found| found.rule).collect())
}

fn chosen(mut rules: Vec<StoredRule>, only: &[String]) -> Result<Vec<StoredRule>, Failure> {
    for name in only {
        if rules.iter().all(|rule| rule.rule.name != *name) {
            return Err(usage(format!(
                "--rule: there is no rule `{name}` in the file"
            )));
        }
    }
    rules.retain(|rule| only.is_empty() || only.contains(&rule.rule.name));
    Ok(rules)
}

/// Each rule, with each of the thresholds if there are some. A rule without a threshold is tried as it is.
fn variants(rules: &[StoredRule], thresholds: Option<&[f64]>) -> Vec<Rule> {
    let of_rule = |stored: &StoredRule| -> Vec<Rule> {
        match thresholds {
            Some(thresholds) if stored.rule.condition.threshold().is_some() => thresholds
                .iter()
                .map(|to| Rule {
                    condition: stored.rule.condition.with_threshold(*to),
                    ..stored.rule.clone()
                })
                .collect(),
            _ => vec![stored.rule.clone()],
        }
    };
    rules.iter().flat_map(of_rule).collect()
}

/// The same as definitions for a server.
fn definitions(stored: &StoredRule, thresholds: Option<&[f64]>) -> Vec<Value> {
    let definition: Value = serde_json::from_str(&stored.definition).unwrap_or_default();
    let Some(thresholds) = thresholds.filter(|_| stored.rule.condition.threshold().is_some())
    else {
        return vec![definition];
    };
    let key = if definition.get("rate_threshold").is_some() {
        "rate_threshold"
    } else {
        "threshold"
    };
    let present = stored.rule.condition.threshold().unwrap_or_default();
    let with = |to: &f64| {
        let mut definition = definition.clone();
        definition[key] = json!(to);
        if let Some(resolve) = definition.get("resolve_threshold").and_then(Value::as_f64) {
            definition["resolve_threshold"] = json!(resolve + to - present);
        }
        definition
    };
    thresholds.iter().map(with).collect()
}

/// `threshold=70..95:5`
fn sweep(text: &str) -> Result<Vec<f64>, Failure> {
    let bad = || {
        usage(format!(
            "--sweep: `{text}` is not of the form threshold=70..95:5"
        ))
    };
    let range = text.strip_prefix("threshold=").ok_or_else(bad)?;
    let (from, rest) = range.split_once("..").ok_or_else(bad)?;
    let (to, step) = rest.split_once(':').ok_or_else(bad)?;
    let number = |text: &str| text.trim().parse::<f64>().ok().filter(|n| n.is_finite());
    let (from, to, step) = number(from)
        .zip(number(to))
        .zip(number(step))
        .map(|((from, to), step)| (from, to, step))
        .ok_or_else(bad)?;
    if step <= 0.0 || to < from {
        return Err(usage(format!(
            "--sweep: `{text}` leads nowhere: the step must be above 0, the end not before the start"
        )));
    }
    let count = ((to - from) / step + 1e-9).floor();
    if count >= SWEEP_MAX as f64 {
        return Err(usage(format!(
            "--sweep: `{text}` tries more than {SWEEP_MAX} thresholds"
        )));
    }
    // Each from the start, so that errors of rounding do not add up.
    Ok((0..=count as usize)
        .map(|i| from + i as f64 * step)
        .collect())
}

fn table(reports: &[Value]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.force_no_tty();
    table.set_header([
        "RULE",
        "THRESHOLD",
        "SERIES",
        "FIRED",
        "PENDING ONLY",
        "FIRING TIME",
        "NOTIFICATIONS",
        "COVERAGE",
    ]);
    for report in reports {
        let number = |key: &str| report.get(key).and_then(Value::as_f64).unwrap_or_default();
        let threshold = report.get("threshold").filter(|t| !t.is_null());
        let rule = report.get("rule").and_then(Value::as_str).unwrap_or("-");
        table.add_row([
            printable(rule),
            threshold.map_or("-".to_owned(), ToString::to_string),
            format!("{}", number("series")),
            format!("{}", number("fired")),
            format!("{}", number("pending_only")),
            format_duration_ms((number("firing_seconds") * 1000.0) as i64),
            format!("{}", number("notifications")),
            format!("{:.0} %", number("coverage") * 100.0),
        ]);
    }
    format!("{}\n", table.trim_fmt())
}

/// Hold rules against stored history: which can never match, which never fired.
///
/// Exit status 1 when a rule looks at nothing that is known.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  longwatch rules lint rules.toml --db copy.redb --window 30d")]
pub(super) struct Lint {
    /// File of rules (TOML, or YAML in Prometheus' form), or a directory of such files
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Database file to read
    #[arg(long, value_name = "FILE")]
    db: PathBuf,
    #[command(flatten)]
    window: WindowArgs,
    /// Output for people or for programs
    #[arg(long, value_enum, default_value = "text")]
    format: Answer,
}

impl Lint {
    fn run(self) -> Result<(), Failure> {
        self.window.check()?;
        let rules: Vec<Rule> = read(&self.file)?
            .into_iter()
            .map(|stored| stored.rule)
            .collect();
        let (view, now) = open(&self.db)?;
        let window: Window = self.window.at(now)?;
        let mut progress = Progress::of("lint");
        let history: &dyn History = &*view;
        let remarks = rules::lint(history, &rules, window, &mut |done, total| {
            progress.at(done as u64, total as u64);
        });
        progress.end();
        let remarks = remarks?;
        let word = |weight| match weight {
            Weight::Dead => "dead",
            Weight::Note => "note",
        };
        let text = match self.format {
            Answer::Json => {
                let remarks = remarks.iter().map(|remark| {
                    json!({"rule": remark.rule, "weight": word(remark.weight), "text": remark.text})
                });
                output::pretty(
                    &json!({"rules": rules.len(), "remarks": remarks.collect::<Vec<_>>()}),
                )
            }
            Answer::Text if remarks.is_empty() => format!("{} rules: ok\n", rules.len()),
            Answer::Text => {
                let line = |r: &Remark| {
                    format!(
                        "{}: {}: {}\n",
                        printable(&r.rule),
                        word(r.weight),
                        printable(&r.text)
                    )
                };
                remarks.iter().map(line).collect::<Vec<_>>().concat()
            }
        };
        output::print(text.as_bytes())?;
        if remarks.iter().any(|remark| remark.weight == Weight::Dead) {
            return Err(Failure::told(Status::NotHeld));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_are_read_with_both_ends() {
        assert_eq!(sweep("threshold=70..80:5").unwrap(), [70.0, 75.0, 80.0]);
        assert_eq!(sweep("threshold=0.1..0.3:0.1").unwrap().len(), 3);
        for text in [
            "70..80:5",
            "threshold=70",
            "threshold=80..70:5",
            "threshold=1..2:0",
            "threshold=0..1e9:1",
        ] {
            assert!(sweep(text).is_err(), "{text}");
        }
    }
}
