//! What comes of a body of metrics that name their own labels.

use std::{collections::BTreeMap, ops::Range};

use super::exponential::Exponential;
use crate::model::{AgentId, Batch, MetricMetadata, Timestamp};

/// Reasons that are kept of one body.
pub(super) const REASONS_MAX: usize = 10;

/// What a body of remote write or of OTLP metrics held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceivedMetrics {
    /// Samples by agent, in the order of the body; each agent once. Their series carry the labels exactly as they were
    /// sent, and no others.
    pub parts: Vec<(AgentId, Batch)>,
    /// For each agent, points of which each makes several rows of its batch, in order of the rows.
    pub compound: BTreeMap<AgentId, Vec<CompoundPoint>>,
    /// Points of OTLP that say what was added since the point before; an [`super::Accumulator`] makes samples of them.
    pub deltas: Vec<Deltas>,
    /// Metadata that names no series and so no agent: remote write 1.0. Other metadata lies in the batches.
    pub metadata: Vec<MetricMetadata>,
    /// Floats that were taken; of OTLP the points of gauges, sums and summaries.
    pub samples: u64,
    /// Histograms that were taken, each of which makes many samples of the batches.
    pub histograms: u64,
    /// Exemplars of series that were taken. They are counted and not kept.
    pub exemplars: u64,
    /// Floats and histograms that were rejected while the others are kept.
    pub rejected: u64,
    /// Why, each once and with the series or metric: the first ten.
    pub reasons: Vec<String>,
}

/// A histogram or summary, which is one point and several rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompoundPoint {
    /// Its rows in the batch.
    pub rows: Range<usize>,
    /// Whether it counts among the histograms; a summary is a sample.
    pub is_histogram: bool,
}

/// Increments of one agent's series.
#[derive(Clone, Debug, PartialEq)]
pub struct Deltas {
    /// Whose they are.
    pub agent: AgentId,
    /// The increments and the ends of the times in which they happened.
    pub batch: Batch,
    /// For each row of the batch the beginning of that time, [`Timestamp::MIN`] where it is not told.
    pub starts: Vec<Timestamp>,
    /// Increments of histograms with exponential buckets, which only add up as a whole.
    pub(super) histograms: Vec<DeltaHistogram>,
}

/// What was added to a histogram with exponential buckets.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DeltaHistogram {
    /// The key of the histogram's name and labels.
    pub(super) key: Box<[u8]>,
    pub(super) start: Timestamp,
    pub(super) time: Timestamp,
    pub(super) count: f64,
    pub(super) sum: Option<f64>,
    pub(super) buckets: Exponential,
}

impl DeltaHistogram {
    /// Bytes that it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let buckets = self.buckets.positive.capacity() + self.buckets.negative.capacity();
        size_of::<Self>() + self.key.len() + buckets * size_of::<(i64, f64)>()
    }
}

impl Deltas {
    pub(super) const fn new(agent: AgentId) -> Self {
        Self {
            agent,
            batch: Batch::new(),
            starts: Vec::new(),
            histograms: Vec::new(),
        }
    }

    /// Number of increments.
    pub fn len(&self) -> usize {
        self.batch.len() + self.histograms.len()
    }

    /// Whether there is no increment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ReceivedMetrics {
    /// Notes that so many floats or histograms were rejected. The reason is asked for while any is kept.
    pub fn reject(&mut self, count: u64, reason: impl FnOnce() -> String) {
        self.rejected += count;
        if self.reasons.len() < REASONS_MAX {
            let reason = reason();
            if !self.reasons.contains(&reason) {
                self.reasons.push(reason);
            }
        }
    }

    /// Takes back that rows of an agent's batch were taken, since the file refuses them: a point of several rows counts
    /// once, with the reason of its first row.
    pub fn refuse_rows(
        &mut self,
        agent: &AgentId,
        rows: impl IntoIterator<Item = (usize, String)>,
    ) {
        let compound = self.compound.remove(agent).unwrap_or_default();
        let mut last = None;
        for (row, reason) in rows {
            let at = compound.partition_point(|point| point.rows.end <= row);
            let point = compound.get(at).filter(|point| point.rows.contains(&row));
            if point.is_some() && last == Some(at) {
                continue;
            }
            last = point.map(|_| at);
            let count = match point {
                Some(point) if point.is_histogram => &mut self.histograms,
                _ => &mut self.samples,
            };
            *count = count.saturating_sub(1);
            self.reject(1, || reason);
        }
    }

    /// What the sender should know, in a line; empty where all was taken.
    pub fn message(&self) -> String {
        if self.rejected == 0 && self.reasons.is_empty() {
            return String::new();
        }
        let reasons = self.reasons.join("; ");
        let more = if self.reasons.len() < REASONS_MAX {
            ""
        } else {
            "; and more"
        };
        format!("{} rejected: {reasons}{more}", self.rejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_of_several_rows_is_refused_once() {
        let agent = AgentId::new("a").unwrap();
        let point = |rows, is_histogram| CompoundPoint { rows, is_histogram };
        let mut received = ReceivedMetrics {
            samples: 3,
            histograms: 2,
            compound: [(
                agent.clone(),
                vec![point(1..5, true), point(5..9, true), point(9..12, false)],
            )]
            .into(),
            ..ReceivedMetrics::default()
        };
        let rows = [0, 5, 6, 8, 9, 11].map(|row| (row, "too old".to_owned()));
        received.refuse_rows(&agent, rows);
        let counts = (received.samples, received.histograms, received.rejected);
        assert_eq!(counts, (1, 1, 3));
    }

    #[test]
    fn reasons_are_few_and_differ() {
        let mut received = ReceivedMetrics::default();
        assert_eq!(received.message(), "");
        received.reject(2, || "a".to_owned());
        received.reject(1, || "a".to_owned());
        received.reject(0, || "b".to_owned());
        assert_eq!(received.message(), "3 rejected: a; b");
        for i in 0..20 {
            received.reject(1, || i.to_string());
        }
        assert_eq!(received.reasons.len(), REASONS_MAX);
        received.reject(1, || unreachable!("none is kept any more"));
        assert!(received.message().starts_with("24 rejected: a; b; 0; "));
        assert!(received.message().ends_with("; 7; and more"));
    }
}
