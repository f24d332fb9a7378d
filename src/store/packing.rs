//! Cuts the samples of a group of series into blocks, so that every block covers a stretch of time of its own.
//!
//! A checkpoint cuts in halves and is done: its blocks are merged later. A merge takes more trouble with
//! columns, and fits blocks to the engine's pages, which come in powers of two: what a value leaves of its page is lost.

use super::tables::{PAGE_BYTES, PAGE_OVERHEAD};
use crate::{
    codec::{Effort, SERIES_SAMPLES_MAX, SeriesColumns, encode_block},
    model::SeriesNo,
};

/// Samples of one block of a checkpoint: near 64 KiB at two bytes each.
const BLOCK_SAMPLES_MAX: usize = 32_768;
/// Smallest page that blocks of a larger day are cut to.
const PAGE_ORDER_MIN: u32 = 2;
/// Largest page that a merged block takes: a question about an hour decodes whole columns of a block.
const PAGE_ORDER_MAX: u32 = 5;
/// A day's group is cut into at least about so many blocks, as far as pages are not too small then: what a
/// window cuts through is decoded whole.
const PIECES_OF_A_DAY: f64 = 3.0;
/// A block that leaves more of its page than this share is cut anew, longer.
const WASTE_MAX: f64 = 0.1;
/// Times that one block is encoded in search of its length.
const TRIES_MAX: usize = 4;

/// Samples of one series, times strictly increasing.
#[derive(Clone, Debug)]
pub(super) struct SeriesRun {
    pub(super) no: SeriesNo,
    /// Milliseconds since the epoch.
    pub(super) times: Vec<i64>,
    pub(super) values: Vec<f64>,
}

/// A block with the time of its first sample.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    pub(super) start: i64,
    pub(super) bytes: Vec<u8>,
}

/// Whether a block is small enough for a merge with its neighbours to pay.
pub(super) const fn is_small(bytes: usize) -> bool {
    bytes < PAGE_BYTES << PAGE_ORDER_MIN
}

/// Cuts in halves of time, for a checkpoint.
pub(super) fn pack_quickly(series: &[SeriesRun]) -> Vec<Packed> {
    let mut packed = Vec::new();
    halve(&Stretch::of(series), &mut packed);
    packed
}

fn halve(stretch: &Stretch<'_>, packed: &mut Vec<Packed>) {
    let Some((first, last)) = stretch.range() else {
        return;
    };
    if (stretch.samples() > BLOCK_SAMPLES_MAX || stretch.longest() > SERIES_SAMPLES_MAX)
        && first < last
    {
        let (before, after) = stretch.split(first + (last - first) / 2);
        halve(&before, packed);
        halve(&after, packed);
    } else {
        packed.push(Packed {
            start: first,
            bytes: stretch.encode(Effort::Quick),
        });
    }
}

/// Fits blocks to pages. `bytes_per_sample` is a guess to begin with, such as what the samples took before.
pub(super) fn pack_into_pages(series: &[SeriesRun], bytes_per_sample: f64) -> Vec<Packed> {
    let mut rest = Stretch::of(series);
    let mut rate = bytes_per_sample.max(0.01);
    let page = page_for(rest.samples() as f64 * rate);
    let mut packed = Vec::new();
    while rest.range().is_some() {
        let (block, after, found_rate) = fill_page(&rest, page, rate);
        packed.push(block);
        rest = after;
        rate = found_rate;
    }
    packed
}

/// Bytes that a block may have in the page that suits so many bytes of a day.
fn page_for(bytes: f64) -> usize {
    let capacity = |order: u32| (PAGE_BYTES << order) - PAGE_OVERHEAD;
    let whole = (0..PAGE_ORDER_MAX).find(|order| capacity(*order) as f64 >= bytes);
    let order = match whole {
        Some(order) if is_small(bytes as usize) => order,
        _ => (PAGE_ORDER_MIN..=PAGE_ORDER_MAX)
            .rfind(|order| capacity(*order) as f64 <= bytes / PIECES_OF_A_DAY)
            .unwrap_or(PAGE_ORDER_MIN),
    };
    capacity(order)
}

