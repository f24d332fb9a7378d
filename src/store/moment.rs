//! A moment of the file: the engine's snapshot, heads and catalog as one immutable value.
//! What it answers it puts together from rollups (`segments.rs`) and samples (`stretch.rs`).

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use redb::{Key, ReadOnlyTable, ReadTransaction, ReadableTable, TableDefinition, Value};

use super::{
    bucketing::{Folds, length_of, tier_for},
    catalog::{AgentEntry, Catalog},
    departure::{ExpiredSeries, each_expired, prefix_of},
    head::{Heads, SeriesHead},
    inventory::Inventory,
    pieces::join_extents,
    quarantine::{Damage, LeftOut, Quarantine},
    quiet,
    segments::{
        Rollups, Segment, add_day, day_end, day_start, days_of, extent_of_day, segments,
        series_of_day, whole_day,
    },
    stretch::{Question, sorted},
    tables::{self, ALERT_EVENTS, ALERT_EVIDENCE, BLOCKS, BlockKey, ROLLUPS, Tier},
    traces::LiveTraces,
};
use crate::{
    codec::{BlockError, MetricRecord, decode_alert_event, decode_evidence},
    model::{
        Agent, AgentId, AgentNo, Alert, AlertBook, AlertEvent, Asked, BucketVisit, Evidence,
        History, MetricKind, MetricMetadata, Policy, ReadError, Run, Sample, SeriesExtent,
        SeriesInfo, SeriesKey, SeriesNo, Summary, Survey, Timestamp, Unreadable, Visit, Window,
        is_stale_marker,
    },
};

/// One immutable moment of the file.
pub(super) struct Moment {
    /// The engine's snapshot, or why there is none (after an I/O error the engine refuses).
    pub(super) transaction: Result<ReadTransaction, String>,
    /// Keeps the engine open for as long as somebody reads.
    pub(super) _database: Arc<redb::Database>,
    pub(super) heads: Arc<Heads>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) traces: LiveTraces,
    pub(super) last_commit: Option<Timestamp>,
    /// Counts changes of blocks; says which cached inventories hold for this moment.
    pub(super) block_epoch: u64,
    pub(super) inventory: Arc<Inventory>,
    /// Where damage is kept in mind; a copy has nobody to tell.
    pub(super) quarantine: Option<Arc<Quarantine>>,
    /// What answers of this moment lack.
    pub(super) left_out: LeftOut,
}

impl std::fmt::Debug for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Moment")
            .field("last_commit", &self.last_commit)
            .finish_non_exhaustive()
    }
}

/// Turns the engine's errors and panics on damaged pages into an error.
pub(super) fn guarded<T>(read: impl FnOnce() -> Result<T, ReadError>) -> Result<T, ReadError> {
    match quiet::quietly(|| catch_unwind(AssertUnwindSafe(read))) {
        Ok(result) => result,
        Err(_) => Err(ReadError::Damaged(
            "the engine gave up on a damaged page".to_owned(),
        )),
    }
}

pub(super) fn backend(error: &dyn std::fmt::Display) -> ReadError {
    ReadError::Backend(error.to_string())
}

impl Moment {
    fn transaction(&self) -> Result<&ReadTransaction, ReadError> {
        self.transaction
            .as_ref()
            .map_err(|e| ReadError::Backend(e.clone()))
    }

