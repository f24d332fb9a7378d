//! What is suspicious about rules, seen against stored history.

use super::backtest::{BacktestReport, backtest};
use crate::{
    alerts::Routing,
    model::{Condition, History, ReadError, Rule, Window, is_derived_metric},
};

/// How bad a remark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The rule can never do anything, as things are.
    Dead,
    /// Worth a look.
    Note,
}

/// A remark about a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The rule.
    pub rule: String,
    /// How bad it is.
    pub weight: Weight,
    /// What is suspicious.
    pub text: String,
}

/// Holds rules against a window of history.
///
/// # Errors
/// [`ReadError`] when samples cannot be read.
pub fn lint(
    history: &dyn History,
    rules: &[Rule],
    window: Window,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Vec<Remark>, ReadError> {
    let reports = backtest(history, rules, window, &Routing::default(), progress)?;
    let mut remarks = Vec::new();
    for (rule, report) in rules.iter().zip(&reports) {
        let mut remark = |weight, text: String| {
            remarks.push(Remark {
                rule: rule.name.clone(),
                weight,
                text,
            });
        };
        if let Some(error) = &report.error {
            remark(Weight::Dead, format!("it cannot be evaluated: {error}"));
            continue;
        }
        if matches!(rule.condition, Condition::Record { .. }) {
            continue;
        }
        if report.series == 0 && rule.condition.expression().is_some() {
            let why =
                "no series that its expression names had samples, or it never held".to_owned();
            remark(Weight::Note, why);
            continue;
        }
        if report.series == 0 {
            remark(Weight::Dead, unmatched(history, rule, window));
            continue;
        }
        if report.fired() == 0 {
            remark(Weight::Note, never_fired(report));
        }
        if rule.for_ms >= window.length_ms() {
            let why = "`for` is longer than the history that was looked at".to_owned();
            remark(Weight::Note, why);
        }
        if report.coverage < 0.5 && !matches!(rule.condition, Condition::Absent { .. }) {
            let share = report.coverage * 100.0;
            remark(
                Weight::Note,
                format!(
                    "there is data to judge by for {share:.0} % of the time only: see `window` and `no_data`"
                ),
            );
        }
    }
    Ok(remarks)
}

fn never_fired(report: &BacktestReport) -> String {
    let pending = report.episodes.len();
    if pending > 0 {
        format!("never fired, but was pending {pending} times: see `for`")
    } else {
        "its condition never held".to_owned()
    }
}

/// Why a rule looks at nothing: no such agent, no such metric, or no series with such labels.
fn unmatched(history: &dyn History, rule: &Rule, window: Window) -> String {
    let agents = super::backtest::agents(history, window.to);
    let filter = &rule.filter;
    let fitting: Vec<_> = agents
        .iter()
        .filter(|agent| filter.takes_agent(agent.id.as_str()))
        .collect();
    if fitting.is_empty() {
        let asked = filter.agent.as_ref().map_or("*", |glob| glob.as_str());
        return format!("no agent fits `{asked}`");
    }
    let fits_name = |name: &str| match &filter.metric {
        Some(glob) => glob.fits(name),
        None => !is_derived_metric(name),
    };
    let mut keys = fitting
        .iter()
        .flat_map(|agent| history.series(agent.no, None));
    if keys.any(|series| fits_name(series.key.name())) {
        return "no series of such a metric has such labels".to_owned();
    }
    let asked = filter.metric.as_ref().map_or("*", |glob| glob.as_str());
    format!("no metric `{asked}` is known of the agents that it looks at")
}
