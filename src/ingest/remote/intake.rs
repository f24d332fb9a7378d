//! From what a format says of a series to the batch of its agent, within the limits.

use hashbrown::{HashMap, HashSet};

use super::{
    agent_rule::AgentRule,
    received::{CompoundPoint, DeltaHistogram, Deltas, ReceivedMetrics},
    series_cache::Known,
};
use crate::{
    ingest::{SAMPLES_PER_BODY_MAX, shown::Shown},
    model::{AgentId, Batch, KeyBuilder, Limits, MetricMetadata, Timestamp},
};

/// Bytes that the keys and the metadata of one body may take in memory. Symbols and histograms make much of little:
/// a body of 32 MiB could ask for gigabytes.
const BYTES_MAX: usize = 128 << 20;

/// The label that is the metric's name everywhere else.
pub(super) const NAME_LABEL: &str = "__name__";

/// Why something is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// One series or point; the others are kept.
    One(String),
    /// The body asks for more than is held at a time.
    Body(TooMuch),
}

/// What the body as a whole has too much of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMuch(pub(super) String);

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::One(reason)
    }
}

impl From<TooMuch> for Refusal {
    fn from(error: TooMuch) -> Self {
        Self::Body(error)
    }
}

/// What samples of one series share.
#[derive(Clone, Copy)]
pub(super) struct Series<'a> {
    pub(super) name: &'a str,
    part: usize,
}

/// Whether a value is a total or what was added since the beginning of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Temporality {
    Cumulative,
    Delta { start: Timestamp },
}

/// Samples of one agent.
struct Part {
    agent: AgentId,
    batch: Batch,
    deltas: Deltas,
    compound: Vec<CompoundPoint>,
    /// Metrics of which metadata was told.
    told: HashSet<Box<str>>,
}

/// A body on its way to batches.
pub(super) struct Intake<'l> {
    pub(super) received: ReceivedMetrics,
    pub(super) limits: &'l Limits,
    rule: &'l AgentRule,
    parts: Vec<Part>,
    /// Places of the agents in `parts`.
    places: HashMap<Box<str>, usize>,
    /// The agent of the series at hand; kept for its memory.
    agent: String,
    /// The part of the series before.
    last: usize,
    rows: usize,
    bytes_left: usize,
}

impl<'l> Intake<'l> {
    pub(super) fn new(rule: &'l AgentRule, limits: &'l Limits) -> Self {
        Self {
            received: ReceivedMetrics::default(),
            limits,
            rule,
            parts: Vec::new(),
            places: HashMap::new(),
            agent: String::new(),
            last: 0,
            rows: 0,
            bytes_left: BYTES_MAX,
        }
    }

