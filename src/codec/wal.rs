//! A record of the write-ahead log: one group commit.
//!
//! ```text
//! format: u8 = 1 | commit time: i64 varint | section* | CRC32C of all before: u32
//! section: kind: u8 | version: u8 | length: varint | body
//! kind 1, samples: agent: varint | rows: varint
//!                  | series: zigzag varint delta to the row before, per row
//!                  | time:   zigzag varint delta to the row before, per row
//!                  | value:  8 bytes each, little endian
//! kind 2, spans:   agent: varint | header as bytes | body as bytes (a block of spans)
//!                  | traces: varint | each: trace: 16 bytes | hour: zigzag | what its spans add up to, as bytes
//! ```
//! A kind or version that is not known here was written by a newer longwatch: it is an error, never
//! skipped, since skipping it would lose what was acknowledged.

use super::{Corrupt, TraceEntry, TracePart, varint};
use crate::model::{AgentNo, SeriesNo, Timestamp, TraceId};

const FORMAT: u8 = 1;
const KIND_SAMPLES: u8 = 1;
const VERSION_SAMPLES: u8 = 1;
const KIND_SPANS: u8 = 2;
const VERSION_SPANS: u8 = 1;

/// Why a record of the log could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalError {
    /// Bytes that no longwatch wrote.
    #[error("{0}")]
    Corrupt(Corrupt),
    /// A format, kind or version that this binary does not know.
    #[error("write-ahead log section of kind {kind} and version {version}")]
    Newer {
        /// Kind of the section, 0 for the record itself.
        kind: u8,
        /// Its version.
        version: u8,
    },
}

impl From<Corrupt> for WalError {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupt(corrupt)
    }
}

/// One sample of the log.
pub type WalRow = (SeriesNo, i64, f64);

/// Spans of one agent, as they stand in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct WalSpans {
    /// Whose.
    pub agent: AgentNo,
    /// Bytes of the block's header.
    pub header: Vec<u8>,
    /// Bytes of the block.
    pub body: Vec<u8>,
    /// Traces of the spans, the hour that each belongs to, and what its spans here add up to.
    pub traces: Vec<(TraceId, i32, TracePart)>,
}

/// Writes one record.
#[derive(Debug)]
pub struct WalWriter {
    out: Vec<u8>,
    body: Vec<u8>,
}

impl WalWriter {
    /// Begins the record of a commit at `time`.
    pub fn new(time: Timestamp) -> Self {
        let mut out = vec![FORMAT];
        varint::put_i64(&mut out, time.as_millis());
        Self {
            out,
            body: Vec::new(),
        }
    }

    /// Adds the rows of one agent, in order of arrival.
    pub fn samples(&mut self, agent: AgentNo, rows: &[WalRow]) {
        let body = &mut self.body;
        body.clear();
        body.reserve(rows.len() * 11 + 16);
        varint::put_u64(body, u64::from(agent.0));
        varint::put_u64(body, rows.len() as u64);
        let mut before = 0i64;
        for (series, _, _) in rows {
            let no = i64::from(series.0);
            varint::put_i64(body, no - before);
            before = no;
        }
        let mut before = 0i64;
        for (_, time, _) in rows {
            varint::put_i64(body, time.wrapping_sub(before));
            before = *time;
        }
        for (_, _, value) in rows {
            body.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        self.out.extend([KIND_SAMPLES, VERSION_SAMPLES]);
        varint::put_bytes(&mut self.out, &self.body);
    }

    /// Adds a block of spans of one agent.
    pub fn spans(
        &mut self,
        agent: AgentNo,
        header: &[u8],
        block: &[u8],
        traces: &[(TraceId, i32, TracePart)],
    ) {
        let body = &mut self.body;
        body.clear();
        varint::put_u64(body, u64::from(agent.0));
        varint::put_bytes(body, header);
        varint::put_bytes(body, block);
        varint::put_u64(body, traces.len() as u64);
        for (id, hour, part) in traces {
            body.extend_from_slice(&id.as_u128().to_be_bytes());
            varint::put_i64(body, i64::from(*hour));
            let entry = TraceEntry {
                part: part.clone(),
                blocks: Vec::new(),
            };
            varint::put_bytes(body, &entry.encode());
        }
        self.out.extend([KIND_SPANS, VERSION_SPANS]);
        varint::put_bytes(&mut self.out, &self.body);
    }

    /// The record's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        let checksum = crc32c::crc32c(&self.out);
        self.out.extend_from_slice(&checksum.to_le_bytes());
        self.out
    }
}