    /// A table of this moment.
    pub(super) fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: TableDefinition<'static, K, V>,
    ) -> Result<ReadOnlyTable<K, V>, ReadError> {
        let table = self.transaction()?.open_table(definition);
        table.map_err(|e| backend(&e))
    }

    pub(super) fn blocks(&self) -> Result<ReadOnlyTable<BlockKey, &'static [u8]>, ReadError> {
        self.transaction()?
            .open_table(BLOCKS)
            .map_err(|e| backend(&e))
    }

    /// Names of series that have left.
    pub(super) fn expired_series(&self) -> Result<ExpiredSeries, ReadError> {
        self.transaction()?
            .open_table(tables::EXPIRED_SERIES)
            .map_err(|e| backend(&e))
    }

    pub(super) fn rollups(&self) -> Result<Rollups, ReadError> {
        self.transaction()?
            .open_table(ROLLUPS)
            .map_err(|e| backend(&e))
    }

    /// First and last day that have blocks or rollups, clipped to the window; `None` without any.
    pub(super) fn known_days(&self, window: Window) -> Result<Option<(i32, i32)>, ReadError> {
        guarded(|| {
            let of_blocks = Self::days(&self.blocks()?, window)?;
            let clip = |(first, last): (i32, i32)| {
                let first = first.max(window.from.plus_millis(1).day());
                let last = last.min(window.to.day());
                (first <= last).then_some((first, last))
            };
            let of_rollups = days_of(&self.rollups()?, Tier::Day)
                .map_err(|e| backend(&e))?
                .and_then(clip);
            let both = [of_blocks, of_rollups].into_iter().flatten();
            Ok(both.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))))
        })
    }

    /// First and last day that have blocks, clipped to the window; `None` without any.
    fn block_days(&self, window: Window) -> Result<Option<(i32, i32)>, ReadError> {
        guarded(|| Self::days(&self.blocks()?, window))
    }

    /// The window in pieces that are read from rollups or from samples.
    fn segments(
        &self,
        tier: Tier,
        agent: AgentNo,
        window: Window,
    ) -> Result<Vec<Segment>, ReadError> {
        guarded(|| {
            let head_first = self.heads.agent(agent).and_then(|head| head.first());
            segments(&self.rollups()?, tier, agent, head_first, window).map_err(|e| backend(&e))
        })
    }

    /// First and last day that have blocks, clipped to the window.
    pub(super) fn days(
        table: &ReadOnlyTable<BlockKey, &'static [u8]>,
        window: Window,
    ) -> Result<Option<(i32, i32)>, ReadError> {
        let first = table.first().map_err(|e| backend(&e))?;
        let last = table.last().map_err(|e| backend(&e))?;
        let (Some((first, _)), Some((last, _))) = (first, last) else {
            return Ok(None);
        };
        let from = first.value().0.max(window.from.plus_millis(1).day());
        let to = last.value().0.min(window.to.day());
        Ok((from <= to).then_some((from, to)))
    }

    /// Keeps a damaged row in mind.
    fn note(&self, damage: &Damage) {
        let agent = damage.row.agent();
        if let (Some(quarantine), Some(entry)) = (&self.quarantine, self.catalog.agent(agent)) {
            quarantine.note(damage, entry.id.as_str());
        }
    }

    /// Notes what an answer lacks.
    pub(super) fn leave_out(&self, damages: &[Damage]) {
        for damage in damages {
            self.note(damage);
            self.left_out.add(damage);
        }
    }

    /// Takes note of a rollup that cannot be read. The caller reads the day from its samples instead; where those
    /// have expired, the day is what the answer lacks: that is noted, and returned.
    ///
    /// # Errors
    /// [`ReadError::Newer`] when nothing but a rollup of a newer format tells of the day.
    pub(super) fn give_up_rollup(
        &self,
        tier: Tier,
        day: i32,
        agent: AgentNo,
        error: &BlockError,
    ) -> Result<Option<Damage>, ReadError> {
        let has_samples = guarded(|| {
            let blocks = self.blocks()?;
            let mut rows = blocks
                .range(tables::blocks_of_day(day, agent))
                .map_err(|e| backend(&e))?;
            Ok(rows.next().is_some())
        })?;
        match error {
            BlockError::Corrupt(_) => {
                let damage = Damage::of_rollup(tier, day, agent, error.to_string());
                if has_samples {
                    self.note(&damage);
                    return Ok(None);
                }
                self.leave_out(std::slice::from_ref(&damage));
                Ok(Some(damage))
            }
            BlockError::Newer(_) if has_samples => Ok(None),
            BlockError::Newer(_) => Err(ReadError::Newer(format!(
                "rollup of {} of agent number {}: {error}",
                &day_start(day).to_rfc3339()[..10],
                agent.0
            ))),
        }
    }

    /// Extents without the cache of whole days. What they lack is noted, and appended to `lacks`.
    pub(super) fn extents_uncached(
        &self,
        agent: AgentNo,
        window: Window,
        lacks: &mut Vec<Damage>,
    ) -> Result<Vec<SeriesExtent>, ReadError> {
        let mut extents: Vec<SeriesExtent> = Vec::new();
        let segments = self.segments(Tier::Day, agent, window)?;
        let is_one = segments.len() < 2;
        for segment in segments {
            match segment {
                Segment::Samples(stretch) => {
                    self.add_extents(agent, stretch, &mut extents, lacks)?;
                }
                Segment::Day(day, row) => {
                    let mut of_day = Vec::new();
                    let read = series_of_day(&row, |_| true, |_, entry| of_day.push(entry.series));
                    if let Err(error) = read {
                        lacks.extend(self.give_up_rollup(Tier::Day, day, agent, &error)?);
                        self.add_extents(agent, whole_day(day), &mut extents, lacks)?;
                    } else {
                        extents.extend(of_day.iter().map(extent_of_day));
                    }
                }
            }
        }
        if !is_one {
            join_extents(&mut extents);
        }
        Ok(extents)
    }

    /// Adds the statistics of each series of `wanted`, which is sorted, to its summary.
    pub(super) fn add_summaries(
        &self,
        agent: AgentNo,
        wanted: &[SeriesNo],
        window: Window,
        summaries: &mut [Summary],
    ) -> Result<(), ReadError> {
        for segment in self.segments(Tier::Day, agent, window)? {
            let stretch = match segment {
                Segment::Samples(stretch) => stretch,
                Segment::Day(day, row) => {
                    let mut of_day = Vec::with_capacity(wanted.len());
                    let asked = |no| wanted.binary_search(&no).is_ok();
                    let read = series_of_day(&row, asked, |_, entry| of_day.push(entry.series));
                    match read {
                        Ok(()) => {
                            for series in &of_day {
                                if let Ok(index) = wanted.binary_search(&series.no) {
                                    add_day(&mut summaries[index], series);
                                }
                            }
                            continue;
                        }
                        Err(error) => {
                            self.give_up_rollup(Tier::Day, day, agent, &error)?;
                            whole_day(day)
                        }
                    }
                }
            };
            let mut question = Question {
                wanted,
                summaries: &mut *summaries,
                ..Question::default()
            };
            self.read_stretch(agent, stretch, &mut question)?;
        }
        Ok(())
    }

    /// Adds to folds what is left of days that a stretch cuts through and whose samples have expired: the first and
    /// the last of the stretch.
    fn add_expired(
        &self,
        folds: &mut Folds,
        tier: Tier,
        agent: AgentNo,
        stretch: Window,
        has_expired: &dyn Fn(i32) -> bool,
    ) -> Result<(), ReadError> {
        let (first, last) = (stretch.from.plus_millis(1).day(), stretch.to.day());
        let mut days = vec![first, last];
        days.dedup();
        guarded(|| {
            let table = self.rollups()?;
            for day in days.into_iter().filter(|day| has_expired(*day)) {
                let row = table
                    .get((tier.key(), day, agent.0))
                    .map_err(|e| backend(&e))?;
                let damage = row.and_then(|row| {
                    let read = folds.add_part_of_day(&row, day, length_of(tier), stretch);
                    read.err()
                });
                if let Some(error) = damage {
                    self.give_up_rollup(tier, day, agent, &error)?;
                }
            }
            Ok(())
        })
    }
}

