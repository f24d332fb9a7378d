//! Pieces of series: where an agent's samples of a window lie, and how overlapping ones are merged.
//!
//! Samples of a series come in pieces: one per block that holds it, and the head. Where pieces do not
//! overlap, each is used as it is, its statistics instead of its samples where the directory has them.
//! Where they overlap, they are merged, and for one series and millisecond the later written wins.

use redb::AccessGuard;

use super::{
    head::{AgentHead, SeriesHead},
    quarantine::{Damage, RowKey},
    segments::day_end,
    tables::BlockKey,
};
use crate::{
    codec::{Block, BlockError, Entry, Statistics},
    model::{
        ReadError, Sample, SeriesExtent, SeriesNo, Summary, Timestamp, Window, greater,
        is_stale_marker, lesser,
    },
};

/// A block of the engine, with its key.
pub(super) type Guard = (BlockKey, AccessGuard<'static, &'static [u8]>);

/// Which series of an agent are asked for.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    All,
    /// Sorted by number.
    These(&'a [SeriesNo]),
    /// All but these, sorted by number.
    Without(&'a [SeriesNo]),
}

impl Wanted<'_> {
    fn has(self, no: SeriesNo) -> bool {
        match self {
            Self::All => true,
            Self::These(list) => list.binary_search(&no).is_ok(),
            Self::Without(list) => list.binary_search(&no).is_err(),
        }
    }
}

/// Where a piece of a series lies.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// In a block: its index, and that of the series' entry in it.
    Block(u32, u32),
    /// In the head, by slot.
    Head(u32),
}

/// A stretch of one series.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    pub(super) no: SeriesNo,
    pub(super) first: i64,
    pub(super) last: i64,
    /// The higher wins for the same millisecond; the head wins over all blocks.
    precedence: u64,
    pub(super) place: Place,
}

/// Samples of one series in order of time.
#[derive(Default)]
pub(super) struct Columns {
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<f64>,
}

impl Columns {
    pub(super) fn clear(&mut self) {
        self.times.clear();
        self.values.clear();
    }

    /// Range of indices that lie in the window.
    pub(super) fn within(&self, window: Window) -> std::ops::Range<usize> {
        let (from, to) = (window.from.as_millis(), window.to.as_millis());
        let start = self.times.partition_point(|t| *t <= from);
        start..self.times.partition_point(|t| *t <= to).max(start)
    }
}

/// Blocks of one agent that touch a window, and the pieces of series in them and in the head.
#[derive(Default)]
pub(super) struct Pieces<'a> {
    blocks: Vec<(BlockKey, Block<'a>)>,
    head: Option<&'a AgentHead>,
    /// Sorted by series, then by first time.
    pub(super) all: Vec<Piece>,
    /// Blocks that had to be left out so far.
    pub(super) left_out: Vec<Damage>,
}

impl<'a> Pieces<'a> {
    /// Reads the directories of blocks. One that is damaged is left out, and noted.
    ///
    /// # Errors
    /// [`ReadError::Newer`] for a block of a format that this binary does not know.
    pub(super) fn gather(
        guards: impl IntoIterator<Item = &'a Guard>,
        head: Option<&'a AgentHead>,
        head_series: impl Iterator<Item = (usize, SeriesNo)>,
        wanted: Wanted<'_>,
        window: Window,
    ) -> Result<Self, ReadError> {
        let touches = |first: i64, last: i64| {
            window.touches(Timestamp::from_millis(first), Timestamp::from_millis(last))
        };
        let mut blocks = Vec::new();
        let mut pieces = Vec::new();
        let mut left_out = Vec::new();
        for (key, guard) in guards {
            let block = match open_block(*key, guard.value())? {
                Ok(block) => block,
                Err(damage) => {
                    left_out.push(damage);
                    continue;
                }
            };
            let index = blocks.len() as u32;
            for (at, entry) in (0..).zip(block.entries()) {
                if wanted.has(entry.no) && touches(entry.first, entry.last) {
                    pieces.push(Piece {
                        no: entry.no,
                        first: entry.first,
                        last: entry.last,
                        precedence: key.4,
                        place: Place::Block(index, at),
                    });
                }
            }
            blocks.push((*key, block));
        }
        if let Some(head) = head {
            for (slot, no) in head_series {
                let Some((first, last)) = head.series(slot).and_then(SeriesHead::range) else {
                    continue;
                };
                if wanted.has(no) && touches(first, last) {
                    pieces.push(Piece {
                        no,
                        first,
                        last,
                        precedence: u64::MAX,
                        place: Place::Head(slot as u32),
                    });
                }
            }
        }
        // No two have the same key: a series is in a block once.
        pieces.sort_unstable_by_key(|p| (p.no, p.first, p.precedence));
        Ok(Self {
            blocks,
            head,
            all: pieces,
            left_out,
        })
    }

    /// Samples in all blocks, as their directories count them.
    pub(super) fn samples_of_blocks(&self) -> usize {
        let entries = self.blocks.iter().flat_map(|(_, block)| block.entries());
        entries.map(|entry| entry.count).sum()
    }