/// A record as read.
#[derive(Clone, Debug, PartialEq)]
pub struct WalRecord {
    /// Time of the commit.
    pub time: Timestamp,
    /// Samples per agent, in order of arrival.
    pub samples: Vec<(AgentNo, Vec<WalRow>)>,
    /// Blocks of spans, in order of arrival.
    pub spans: Vec<WalSpans>,
}

impl WalRecord {
    /// A record of nothing.
    pub const fn empty() -> Self {
        Self {
            time: Timestamp::MIN,
            samples: Vec::new(),
            spans: Vec::new(),
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`WalError`]: damaged, or written by a newer longwatch.
    pub fn decode(bytes: &[u8]) -> Result<Self, WalError> {
        let (body, checksum) = bytes
            .split_last_chunk::<4>()
            .ok_or(Corrupt::new("a log record is too short"))?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*checksum) {
            return Err(Corrupt::new("a log record fails its checksum").into());
        }
        let (format, mut rest) = body
            .split_first()
            .ok_or(Corrupt::new("a log record is too short"))?;
        if *format != FORMAT {
            return Err(WalError::Newer {
                kind: 0,
                version: *format,
            });
        }
        let time = Timestamp::from_millis(varint::take_i64(&mut rest)?);
        let (mut samples, mut spans) = (Vec::new(), Vec::new());
        while let [kind, version, after @ ..] = rest {
            rest = after;
            match (*kind, *version) {
                (KIND_SAMPLES, VERSION_SAMPLES) => {
                    samples.push(decode_samples(varint::take_bytes(&mut rest)?)?);
                }
                (KIND_SPANS, VERSION_SPANS) => {
                    spans.push(take_spans(varint::take_bytes(&mut rest)?)?);
                }
                (kind, version) => return Err(WalError::Newer { kind, version }),
            }
        }
        if !rest.is_empty() {
            return Err(Corrupt::new("a log record has bytes left over").into());
        }
        Ok(Self {
            time,
            samples,
            spans,
        })
    }
}

fn take_spans(mut body: &[u8]) -> Result<WalSpans, Corrupt> {
    let agent = u32::try_from(varint::take_u64(&mut body)?)
        .map_err(|_| Corrupt::new("an agent number is too large"))?;
    let header = varint::take_bytes(&mut body)?.to_vec();
    let block = varint::take_bytes(&mut body)?.to_vec();
    let mut traces = Vec::new();
    for _ in 0..varint::take_u64(&mut body)? {
        let (id, rest) = body
            .split_first_chunk::<16>()
            .ok_or(Corrupt::new("a log section of spans is cut off"))?;
        body = rest;
        let id = TraceId::from_bytes(id).ok_or(Corrupt::new("a log section names trace zero"))?;
        let hour = i32::try_from(varint::take_i64(&mut body)?)
            .map_err(|_| Corrupt::new("an hour of the log is too large"))?;
        let entry = TraceEntry::decode(varint::take_bytes(&mut body)?)?;
        traces.push((id, hour, entry.part));
    }
    if !body.is_empty() {
        return Err(Corrupt::new("a log section has bytes left over"));
    }
    Ok(WalSpans {
        agent: AgentNo(agent),
        header,
        body: block,
        traces,
    })
}

