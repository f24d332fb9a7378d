//! Series in buckets, from rollups of whole days where the answer is provably the same, else from samples.

use redb::AccessGuard;

use super::{
    rollups::{FIVE_MINUTES_MS, HOUR_MS},
    segments::day_end,
    tables::Tier,
};
use crate::{
    codec::{BlockError, BucketRow, Buckets, SeriesBuckets},
    model::{BucketFold, BucketVisit, CounterStretch, DAY_MS, SeriesNo, Stretch, Window},
};

/// The coarsest tier whose buckets fit into steps of `step_ms`.
pub(super) const fn tier_for(step_ms: i64) -> Option<Tier> {
    if step_ms % HOUR_MS == 0 {
        Some(Tier::Hour)
    } else if step_ms % FIVE_MINUTES_MS == 0 {
        Some(Tier::FiveMinutes)
    } else {
        None
    }
}

/// Milliseconds of a tier's buckets.
pub(super) const fn length_of(tier: Tier) -> i64 {
    match tier {
        Tier::Day => DAY_MS,
        Tier::Hour => HOUR_MS,
        Tier::FiveMinutes => FIVE_MINUTES_MS,
    }
}

/// The folds of all series that are asked for.
pub(super) struct Folds {
    /// Sorted by number.
    folds: Vec<BucketFold>,
    with_rate: bool,
}

impl Folds {
    pub(super) fn new(series: &[SeriesNo], step_ms: i64, with_rate: bool) -> Self {
        let mut numbers = series.to_vec();
        numbers.sort_unstable();
        numbers.dedup();
        let folds = numbers.iter().map(|no| BucketFold::new(*no, step_ms));
        Self {
            folds: folds.collect(),
            with_rate,
        }
    }

    /// All series.
    pub(super) fn all(&self) -> Vec<SeriesNo> {
        self.folds.iter().map(|fold| fold.no).collect()
    }

    /// Adds samples that lie after everything added so far.
    pub(super) fn add_samples(&mut self, no: SeriesNo, times: &[i64], values: &[f64]) {
        if let Ok(at) = self.folds.binary_search_by_key(&no, |fold| fold.no) {
            self.folds[at].extend(times, values);
        }
    }

    /// Adds a day's row; returns the series that have to be read from their samples, and why if that is because
    /// the row cannot be read. `is_all_there_is` says that the samples have expired, so that what was kept has to do.
    pub(super) fn add_day(
        &mut self,
        row: &AccessGuard<'static, &'static [u8]>,
        is_all_there_is: bool,
    ) -> (Vec<SeriesNo>, Option<BlockError>) {
        let day = match Buckets::open(row.value()) {
            Ok(day) => day,
            Err(error) => return (self.all(), Some(error)),
        };
        let with_rate = self.with_rate;
        let is_enough = |found: &SeriesBuckets| {
            let has_rate = || found.rows.iter().all(|row| row.counter.is_some());
            is_all_there_is || (found.is_exact && (!with_rate || has_rate()))
        };
        let (mut left, mut damage) = (Vec::new(), None);
        for fold in &mut self.folds {
            match day.of(fold.no) {
                Ok(None) => {}
                Ok(Some(found)) if is_enough(&found) => {
                    found.rows.iter().for_each(|row| fold.push(&stretch(row)));
                }
                Ok(Some(_)) => left.push(fold.no),
                Err(corrupt) => {
                    left.push(fold.no);
                    damage = Some(corrupt.into());
                }
            }
        }
        (left, damage)
    }

    /// Adds what a day's row has of a window, bucket by bucket, for a day whose samples have expired; what the window
    /// cuts through is left out.
    ///
    /// # Errors
    /// The row cannot be read, or not all of it.
    pub(super) fn add_part_of_day(
        &mut self,
        row: &AccessGuard<'static, &'static [u8]>,
        day: i32,
        tier_ms: i64,
        window: Window,
    ) -> Result<(), BlockError> {
        // The last bucket of a day ends with the next one's first moment, which is not in this row.
        let last_moment = day_end(day).as_millis();
        let day = Buckets::open(row.value())?;
        let lies_within = |row: &&BucketRow| {
            row.end_ms - tier_ms >= window.from.as_millis()
                && row.end_ms.min(last_moment) <= window.to.as_millis()
        };
        for fold in &mut self.folds {
            if let Some(found) = day.of(fold.no)? {
                let rows = found.rows.iter().filter(lies_within);
                rows.for_each(|row| fold.push(&stretch(row)));
            }
        }
        Ok(())
    }

    /// Hands over every series that has buckets.
    pub(super) fn finish(self, visit: &mut BucketVisit<'_>) {
        for fold in self.folds {
            let no = fold.no;
            let buckets = fold.finish();
            if !buckets.is_empty() {
                visit(no, buckets);
            }
        }
    }
}

fn stretch(row: &BucketRow) -> Stretch<'_> {
    Stretch {
        time_ms: row.end_ms,
        samples: row.samples,
        numbers: row.samples - row.nans.min(row.samples),
        sum_parts: &row.sum_parts,
        min: row.min,
        max: row.max,
        last: row.last,
        counter: row.counter.map(|c| CounterStretch {
            first: (c.first_ms, c.first),
            last: (c.last_ms, row.last),
            dropped: c.dropped,
        }),
    }
}
