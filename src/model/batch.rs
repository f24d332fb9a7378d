//! What arrives in one piece: rows of one scrape or push of one agent, not yet known to the store.

use super::{BadSeries, KeyBuilder, MetricKind, Timestamp};

/// One sample of a batch; its series' key lies in the batch's arena.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    key_start: u32,
    key_end: u32,
    /// When.
    pub time: Timestamp,
    /// What.
    pub value: f64,
}

/// Bytes of a help text or unit; longer ones are cut.
pub const METADATA_TEXT_BYTES_MAX: usize = 4_096;

/// What a body says of a metric beside its values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricMetadata {
    /// Name of the metric (the family's name).
    pub name: String,
    /// Its kind.
    pub kind: MetricKind,
    /// Help text, may be empty.
    pub help: String,
    /// Unit, may be empty.
    pub unit: String,
}

/// Samples of one agent that arrive together. Keys are canonical bytes ([`super::SeriesKey`]) in one
/// arena, so that a known series costs no allocation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    arena: Vec<u8>,
    rows: Vec<Row>,
    /// Metadata told by the body.
    pub metadata: Vec<MetricMetadata>,
}

impl Batch {
    /// An empty batch.
    pub const fn new() -> Self {
        Self {
            arena: Vec::new(),
            rows: Vec::new(),
            metadata: Vec::new(),
        }
    }

    /// Adds a sample. `labels` gets sorted; labels with an empty value count as absent.
    ///
    /// # Errors
    /// [`BadSeries`]; the batch is left as it was.
    pub fn push(
        &mut self,
        name: &str,
        labels: &mut [(&str, &str)],
        time: Timestamp,
        value: f64,
    ) -> Result<(), BadSeries> {
        let start = self.arena.len();
        KeyBuilder::append(&mut self.arena, name, labels)?;
        self.push_row(start, time, value);
        Ok(())
    }

    /// The same for a sender that names all labels itself: a query adds none.
    ///
    /// # Errors
    /// [`BadSeries`]; the batch is left as it was.
    pub fn push_exact(
        &mut self,
        name: &str,
        labels: &mut [(&str, &str)],
        time: Timestamp,
        value: f64,
    ) -> Result<(), BadSeries> {
        let start = self.arena.len();
        KeyBuilder::append_exact(&mut self.arena, name, labels)?;
        self.push_row(start, time, value);
        Ok(())
    }

    /// Adds a sample of the series of a canonical key, as another batch has it.
    pub fn push_key(&mut self, key: &[u8], time: Timestamp, value: f64) {
        let start = self.arena.len();
        self.arena.extend_from_slice(key);
        self.push_row(start, time, value);
    }

    /// Adds another sample of the series that was added last; without one, nothing.
    pub fn push_again(&mut self, time: Timestamp, value: f64) {
        if let Some(last) = self.rows.last().copied() {
            self.rows.push(Row {
                time,
                value,
                ..last
            });
        }
    }

    /// Adds a sample whose key lies at the arena's end, from `start`.
    fn push_row(&mut self, start: usize, time: Timestamp, value: f64) {
        let end = self.arena.len();
        // A run of samples of one series (a backfill) shares one key.
        let (key_start, key_end) = match self.rows.last() {
            Some(row)
                if self.arena[row.key_start as usize..row.key_end as usize]
                    == self.arena[start..end] =>
            {
                self.arena.truncate(start);
                (row.key_start, row.key_end)
            }
            _ => (start as u32, end as u32),
        };
        self.rows.push(Row {
            key_start,
            key_end,
            time,
            value,
        });
    }

    /// The rows in order of arrival.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Canonical key of a row's series.
    pub fn key(&self, row: &Row) -> &[u8] {
        &self.arena[row.key_start as usize..row.key_end as usize]
    }

    /// Bytes of keys held; bodies are limited long before this reaches 4 GiB.
    pub fn key_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Drops all rows, so that a failed scrape leaves nothing behind.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.rows.clear();
        self.metadata.clear();
    }
}
