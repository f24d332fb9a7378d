//! OpenMetrics 1.0: what a family may hold, and in which order.
//!
//! Source: OpenMetrics 1.0, "Metric types" and "Metric families". The Go client library breaks three of the
//! rules as soon as it observes negative values: quantiles must not be below zero, nor sums, and there is no
//! sum beside a bucket below zero. A scrape must not fail by the sign of what was observed, so these lines
//! are taken, and noted as departures.

use std::borrow::Cow;

use hashbrown::HashSet;

use super::{
    BodyError, ROW_ERRORS_MAX, RowError, SAMPLES_PER_BODY_MAX,
    byte_set::ByteSet,
    histogram::HistogramCheck,
    line::LineError,
    number::{Nanos, parse_float},
    rows::{Label, reuse},
    shown::Shown,
};
use crate::model::{KeyBuilder, MetricKind, MetricMetadata};

/// A sample as its line has it.
pub(super) struct OmSample<'s, 'a> {
    pub(super) name: &'s Cow<'a, str>,
    pub(super) labels: &'s [Label<'a>],
    pub(super) value: f64,
    pub(super) time: Option<Nanos>,
    pub(super) has_exemplar: bool,
}

/// What becomes of a sample that keeps the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is to be stored.
    New,
    /// The same series at the same nanosecond came before it; the first one counts.
    Again,
}

/// A family while its lines come.
pub(super) struct Family<'a> {
    name: Cow<'a, str>,
    kind: Option<MetricKind>,
    help: Option<String>,
    unit: Option<(&'a str, usize)>,
    /// Line on which it begins.
    line: usize,
    has_samples: bool,
}

impl<'a> Family<'a> {
    fn new(name: Cow<'a, str>, line: usize) -> Self {
        Self {
            name,
            kind: None,
            help: None,
            unit: None,
            line,
            has_samples: false,
        }
    }

    fn kind(&self) -> MetricKind {
        self.kind.unwrap_or(MetricKind::Unknown)
    }

    /// The suffix of one of the family's own samples.
    fn suffix_of<'n>(&self, sample: &'n str) -> Option<&'n str> {
        sample
            .strip_prefix(&*self.name)
            .filter(|suffix| sample_suffixes(self.kind()).contains(suffix))
    }

    pub(super) fn tell_help(&mut self, help: String) -> Result<(), LineError> {
        let told = self.help.replace(help).is_some();
        self.told_once(told, "HELP")
    }

    pub(super) fn tell_kind(&mut self, kind: MetricKind) -> Result<(), LineError> {
        let told = self.kind.replace(kind).is_some();
        self.told_once(told, "TYPE")
    }

    pub(super) fn tell_unit(&mut self, unit: &'a str, line: usize) -> Result<(), LineError> {
        let told = self.unit.replace((unit, line)).is_some();
        self.told_once(told, "UNIT")
    }

    fn told_once(&self, told_before: bool, word: &str) -> Result<(), LineError> {
        if told_before {
            let name = Shown(&self.name);
            return Err(LineError::rule(format!(
                "family {name} has more than one {word}"
            )));
        }
        Ok(())
    }

    fn check_unit(&self) -> Result<(), BodyError> {
        let Some((unit, line)) = self.unit.filter(|(unit, _)| !unit.is_empty()) else {
            return Ok(());
        };
        let ends_in_unit = self
            .name
            .strip_suffix(unit)
            .is_some_and(|rest| rest.ends_with('_'));
        let (name, unit) = (Shown(&self.name), Shown(unit));
        let reason = if !ends_in_unit {
            format!("unit {unit} is not the end of the family's name {name}")
        } else if matches!(self.kind(), MetricKind::Info | MetricKind::StateSet) {
            format!("family {name} is of a kind that has no unit")
        } else {
            return Ok(());
        };
        Err(LineError::rule(reason).in_line(line))
    }

    /// The metadata under the name that the family's main series has: text 0.0.4 tells `a_total` of the
    /// counter that OpenMetrics calls `a`.
    fn into_metadata(self) -> Option<MetricMetadata> {
        if self.kind.is_none() && self.help.is_none() && self.unit.is_none() {
            return None;
        }
        let kind = self.kind();
        let suffix = match kind {
            MetricKind::Counter => "_total",
            MetricKind::Info => "_info",
            _ => "",
        };
        Some(MetricMetadata {
            name: format!("{}{suffix}", self.name),
            kind,
            help: self.help.unwrap_or_default(),
            unit: self.unit.map_or("", |(unit, _)| unit).to_owned(),
        })
    }
}

