//! Identity, labels and texts of a rule's alerts.

use super::condition::Judgement;
use crate::{
    alerts::{Facts, fill, fill_all},
    model::{Condition, LabelPairs, Labels, NAME_LABEL, Rule, SeriesKey, Timestamp},
};

/// Labels that longwatch sets; those of a series that have such a name become `exported_...`.
const OWN_LABELS: [&str; 4] = ["agent_id", "alertname", "metric_name", "severity"];

/// Identity of an alert about a series: `rule:agent:metric`.
pub(super) fn alert_id(rule: &str, agent: &str, series: &SeriesKey) -> String {
    format!("{rule}:{agent}:{}", series.name())
}

/// Identity of an alert about one of several series of a metric: the labels follow.
pub(super) fn alert_id_with_labels(rule: &str, agent: &str, series: &SeriesKey) -> String {
    format!("{rule}:{agent}:{series}")
}

/// Identity of an alert about a whole agent.
pub(super) fn alert_id_of_agent(rule: &str, agent: &str) -> String {
    format!("{rule}:{agent}")
}

/// What an alert says, filled in.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    pub(super) labels: LabelPairs,
    pub(super) description: String,
    pub(super) annotations: LabelPairs,
}

/// Fills a rule's texts in.
pub(super) fn texts(
    rule: &Rule,
    agent: &str,
    series: Option<&SeriesKey>,
    found: &Judgement,
) -> Texts {
    let of_series: LabelPairs = series.map_or_else(Vec::new, |key| {
        key.labels()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    });
    filled(
        rule,
        agent,
        series.map_or("", SeriesKey::name),
        &of_series,
        found,
    )
}

/// The same for a row of an expression. `agent` is that which the row names; a label `agent_id` that names none stays.
pub(super) fn texts_of_row(rule: &Rule, agent: &str, row: &Labels, found: &Judgement) -> Texts {
    let agent = match row.get("agent_id") {
        "" => agent,
        named => named,
    };
    let others = row
        .iter()
        .filter(|(name, _)| ![NAME_LABEL, "agent_id"].contains(name));
    let of_row: LabelPairs = others.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    filled(rule, agent, row.name(), &of_row, found)
}

fn filled(
    rule: &Rule,
    agent: &str,
    metric_name: &str,
    of_series: &LabelPairs,
    found: &Judgement,
) -> Texts {
    let last_seen = found.last_seen.map(Timestamp::to_rfc3339);
    let operator = match &rule.condition {
        Condition::Threshold { limit, .. }
        | Condition::RateOfChange { limit, .. }
        | Condition::Forecast { limit, .. } => limit.operator.as_str(),
        Condition::Anomaly { .. }
        | Condition::Absent { .. }
        | Condition::Expr { .. }
        | Condition::Record { .. } => "",
    };
    let facts = Facts {
        agent_id: agent,
        alertname: &rule.name,
        metric_name,
        severity: rule.severity.as_str(),
        operator,
        threshold: rule.condition.threshold(),
        value: found.value,
        score: found.score,
        last_seen: last_seen.as_deref(),
        labels: of_series,
    };
    let mut labels: LabelPairs = fill_all(&rule.add_labels, &facts);
    let own = [
        ("agent_id", agent),
        ("alertname", &rule.name),
        ("metric_name", facts.metric_name),
        ("severity", facts.severity),
    ];
    labels.retain(|(name, _)| !OWN_LABELS.contains(&name.as_str()));
    for (name, value) in own.into_iter().filter(|(_, value)| !value.is_empty()) {
        labels.push((name.to_owned(), value.to_owned()));
    }
    for (name, value) in of_series {
        let is_taken = labels.iter().any(|(taken, _)| taken == name);
        let name = if is_taken {
            format!("exported_{name}")
        } else {
            name.clone()
        };
        if labels.iter().all(|(taken, _)| *taken != name) {
            labels.push((name, value.clone()));
        }
    }
    labels.sort();
    Texts {
        labels,
        description: fill(&rule.description, &facts),
        annotations: fill_all(&rule.annotations, &facts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::read_rule;

    #[test]
    fn an_alert_has_its_own_labels_and_those_of_the_series() {
        let definition = serde_json::json!({
            "name": "hot", "description": "{agent_id} {metric_name}{labels.core} at {value} {operator} {threshold}",
            "condition_type": "threshold", "threshold": 90, "add_labels": {"team": "{labels.core}x", "zone": ""},
        });
        let rule = read_rule(definition.as_object().unwrap()).unwrap();
        let key =
            SeriesKey::new("cpu", &[("core", "3"), ("severity", "s"), ("team", "t")]).unwrap();
        let found = Judgement {
            finding: crate::alerts::Finding::Holds,
            value: Some(95.5),
            threshold: Some(90.0),
            score: None,
            last_seen: None,
        };
        let texts = texts(&rule, "a7", Some(&key), &found);
        assert_eq!(texts.description, "a7 cpu3 at 95.5 > 90");
        let shown: Vec<String> = texts
            .labels
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        assert_eq!(
            shown.join(" "),
            "agent_id=a7 alertname=hot core=3 exported_severity=s exported_team=t metric_name=cpu \
             severity=warning team=3x"
        );
        let id = alert_id_with_labels("hot", "a7", &key);
        assert_eq!(id, r#"hot:a7:cpu{core="3",severity="s",team="t"}"#);
        assert_eq!(alert_id("hot", "a7", &key), "hot:a7:cpu");
    }
}
