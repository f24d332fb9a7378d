//! Series as promtool writes them: `up{job="a"}` with values such as `0 1+2x3 _ stale`.

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
    if let Some(other) = matchers.iter().find(|m| m.operator() != MatchOperator::Equal) {
        return Err(format!("{other} is no label of a series"));
    }
    Ok(Labels::new(matchers.iter().map(|m| (m.name(), m.value()))))
}

/// Values, one for each step; `None` where there is no sample.
pub(super) fn values(text: &str) -> Result<Vec<Option<f64>>, String> {
    let mut values = Vec::new();
    if text.contains("{{") {
        return Err("native histograms are not supported".to_owned());
    }
    for word in text.split_whitespace() {
        let bad = || format!("unexpected {word:?} in series values");
        let (item, times) = match word.rsplit_once('x') {
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
                let count = times.unwrap_or(0) + 1;
                values.extend(std::iter::repeat_n(Some(STALE_MARKER), count));
            }
            item => {
                let (first, step) = expanded(item).ok_or_else(bad)?;
                if step.is_some() && times.is_none() {
                    return Err(bad());
                }
                let mut value = first;
                for _ in 0..=times.unwrap_or(0) {
                    values.push(Some(value));
                    value += step.unwrap_or(0.0);
                }
            }
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
    let signs = item.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-'));
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
            assert_eq!(values(text).as_ref(), Ok(&expected), "{text}");
        }
        let stale = values("stale").unwrap();
        assert!(stale[0].is_some_and(crate::model::is_stale_marker));
        for bad in ["a", "1+x2", "1+1", "1xq", "{{sum:1}}", "1x99999999999"] {
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