const fn sample_suffixes(kind: MetricKind) -> &'static [&'static str] {
    match kind {
        MetricKind::Counter => &["_total", "_created"],
        MetricKind::Summary => &["", "_sum", "_count", "_created"],
        MetricKind::Histogram => &["_bucket", "_sum", "_count", "_created"],
        MetricKind::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
        MetricKind::Info => &["_info"],
        MetricKind::Gauge | MetricKind::StateSet | MetricKind::Unknown => &[""],
    }
}

/// The families of a document.
#[derive(Default)]
pub(super) struct Families<'a> {
    current: Option<Family<'a>>,
    /// Names of all families and of the samples that they may have.
    names: HashSet<Cow<'a, str>>,
    groups: Groups,
}

impl<'a> Families<'a> {
    /// The family that a HELP, TYPE or UNIT on this line speaks of.
    pub(super) fn described(
        &mut self,
        name: Cow<'a, str>,
        line: usize,
        metadata: &mut Vec<MetricMetadata>,
    ) -> Result<&mut Family<'a>, BodyError> {
        if self.current.as_ref().is_none_or(|f| f.name != name) {
            self.finish(metadata)?;
        }
        let family = self.current.get_or_insert_with(|| Family::new(name, line));
        if family.has_samples {
            let name = Shown(&family.name);
            let reason = format!("family {name} is described after its samples");
            return Err(LineError::rule(reason).in_line(line));
        }
        Ok(family)
    }

    /// Checks a sample against its family, which it may begin.
    pub(super) fn sample(
        &mut self,
        sample: &OmSample<'_, 'a>,
        line: usize,
        metadata: &mut Vec<MetricMetadata>,
    ) -> Result<Taken, BodyError> {
        let belongs = |f: &Family<'_>| f.suffix_of(sample.name).is_some();
        if !self.current.as_ref().is_some_and(belongs) {
            self.finish(metadata)?;
        }
        let family = self
            .current
            .get_or_insert_with(|| Family::new(sample.name.clone(), line));
        family.has_samples = true;
        let suffix = family.suffix_of(sample.name).unwrap_or_default();
        let broken = |reason: &str| {
            let metric = Shown(sample.name);
            LineError::rule(format!("metric {metric}: {reason}")).in_line(line)
        };
        check_sample(family, suffix, sample).map_err(broken)?;
        if let Some(rule) = rule_broken_by_sign(family.kind(), suffix, sample.value) {
            self.groups.depart(line, sample.name, rule);
        }
        let is_new_point = self
            .groups
            .enter(family, suffix, sample)
            .map_err(|why| broken(&why))?;
        if is_new_point {
            self.groups.finish_point()?;
        }
        self.groups
            .add(family, suffix, sample, line)
            .map_err(|why| broken(&why))
    }

    /// Ends the current family.
    pub(super) fn finish(&mut self, metadata: &mut Vec<MetricMetadata>) -> Result<(), BodyError> {
        let Some(family) = self.current.take() else {
            return Ok(());
        };
        if family.has_samples {
            self.groups.finish_family()?;
        }
        family.check_unit()?;
        self.claim_names(&family)?;
        if metadata.len() >= SAMPLES_PER_BODY_MAX {
            return Err(BodyError::Limit(format!(
                "the body tells of more than {SAMPLES_PER_BODY_MAX} metrics"
            )));
        }
        metadata.extend(family.into_metadata());
        Ok(())
    }

    /// Lines that break a rule and were taken.
    pub(super) fn take_departures(&mut self) -> Vec<RowError> {
        std::mem::take(&mut self.groups.departures)
    }

    fn claim_names(&mut self, family: &Family<'a>) -> Result<(), BodyError> {
        let suffixes = sample_suffixes(family.kind());
        let of_samples = suffixes
            .iter()
            .filter(|suffix| !suffix.is_empty())
            .map(|suffix| Cow::Owned(format!("{}{suffix}", family.name)));
        for name in std::iter::once(family.name.clone()).chain(of_samples) {
            if self.names.contains(&name) {
                let reason = format!(
                    "the name {} of family {} is that of an earlier family or of its samples",
                    Shown(&name),
                    Shown(&family.name)
                );
                return Err(LineError::rule(reason).in_line(family.line));
            }
            self.names.insert(name);
        }
        Ok(())
    }
}

