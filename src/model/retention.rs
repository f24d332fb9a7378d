//! Rules by which some series are kept for a shorter time than others.

use std::fmt;

use super::{Glob, SeriesKey, format_duration_ms, names};

/// Series that fit all that it names are kept for `keep_ms`. Of several rules that a series fits, the first counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// Fits the metric's name.
    pub metric: Option<Glob>,
    /// Fits the agent's id.
    pub agent_id: Option<Glob>,
    /// Each fits the value of a label of the series, which must have the label.
    pub labels: Vec<(String, Glob)>,
    /// For how long samples are kept, in milliseconds; whole UTC days go at a time.
    pub keep_ms: i64,
}

impl RetentionRule {
    /// Whether the rule holds for a series.
    ///
    /// What longwatch records of contacts itself ([`is_contact`]) fits no rule: without it the past would
    /// look like silence.
    pub fn fits(&self, agent_id: &str, series: &SeriesKey) -> bool {
        let fits = |glob: &Option<Glob>, text| glob.as_ref().is_none_or(|glob| glob.fits(text));
        fits(&self.metric, series.name())
            && fits(&self.agent_id, agent_id)
            && self.labels.iter().all(|(name, glob)| {
                let value = series.label(name);
                value.is_some_and(|value| glob.fits(value))
            })
            && !is_contact(series)
    }
}

/// Which series, and for how long: `metric "debug_*", label env "dev": 7d`. Equal texts are equal rules.
impl fmt::Display for RetentionRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (what, glob) in [("metric", &self.metric), ("agent_id", &self.agent_id)] {
            if let Some(glob) = glob {
                write!(f, "{comma}{what} {:?}", glob.as_str())?;
                comma = ", ";
            }
        }
        for (name, glob) in &self.labels {
            write!(f, "{comma}label {name:?} {:?}", glob.as_str())?;
            comma = ", ";
        }
        write!(f, ": {}", format_duration_ms(self.keep_ms))
    }
}

/// The first rule that a series fits, and its place in the list.
pub fn rule_of<'a>(
    rules: &'a [RetentionRule],
    agent_id: &str,
    series: &SeriesKey,
) -> Option<(usize, &'a RetentionRule)> {
    let mut rules = rules.iter().enumerate();
    rules.find(|(_, rule)| rule.fits(agent_id, series))
}

/// Whether a series says when an agent was reached. Those without labels are longwatch's own.
pub fn is_contact(series: &SeriesKey) -> bool {
    let name = series.name();
    [names::UP, names::HEALTH_PROBE_UP, names::AGENT_CONTACT].contains(&name)
        && series.labels().next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DAY_MS;

    fn rule(metric: &str, agent_id: &str, labels: &[(&str, &str)]) -> RetentionRule {
        let glob = |text: &str| (!text.is_empty()).then(|| Glob::new(text));
        RetentionRule {
            metric: glob(metric),
            agent_id: glob(agent_id),
            labels: labels
                .iter()
                .map(|(name, text)| ((*name).to_owned(), Glob::new(*text)))
                .collect(),
            keep_ms: 7 * DAY_MS,
        }
    }

    #[test]
    fn a_series_must_fit_all_that_a_rule_names() {
        let key = SeriesKey::new("debug_calls", &[("env", "dev"), ("zone", "b")]).unwrap();
        for (rule, fits) in [
            (rule("debug_*", "", &[]), true),
            (rule("debug", "", &[]), false),
            (rule("", "web-*", &[]), true),
            (rule("", "db-*", &[]), false),
            (rule("debug_*", "db-*", &[]), false),
            (rule("", "", &[("env", "dev")]), true),
            (rule("", "", &[("env", "d*"), ("zone", "*")]), true),
            (rule("", "", &[("env", "d*"), ("zone", "a")]), false),
            // A label that is not there fits nothing.
            (rule("", "", &[("host", "*")]), false),
        ] {
            assert_eq!(rule.fits("web-1", &key), fits, "{rule}");
        }
    }

    #[test]
    fn the_first_rule_counts_and_contacts_fit_none() {
        let rules = [rule("a*", "", &[]), rule("*", "", &[])];
        let place = |name: &str, labels: &[(&str, &str)]| {
            let key = SeriesKey::new(name, labels).unwrap();
            rule_of(&rules, "web-1", &key).map(|(place, _)| place)
        };
        assert_eq!(place("ab", &[]), Some(0));
        assert_eq!(place("b", &[]), Some(1));
        assert_eq!(place("up", &[]), None);
        assert_eq!(place("agent_contact", &[]), None);
        assert_eq!(place("up", &[("instance", "a")]), Some(1));
        assert_eq!(place("scrape_series_added", &[]), Some(1));
    }

    #[test]
    fn a_rule_says_what_it_is() {
        let rule = rule("debug_*", "", &[("env", "dev")]);
        assert_eq!(
            rule.to_string(),
            "metric \"debug_*\", label \"env\" \"dev\": 7d"
        );
    }
}
