//! The alerts of one rule on a simulated clock: the state machine over the rows of each evaluation.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::rows::Row;
use crate::{
    alerts::{self, Finding, Life, Surroundings, Terms},
    model::{AlertEventKind, Labels, Rule, Timestamp},
};

/// An alert.
#[derive(Clone, Debug)]
pub(in crate::rules) struct Instance {
    /// Its times.
    pub(in crate::rules) life: Life,
    /// Its row, as it was last there.
    pub(in crate::rules) row: Row,
}

/// Alerts that are open, and when each fired.
#[derive(Debug, Default)]
pub(in crate::rules) struct Instances {
    open: BTreeMap<Labels, Instance>,
    fired: HashMap<Labels, Vec<Timestamp>>,
}

impl Instances {
    /// Takes the rows of an evaluation; `absence` says what it means that the row of an open alert is not there.
    /// Returns what changed, with each alert as it is then.
    pub(in crate::rules) fn take(
        &mut self,
        rule: &Rule,
        rows: Vec<Row>,
        at: Timestamp,
        absence: &dyn Fn(&Row) -> Finding,
        downtime_ms: &dyn Fn(Timestamp, Timestamp) -> i64,
    ) -> Vec<(Instance, AlertEventKind)> {
        let present: HashSet<Labels> = rows.iter().map(|row| row.identity.clone()).collect();
        let absent = self
            .open
            .values()
            .filter(|open| !present.contains(&open.row.identity));
        let absent: Vec<Row> = absent.map(|open| open.row.clone()).collect();
        let holds = rows.into_iter().map(|row| (row, Finding::Holds));
        let ends = absent
            .into_iter()
            .map(|row| (absence(&row), row))
            .map(|(f, row)| (row, f));
        let mut changes = Vec::new();
        for (row, finding) in holds.chain(ends) {
            let known = self.open.get_mut(&row.identity);
            let life = known.map(|open| {
                open.row = row.clone();
                open.life
            });
            let fired = self.fired.get(&row.identity);
            let surroundings = Surroundings {
                downtime_ms,
                firings_since: &|since| {
                    fired
                        .into_iter()
                        .flatten()
                        .filter(|fired| **fired >= since)
                        .count()
                },
            };
            let terms = Terms::from(rule);
            let Some(step) = alerts::step(life, &terms, &finding, at, &surroundings) else {
                continue;
            };
            if step.kind == AlertEventKind::Fired {
                self.fired.entry(row.identity.clone()).or_default().push(at);
            }
            let instance = Instance {
                life: step.life,
                row,
            };
            if step.life.resolved_at.is_some() {
                self.open.remove(&instance.row.identity);
            } else {
                self.open
                    .insert(instance.row.identity.clone(), instance.clone());
            }
            changes.push((instance, step.kind));
        }
        changes
    }

    /// Alerts that are pending or fire.
    pub(in crate::rules) fn open(&self) -> impl Iterator<Item = &Instance> {
        self.open.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::read_rule;

    fn row(value: f64) -> Row {
        let labels = Labels::new([("a", "1")]);
        Row {
            identity: labels.clone(),
            labels,
            value,
        }
    }

    #[test]
    fn a_row_that_vanishes_is_kept_for_its_time() {
        let rule = serde_json::json!({"name": "r", "description": "d", "condition_type": "expr", "expr": "up",
            "for": "1m", "keep_firing_for": "2m"});
        let rule = read_rule(rule.as_object().unwrap()).unwrap();
        let mut instances = Instances::default();
        let mut told = Vec::new();
        // There, there, gone, gone, there, gone, gone, gone; a minute each.
        for (minute, is_there) in [true, true, false, false, true, false, false, false]
            .into_iter()
            .enumerate()
        {
            let at = Timestamp::from_millis(minute as i64 * 60_000);
            let rows = if is_there {
                vec![row(minute as f64)]
            } else {
                Vec::new()
            };
            let changes = instances.take(&rule, rows, at, &|_| Finding::Ends, &|_, _| 0);
            told.push(changes.first().map(|(_, kind)| kind.as_str()));
        }
        let kinds: Vec<&str> = told.iter().map(|kind| kind.unwrap_or("-")).collect();
        assert_eq!(
            kinds,
            [
                "pending",
                "fired",
                "kept_firing",
                "-",
                "returned",
                "kept_firing",
                "-",
                "resolved"
            ]
        );
        assert_eq!(instances.open().count(), 0);
    }
}
