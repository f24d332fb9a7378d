//! Lets series go that have no samples left, and finds them again.
//!
//! A series is known in memory for as long as a block or the log may hold samples of it. What rollups still tell of one
//! that has left needs its name: that stays in a table of its own, which is read when a question reaches back beyond
//! the blocks, and when a series is seen that is not known. So one that comes back has its old number.

use std::{collections::HashMap, sync::Arc};

use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};

use super::{
    Settings,
    catalog::{AgentEntry, Catalog},
    committer::begin,
    expiry::{Cuts, Marks, trusted_now},
    head::{AgentHead, SeriesHead},
    segments::days_of,
    shared::Shared,
    tables::{self, Tier},
};
use crate::{
    codec::SeriesRecord,
    model::{AgentNo, SeriesKey, SeriesNo},
};

/// Series that leave in one transaction, some ten milliseconds of work; the others wait for the next.
const LEAVING_MAX: usize = 20_000;

/// Names of series that have left.
pub(super) type ExpiredSeries = ReadOnlyTable<(u32, &'static [u8]), (u32, i32, i64)>;

/// A series that has left and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Returning {
    pub(super) no: SeriesNo,
    /// When it was first seen, in milliseconds since the epoch.
    pub(super) created_ms: i64,
}

/// The series with this canonical key, if it has left and its name is still kept.
pub(super) fn returning(
    table: &ExpiredSeries,
    agent: AgentNo,
    key: &[u8],
) -> Result<Option<Returning>, redb::Error> {
    let row = table.get((agent.0, key))?;
    Ok(row.map(|row| {
        let (no, _, created_ms) = row.value();
        Returning {
            no: SeriesNo(no),
            created_ms,
        }
    }))
}

/// How canonical keys of a metric's series begin, or of all series; `None` for what is no metric.
pub(super) fn prefix_of(metric: Option<&str>) -> Option<Vec<u8>> {
    let Some(name) = metric else {
        return Some(Vec::new());
    };
    let bare = SeriesKey::new(name, &[]).ok()?;
    Some(bare.as_bytes().to_vec())
}

/// Visits the series of an agent that have left, of one metric or all of them, with their last days; ascending by key.
pub(super) fn each_expired(
    table: &ExpiredSeries,
    agent: AgentNo,
    metric: Option<&str>,
    mut visit: impl FnMut(SeriesKey, SeriesNo, i32),
) -> Result<(), redb::Error> {
    let Some(prefix) = prefix_of(metric) else {
        return Ok(());
    };
    let prefix = prefix.as_slice();
    for row in table.range((agent.0, prefix)..)? {
        let (key, value) = row?;
        let (of, bytes) = key.value();
        if of != agent.0 || !bytes.starts_with(prefix) {
            break;
        }
        let (no, last_day, _) = value.value();
        if let Some(key) = SeriesKey::from_bytes(bytes) {
            visit(key, SeriesNo(no), last_day);
        }
    }
    Ok(())
}

/// Forgets names of series that no rollup holds any more, since those before `day` are gone.
pub(super) fn forget_names(transaction: &WriteTransaction, day: i32) -> Result<(), redb::Error> {
    let mut names = transaction.open_table(tables::EXPIRED_SERIES)?;
    names.retain(|_, (_, last_day, _)| last_day >= day)?;
    Ok(())
}

/// How far back the file reaches.
struct Horizon<'a> {
    first_block_day: i32,
    first_rollup_day: i32,
    cuts: Option<Cuts<'a>>,
    marks: Marks,
    /// First day of an agent that is not settled.
    unsettled: HashMap<AgentNo, i32>,
}

impl<'a> Horizon<'a> {
    fn read(shared: &Shared, settings: &'a Settings) -> Result<Self, redb::Error> {
        let transaction = shared.database().begin_read()?;
        let blocks = transaction.open_table(tables::BLOCKS)?;
        let rollups = transaction.open_table(tables::ROLLUPS)?;
        let first_rollup_day = days_of(&rollups, Tier::Day)?.map_or(i32::MAX, |(first, _)| first);
        let rules = &settings.retention_rules;
        let cuts = trusted_now(shared)
            .filter(|_| !rules.is_empty())
            .map(|now| Cuts::new(rules, now));
        let marks = Marks::read(&transaction)?;
        Ok(Self {
            first_block_day: blocks.first()?.map_or(i32::MAX, |(key, _)| key.value().0),
            first_rollup_day,
            marks: cuts
                .as_ref()
                .map_or_else(Marks::default, |cuts| marks.held_for(cuts)),
            cuts,
            unsettled: first_unsettled(&transaction)?,
        })
    }