    /// Samples in the pieces of blocks, as their directories count them.
    pub(super) fn samples(&self) -> usize {
        let entries = self.all.iter().filter_map(|piece| self.entry(piece));
        entries.map(|entry| entry.count).sum()
    }

    /// Whether a block holds one of these series, which are sorted by number.
    pub(super) fn have_any(&self, series: &[SeriesNo]) -> bool {
        let mut entries = self.blocks.iter().flat_map(|(_, block)| block.entries());
        entries.any(|entry| series.binary_search(&entry.no).is_ok())
    }

    /// The entry of a piece that lies in a block.
    pub(super) fn entry(&self, piece: &Piece) -> Option<Entry> {
        match piece.place {
            Place::Block(block, entry) => {
                Some(self.blocks[block as usize].1.entries()[entry as usize])
            }
            Place::Head(_) => None,
        }
    }

    /// What the directory of a block says of a piece, where it does.
    pub(super) fn statistics(&self, piece: &Piece) -> Option<(Entry, Statistics)> {
        let Place::Block(block, entry) = piece.place else {
            return None;
        };
        let block = &self.blocks[block as usize].1;
        let entry = block.entries()[entry as usize];
        // Parsing went over it already; if it fails here, the samples will tell.
        Some((entry, block.statistics(&entry).ok().flatten()?))
    }

    /// Number of pieces from `start` on that belong to one series and overlap each other.
    pub(super) fn cluster(&self, start: usize) -> usize {
        let first = &self.all[start];
        let mut last = first.last;
        let mut end = start + 1;
        while let Some(piece) = self.all.get(end) {
            if piece.no != first.no || piece.first > last {
                break;
            }
            last = last.max(piece.last);
            end += 1;
        }
        end - start
    }

    /// Appends the samples of a cluster to `out`, in order of time, one per millisecond. Pieces of a block
    /// whose data is damaged are left out, and the block is noted.
    pub(super) fn decode(&mut self, cluster: std::ops::Range<usize>, out: &mut Columns) {
        if let [piece] = self.all[cluster.clone()] {
            return self.decode_piece(&piece, out);
        }
        let mut pieces = self.all[cluster].to_vec();
        pieces.sort_by_key(|p| p.precedence);
        let mut all = Columns::default();
        for piece in &pieces {
            self.decode_piece(piece, &mut all);
        }
        // Stable: among equal times the later written comes last, and wins.
        let mut order: Vec<usize> = (0..all.times.len()).collect();
        order.sort_by_key(|i| all.times[*i]);
        for (at, i) in order.iter().enumerate() {
            if order
                .get(at + 1)
                .is_none_or(|next| all.times[*next] != all.times[*i])
            {
                out.times.push(all.times[*i]);
                out.values.push(all.values[*i]);
            }
        }
    }

    /// First and last time and number of the samples of a piece without stale markers that lie in the window; `None`
    /// without any, and for a piece in the head.
    pub(super) fn count_within(
        &mut self,
        piece: &Piece,
        window: Window,
    ) -> Option<(i64, i64, u64)> {
        let Place::Block(block, entry) = piece.place else {
            return None;
        };
        let index = block as usize;
        let block = &mut self.blocks[index].1;
        let entry = block.entries()[entry as usize];
        let (after, until) = (window.from.as_millis(), window.to.as_millis());
        match block.count_within(&entry, after, until) {
            Ok(found) => found.map(|(first, last, count)| (first, last, count as u64)),
            Err(error) => {
                self.leave_out(index, &error);
                None
            }
        }
    }

    /// Notes that the data of a block cannot be read.
    fn leave_out(&mut self, index: usize, error: &BlockError) {
        let (key, block) = &self.blocks[index];
        let row = RowKey::Block(*key);
        if self.left_out.iter().all(|damage| damage.row != row) {
            self.left_out.push(Damage::of_data(*key, block, error));
        }
    }

    fn decode_piece(&mut self, piece: &Piece, out: &mut Columns) {
        match piece.place {
            Place::Block(block, entry) => {
                let index = block as usize;
                let before = out.times.len();
                let block = &mut self.blocks[index].1;
                let entry = block.entries()[entry as usize];
                if let Err(error) = block.decode(&entry, &mut out.times, &mut out.values) {
                    out.times.truncate(before);
                    out.values.truncate(before);
                    self.leave_out(index, &error);
                }
            }
            Place::Head(slot) => {
                let Some(series) = self.head.and_then(|h| h.series(slot as usize)) else {
                    return;
                };
                if series.is_ordered() {
                    out.times.extend(series.arrived().iter().map(|s| s.0));
                    out.values.extend(series.arrived().iter().map(|s| s.1));
                } else {
                    for (time, value) in ordered(series.arrived()) {
                        out.times.push(time);
                        out.values.push(value);
                    }
                }
            }
        }
    }
}

