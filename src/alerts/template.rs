//! Texts of alerts with placeholders: `{agent_id}`, `{value}`, `{labels.path}`. What is filled in is never
//! read as a template again, and its control characters become blanks.

use crate::model::LabelPairs;

/// Longest template, and longest text that one makes; bytes.
pub const TEXT_BYTES_MAX: usize = 4_096;

/// Names that stand for themselves in a template. `{labels.NAME}` stands for a label.
pub const PLACEHOLDERS: [&str; 9] = [
    "agent_id",
    "alertname",
    "last_seen",
    "metric_name",
    "operator",
    "score",
    "severity",
    "threshold",
    "value",
];

/// What placeholders stand for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// `{agent_id}`
    pub agent_id: &'a str,
    /// `{alertname}`
    pub alertname: &'a str,
    /// `{metric_name}`
    pub metric_name: &'a str,
    /// `{severity}`
    pub severity: &'a str,
    /// `{operator}`; empty where the condition has none.
    pub operator: &'a str,
    /// `{threshold}`
    pub threshold: Option<f64>,
    /// `{value}`
    pub value: Option<f64>,
    /// `{score}`: how unusual the value is, for anomalies.
    pub score: Option<f64>,
    /// `{last_seen}`, RFC 3339; `never` if it never was.
    pub last_seen: Option<&'a str>,
    /// `{labels.NAME}`: labels of the series.
    pub labels: &'a [(String, String)],
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// A placeholder that stands for nothing.
    #[error("unknown placeholder {{{0}}}: known are {{{known}}} and {{labels.NAME}}; write {{{{ for a brace", known = PLACEHOLDERS.join("}, {"))]
    Unknown(String),
    /// A brace without its counterpart.
    #[error("a brace at byte {0} has no counterpart; write {{{{ or }}}} for a brace")]
    Brace(usize),
    /// Too long.
    #[error("has {0} bytes, at most {TEXT_BYTES_MAX} are allowed")]
    TooLong(usize),
}

enum Part<'a> {
    Text(&'a str),
    Placeholder(&'a str),
}

/// Checks that a text can be filled in.
pub fn check_template(template: &str) -> Result<(), BadTemplate> {
    if template.len() > TEXT_BYTES_MAX {
        return Err(BadTemplate::TooLong(template.len()));
    }
    each_part(template, &mut |part| match part {
        Part::Placeholder(name)
            if !PLACEHOLDERS.contains(&name)
                && name.strip_prefix("labels.").is_none_or(str::is_empty) =>
        {
            Err(BadTemplate::Unknown(name.to_owned()))
        }
        _ => Ok(()),
    })
}

/// Fills a template in. One that would not pass [`check_template`] comes back as it is.
pub fn fill(template: &str, facts: &Facts<'_>) -> String {
    let mut out = String::with_capacity(template.len() + 32);
    let filled = each_part(template, &mut |part| {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Placeholder(name) => push_inert(&mut out, &value_of(name, facts)),
        }
        Ok(())
    });
    if filled.is_err() {
        return template.to_owned();
    }
    out.truncate(out.floor_char_boundary(TEXT_BYTES_MAX));
    out
}

/// Fills the values of labels or annotations in; empty ones go.
pub fn fill_all(pairs: &[(String, String)], facts: &Facts<'_>) -> LabelPairs {
    let filled = pairs
        .iter()
        .map(|(name, value)| (name.clone(), fill(value, facts)));
    filled.filter(|(_, value)| !value.is_empty()).collect()
}

/// A number for people: as short as it can be read back, long fractions cut to four digits.
pub fn shown_number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let exact = value.to_string();
    if exact.len() > 12 && value.abs() < 1e12 && value.abs() >= 1e-3 {
        let cut = format!("{value:.4}");
        return cut.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    if exact.len() > 20 {
        return format!("{value:e}");
    }
    exact
}

fn value_of(name: &str, facts: &Facts<'_>) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "no value".to_owned(), shown_number);
    match name {
        "agent_id" => facts.agent_id.to_owned(),
        "alertname" => facts.alertname.to_owned(),
        "last_seen" => facts.last_seen.unwrap_or("never").to_owned(),
        "metric_name" => facts.metric_name.to_owned(),
        "operator" => facts.operator.to_owned(),
        "score" => number(facts.score),
        "severity" => facts.severity.to_owned(),
        "threshold" => number(facts.threshold),
        "value" => number(facts.value),
        other => {
            let label = other.strip_prefix("labels.").unwrap_or_default();
            let found = facts.labels.iter().find(|(name, _)| name == label);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        }
    }
}

fn push_inert(out: &mut String, text: &str) {
    out.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
}

fn each_part<'a>(
    template: &'a str,
    visit: &mut dyn FnMut(Part<'a>) -> Result<(), BadTemplate>,
) -> Result<(), BadTemplate> {
    let mut at = 0;
    while let Some(found) = template[at..].find(['{', '}']) {
        let brace = at + found;
        visit(Part::Text(&template[at..brace]))?;
        let rest = &template[brace..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            visit(Part::Text(&rest[..1]))?;
            at = brace + 2;
            continue;
        }
        let end = rest.find('}').filter(|_| rest.starts_with('{'));
        let end = end.ok_or(BadTemplate::Brace(brace))?;
        visit(Part::Placeholder(&rest[1..end]))?;
        at = brace + end + 1;
    }
    visit(Part::Text(&template[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in_stays_inert() {
        let labels = [("path".to_owned(), "/{value}\u{7}\n".to_owned())];
        let facts = Facts {
            agent_id: "a{threshold}7",
            metric_name: "cpu",
            value: Some(95.5),
            threshold: Some(90.0),
            operator: ">",
            labels: &labels,
            ..Facts::default()
        };
        assert_eq!(
            fill(
                "{agent_id} {metric_name}={value} {operator} {threshold} {labels.path}|{labels.no}",
                &facts
            ),
            "a{threshold}7 cpu=95.5 > 90 /{value}  |"
        );
        assert_eq!(fill("{{agent_id}} {last_seen}", &facts), "{agent_id} never");
    }

    #[test]
    fn unknown_placeholders_and_lone_braces_are_refused() {
        for (template, why) in [
            ("{agent}", "unknown placeholder {agent}"),
            ("{labels.}", "unknown placeholder"),
            ("{", "byte 0"),
            ("a}b", "byte 1"),
            ("{agent_id", "byte 0"),
            ("{{{agent_id}", ""),
        ] {
            match check_template(template) {
                Ok(()) => assert_eq!(why, "", "{template}"),
                Err(error) => assert!(error.to_string().contains(why), "{template}: {error}"),
            }
        }
        assert!(check_template("{{}} {labels.a.b} {value}").is_ok());
        assert!(check_template(&"x".repeat(5_000)).is_err());
    }

    #[test]
    fn numbers_are_short() {
        for (value, shown) in [
            (95.0, "95"),
            (0.1 + 0.2, "0.3"),
            (1e300, "1e300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (-1.0 / 3.0, "-0.3333"),
            (123_456_789.25, "123456789.25"),
        ] {
            assert_eq!(shown_number(value), shown);
        }
    }
}