    /// Whether a rule has taken all days of a series, and every merge that could still hold it is done.
    fn is_swept(&self, no: AgentNo, agent: &AgentEntry, slot: usize, last_day: i32) -> bool {
        let Some(cuts) = &self.cuts else { return false };
        if last_day >= self.marks.furthest() {
            return false;
        }
        let is_settled = self
            .unsettled
            .get(&no)
            .is_none_or(|first| last_day < *first);
        let done = agent.series.series_key(slot).and_then(|key| {
            let place = cuts.place_of(agent, &key)?;
            self.marks.done(place)
        });
        is_settled && done.is_some_and(|done| last_day < done)
    }

    /// Slots of an agent's series that have no samples left, ascending, and whether rollups may know them.
    fn leaving(
        &self,
        no: AgentNo,
        agent: &AgentEntry,
        head: Option<&AgentHead>,
    ) -> Vec<(usize, bool)> {
        let table = &agent.series;
        let has_head = |slot: usize| {
            let series = head.and_then(|head| head.series(slot));
            series.and_then(SeriesHead::range).is_some()
        };
        let slots = 0..table.len();
        slots
            .filter_map(|slot| {
                let last_day = table.last_day(slot);
                if has_head(slot) {
                    return None;
                }
                if last_day < self.first_block_day {
                    return Some((slot, last_day >= self.first_rollup_day));
                }
                // Its rollups were swept, too.
                self.is_swept(no, agent, slot, last_day)
                    .then_some((slot, false))
            })
            .collect()
    }
}

fn first_unsettled(transaction: &ReadTransaction) -> Result<HashMap<AgentNo, i32>, redb::Error> {
    let mut first = HashMap::new();
    for row in transaction.open_table(tables::UNSETTLED)?.iter()? {
        let (day, agent) = row?.0.value();
        first.entry(AgentNo(agent)).or_insert(day);
    }
    Ok(first)
}

/// An agent's series that leave, by slot, and whether their names are kept.
type Leaving = (AgentNo, Vec<(usize, bool)>);

/// Lets series go whose last samples have expired, and do not wait to be forwarded: from the file, then from memory. Tells whether there are more.
pub(super) fn let_go(shared: &Shared, settings: &Settings) -> Result<bool, redb::Error> {
    let (heads, catalog) = {
        let live = shared.live.lock();
        (Arc::clone(&live.heads), Arc::clone(&live.catalog))
    };
    let horizon = Horizon::read(shared, settings)?;
    let waits_since = shared.spool.waits_since();
    let mut leaving: Vec<Leaving> = Vec::new();
    let mut room = LEAVING_MAX;
    for (no, agent) in catalog.agents() {
        let head = heads.agent(no).map(Arc::as_ref);
        let mut of_agent = horizon.leaving(no, agent, head);
        if let Some(day) = waits_since {
            of_agent.retain(|(slot, _)| agent.series.last_day(*slot) < day);
        }
        of_agent.truncate(room);
        room -= of_agent.len();
        if !of_agent.is_empty() {
            leaving.push((no, of_agent));
        }
    }
    drop(heads);
    if leaving.is_empty() {
        return Ok(false);
    }
    let transaction = begin(&shared.database())?;
    delete_rows(&transaction, &catalog, &leaving)?;
    transaction.commit()?;
    drop(catalog);
    let mut live = shared.live.lock();
    for (no, series) in leaving {
        let slots: Vec<usize> = series.into_iter().map(|(slot, _)| slot).collect();
        let Some(agent) = live.catalog.agent(no) else {
            continue;
        };
        let (table, staying) = agent.series.without(&slots);
        Arc::make_mut(&mut live.catalog).replace_series(no, table);
        Arc::make_mut(&mut live.heads).rearrange(no, &staying);
    }
    Ok(room == 0)
}

fn delete_rows(
    transaction: &WriteTransaction,
    catalog: &Catalog,
    leaving: &[Leaving],
) -> Result<(), redb::Error> {
    let mut series = transaction.open_table(tables::SERIES)?;
    let mut days = transaction.open_table(tables::SERIES_DAYS)?;
    let mut names = transaction.open_table(tables::EXPIRED_SERIES)?;
    for (agent, slots) in leaving {
        let Some(table) = catalog.agent(*agent).map(|entry| &entry.series) else {
            continue;
        };
        for (slot, has_rollups) in slots {
            let Some(no) = table.no(*slot) else { continue };
            let place = (agent.0, no.0);
            let row = series.remove(place)?;
            let created_ms = row.and_then(|row| SeriesRecord::decode(row.value()).ok());
            days.remove(place)?;
            if *has_rollups {
                let created_ms = created_ms.map_or(0, |record| record.created_ms);
                let value = (no.0, table.last_day(*slot), created_ms);
                names.insert((agent.0, table.key(*slot)), value)?;
            }
        }
    }
    // Numbers are never given twice, even when the series that had the highest has left.
    let mut meta = transaction.open_table(tables::META)?;
    let next = catalog.next_series.to_le_bytes();
    meta.insert(tables::meta::NEXT_SERIES, &next[..])?;
    Ok(())
}