/// Reads the directory of a block. The inner error is a block that is damaged.
///
/// # Errors
/// [`ReadError::Newer`] for a format that this binary does not know.
pub(super) fn open_block(
    key: BlockKey,
    bytes: &[u8],
) -> Result<Result<Block<'_>, Damage>, ReadError> {
    let damage = |why: String| Damage {
        row: RowKey::Block(key),
        first: key.3,
        last: day_end(key.0).as_millis(),
        why,
    };
    match Block::parse(bytes) {
        Ok(block) if fits(key, &block) => Ok(Ok(block)),
        Ok(_) => Ok(Err(damage(
            "a block's key does not fit its directory".to_owned(),
        ))),
        Err(BlockError::Corrupt(corrupt)) => Ok(Err(damage(corrupt.to_string()))),
        Err(newer @ BlockError::Newer(_)) => Err(ReadError::Newer(format!(
            "{} of {} of agent number {}: {newer}",
            RowKey::Block(key),
            &day_end(key.0).to_rfc3339()[..10],
            key.1
        ))),
    }
}

/// First and last time of a block's samples.
pub(super) fn range_of(key: BlockKey, block: &Block<'_>) -> (i64, i64) {
    let entries = block.entries().iter();
    entries.fold((key.3, key.3), |(first, last), entry| {
        (first.min(entry.first), last.max(entry.last))
    })
}

/// Keys are under no checksum of ours, but say what the directory says as well.
fn fits(key: BlockKey, block: &Block<'_>) -> bool {
    let first = block.entries().iter().map(|entry| entry.first).min();
    let (_, last) = range_of(key, block);
    first == Some(key.3) && [key.3, last].map(|t| Timestamp::from_millis(t).day()) == [key.0; 2]
}

/// Samples in order of time, for equal times the last that arrived.
pub(super) fn ordered(arrived: &[(i64, f64)]) -> Vec<(i64, f64)> {
    let mut samples = arrived.to_vec();
    samples.sort_by_key(|s| s.0);
    let mut kept: Vec<(i64, f64)> = Vec::with_capacity(samples.len());
    for sample in samples {
        match kept.last_mut() {
            Some(last) if last.0 == sample.0 => *last = sample,
            _ => kept.push(sample),
        }
    }
    kept
}

/// Whether the whole piece lies in the window.
pub(super) fn covers(window: Window, piece: &Piece) -> bool {
    window.covers(
        Timestamp::from_millis(piece.first),
        Timestamp::from_millis(piece.last),
    )
}

/// First and last time and number of the samples in the window, stale markers left out.
pub(super) fn extent_of(columns: &Columns, window: Window) -> Option<(i64, i64, u64)> {
    let within = columns.within(window);
    let mut extent: Option<(i64, i64, u64)> = None;
    for i in within.filter(|i| !is_stale_marker(columns.values[*i])) {
        let time = columns.times[i];
        let (first, _, samples) = extent.unwrap_or((time, time, 0));
        extent = Some((first, time, samples + 1));
    }
    extent
}

/// Adds to the extent of a series, which is the last in the list if it has one.
pub(super) fn add_extent(
    extents: &mut Vec<SeriesExtent>,
    no: SeriesNo,
    first: i64,
    last: i64,
    samples: u64,
) {
    let (first, last) = (Timestamp::from_millis(first), Timestamp::from_millis(last));
    match extents.last_mut() {
        Some(extent) if extent.no == no => {
            extent.first = extent.first.min(first);
            extent.last = extent.last.max(last);
            extent.samples += samples;
        }
        _ => extents.push(SeriesExtent {
            no,
            first,
            last,
            samples,
        }),
    }
}

/// Joins extents of the same series.
pub(super) fn join_extents(extents: &mut Vec<SeriesExtent>) {
    extents.sort_unstable_by_key(|extent| (extent.no, extent.first));
    extents.dedup_by(|later, kept| {
        let is_same = later.no == kept.no;
        if is_same {
            kept.last = kept.last.max(later.last);
            kept.samples += later.samples;
        }
        is_same
    });
}

/// Adds what a directory says of a piece that lies after everything added so far.
pub(super) fn add_statistics(summary: &mut Summary, entry: &Entry, statistics: &Statistics) {
    let sample = |time: i64, value: f64| Sample {
        time: Timestamp::from_millis(time),
        value,
    };
    summary.samples += entry.count as u64;
    statistics
        .sum_parts
        .iter()
        .for_each(|part| summary.sum.add(*part));
    let Statistics {
        first,
        last,
        dropped,
        ..
    } = *statistics;
    summary.increase.push_stretch(first, last, dropped);
    summary.min = Some(
        summary
            .min
            .map_or(statistics.min, |m| lesser(m, statistics.min)),
    );
    summary.max = Some(
        summary
            .max
            .map_or(statistics.max, |m| greater(m, statistics.max)),
    );
    summary
        .first
        .get_or_insert(sample(entry.first, statistics.first));
    summary.last = Some(sample(entry.last, statistics.last));
}
