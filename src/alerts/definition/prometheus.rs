//! Rules of Prometheus rule files, in the form in which they are kept: the rule's own keys, with those of its group
//! in `group`.

use serde_json::{Map, Value};

use super::{Mistake, read_rule, reader::Reader};
use crate::model::{
    Condition, GroupMember, LabelPairs, NoData, Rule, SeriesFilter, Severity, parse_duration_ms,
};

/// The key that tells this form from that of longwatch's own rules.
pub const GROUP_KEY: &str = "group";

/// Reads a rule as it is kept: one of longwatch's own, or one of a Prometheus rule file.
///
/// # Errors
/// Every mistake in it.
pub fn read_definition(object: &Map<String, Value>) -> Result<Rule, Vec<Mistake>> {
    let Some(group) = object.get(GROUP_KEY).and_then(Value::as_object) else {
        return read_rule(object);
    };
    let mut reader = Reader {
        object,
        mistakes: Vec::new(),
    };
    let rule = reader.prometheus_rule(group);
    if reader.mistakes.is_empty() {
        Ok(rule)
    } else {
        Err(reader.mistakes)
    }
}

impl Reader<'_> {
    fn prometheus_rule(&mut self, group: &Map<String, Value>) -> Rule {
        let name = self.string("name");
        if let Err(why) = super::check_rule_name(&name) {
            self.report("name", why);
        }
        let expr = self.string("expr");
        let is_record = self.get("record").is_some();
        let title = self.string(if is_record { "record" } else { "alert" });
        let labels = self.string_pairs("labels");
        let annotations = self.string_pairs("annotations");
        let text = |key: &str| group.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| {
            let number = group.get(key).and_then(Value::as_u64);
            number.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
        };
        let ms = |key: &str| parse_duration_ms(text(key)).ok();
        let member = GroupMember {
            title: title.clone(),
            group: text("name").to_owned(),
            position: number("position"),
            interval_ms: ms("interval").filter(|ms| *ms > 0),
            query_offset_ms: ms("query_offset").unwrap_or(0),
            limit: number("limit"),
        };
        Rule {
            name,
            description: description(&annotations),
            severity: severity_of(&labels),
            filter: SeriesFilter::default(),
            condition: if is_record {
                Condition::Record {
                    expr,
                    metric: title,
                }
            } else {
                Condition::Expr { expr }
            },
            for_ms: self.hold("for"),
            keep_firing_for_ms: self.hold("keep_firing_for"),
            no_data: NoData::Resolve,
            min_samples: 1,
            flap_damping: None,
            add_labels: labels,
            annotations,
            member: Some(Box::new(member)),
        }
    }

    /// A text that must be there.
    fn string(&mut self, key: &str) -> String {
        match self.get(key) {
            Some(Value::String(text)) if !text.trim().is_empty() => text.clone(),
            _ => {
                self.report(key, "is missing");
                String::new()
            }
        }
    }

    fn hold(&mut self, key: &str) -> i64 {
        let Some(value) = self.get(key) else {
            return 0;
        };
        if let Some(Ok(ms)) = value.as_str().map(parse_duration_ms) {
            return ms;
        }
        self.report(key, format!("{value} is not a duration"));
        0
    }

    fn string_pairs(&mut self, key: &str) -> LabelPairs {
        let Some(table) = self.get(key).and_then(Value::as_object) else {
            return Vec::new();
        };
        let pairs = table.iter().filter_map(|(name, value)| {
            let value = value.as_str()?;
            Some((name.clone(), value.to_owned()))
        });
        let mut pairs: LabelPairs = pairs.collect();
        pairs.sort();
        pairs
    }
}

/// What an alert says: the annotation that says most.
fn description(annotations: &LabelPairs) -> String {
    let text = |wanted: &str| {
        let found = annotations.iter().find(|(name, _)| name == wanted);
        found.map(|(_, text)| text.clone())
    };
    let mut texts = ["description", "summary", "message"].into_iter();
    texts.find_map(text).unwrap_or_default()
}

/// The severity that a label names, as far as it is one of longwatch's words; warning otherwise.
fn severity_of(labels: &LabelPairs) -> Severity {
    let found = labels.iter().find(|(name, _)| name == "severity");
    let is_named = |severity: &Severity| {
        found.is_some_and(|(_, value)| value.eq_ignore_ascii_case(severity.as_str()))
    };
    let named = Severity::ALL.into_iter().find(is_named);
    named.unwrap_or(Severity::Warning)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &Value) -> Result<Rule, Vec<Mistake>> {
        read_definition(value.as_object().unwrap())
    }

    #[test]
    fn a_rule_of_a_group_is_read_as_it_is_kept() {
        let rule = read(&json!({
            "name": "node/Hot", "alert": "Hot", "expr": "cpu > 90", "for": "5m", "labels": {"severity": "critical"},
            "annotations": {"summary": "s {{ $value }}"},
            "group": {"name": "node", "position": 3, "interval": "1m", "query_offset": "10s", "limit": 7},
        }))
        .unwrap();
        assert_eq!((rule.name.as_str(), rule.alert_name()), ("node/Hot", "Hot"));
        assert_eq!((rule.for_ms, rule.severity), (300_000, Severity::Critical));
        assert_eq!(rule.description, "s {{ $value }}");
        assert_eq!(
            rule.member,
            Some(Box::new(GroupMember {
                title: "Hot".to_owned(),
                group: "node".to_owned(),
                position: 3,
                interval_ms: Some(60_000),
                query_offset_ms: 10_000,
                limit: 7,
            }))
        );
    }

    #[test]
    fn one_that_records_has_no_alert() {
        let rule =
            read(&json!({"name": "g/r", "record": "r", "expr": "1", "group": {"name": "g"}}));
        let condition = rule.unwrap().condition;
        assert_eq!(
            condition,
            Condition::Record {
                expr: "1".to_owned(),
                metric: "r".to_owned()
            }
        );
        let mistakes =
            read(&json!({"name": "g/r", "alert": "r", "for": "x", "group": {}})).unwrap_err();
        let keys: Vec<&str> = mistakes.iter().map(|m| m.key.as_str()).collect();
        assert_eq!(keys, ["expr", "for"]);
    }

    #[test]
    fn longwatch_s_own_form_knows_no_group() {
        let own =
            json!({"name": "a", "description": "d", "condition_type": "expr", "expr": "up == 0"});
        assert_eq!(read(&own).unwrap().condition.expression(), Some("up == 0"));
        let mut mixed = own.as_object().unwrap().clone();
        mixed.insert(GROUP_KEY.to_owned(), json!("g"));
        assert_eq!(read_rule(&mixed).unwrap_err()[0].reason, "unknown key");
    }
}