/// Takes as much off the front as fills the page; returns the block, the rest, and the bytes per sample.
fn fill_page<'a>(stretch: &Stretch<'a>, page: usize, mut rate: f64) -> (Packed, Stretch<'a>, f64) {
    let start = stretch.range().map_or(0, |(first, _)| first);
    // The longest block found that fits, to fall back on.
    let mut best: Option<(Packed, Stretch<'_>)> = None;
    for _ in 0..TRIES_MAX {
        let samples = ((page as f64 / rate) as usize).max(1);
        let (front, back) = stretch.take(samples);
        let bytes = front.encode(Effort::Settled);
        let found = bytes.len() as f64 / front.samples().max(1) as f64;
        let fits = bytes.len() <= page;
        let is_smallest = front.range().is_none_or(|(first, last)| first == last);
        let is_full =
            back.range().is_none() || bytes.len() as f64 >= page as f64 * (1.0 - WASTE_MAX);
        let block = Packed { start, bytes };
        if is_smallest || (fits && is_full) {
            return (block, back, found);
        }
        if fits {
            let is_longer = best
                .as_ref()
                .is_none_or(|(b, _)| b.bytes.len() < block.bytes.len());
            if is_longer {
                best = Some((block, back));
            }
            rate = found * 1.01;
        } else {
            rate = found * 1.03;
        }
    }
    if let Some((block, back)) = best {
        return (block, back, rate);
    }
    // Uneven data: whatever a cautious guess gives.
    let (front, back) = stretch.take((page as f64 / rate / 2.0) as usize);
    let bytes = front.encode(Effort::Settled);
    (Packed { start, bytes }, back, rate)
}

/// A stretch of time of several series; series without samples in it are left out.
#[derive(Clone, Debug)]
struct Stretch<'a> {
    series: Vec<SeriesColumns<'a>>,
}

impl<'a> Stretch<'a> {
    fn of(series: &'a [SeriesRun]) -> Self {
        let columns = series.iter().map(|run| SeriesColumns {
            no: run.no,
            times: &run.times,
            values: &run.values,
        });
        Self {
            series: columns.filter(|c| !c.times.is_empty()).collect(),
        }
    }

    fn samples(&self) -> usize {
        self.series.iter().map(|s| s.times.len()).sum()
    }

    fn longest(&self) -> usize {
        self.series.iter().map(|s| s.times.len()).max().unwrap_or(0)
    }

    fn range(&self) -> Option<(i64, i64)> {
        let first = self.series.iter().filter_map(|s| s.times.first()).min()?;
        let last = self.series.iter().filter_map(|s| s.times.last()).max()?;
        Some((*first, *last))
    }

    /// Samples up to and including a time.
    fn samples_until(&self, time: i64) -> usize {
        let until = |s: &SeriesColumns<'_>| s.times.partition_point(|t| *t <= time);
        self.series.iter().map(until).sum()
    }

    /// What lies up to and including a time, and what lies after it.
    fn split(&self, time: i64) -> (Self, Self) {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for s in &self.series {
            let at = s.times.partition_point(|t| *t <= time);
            let part = |range: std::ops::Range<usize>| SeriesColumns {
                no: s.no,
                times: &s.times[range.clone()],
                values: &s.values[range],
            };
            before.extend((at > 0).then(|| part(0..at)));
            after.extend((at < s.times.len()).then(|| part(at..s.times.len())));
        }
        (Self { series: before }, Self { series: after })
    }