    /// Checks and sorts the labels of a series, takes its name out of them and finds the agent: `agent` if it is told,
    /// else what the rule makes of the labels. Labels with an empty value count as absent and go. Labels that are
    /// refused stay whole.
    pub(super) fn series<'a>(
        &mut self,
        labels: &mut Vec<(&'a str, &'a str)>,
        agent: Option<&str>,
    ) -> Result<Series<'a>, String> {
        // Before the sizes are known to be small nothing is compared: one long text may stand for thousands.
        self.check_sizes(labels)?;
        // Senders must sort labels; those that do not are understood all the same, as by Prometheus.
        if !labels.is_sorted() {
            labels.sort_unstable();
        }
        check_names(labels)?;
        labels.retain(|(_, value)| !value.is_empty());
        let named = labels.iter().position(|(name, _)| *name == NAME_LABEL);
        let Some(at) = named else {
            return Err(format!("it has no label `{NAME_LABEL}`"));
        };
        let part = self.part(labels, agent)?;
        let (_, name) = labels.remove(at);
        Ok(Series { name, part })
    }

    fn check_sizes(&self, labels: &[(&str, &str)]) -> Result<(), String> {
        let limits = self.limits;
        let mut count = 0;
        for (name, value) in labels {
            let label = Shown(name);
            if *name == NAME_LABEL {
                if value.len() > limits.metric_name_bytes {
                    let max = limits.metric_name_bytes;
                    let bytes = value.len();
                    return Err(format!("its name has {bytes} bytes; the limit is {max}"));
                }
                continue;
            }
            count += usize::from(!value.is_empty());
            let (part, bytes, max) = if name.len() > limits.label_name_bytes {
                ("name", name.len(), limits.label_name_bytes)
            } else if value.len() > limits.label_value_bytes {
                ("value", value.len(), limits.label_value_bytes)
            } else {
                continue;
            };
            return Err(format!(
                "label {label} has a {part} of {bytes} bytes; the limit is {max}"
            ));
        }
        if count > limits.labels_per_series {
            return Err(too_many_labels(limits));
        }
        Ok(())
    }

    /// The place of the agent that the labels name. Nothing is allocated for an agent that is known.
    fn part(&mut self, labels: &[(&str, &str)], agent: Option<&str>) -> Result<usize, String> {
        match agent {
            Some(agent) => agent.clone_into(&mut self.agent),
            None => self.rule.write_id(labels, &mut self.agent),
        }
        self.place(None)
    }

    /// The place of the agent whose id was written last; `known` is that agent, where it is at hand.
    fn place(&mut self, known: Option<&AgentId>) -> Result<usize, String> {
        let last = self.parts.get(self.last);
        if last.is_some_and(|part| part.agent.as_str() == self.agent) {
            return Ok(self.last);
        }
        if let Some(known) = self.places.get(&*self.agent) {
            self.last = *known;
            return Ok(*known);
        }
        if self.parts.len() >= self.limits.agents_total {
            return Err(format!(
                "the body names more agents than the limit of {}",
                self.limits.agents_total
            ));
        }
        let agent = match known {
            Some(agent) => agent.clone(),
            None => AgentId::new(&self.agent).map_err(|error| {
                let text = Shown(&self.agent);
                format!("its labels name the agent {text}: {error}")
            })?,
        };
        self.last = self.parts.len();
        self.places.insert(self.agent.as_str().into(), self.last);
        self.parts.push(Part {
            deltas: Deltas::new(agent.clone()),
            agent,
            batch: Batch::new(),
            compound: Vec::new(),
            told: HashSet::new(),
        });
        Ok(self.last)
    }

    /// Adds a sample. The labels are without the metric's name; that of the series may have got a suffix.
    pub(super) fn push(
        &mut self,
        series: Series<'_>,
        name: &str,
        labels: &mut [(&str, &str)],
        temporality: Temporality,
        sample: (Timestamp, f64),
    ) -> Result<(), Refusal> {
        self.count_row()?;
        let Some(part) = self.parts.get_mut(series.part) else {
            return Ok(());
        };
        let batch = match temporality {
            Temporality::Cumulative => &mut part.batch,
            Temporality::Delta { .. } => &mut part.deltas.batch,
        };
        let before = batch.key_bytes();
        let (time, value) = sample;
        batch
            .push_exact(name, labels, time, value)
            .map_err(|error| Refusal::One(error.to_string()))?;
        let bytes = batch.key_bytes() - before;
        if let Temporality::Delta { start } = temporality {
            part.deltas.starts.push(start);
        }
        Ok(self.spend(bytes)?)
    }

    /// Adds totals of a series that is known by its labels.
    pub(super) fn push_known(
        &mut self,
        known: &Known,
        samples: &[(Timestamp, f64)],
    ) -> Result<(), TooMuch> {
        known.agent.as_str().clone_into(&mut self.agent);
        let place = self.place(Some(&known.agent));
        let Ok(place) = place else {
            // More agents than there may be: the first body that named this one had room for it.
            let count = samples.len() as u64;
            self.received
                .reject(count, || place.err().unwrap_or_default());
            return Ok(());
        };
        for (time, value) in samples {
            self.count_row()?;
            let Some(part) = self.parts.get_mut(place) else {
                continue;
            };
            let before = part.batch.key_bytes();
            part.batch.push_key(&known.key, *time, *value);
            let bytes = part.batch.key_bytes() - before;
            self.spend(bytes)?;
            self.received.samples += 1;
        }
        Ok(())
    }

    /// What is known of the series whose row was added last.
    pub(super) fn last_of(&self, series: Series<'_>) -> Option<Known> {
        let part = self.parts.get(series.part)?;
        let key = part.batch.key(part.batch.rows().last()?);
        Some(Known {
            agent: part.agent.clone(),
            key: key.into(),
        })
    }

    /// Rows that the batch of a series' agent has so far.
    pub(super) fn rows_of(&self, series: Series<'_>) -> usize {
        let part = self.parts.get(series.part);
        part.map_or(0, |part| part.batch.len())
    }

    /// Notes that the rows from `start` on are one point.
    pub(super) fn mark_compound(&mut self, series: Series<'_>, start: usize, is_histogram: bool) {
        if let Some(part) = self.parts.get_mut(series.part)
            && part.batch.len() > start
        {
            part.compound.push(CompoundPoint {
                rows: start..part.batch.len(),
                is_histogram,
            });
        }
    }

    /// Adds another total of the series whose total was added last.
    pub(super) fn push_again(
        &mut self,
        series: Series<'_>,
        (time, value): (Timestamp, f64),
    ) -> Result<(), TooMuch> {
        self.count_row()?;
        if let Some(part) = self.parts.get_mut(series.part) {
            part.batch.push_again(time, value);
        }
        Ok(())
    }

    /// Adds the increment of a histogram with exponential buckets.
    pub(super) fn push_delta(
        &mut self,
        series: Series<'_>,
        labels: &mut [(&str, &str)],
        told: impl FnOnce(Box<[u8]>) -> DeltaHistogram,
    ) -> Result<(), Refusal> {
        self.count_row()?;
        let mut key = Vec::new();
        KeyBuilder::append_exact(&mut key, series.name, labels)
            .map_err(|error| Refusal::One(error.to_string()))?;
        let delta = told(key.into());
        self.spend(delta.bytes())?;
        if let Some(part) = self.parts.get_mut(series.part) {
            part.deltas.histograms.push(delta);
        }
        Ok(())
    }

    fn count_row(&mut self) -> Result<(), TooMuch> {
        self.rows += 1;
        if self.rows > SAMPLES_PER_BODY_MAX {
            return Err(TooMuch(format!(
                "the body makes more than {SAMPLES_PER_BODY_MAX} samples; send it in parts"
            )));
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), TooMuch> {
        let left = self.bytes_left.checked_sub(bytes).ok_or_else(|| {
            TooMuch(format!(
                "the names and labels of the body take more than {} MiB; send it in parts",
                BYTES_MAX >> 20
            ))
        })?;
        self.bytes_left = left;
        Ok(())
    }

    /// Takes metadata of a metric of a series; the first that is told of a metric counts. `told` makes it.
    pub(super) fn tell(
        &mut self,
        series: Series<'_>,
        name: &str,
        told: impl FnOnce() -> MetricMetadata,
    ) -> Result<(), TooMuch> {
        let known = self.parts.get(series.part);
        if known.is_none_or(|part| part.told.contains(name)) {
            return Ok(());
        }
        let metadata = told();
        self.spend_metadata(&metadata)?;
        if let Some(part) = self.parts.get_mut(series.part) {
            part.told.insert(name.into());
            part.batch.metadata.push(metadata);
        }
        Ok(())
    }

    /// Takes metadata that names no series.
    pub(super) fn tell_all(&mut self, metadata: MetricMetadata) -> Result<(), TooMuch> {
        self.spend_metadata(&metadata)?;
        self.received.metadata.push(metadata);
        Ok(())
    }

    fn spend_metadata(&mut self, metadata: &MetricMetadata) -> Result<(), TooMuch> {
        let texts = metadata.name.len() * 2 + metadata.help.len() + metadata.unit.len();
        self.spend(size_of::<MetricMetadata>() * 2 + texts)
    }

    /// What came of the body.
    pub(super) fn finish(mut self) -> ReceivedMetrics {
        for part in self.parts {
            if !part.deltas.is_empty() {
                self.received.deltas.push(part.deltas);
            }
            if !part.compound.is_empty() {
                let agent = part.agent.clone();
                self.received.compound.insert(agent, part.compound);
            }
            if !part.batch.is_empty() || !part.batch.metadata.is_empty() {
                self.received.parts.push((part.agent, part.batch));
            }
        }
        self.received
    }
}

