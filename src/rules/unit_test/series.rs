//! Series as promtool writes them: `up{job="a"}` with values such as `0 1+2x3 _ stale`.

use super::histogram::Histogram;
use crate::{
    model::{Labels, MatchOperator, STALE_MARKER},
    query::parse_metric_selector,
};

/// Samples that one test may give.
pub(super) const SAMPLES_MAX: usize = 10_000_000;

/// Labels of a series; of an empty text, none.
pub(super) fn labels(text: &str) -> Result<Labels, String> {
    let text = text.trim();
    if text.is_empty() || text.replace(' ', "") == "{}" {
        return Ok(Labels::default());
    }
    let matchers = parse_metric_selector(text).map_err(|error| error.to_string())?;
    if let Some(other) = matchers
        .iter()
        .find(|m| m.operator() != MatchOperator::Equal)
    {
        return Err(format!("{other} is no label of a series"));
    }
    Ok(Labels::new(matchers.iter().map(|m| (m.name(), m.value()))))
}

/// What a series is given at a step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Given {
    Number(f64),
    Histogram(Histogram),
}

/// Values, one for each step; `None` where there is no sample.
pub(super) fn values(text: &str) -> Result<Vec<Option<Given>>, String> {
    let mut values = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let length = word_length(rest);
        let (word, after) = rest.split_at(length);
        rest = after.trim_start();
        let bad = || format!("unexpected {word:?} in series values");
        let times = word
            .rsplit_once('x')
            .filter(|(_, times)| !times.contains('}'));
        let (item, times) = match times {
            Some((item, times)) => (item, Some(times.parse::<usize>().map_err(|_| bad())?)),
            None => (word, None),
        };
        if values.len().saturating_add(times.unwrap_or(0)) >= SAMPLES_MAX {
            return Err(format!("more than {SAMPLES_MAX} samples"));
        }
        match item {
            // So often in all, while a value is repeated so often more.
            "_" => values.extend(std::iter::repeat_n(None, times.unwrap_or(1))),
            "stale" => {
                let marker = Some(Given::Number(STALE_MARKER));
                values.extend(std::iter::repeat_n(marker, times.unwrap_or(0) + 1));
            }
            item if item.starts_with("{{") => values.extend(histograms(item, times)?),
            item => {
                let (first, step) = expanded(item).ok_or_else(bad)?;
                if step.is_some() && times.is_none() {
                    return Err(bad());
                }
                let mut value = first;
                for _ in 0..=times.unwrap_or(0) {
                    values.push(Some(Given::Number(value)));
                    value += step.unwrap_or(0.0);
                }
            }
        }
    }
    Ok(values)
}

/// Length of a word; blanks within `{{` and `}}` do not end it.
fn word_length(text: &str) -> usize {
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let blank = rest.find(char::is_whitespace);
        match (rest.find("{{"), blank) {
            (Some(open), blank) if blank.is_none_or(|blank| open < blank) => {
                match rest[open..].find("}}") {
                    Some(end) => at += open + end + 2,
                    None => return text.len(),
                }
            }
            (_, Some(blank)) => return at + blank,
            (_, None) => return text.len(),
        }
    }
}

/// `{{...}}`, `{{...}}x3`, `{{...}}+{{...}}x3`
fn histograms(item: &str, times: Option<usize>) -> Result<Vec<Option<Given>>, String> {
    let bad = || format!("unexpected {item:?} in series values");
    let whole = item.strip_prefix("{{").ok_or_else(bad)?;
    let (first, rest) = whole.split_once("}}").ok_or_else(bad)?;
    let mut value = Histogram::parse(first)?;
    let step = match rest.split_at_checked(1) {
        None => None,
        Some((sign, step)) => {
            let step = step
                .strip_prefix("{{")
                .and_then(|step| step.strip_suffix("}}"));
            let step = Histogram::parse(step.ok_or_else(bad)?)?;
            match sign {
                "+" => Some((step, 1.0)),
                "-" => Some((step, -1.0)),
                _ => return Err(bad()),
            }
        }
    };
    let mut values = Vec::new();
    for _ in 0..=times.unwrap_or(0) {
        values.push(Some(Given::Histogram(value.clone())));
        if let Some((step, sign)) = &step {
            value = value.plus(step, *sign)?;
        }
    }
    Ok(values)
}

/// `first+step` or `first-step`; without a step the first alone.
fn expanded(item: &str) -> Option<(f64, Option<f64>)> {
    let number = |text: &str| text.parse::<f64>().ok();
    if let Some(whole) = number(item) {
        return Some((whole, None));
    }
    let signs = item
        .char_indices()
        .skip(1)
        .filter(|(_, c)| matches!(c, '+' | '-'));
    for (at, _) in signs {
        let (first, step) = item.split_at(at);
        if let (Some(first), Some(step)) = (number(first), number(step)) {
            return Some((first, Some(step)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_expand_as_in_promtool() {
        for (text, expected) in [
            ("0 1.5 -2", vec![Some(0.0), Some(1.5), Some(-2.0)]),
            ("1x2", vec![Some(1.0); 3]),
            ("0+0x1", vec![Some(0.0); 2]),
            ("5-2x2", vec![Some(5.0), Some(3.0), Some(1.0)]),
            ("-1e1+1e1x1", vec![Some(-10.0), Some(0.0)]),
            ("_ 1 _x2", vec![None, Some(1.0), None, None]),
            ("inf", vec![Some(f64::INFINITY)]),
            ("", vec![]),
        ] {
            let expected: Vec<Option<Given>> = expected
                .into_iter()
                .map(|value| value.map(Given::Number))
                .collect();
            assert_eq!(values(text).as_ref(), Ok(&expected), "{text}");
        }
        let stale = values("stale").unwrap();
        assert!(matches!(stale[0], Some(Given::Number(n)) if crate::model::is_stale_marker(n)));
        let sums = values("{{sum:1 count:1}} {{sum:3}}+{{sum:2}}x2 {{sum:1}}x1 4").unwrap();
        let shown: Vec<String> = sums.iter().map(|given| format!("{given:?}")).collect();
        assert_eq!(shown.len(), 7);
        assert!(
            shown[3].contains("sum: 7.0") && shown[5].contains("sum: 1.0"),
            "{shown:?}"
        );
        for bad in [
            "a",
            "1+x2",
            "1+1",
            "1xq",
            "{{sum:1",
            "{{sum:1}}*{{sum:1}}x1",
            "1x99999999999",
        ] {
            assert!(values(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_read_from_the_text_of_a_series() {
        let shown = |text: &str| labels(text).map(|labels| labels.to_string());
        assert_eq!(shown("up{job=\"a\"}").as_deref(), Ok("up{job=\"a\"}"));
        assert_eq!(shown("{}").as_deref(), Ok("{}"));
        assert_eq!(shown("requests{}").as_deref(), Ok("requests"));
        assert!(shown("up{job=\"a\"").is_err());
        assert!(shown("up{job=~\"a\"}").is_err());
    }
}
