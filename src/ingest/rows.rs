//! Samples on their way into the batch: limits, labels that longwatch owns, order of arrival.

use std::borrow::Cow;

use super::{Parsed, SAMPLES_PER_BODY_MAX, shown::Shown};
use crate::model::{BadSeries, Limits, Timestamp};

/// A label's name and value; borrowed from the body unless it had escapes.
pub(super) type Label<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Labels that longwatch adds, and what becomes of them when a target sends them itself.
const OWNED_LABELS: [(&str, &str); 3] = [
    ("agent_id", "exported_agent_id"),
    ("instance", "exported_instance"),
    ("job", "exported_job"),
];

/// The label that is the metric's name everywhere else.
const NAME_LABEL: &str = "__name__";

/// Keys lie in one arena that is addressed with 32 bits.
const KEY_BYTES_MAX: usize = 1 << 31;

/// Why a sample was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It names no series.
    Bad(String),
    /// It is larger than the limits allow.
    Limit(String),
    /// The body holds more than one body may.
    Full(String),
}

/// Collects the samples of one body.
pub(super) struct Rows<'l> {
    pub(super) parsed: Parsed,
    pub(super) limits: &'l Limits,
    honor_labels: bool,
    refs: Vec<(&'static str, &'static str)>,
}

impl<'l> Rows<'l> {
    pub(super) fn new(limits: &'l Limits, honor_labels: bool) -> Self {
        Self {
            parsed: Parsed::default(),
            limits,
            honor_labels,
            refs: Vec::new(),
        }
    }

    /// Takes a sample that stood at `origin`. `labels` may be changed.
    pub(super) fn push(
        &mut self,
        name: &str,
        labels: &mut Vec<Label<'_>>,
        time: Timestamp,
        value: f64,
        origin: usize,
    ) -> Result<(), Refusal> {
        self.check_name(name)?;
        self.check_labels(labels)?;
        let batch = &mut self.parsed.batch;
        if batch.len() >= SAMPLES_PER_BODY_MAX || batch.key_bytes() >= KEY_BYTES_MAX {
            return Err(Refusal::Full(format!(
                "the body holds more than {SAMPLES_PER_BODY_MAX} samples"
            )));
        }
        if !self.honor_labels {
            rename_owned(labels)?;
        }
        let mut refs = reuse(std::mem::take(&mut self.refs));
        refs.extend(labels.iter().map(|(k, v)| (&**k, &**v)));
        let pushed = batch.push(name, &mut refs, time, value).map_err(bad_series);
        self.refs = reuse(refs);
        if pushed.is_ok() {
            self.parsed.origin.push(origin as u32);
        }
        pushed
    }

    fn check_name(&self, name: &str) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(bad_series(BadSeries::NoName));
        }
        let max = self.limits.metric_name_bytes;
        if name.len() > max {
            return Err(Refusal::Limit(format!(
                "the metric's name has {} bytes; the limit is {max}",
                name.len()
            )));
        }
        Ok(())
    }

    fn check_labels(&self, labels: &[Label<'_>]) -> Result<(), Refusal> {
        let limits = self.limits;
        if labels.len() > limits.labels_per_series {
            return Err(too_many_labels(limits));
        }
        for (name, value) in labels {
            if name == NAME_LABEL {
                return Err(Refusal::Bad(format!(
                    "label `{NAME_LABEL}` is reserved for the metric's name"
                )));
            }
            if name.len() > limits.label_name_bytes {
                return Err(Refusal::Limit(format!(
                    "label {} has a name of {} bytes; the limit is {}",
                    Shown(name),
                    name.len(),
                    limits.label_name_bytes
                )));
            }
            if value.len() > limits.label_value_bytes {
                return Err(Refusal::Limit(format!(
                    "label {} has a value of {} bytes; the limit is {}",
                    Shown(name),
                    value.len(),
                    limits.label_value_bytes
                )));
            }
        }
        Ok(())
    }
}

pub(super) fn too_many_labels(limits: &Limits) -> Refusal {
    Refusal::Limit(format!(
        "more labels than the limit of {}",
        limits.labels_per_series
    ))
}

fn bad_series(error: BadSeries) -> Refusal {
    Refusal::Bad(match error {
        BadSeries::DuplicateLabel(name) => format!("label {} is given twice", Shown(&name)),
        other => other.to_string(),
    })
}

