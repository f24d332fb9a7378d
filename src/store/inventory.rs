//! Counts of whole days, remembered: "how many samples are there in all" must not read a year of
//! directories each time.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{moment::Moment, quarantine::Damage, segments::day_start};
use crate::model::{AgentNo, ReadError, SeriesExtent, Timestamp, Window};

/// Bytes of extents remembered; beyond it the cache starts anew.
const BYTES_MAX: usize = 16 << 20;

type Key = (AgentNo, i32);

/// What is remembered of a day.
#[derive(Debug)]
struct DayExtents {
    extents: Vec<SeriesExtent>,
    /// What could not be read of it.
    lacks: Vec<Damage>,
}

#[derive(Debug, Default)]
struct Days {
    /// Extents of a day's blocks and the epoch they were read at.
    known: HashMap<Key, (u64, Arc<DayExtents>)>,
    bytes: usize,
    /// Epoch of the last change of a day's blocks.
    changed: HashMap<Key, u64>,
}

/// Extents of whole days of blocks, by agent and day. What is remembered is never wrong for a moment:
/// each entry carries the epoch it was read at, and each day the epoch of its last change.
#[derive(Debug, Default)]
pub(super) struct Inventory(Mutex<Days>);

impl Inventory {
    /// Tells that a day's blocks change at `epoch`.
    pub(super) fn change(&self, agent: AgentNo, day: i32, epoch: u64) {
        let mut days = self.0.lock();
        days.changed.insert((agent, day), epoch);
        if let Some((_, extents)) = days.known.remove(&(agent, day)) {
            days.bytes -= weight(&extents);
        }
    }

    /// Forgets days before `day`.
    pub(super) fn forget_before(&self, day: i32) {
        let mut days = self.0.lock();
        days.changed.retain(|key, _| key.1 >= day);
        days.known.retain(|key, _| key.1 >= day);
        days.bytes = days
            .known
            .values()
            .map(|(_, extents)| weight(extents))
            .sum();
    }

    /// How much each series of the agent has in the window, sorted by number.
    pub(super) fn extents(
        &self,
        moment: &Moment,
        agent: AgentNo,
        window: Window,
    ) -> Result<Vec<SeriesExtent>, ReadError> {
        // Days that the head reaches into are merged with it, so they are read each time.
        let head_first = moment.heads.agent(agent).and_then(|h| h.first());
        let whole_until = head_first.map_or(window.to.plus_millis(1), |first| {
            Timestamp::from_millis(first).min(window.to.plus_millis(1))
        });
        let whole = moment.known_days(window)?.and_then(|(first, last)| {
            let from = if day_start(first) > window.from {
                first
            } else {
                first + 1
            };
            let to = last.min(whole_until.day() - 1);
            (from <= to).then_some((from, to))
        });
        let Some((from, to)) = whole else {
            return moment.extents_uncached(agent, window, &mut Vec::new());
        };
        let mut total: HashMap<crate::model::SeriesNo, SeriesExtent> = HashMap::new();
        let mut add = |extents: &[SeriesExtent]| {
            for extent in extents {
                total
                    .entry(extent.no)
                    .and_modify(|t| {
                        t.first = t.first.min(extent.first);
                        t.last = t.last.max(extent.last);
                        t.samples += extent.samples;
                    })
                    .or_insert(*extent);
            }
        };
        if day_start(from).plus_millis(-1) > window.from {
            let before = Window::new(window.from, day_start(from).plus_millis(-1));
            add(&moment.extents_uncached(agent, before, &mut Vec::new())?);
        }
        for day in from..=to {
            let known = self.day(moment, agent, day)?;
            moment.leave_out(&known.lacks);
            add(&known.extents);
        }
        let rest = Window::new(day_start(to + 1).plus_millis(-1), window.to);
        if rest.length_ms() > 0 {
            add(&moment.extents_uncached(agent, rest, &mut Vec::new())?);
        }
        let mut extents: Vec<SeriesExtent> = total.into_values().collect();
        extents.sort_by_key(|e| e.no);
        Ok(extents)
    }

    fn day(&self, moment: &Moment, agent: AgentNo, day: i32) -> Result<Arc<DayExtents>, ReadError> {
        let key = (agent, day);
        {
            let days = self.0.lock();
            let changed = days.changed.get(&key).copied().unwrap_or(0);
            if let Some((epoch, extents)) = days.known.get(&key)
                && changed <= (*epoch).min(moment.block_epoch)
            {
                return Ok(Arc::clone(extents));
            }
        }
        let window = Window::closed(day_start(day), day_start(day + 1).plus_millis(-1));
        let mut lacks = Vec::new();
        let extents = moment.extents_uncached(agent, window, &mut lacks)?;
        let extents = Arc::new(DayExtents { extents, lacks });
        let mut days = self.0.lock();
        if days
            .changed
            .get(&key)
            .is_none_or(|changed| *changed <= moment.block_epoch)
        {
            if days.bytes > BYTES_MAX {
                days.known.clear();
                days.bytes = 0;
            }
            days.bytes += weight(&extents);
            if let Some((_, old)) = days
                .known
                .insert(key, (moment.block_epoch, Arc::clone(&extents)))
            {
                days.bytes -= weight(&old);
            }
        }
        Ok(extents)
    }
}

/// Bytes that a remembered day takes, its place in the table included.
fn weight(day: &DayExtents) -> usize {
    let texts: usize = day.lacks.iter().map(|lack| lack.why.len()).sum();
    size_of_val(&*day.extents) + size_of_val(&*day.lacks) + texts + 128
}