/// The rules that a sample keeps or breaks by itself.
fn check_sample(
    family: &Family<'_>,
    suffix: &str,
    sample: &OmSample<'_, '_>,
) -> Result<(), &'static str> {
    let value = sample.value;
    let label = |name: &str| {
        let found = sample.labels.iter().find(|(k, _)| k == name);
        found.map(|(_, v)| &**v)
    };
    match (family.kind(), suffix) {
        (MetricKind::StateSet, _) => {
            if label(&family.name).is_none() {
                return Err("a state needs a label with the name of its family");
            }
            if value != 0.0 && value != 1.0 {
                return Err("a state is 0 or 1");
            }
        }
        (MetricKind::Info, _) if value != 1.0 => return Err("an info is 1"),
        (MetricKind::Histogram | MetricKind::GaugeHistogram, "_bucket") => {
            bound_of(sample)?;
        }
        (MetricKind::Summary, "") => {
            let quantile = label("quantile").and_then(parse_float);
            if !quantile.is_some_and(|q| (0.0..=1.0).contains(&q)) {
                return Err("a quantile needs a label `quantile` from 0 to 1");
            }
        }
        _ => {}
    }
    if matches!(suffix, "_bucket" | "_count") && value.fract() != 0.0 {
        return Err("a count must be a whole number");
    }
    let is_count = matches!(suffix, "_total" | "_count" | "_bucket" | "_gcount");
    if (is_count || matches!(suffix, "_sum" | "_gsum")) && value.is_nan() {
        return Err("the value must not be NaN");
    }
    if is_count && value < 0.0 {
        return Err("the value must not be below zero");
    }
    if sample.has_exemplar && !matches!(suffix, "_total" | "_bucket") {
        return Err("only counters and buckets may have an exemplar");
    }
    Ok(())
}

/// The rule that a value breaks by being below zero, of those that are not insisted on.
fn rule_broken_by_sign(kind: MetricKind, suffix: &str, value: f64) -> Option<&'static str> {
    match (kind, suffix) {
        (MetricKind::Summary, "") if value < 0.0 => Some("a quantile must not be below zero"),
        (MetricKind::Summary | MetricKind::Histogram, "_sum") if value < 0.0 => {
            Some("a sum must not be below zero")
        }
        _ => None,
    }
}

/// The upper bound of a bucket.
fn bound_of(sample: &OmSample<'_, '_>) -> Result<f64, &'static str> {
    let le = sample.labels.iter().find(|(name, _)| name == "le");
    let (_, le) = le.ok_or("a bucket needs a label `le`")?;
    match parse_float(le) {
        Some(bound) if bound == f64::INFINITY && le != "+Inf" => {
            Err("the bound without end is written `+Inf`")
        }
        Some(bound) if !bound.is_nan() => Ok(bound),
        _ => Err("a bucket's label `le` must be a number"),
    }
}

/// The groups of a family: samples of one series, histogram, summary or state set. Each group comes in
/// one piece, its times do not go back, and it holds no sample twice.
#[derive(Default)]
struct Groups {
    seen: ByteSet,
    /// Key of the current group; empty before the first.
    current: Vec<u8>,
    time: Option<Nanos>,
    /// Series of the current group.
    series: ByteSet,
    histogram: Option<HistogramCheck>,
    departures: Vec<RowError>,
    last_line: usize,
    scratch: Vec<u8>,
    refs: Vec<(&'static str, &'static str)>,
}