/// Checks the names of sorted labels.
fn check_names(labels: &[(&str, &str)]) -> Result<(), String> {
    if labels.first().is_some_and(|(name, _)| name.is_empty()) {
        return Err("a label name must not be empty".to_owned());
    }
    let twice = labels.windows(2).find(|pair| pair[0].0 == pair[1].0);
    twice.map_or(Ok(()), |pair| {
        let label = Shown(pair[0].0);
        Err(format!("label {label} is given twice"))
    })
}

pub(super) fn too_many_labels(limits: &Limits) -> String {
    let max = limits.labels_per_series;
    format!("it has more labels than the limit of {max}")
}

/// Bytes of a series beyond which a message shows no more of it anyway.
const SHOWN_BYTES: usize = 400;

/// The series as messages show it, cut when it is long; its name may stand among the labels.
pub(super) fn shown_series(name: Option<&str>, labels: &[(&str, &str)]) -> String {
    let among = labels.iter().find(|(label, _)| *label == NAME_LABEL);
    let name = name.or(among.map(|(_, name)| *name)).unwrap_or_default();
    let mut text = cut(name).to_owned();
    let mut separator = '{';
    for (label, value) in labels.iter().filter(|(label, _)| *label != NAME_LABEL) {
        if text.len() > SHOWN_BYTES {
            break;
        }
        text.push(separator);
        for part in [label, "=\"", value, "\""] {
            text.push_str(cut(part));
        }
        separator = ',';
    }
    if separator == ',' {
        text.push('}');
    }
    format!("series {}", Shown(&text))
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES)]
}