fn decode_samples(mut body: &[u8]) -> Result<(AgentNo, Vec<WalRow>), Corrupt> {
    let agent = u32::try_from(varint::take_u64(&mut body)?)
        .map_err(|_| Corrupt::new("an agent number is too large"))?;
    let count = varint::take_u64(&mut body)? as usize;
    // Each row takes at least ten bytes, which bounds what a damaged count may allocate.
    if count > body.len() / 10 {
        return Err(Corrupt::new("a log section is shorter than its count"));
    }
    let mut rows: Vec<WalRow> = Vec::with_capacity(count);
    let mut before = 0i64;
    for _ in 0..count {
        before = before.wrapping_add(varint::take_i64(&mut body)?);
        let no = u32::try_from(before).map_err(|_| Corrupt::new("a series number is too large"))?;
        rows.push((SeriesNo(no), 0, 0.0));
    }
    let mut before = 0i64;
    for row in &mut rows {
        before = before.wrapping_add(varint::take_i64(&mut body)?);
        row.1 = before;
    }
    if body.len() != count * 8 {
        return Err(Corrupt::new("a log section has the wrong length"));
    }
    for (row, value) in rows.iter_mut().zip(body.chunks_exact(8)) {
        if let Ok(bits) = value.try_into() {
            row.2 = f64::from_bits(u64::from_le_bytes(bits));
        }
    }
    Ok((AgentNo(agent), rows))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Parts = Vec<(u32, Vec<(u32, i64, u64)>)>;

    #[test]
    fn bytes_are_frozen() {
        let mut writer = WalWriter::new(Timestamp::from_millis(1));
        writer.samples(
            AgentNo(3),
            &[(SeriesNo(2), 10, 1.0), (SeriesNo(3), 10, 0.0)],
        );
        let bytes = writer.finish();
        let one = 1.0f64.to_le_bytes();
        let mut expected = vec![1, 2, 1, 1, 22, 3, 2, 4, 2, 20, 0];
        expected.extend(one);
        expected.extend([0; 8]);
        assert_eq!(bytes[..bytes.len() - 4], expected);
    }

    #[test]
    fn newer_sections_are_refused() {
        for (kind, version) in [(3, 1), (1, 2), (2, 2)] {
            let mut bytes = vec![FORMAT, 0, kind, version, 0];
            let checksum = crc32c::crc32c(&bytes);
            bytes.extend(checksum.to_le_bytes());
            assert_eq!(
                WalRecord::decode(&bytes),
                Err(WalError::Newer { kind, version })
            );
        }
    }

    proptest! {
        #[test]
        fn rows_round_trip(
            time in any::<i64>(),
            parts in prop::collection::vec(
                (any::<u32>(), prop::collection::vec((any::<u32>(), any::<i64>(), any::<u64>()), 0..20)), 0..4),
        ) {
            let mut writer = WalWriter::new(Timestamp::from_millis(time));
            for (agent, rows) in &parts {
                let rows: Vec<WalRow> =
                    rows.iter().map(|(s, t, v)| (SeriesNo(*s), *t, f64::from_bits(*v))).collect();
                writer.samples(AgentNo(*agent), &rows);
            }
            let record = WalRecord::decode(&writer.finish()).unwrap();
            prop_assert_eq!(record.time.as_millis(), time);
            let back: Parts = record.samples.iter()
                .map(|(a, rows)| (a.0, rows.iter().map(|(s, t, v)| (s.0, *t, v.to_bits())).collect()))
                .collect();
            prop_assert_eq!(back, parts);
        }

        #[test]
        fn damage_is_noticed(at in 0usize..60, bit in 0u8..8) {
            let mut writer = WalWriter::new(Timestamp::from_millis(1_700_000_000_000));
            writer.samples(AgentNo(1), &[(SeriesNo(1), 5, 2.5); 3]);
            let mut bytes = writer.finish();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            prop_assert!(WalRecord::decode(&bytes).is_err());
        }
    }
}