impl History for Moment {
    fn last_commit(&self) -> Option<Timestamp> {
        self.last_commit
    }

    fn runs(&self) -> Vec<Run> {
        let open = self.catalog.open_run.map(|start| Run {
            start,
            end: self.last_commit.map_or(start, |end| end.max(start)),
        });
        self.catalog.past_runs.iter().copied().chain(open).collect()
    }

    fn policy(&self, at: Timestamp) -> Policy {
        self.catalog.policy(at)
    }

    fn agents(&self, at: Timestamp) -> Vec<Agent> {
        let mut agents: Vec<Agent> = self
            .catalog
            .agents()
            .filter_map(|(no, entry)| entry.at(no, at))
            .filter(|agent| agent.deregistered_at.is_none())
            .collect();
        agents.sort_by(|a, b| a.id.cmp(&b.id));
        agents
    }

    fn agent(&self, id: &AgentId, at: Timestamp) -> Option<Agent> {
        let no = self.catalog.number(id)?;
        self.catalog.agent(no)?.at(no, at)
    }

    fn known_agents(&self) -> Vec<AgentNo> {
        self.catalog.agents().map(|(no, _)| no).collect()
    }

    fn agent_id(&self, no: AgentNo) -> Option<AgentId> {
        self.catalog.agent(no).map(|a| a.id.clone())
    }