impl Groups {
    /// Goes to the sample's group: whether it begins a new point, which is a group at a moment.
    fn enter(
        &mut self,
        family: &Family<'_>,
        suffix: &str,
        sample: &OmSample<'_, '_>,
    ) -> Result<bool, String> {
        let apart = match (family.kind(), suffix) {
            (MetricKind::Summary, "") => "quantile",
            (MetricKind::Histogram | MetricKind::GaugeHistogram, "_bucket") => "le",
            (MetricKind::StateSet, _) => &family.name,
            _ => "",
        };
        // The samples of an info differ by the labels that it tells, so that they are one group.
        let is_info = family.kind() == MetricKind::Info;
        self.key("group", sample, |label| !is_info && label != apart)?;
        if self.scratch == self.current {
            self.check_time(sample, is_info)?;
            return Ok(self.time != sample.time);
        }
        if !self.seen.insert(&self.scratch) {
            return Err("its group of samples is interrupted by others".to_owned());
        }
        std::mem::swap(&mut self.current, &mut self.scratch);
        Ok(true)
    }

    /// Adds a sample to the current point.
    fn add(
        &mut self,
        family: &Family<'_>,
        suffix: &str,
        sample: &OmSample<'_, '_>,
        line: usize,
    ) -> Result<Taken, String> {
        self.time = sample.time;
        self.last_line = line;
        self.key(sample.name, sample, |_| true)?;
        if !self.series.insert(&self.scratch) {
            return if sample.time.is_some() {
                Ok(Taken::Again)
            } else {
                Err("the series is given twice".to_owned())
            };
        }
        self.add_to_histogram(family, suffix, sample)?;
        Ok(Taken::New)
    }

    fn check_time(&self, sample: &OmSample<'_, '_>, is_info: bool) -> Result<(), &'static str> {
        match (self.time, sample.time) {
            (Some(before), Some(now)) if now < before && !is_info => {
                Err("timestamps go back within its group of samples")
            }
            (None, Some(_)) | (Some(_), None) => {
                Err("only some samples of its group have a timestamp")
            }
            _ => Ok(()),
        }
    }

    fn add_to_histogram(
        &mut self,
        family: &Family<'_>,
        suffix: &str,
        sample: &OmSample<'_, '_>,
    ) -> Result<(), &'static str> {
        if !matches!(
            family.kind(),
            MetricKind::Histogram | MetricKind::GaugeHistogram
        ) {
            return Ok(());
        }
        let check = self.histogram.get_or_insert_default();
        match suffix {
            "_bucket" => check.bucket(bound_of(sample)?, sample.value)?,
            "_count" | "_gcount" => check.count(sample.value),
            "_sum" => check.sum(),
            "_gsum" => check.gauge_sum(sample.value),
            _ => {}
        }
        Ok(())
    }

    fn finish_point(&mut self) -> Result<(), BodyError> {
        self.series.clear();
        let Some(check) = self.histogram.take() else {
            return Ok(());
        };
        let line = self.last_line;
        check
            .finish()
            .map_err(|why| LineError::rule(why).in_line(line))?;
        if check.has_sum_beside_negative_bucket() {
            let reason = "a histogram with a bucket below zero must not have a sum".to_owned();
            self.note_departure(line, reason);
        }
        Ok(())
    }

    /// Notes that a metric breaks a rule and is taken.
    fn depart(&mut self, line: usize, metric: &str, rule: &str) {
        self.note_departure(line, format!("metric {}: {rule}", Shown(metric)));
    }

    fn note_departure(&mut self, line: usize, reason: String) {
        if self.departures.len() < ROW_ERRORS_MAX {
            self.departures.push(RowError {
                index: line,
                column: 1,
                reason,
            });
        }
    }

    fn finish_family(&mut self) -> Result<(), BodyError> {
        self.finish_point()?;
        self.seen.clear();
        self.current.clear();
        self.time = None;
        Ok(())
    }

    /// Leaves the canonical bytes of a name and the labels that are to count in `scratch`.
    fn key(
        &mut self,
        name: &str,
        sample: &OmSample<'_, '_>,
        counts: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        self.scratch.clear();
        let mut refs = reuse(std::mem::take(&mut self.refs));
        let labels = sample.labels.iter().filter(|(k, _)| counts(k));
        refs.extend(labels.map(|(k, v)| (&**k, &**v)));
        let made = KeyBuilder::append(&mut self.scratch, name, &mut refs);
        self.refs = reuse(refs);
        made.map_err(|e| e.to_string())
    }
}