/// Whether a time can be held, or why not.
pub(super) fn check_time(time: Timestamp) -> Result<(), String> {
    if (Timestamp::MIN..=Timestamp::MAX).contains(&time) {
        return Ok(());
    }
    Err(format!(
        "the time {} ms lies beyond the years 0 to 9999",
        time.as_millis()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn refusal(labels: &[(&str, &str)], limits: &Limits) -> String {
        let rule = AgentRule::default();
        let mut intake = Intake::new(&rule, limits);
        let series = intake.series(&mut labels.to_vec(), None);
        series.map(|series| series.part).unwrap_err()
    }

    #[test]
    fn bad_series_are_named() {
        let limits = Limits {
            labels_per_series: 2,
            label_name_bytes: 8,
            label_value_bytes: 5,
            metric_name_bytes: 6,
            ..Limits::default()
        };
        let refusal = |labels: &[(&str, &str)]| refusal(labels, &limits);
        let name = ("__name__", "m");
        assert_eq!(refusal(&[("a", "1")]), "it has no label `__name__`");
        assert_eq!(
            refusal(&[("__name__", ""), ("a", "1")]),
            "it has no label `__name__`"
        );
        assert_eq!(
            refusal(&[name, ("a", "1"), ("a", "")]),
            "label `a` is given twice"
        );
        assert_eq!(refusal(&[name, ("", "")]), "a label name must not be empty");
        assert_eq!(
            refusal(&[("__name__", "metrics")]),
            "its name has 7 bytes; the limit is 6"
        );
        assert_eq!(
            refusal(&[name, ("a", "1"), ("b", "2"), ("c", "3")]),
            "it has more labels than the limit of 2"
        );
        assert_eq!(
            refusal(&[name, ("a", "123456")]),
            "label `a` has a value of 6 bytes; the limit is 5"
        );
        assert_eq!(
            refusal(&[name, ("abcdefghi", "1")]),
            "label `abcdefghi` has a name of 9 bytes; the limit is 8"
        );
        assert_eq!(
            refusal(&[name, ("job", " x")]),
            "its labels name the agent ` x`: an agent id must not begin or end with a blank"
        );
    }

    #[test]
    fn each_agent_is_one_part() {
        let (rule, limits) = (AgentRule::default(), Limits::default());
        let mut intake = Intake::new(&rule, &limits);
        for (agent, told) in [("a", None), ("b", None), ("x", Some("a")), ("b", None)] {
            let mut labels = vec![("agent_id", agent), ("z", ""), ("__name__", "m")];
            let series = intake.series(&mut labels, told).unwrap();
            assert_eq!((series.name, &*labels), ("m", &[("agent_id", agent)][..]));
            let total = Temporality::Cumulative;
            intake
                .push(series, "m", &mut labels, total, (NOW, 1.0))
                .unwrap();
            intake.push_again(series, (NOW, 2.0)).unwrap();
        }
        let parts = intake.finish().parts;
        let rows = parts.iter().map(|(id, batch)| (id.as_str(), batch.len()));
        assert_eq!(rows.collect::<Vec<_>>(), [("a", 4), ("b", 4)]);
    }

    #[test]
    fn agents_and_bytes_are_bounded() {
        let rule = AgentRule::default();
        let limits = Limits {
            agents_total: 1,
            ..Limits::default()
        };
        let mut intake = Intake::new(&rule, &limits);
        let long = "x".repeat(4000);
        let mut labels = vec![("__name__", "m"), ("job", "a"), ("long", &long)];
        let series = intake.series(&mut labels, None).unwrap();
        let other = intake.series(&mut vec![("__name__", "m"), ("job", "b")], None);
        assert_eq!(
            other.map(|series| series.part).unwrap_err(),
            "the body names more agents than the limit of 1"
        );
        let too_much = (0..100_000).find_map(|i| {
            let name = format!("m{i}");
            let total = Temporality::Cumulative;
            let pushed = intake.push(series, &name, &mut labels, total, (NOW, 1.0));
            pushed.err().map(|error| (i, error))
        });
        let (i, error) = too_much.unwrap();
        assert!((BYTES_MAX / 4100..BYTES_MAX / 4000).contains(&i), "{i}");
        assert!(matches!(error, Refusal::Body(TooMuch(why)) if why.contains("128 MiB")));
    }

    #[test]
    fn series_are_shown_short() {
        let labels = [("__name__", "m"), ("a", "1"), ("b", "2")];
        assert_eq!(shown_series(None, &labels), r#"series `m{a="1",b="2"}`"#);
        assert_eq!(shown_series(Some("m"), &[]), "series `m`");
        assert_eq!(shown_series(None, &[("a", "1")]), r#"series `{a="1"}`"#);
        let long = "ü".repeat(5000);
        assert!(shown_series(Some(&long), &[(&long, &long)]).len() < 200);
    }
}