    /// The first `samples` samples or a few less, at least those of the first moment, and the rest.
    fn take(&self, samples: usize) -> (Self, Self) {
        let Some((first, mut last)) = self.range() else {
            return (self.clone(), self.clone());
        };
        for s in &self.series {
            if let Some(beyond) = s.times.get(SERIES_SAMPLES_MAX) {
                last = last.min(beyond - 1);
            }
        }
        // The latest time until which there are no more samples than that.
        let (mut fits, mut beyond) = (first, last.saturating_add(1));
        if self.samples_until(last) <= samples {
            fits = last;
        } else {
            while fits + 1 < beyond {
                let middle = fits + (beyond - fits) / 2;
                if self.samples_until(middle) <= samples {
                    fits = middle;
                } else {
                    beyond = middle;
                }
            }
        }
        self.split(fits)
    }

    fn encode(&self, effort: Effort) -> Vec<u8> {
        encode_block(&self.series, effort)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Block;

    fn unpack(packed: &[Packed]) -> Vec<(u32, i64, u64)> {
        let mut samples = Vec::new();
        let mut before = i64::MIN;
        for block in packed {
            let mut parsed = Block::parse(&block.bytes).unwrap();
            let entries = parsed.entries().to_vec();
            let first = entries.iter().map(|e| e.first).min().unwrap();
            assert_eq!(block.start, first);
            assert!(first > before, "blocks cover stretches of their own");
            before = entries.iter().map(|e| e.last).max().unwrap();
            for entry in entries {
                let (mut times, mut values) = (Vec::new(), Vec::new());
                parsed.decode(&entry, &mut times, &mut values).unwrap();
                let rows = times.iter().zip(&values);
                samples.extend(rows.map(|(t, v)| (entry.no.0, *t, v.to_bits())));
            }
        }
        samples.sort_unstable();
        samples
    }

    fn rows(series: &[SeriesRun]) -> Vec<(u32, i64, u64)> {
        let mut rows: Vec<_> = series
            .iter()
            .flat_map(|run| {
                let samples = run.times.iter().zip(&run.values);
                samples.map(|(t, v)| (run.no.0, *t, v.to_bits()))
            })
            .collect();
        rows.sort_unstable();
        rows
    }

    #[test]
    fn a_day_of_a_fleets_agent_fills_its_pages() {
        let mut seed = 1u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        let series: Vec<SeriesRun> = (0..20)
            .map(|no| {
                let mut value = 500i64;
                SeriesRun {
                    no: SeriesNo(no),
                    times: (0..8_640).map(|i| i * 10_000).collect(),
                    values: (0..8_640)
                        .map(|_| {
                            value = (value + random(21) as i64 - 10).clamp(0, 1_000);
                            value as f64 / 10.0
                        })
                        .collect(),
                }
            })
            .collect();
        let packed = pack_into_pages(&series, 0.9);
        assert_eq!(unpack(&packed), rows(&series));
        let (pages, bytes) = packed.iter().fold((0, 0), |(pages, bytes), block| {
            let page = (block.bytes.len() + PAGE_OVERHEAD).next_power_of_two();
            (pages + page.max(PAGE_BYTES), bytes + block.bytes.len())
        });
        assert!(
            pages as f64 <= bytes as f64 * 1.25,
            "{bytes} bytes in {pages} of pages, {} blocks",
            packed.len()
        );
        assert!((3..12).contains(&packed.len()), "{}", packed.len());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_stretches_are_apart(
            series in prop::collection::vec(
                prop::collection::btree_map(-5_000i64..5_000, any::<u64>(), 0..400), 0..6),
            guess in 0.01f64..20.0,
        ) {
            let series: Vec<SeriesRun> = (0..).zip(&series).map(|(no, samples)| SeriesRun {
                no: SeriesNo(no),
                times: samples.keys().copied().collect(),
                values: samples.values().map(|bits| f64::from_bits(*bits)).collect(),
            }).collect();
            prop_assert_eq!(unpack(&pack_into_pages(&series, guess)), rows(&series));
            prop_assert_eq!(unpack(&pack_quickly(&series)), rows(&series));
        }
    }
}