    fn metadata(&self, agent: AgentNo) -> Vec<MetricMetadata> {
        let metrics = self.catalog.agent(agent).map(|entry| entry.metrics.iter());
        let told = metrics
            .into_iter()
            .flatten()
            .map(|(name, record)| MetricMetadata {
                name: name.clone(),
                kind: record.kind,
                help: record.help.clone(),
                unit: record.unit.clone(),
            });
        let mut metadata: Vec<MetricMetadata> = told.collect();
        metadata.sort_by(|a, b| a.name.cmp(&b.name));
        metadata
    }

    fn series(&self, agent: AgentNo, metric: Option<&str>) -> Vec<SeriesInfo> {
        let Some(entry) = self.catalog.agent(agent) else {
            return Vec::new();
        };
        let Some(prefix) = prefix_of(metric) else {
            return Vec::new();
        };
        let table = &entry.series;
        let of_metric = table
            .by_number()
            .filter(|(slot, _)| table.key(*slot).starts_with(&prefix));
        let infos = of_metric.filter_map(|(slot, no)| {
            let key = table.series_key(slot)?;
            Some(info(agent, entry, key, no))
        });
        sorted_by_key(infos.collect())
    }

    fn series_within(
        &self,
        agent: AgentNo,
        metric: Option<&str>,
        window: Window,
    ) -> Result<Vec<SeriesInfo>, ReadError> {
        let mut infos = self.series(agent, metric);
        let Some(entry) = self.catalog.agent(agent) else {
            return Ok(infos);
        };
        let first = window.from.plus_millis(1).day();
        let blocks = self.block_days(Window::until(Timestamp::MAX))?;
        if blocks.is_some_and(|(oldest, _)| oldest <= first) {
            return Ok(infos);
        }
        guarded(|| {
            let table = self.expired_series()?;
            let known = infos.len();
            let read = each_expired(&table, agent, metric, |key, no, last_day| {
                if last_day >= first {
                    infos.push(info(agent, entry, key, no));
                }
            });
            read.map_err(|e| backend(&e))?;
            Ok(if infos.len() > known {
                sorted_by_key(infos)
            } else {
                infos
            })
        })
    }

    fn extents(&self, agent: AgentNo, window: Window) -> Result<Vec<SeriesExtent>, ReadError> {
        self.inventory.extents(self, agent, window)
    }

