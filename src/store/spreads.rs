//! How series spread over values and over time: from rollups of whole days where they have both, else from samples.

use redb::AccessGuard;

use super::{
    bucketing::tier_for,
    moment::{Moment, backend, guarded},
    segments::{Segment, segments, series_of_day, whole_day},
    tables::Tier,
};
use crate::{
    codec::{Buckets, SeriesBuckets, ValueCounts},
    model::{AgentNo, History, ReadError, SeriesNo, Spread, Window},
};

/// What a day's rollups say of one series.
struct DaySpread {
    counts: ValueCounts,
    buckets: SeriesBuckets,
}

impl DaySpread {
    fn add_to(&self, spread: &mut Spread) {
        let ValueCounts { values, counts } = &self.counts;
        spread.distribution.extend_counted(values, counts);
        for row in &self.buckets.rows {
            let numbers = row.samples - row.nans.min(row.samples);
            if numbers > 0 {
                spread.steps.push(row.end_ms, numbers, &row.sum_parts);
            }
        }
    }
}

impl Moment {
    /// Adds the numbers of each series in the window to its spread. `spreads` are sorted by number, without steps
    /// yet that end after it, all of steps as long as the first one's.
    pub(super) fn add_spreads(
        &self,
        agent: AgentNo,
        spreads: &mut [(SeriesNo, Spread)],
        window: Window,
    ) -> Result<(), ReadError> {
        let Some(step_ms) = spreads.first().map(|(_, spread)| spread.steps.length_ms()) else {
            return Ok(());
        };
        let all: Vec<SeriesNo> = spreads.iter().map(|(no, _)| *no).collect();
        let find = |no: SeriesNo| all.binary_search(&no).ok();
        let tier = tier_for(step_ms);
        for segment in self.spread_segments(agent, tier, window)? {
            let (left, stretch) = match (segment, tier) {
                (Segment::Samples(stretch), _) => (all.clone(), stretch),
                (Segment::Day(day, _), None) => (all.clone(), whole_day(day)),
                (Segment::Day(day, buckets), Some(tier)) => {
                    let found = self.day_spreads(agent, day, tier, &buckets, &all)?;
                    for (no, day) in &found {
                        if let Some(at) = find(*no) {
                            day.add_to(&mut spreads[at].1);
                        }
                    }
                    let is_left = |no: &&SeriesNo| !found.iter().any(|(found, _)| found == *no);
                    (
                        all.iter().filter(is_left).copied().collect(),
                        whole_day(day),
                    )
                }
            };
            if !left.is_empty() {
                self.scan(agent, &left, stretch, &mut |no, times, values| {
                    if let Some(at) = find(no) {
                        spreads[at].1.extend(times, values);
                    }
                })?;
            }
        }
        Ok(())
    }

    /// The window cut into days whose buckets fit the steps, and the rest.
    fn spread_segments(
        &self,
        agent: AgentNo,
        tier: Option<Tier>,
        window: Window,
    ) -> Result<Vec<Segment>, ReadError> {
        let Some(tier) = tier else {
            return Ok(vec![Segment::Samples(window)]);
        };
        guarded(|| {
            let head_first = self.heads.agent(agent).and_then(|head| head.first());
            segments(&self.rollups()?, tier, agent, head_first, window).map_err(|e| backend(&e))
        })
    }

    /// Series of which a day's rollups have both counts and exact buckets. What cannot be read of them is read from
    /// samples.
    fn day_spreads(
        &self,
        agent: AgentNo,
        day: i32,
        tier: Tier,
        buckets: &AccessGuard<'static, &'static [u8]>,
        wanted: &[SeriesNo],
    ) -> Result<Vec<(SeriesNo, DaySpread)>, ReadError> {
        let row = guarded(|| {
            let rollups = self.rollups()?;
            rollups
                .get((Tier::Day.key(), day, agent.0))
                .map_err(|e| backend(&e))
        })?;
        let Some(row) = row else {
            return Ok(Vec::new());
        };
        let buckets = match Buckets::open(buckets.value()) {
            Ok(buckets) => buckets,
            Err(error) => {
                self.give_up_rollup(tier, day, agent, &error)?;
                return Ok(Vec::new());
            }
        };
        let (mut found, mut damage) = (Vec::new(), None);
        let is_wanted = |no| wanted.binary_search(&no).is_ok();
        let read = series_of_day(&row, is_wanted, |day, entry| {
            let counts = entry.counts.map(|at| day.counts(at)).transpose();
            let buckets = buckets.of(entry.series.no);
            match (counts, buckets) {
                (Ok(Some(counts)), Ok(Some(buckets))) if buckets.is_exact => {
                    found.push((entry.series.no, DaySpread { counts, buckets }));
                }
                (Ok(_), Ok(_)) => {}
                (Err(corrupt), _) => damage = Some((Tier::Day, corrupt.into())),
                (_, Err(corrupt)) => damage = Some((tier, corrupt.into())),
            }
        });
        if let Err(error) = read {
            damage = Some((Tier::Day, error));
        }
        if let Some((tier, error)) = damage {
            self.give_up_rollup(tier, day, agent, &error)?;
        }
        Ok(found)
    }
}