/// Gives the labels that longwatch owns another name, so that no target can write as another. A
/// name that is taken gets one more prefix.
///
/// Source of the rule: Prometheus, `scrape/scrape.go`, `resolveConflictingExposedLabels`.
fn rename_owned(labels: &mut Vec<Label<'_>>) -> Result<(), Refusal> {
    let owned = |name: &str| OWNED_LABELS.iter().any(|(own, _)| *own == name);
    if !labels.iter().any(|(name, _)| owned(name)) {
        return Ok(());
    }
    // Renaming would hide that a name is given twice.
    labels.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    if let Some(pair) = labels.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(bad_series(BadSeries::DuplicateLabel(pair[0].0.to_string())));
    }
    labels.retain(|(_, value)| !value.is_empty());
    for (own, exported) in OWNED_LABELS {
        let Some(at) = labels.iter().position(|(name, _)| name == own) else {
            continue;
        };
        let mut free = Cow::Borrowed(exported);
        while labels.iter().any(|(name, _)| *name == free) {
            free = Cow::Owned(format!("exported_{free}"));
        }
        labels[at].0 = free;
    }
    Ok(())
}

/// The vector emptied, for borrows of another lifetime; collecting in place keeps its memory.
pub(super) fn reuse<'b>(mut refs: Vec<(&str, &str)>) -> Vec<(&'b str, &'b str)> {
    refs.clear();
    refs.into_iter().map_while(|_| None).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SeriesKey;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn push(
        name: &str,
        labels: &[(&str, &str)],
        honor: bool,
        limits: &Limits,
    ) -> Result<String, Refusal> {
        let mut rows = Rows::new(limits, honor);
        let mut labels = labels
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        rows.push(name, &mut labels, NOW, 1.0, 0)?;
        let batch = &rows.parsed.batch;
        let key = SeriesKey::from_bytes(batch.key(&batch.rows()[0])).unwrap();
        Ok(key.to_string())
    }

    #[test]
    fn owned_labels_are_exported() {
        let limits = Limits::default();
        let series = |labels, honor| push("m", labels, honor, &limits).unwrap();
        assert_eq!(
            series(
                &[
                    ("job", "j"),
                    ("a", "b"),
                    ("instance", "i"),
                    ("agent_id", "x")
                ],
                false
            ),
            r#"m{a="b",exported_agent_id="x",exported_instance="i",exported_job="j"}"#
        );
        assert_eq!(
            series(
                &[
                    ("job", "1"),
                    ("exported_job", "2"),
                    ("exported_exported_job", "3")
                ],
                false
            ),
            r#"m{exported_exported_exported_job="1",exported_exported_job="3",exported_job="2"}"#
        );
        assert_eq!(
            series(&[("job", "1"), ("exported_job", "")], false),
            r#"m{exported_job="1"}"#
        );
        assert_eq!(
            series(&[("job", ""), ("exported_job", "2")], false),
            r#"m{exported_job="2"}"#
        );
        assert_eq!(series(&[("job", "j")], true), r#"m{job="j"}"#);
    }

    #[test]
    fn bad_labels_are_named() {
        let limits = Limits {
            labels_per_series: 2,
            label_name_bytes: 12,
            label_value_bytes: 5,
            metric_name_bytes: 6,
            ..Limits::default()
        };
        let refusal = |name, labels| push(name, labels, false, &limits).unwrap_err();
        let bad = |text: &str| Refusal::Bad(text.to_owned());
        let limit = |text: &str| Refusal::Limit(text.to_owned());
        assert_eq!(refusal("", &[]), bad("a metric name must not be empty"));
        assert_eq!(
            refusal("m", &[("", "x")]),
            bad("a label name must not be empty")
        );
        assert_eq!(
            refusal("m", &[("a", "x"), ("a", "")]),
            bad("label `a` is given twice")
        );
        assert_eq!(
            refusal("m", &[("job", "x"), ("job", "y")]),
            bad("label `job` is given twice")
        );
        assert_eq!(
            refusal("m", &[("__name__", "x")]),
            bad("label `__name__` is reserved for the metric's name")
        );
        assert_eq!(
            refusal("metrics", &[]),
            limit("the metric's name has 7 bytes; the limit is 6")
        );
        assert_eq!(
            refusal("m", &[("a", "1"), ("b", "2"), ("c", "3")]),
            limit("more labels than the limit of 2")
        );
        assert_eq!(
            refusal("m", &[("a", "123456")]),
            limit("label `a` has a value of 6 bytes; the limit is 5")
        );
        assert_eq!(
            refusal("m", &[("abcdefghijklm", "1")]),
            limit("label `abcdefghijklm` has a name of 13 bytes; the limit is 12")
        );
        assert_eq!(
            push("m", &[("b", "x"), ("a", "")], false, &limits).unwrap(),
            r#"m{b="x"}"#
        );
    }
}