    fn scan(
        &self,
        agent: AgentNo,
        series: &[SeriesNo],
        window: Window,
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError> {
        self.scan_stretch(agent, series, window, visit)
    }

    fn summarise(
        &self,
        agent: AgentNo,
        series: &[SeriesNo],
        window: Window,
    ) -> Result<Vec<Summary>, ReadError> {
        let wanted = sorted(series.iter().copied());
        let mut summaries = vec![Summary::default(); wanted.len()];
        self.add_summaries(agent, &wanted, window, &mut summaries)?;
        let answer = |no: &SeriesNo| match wanted.binary_search(no) {
            Ok(index) => summaries[index].clone(),
            Err(_) => Summary::default(),
        };
        Ok(series.iter().map(answer).collect())
    }

    fn survey(
        &self,
        agent: AgentNo,
        asked: &[Asked],
        window: Window,
        step_ms: i64,
    ) -> Result<Survey, ReadError> {
        self.survey_window(agent, asked, window, step_ms)
    }

    fn buckets(
        &self,
        agent: AgentNo,
        series: &[SeriesNo],
        window: Window,
        step_ms: i64,
        with_rate: bool,
        visit: &mut BucketVisit<'_>,
    ) -> Result<(), ReadError> {
        let mut folds = Folds::new(series, step_ms, with_rate);
        let blocks = self.block_days(Window::until(Timestamp::MAX))?;
        let has_expired = |day: i32| blocks.is_none_or(|(first, _)| day < first);
        let tier = tier_for(step_ms);
        let segments = match tier {
            Some(tier) => self.segments(tier, agent, window)?,
            None => vec![Segment::Samples(window)],
        };
        for segment in segments {
            let (wanted, stretch) = match segment {
                Segment::Samples(stretch) => {
                    if let Some(tier) = tier {
                        self.add_expired(&mut folds, tier, agent, stretch, &has_expired)?;
                    }
                    (folds.all(), stretch)
                }
                Segment::Day(day, row) => {
                    let (left, error) = folds.add_day(&row, has_expired(day));
                    if let (Some(error), Some(tier)) = (error, tier) {
                        self.give_up_rollup(tier, day, agent, &error)?;
                    }
                    (left, whole_day(day))
                }
            };
            if !wanted.is_empty() {
                self.scan(agent, &wanted, stretch, &mut |no, times, values| {
                    folds.add_samples(no, times, values);
                })?;
            }
        }
        folds.finish(visit);
        Ok(())
    }

    fn last_sample(
        &self,
        agent: AgentNo,
        series: SeriesNo,
        at: Timestamp,
        wanted: Option<f64>,
    ) -> Result<Option<Sample>, ReadError> {
        let fits = |s: &Sample| !is_stale_marker(s.value) && wanted.is_none_or(|w| s.value == w);
        let Some(slot) = self
            .catalog
            .agent(agent)
            .and_then(|a| a.series.slot(series))
        else {
            return Ok(None);
        };
        let head = self.heads.agent(agent);
        let newest = head
            .and_then(|h| h.series(slot))
            .and_then(SeriesHead::newest);
        let is_newest = |s: &Sample| self.heads.is_beyond_blocks(s.time) && s.time <= at && fits(s);
        if let Some(sample) = newest.filter(is_newest) {
            return Ok(Some(sample));
        }
        // Backwards in time: the stretch that the head covers, then day by day.
        let head_first = head.and_then(|h| h.first()).map(Timestamp::from_millis);
        let mut to = at;
        if let Some(first) = head_first.filter(|first| *first <= at) {
            let window = Window::closed(first, at);
            if let Some(sample) = self.last_in(agent, series, window, &fits)? {
                return Ok(Some(sample));
            }
            to = first.plus_millis(-1);
        }
        let days = self.block_days(Window::until(to))?;
        let Some((from, last)) = days else {
            return Ok(None);
        };
        for day in (from..=last).rev() {
            let window = Window::closed(day_start(day), to.min(day_end(day)));
            if let Some(sample) = self.last_in(agent, series, window, &fits)? {
                return Ok(Some(sample));
            }
        }
        Ok(None)
    }

    fn unreadable(&self, agent: AgentNo, window: Window) -> Vec<Unreadable> {
        self.left_out.of(agent, window)
    }

    fn episodes(&self, window: Window) -> Result<Vec<Alert>, ReadError> {
        let overlaps = |alert: &&Arc<Alert>| {
            alert.active_at <= window.to && alert.resolved_at.is_none_or(|t| t > window.from)
        };
        let alerts = self.catalog.alerts().iter().filter(overlaps);
        Ok(alerts.map(|alert| alert.as_of(window.to)).collect())
    }

    fn evidence(&self, alert: &Alert) -> Result<Vec<Evidence>, ReadError> {
        guarded(|| {
            let table = self
                .transaction()?
                .open_table(ALERT_EVIDENCE)
                .map_err(|e| backend(&e))?;
            let of_alert = (alert.occurrence.0, 0)..=(alert.occurrence.0, u32::MAX);
            let rows = table.range(of_alert).map_err(|e| backend(&e))?;
            rows.map(|row| {
                let (_, bytes) = row.map_err(|e| backend(&e))?;
                decode_evidence(bytes.value()).map_err(|e| ReadError::Damaged(e.to_string()))
            })
            .collect()
        })
    }

    fn book(&self) -> AlertBook {
        self.catalog.book.clone()
    }

    fn newest(
        &self,
        agent: AgentNo,
        series: SeriesNo,
        window: Window,
    ) -> Result<Option<Sample>, ReadError> {
        let entry = self.catalog.agent(agent);
        let slot = entry.and_then(|agent| agent.series.slot(series));
        let head = self.heads.agent(agent).zip(slot);
        let newest = head.and_then(|(head, slot)| head.series(slot)?.newest());
        // What is newer than all blocks needs no look at them.
        let is_newest = |s: &Sample| self.heads.is_beyond_blocks(s.time) && s.time <= window.to;
        if let Some(sample) = newest.filter(is_newest) {
            return Ok(Some(sample).filter(|s| window.contains(s.time)));
        }
        self.last_in(agent, series, window, &|_| true)
    }

    fn series_mark(&self, agent: AgentNo) -> u64 {
        let Some(series) = self.catalog.agent(agent).map(|a| &a.series) else {
            return 0;
        };
        // Numbers only grow, and what leaves makes the table shorter.
        let newest = series.len().checked_sub(1).and_then(|slot| series.no(slot));
        let newest = newest.map_or(0, |no| u64::from(no.0) + 1);
        newest << 32 | series.len() as u64
    }

    fn alert_events(&self, alert: &Alert) -> Result<Vec<AlertEvent>, ReadError> {
        guarded(|| {
            let table = self
                .transaction()?
                .open_table(ALERT_EVENTS)
                .map_err(|e| backend(&e))?;
            let no = alert.occurrence;
            let of_alert = (no.0, i64::MIN, 0)..=(no.0, i64::MAX, u32::MAX);
            let rows = table.range(of_alert).map_err(|e| backend(&e))?;
            rows.map(|row| {
                let (key, value) = row.map_err(|e| backend(&e))?;
                let time = Timestamp::from_millis(key.value().1);
                decode_alert_event(time, no, value.value())
                    .map_err(|e| ReadError::Damaged(e.to_string()))
            })
            .collect()
        })
    }
}

impl Moment {
    fn last_in(
        &self,
        agent: AgentNo,
        series: SeriesNo,
        window: Window,
        fits: &dyn Fn(&Sample) -> bool,
    ) -> Result<Option<Sample>, ReadError> {
        let mut found = None;
        self.scan(agent, &[series], window, &mut |_, times, values| {
            let samples = times.iter().zip(values).rev();
            let mut samples = samples.map(|(t, v)| Sample {
                time: Timestamp::from_millis(*t),
                value: *v,
            });
            found = samples.find(|s| fits(s));
        })?;
        Ok(found)
    }
}

fn info(agent: AgentNo, entry: &AgentEntry, key: SeriesKey, no: SeriesNo) -> SeriesInfo {
    let kind = kind_of(&entry.metrics, key.name());
    SeriesInfo {
        no,
        agent,
        key,
        kind,
    }
}

fn sorted_by_key(mut infos: Vec<SeriesInfo>) -> Vec<SeriesInfo> {
    infos.sort_by(|a, b| {
        let by_name = a.key.name().cmp(b.key.name());
        by_name.then_with(|| a.key.labels().cmp(b.key.labels()))
    });
    infos
}

/// Kind of the metric that a series belongs to. Series of a histogram or summary carry suffixes that
/// the family's name lacks.
fn kind_of(metrics: &HashMap<String, MetricRecord>, name: &str) -> MetricKind {
    if let Some(metric) = metrics.get(name) {
        return metric.kind;
    }
    [
        "_bucket", "_sum", "_count", "_total", "_created", "_info", "_gsum", "_gcount",
    ]
    .iter()
    .filter_map(|suffix| name.strip_suffix(suffix))
    .find_map(|family| metrics.get(family))
    .map_or(MetricKind::Gauge, |metric| metric.kind)
}
