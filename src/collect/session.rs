//! What one agent's scrapes and probes become: rows, stale markers, contacts. No clock, no network,
//! no store.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::process::PROCESS_METRICS;
use crate::{
    model::{
        AgentId, Batch, Contact, MetricKind, MetricMetadata, STALE_MARKER, SeriesKey, Timestamp,
        is_derived_metric, names,
    },
    store::{Append, Urgency},
};

type Key = Box<[u8]>;

/// Help and unit of each series that longwatch adds itself.
const DERIVED_SERIES: [(&str, &str, &str); 6] = [
    (names::UP, "Whether the agent answered", ""),
    (
        names::SCRAPE_DURATION_SECONDS,
        "Time that the scrape took",
        "seconds",
    ),
    (
        names::SCRAPE_SAMPLES_SCRAPED,
        "Samples in the scrape's body",
        "",
    ),
    (
        names::SCRAPE_SAMPLES_POST_METRIC_RELABELING,
        "Samples of the scrape that were kept",
        "",
    ),
    (
        names::SCRAPE_SERIES_ADDED,
        "Series that the scrape before did not have",
        "",
    ),
    (
        names::PROCESS_UP,
        "Whether the agent's process is there",
        "",
    ),
];

/// What a good scrape brought.
#[derive(Debug, Default)]
pub(super) struct Scraped {
    /// Its samples.
    pub batch: Batch,
    /// Samples in the body, those refused included.
    pub total: usize,
}

/// A scrape, whatever came of it.
#[derive(Debug)]
pub(super) struct Scrape {
    /// What it brought, or why it failed.
    pub result: Result<Scraped, String>,
    /// Seconds that it took.
    pub seconds: f64,
}

/// What one round found. An agent has an endpoint, a process, or both.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// The scrape of its endpoint.
    pub scrape: Option<Scrape>,
    /// Figures of its process, or why there are none.
    pub process: Option<Result<Batch, String>>,
}

/// A series that is alive.
#[derive(Debug)]
struct Seen {
    /// The round that had it last.
    round: u64,
    /// Samples with times of their own end by themselves; no marker is written for them.
    ends_with_marker: bool,
}

/// Scrapes of one agent, one after the other, and what is sampled of its process beside them. Rules:
/// Prometheus, `scrape/scrape.go`.
#[derive(Debug)]
pub(super) struct ScrapeSession {
    agent: AgentId,
    round: u64,
    seen: HashMap<Key, Seen>,
    up: Option<bool>,
    process_up: Option<bool>,
    /// Which of [`PROCESS_METRICS`] the endpoint tells itself, by its last good scrape.
    told: Vec<&'static str>,
    /// Series of longwatch's own that have no end yet.
    open: BTreeSet<&'static str>,
    described: BTreeSet<&'static str>,
    /// Keys whose markers are in appends that are not yet durable, oldest append first.
    unsettled: VecDeque<Vec<Key>>,
    /// Keys whose markers were lost with an append.
    owed: HashSet<Key>,
}

impl ScrapeSession {
    /// A session in which nothing was scraped yet.
    pub(super) fn new(agent: AgentId) -> Self {
        Self {
            agent,
            round: 0,
            seen: HashMap::new(),
            up: None,
            process_up: None,
            told: Vec::new(),
            open: BTreeSet::new(),
            described: BTreeSet::new(),
            unsettled: VecDeque::new(),
            owed: HashSet::new(),
        }
    }

    /// Whose scrapes these are.
    pub(super) const fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// What the last round found; `None` before the first.
    pub(super) const fn up(&self) -> Option<bool> {
        self.up
    }

    /// Whether the last round saw the agent's process; `None` before the first and without a process.
    pub(super) const fn process_up(&self) -> Option<bool> {
        self.process_up
    }

    /// A scrape begun at `at` succeeded.
    pub(super) fn success(&mut self, scraped: Scraped, at: Timestamp, seconds: f64) -> Append {
        let result = Ok(scraped);
        let scrape = Some(Scrape { result, seconds });
        let process = None;
        self.take(Round { scrape, process }, at)
    }

    /// A scrape begun at `at` failed.
    pub(super) fn failure(&mut self, error: String, at: Timestamp, seconds: f64) -> Append {
        let result = Err(error);
        let scrape = Some(Scrape { result, seconds });
        let process = None;
        self.take(Round { scrape, process }, at)
    }

    /// What a round begun at `at` found: its samples, markers for what is no longer there, and `up`. That
    /// tells whether the endpoint answered; without an endpoint, whether the process is there.
    pub(super) fn take(&mut self, round: Round, at: Timestamp) -> Append {
        self.round += 1;
        let mut batch = Batch::new();
        let mut derived = Vec::new();
        let mut error = None;
        let has_endpoint = round.scrape.is_some();
        self.told.retain(|_| has_endpoint);
        if let Some(Scrape { result, seconds }) = round.scrape {
            let mut numbers = [seconds, 0.0, 0.0, 0.0];
            match result {
                Ok(scraped) => {
                    batch = without_derived(scraped.batch);
                    let added = self.take_in(&batch, at);
                    numbers[1..].copy_from_slice(&[
                        scraped.total as f64,
                        batch.len() as f64,
                        added as f64,
                    ]);
                    self.told = told_by(&batch);
                }
                Err(why) => error = Some(why),
            }
            derived.extend(SCRAPE_SERIES.into_iter().zip(numbers));
        }
        let process_up = round.process.as_ref().map(Result::is_ok);
        match round.process {
            Some(Ok(figures)) => self.take_beside(&mut batch, figures, at),
            Some(Err(why)) if !has_endpoint => error = Some(why),
            _ => {}
        }
        let number = |truth: bool| f64::from(u8::from(truth));
        derived.push((names::UP, number(error.is_none())));
        derived.extend(process_up.map(|up| (names::PROCESS_UP, number(up))));
        let gone = self.take_gone();
        self.mark(&mut batch, gone, at);
        self.put_derived(&mut batch, &derived, at);
        let found = (Some(error.is_none()), process_up);
        let urgency = urgency((self.up, self.process_up) == found);
        (self.up, self.process_up) = found;
        Append {
            agent: self.agent.clone(),
            batch,
            contact: Some(Contact::Scrape { error }),
            urgency,
        }
    }

    /// Collection ended at `at`: markers for all that was alive, longwatch's own series included.
    /// `None` when there is nothing to end.
    pub(super) fn end(&mut self, at: Timestamp) -> Option<Append> {
        if self.open.is_empty() {
            return None;
        }
        (self.up, self.process_up) = (None, None);
        self.round += 1;
        let mut batch = Batch::new();
        let gone = self.take_gone();
        self.mark(&mut batch, gone, at);
        self.put_derived(&mut batch, &[], at);
        Some(Append {
            agent: self.agent.clone(),
            batch,
            contact: None,
            urgency: Urgency::Relaxed,
        })
    }

    /// Tells whether the oldest append not yet settled became durable. Markers of one that did not
    /// are owed to the next.
    pub(super) fn settle(&mut self, durable: bool) {
        let marked = self.unsettled.pop_front().unwrap_or_default();
        if !durable {
            let seen = &self.seen;
            let still_gone = marked.into_iter().filter(|key| !seen.contains_key(key));
            self.owed.extend(still_gone);
            // Whatever the file says now, the next scrape's result is worth a commit.
            self.up = None;
            self.described.clear();
        }
    }

    /// Notes the series of a batch; returns how many are new.
    fn take_in(&mut self, batch: &Batch, at: Timestamp) -> usize {
        let mut added = 0;
        for row in batch.rows() {
            let key = batch.key(row);
            let ends_with_marker = row.time == at;
            if let Some(seen) = self.seen.get_mut(key) {
                seen.round = self.round;
                seen.ends_with_marker = ends_with_marker;
                continue;
            }
            added += 1;
            self.owed.remove(key);
            let round = self.round;
            self.seen.insert(
                key.into(),
                Seen {
                    round,
                    ends_with_marker,
                },
            );
        }
        added
    }

    /// Adds figures of the process, but for those that the endpoint tells itself.
    fn take_beside(&mut self, batch: &mut Batch, figures: Batch, at: Timestamp) {
        let mut beside = Batch::new();
        for row in figures.rows() {
            let Some(key) = SeriesKey::from_bytes(figures.key(row)) else {
                continue;
            };
            if !self.told.contains(&key.name()) {
                let mut labels: Vec<_> = key.labels().collect();
                let _ = batch.push(key.name(), &mut labels, row.time, row.value);
                let _ = beside.push(key.name(), &mut labels, row.time, row.value);
            }
        }
        self.take_in(&beside, at);
        let metadata = figures.metadata.into_iter();
        let untold = metadata.filter(|m| !self.told.contains(&m.name.as_str()));
        batch.metadata.extend(untold);
    }

    /// Series that this round did not have, but for those that end by themselves.
    fn take_gone(&mut self) -> Vec<Key> {
        let round = self.round;
        let mut gone = Vec::new();
        self.seen.retain(|key, seen| {
            let stays = seen.round == round;
            if !stays && seen.ends_with_marker {
                gone.push(key.clone());
            }
            stays
        });
        gone
    }

    /// Adds a marker for each of `gone` and for those owed.
    fn mark(&mut self, batch: &mut Batch, mut gone: Vec<Key>, at: Timestamp) {
        gone.extend(self.owed.drain());
        // Equal state gives equal bytes, whatever the order of the hash map.
        gone.sort_unstable();
        for bytes in &gone {
            let Some(key) = SeriesKey::from_bytes(bytes) else {
                continue;
            };
            let mut labels: Vec<_> = key.labels().collect();
            // A key that came out of a batch is good for a batch.
            let _ = batch.push(key.name(), &mut labels, at, STALE_MARKER);
        }
        self.unsettled.push_back(gone);
    }

    /// Adds series of longwatch's own, and markers for those that were told before and are no more.
    fn put_derived(&mut self, batch: &mut Batch, told: &[(&'static str, f64)], at: Timestamp) {
        let before = std::mem::take(&mut self.open);
        for (name, value) in told {
            put(batch, name, at, *value);
            self.open.insert(name);
            if self.described.insert(name) {
                let described = DERIVED_SERIES.iter().find(|(known, ..)| known == name);
                let described = described.map(|(name, help, unit)| gauge(name, help, unit));
                batch.metadata.extend(described);
            }
        }
        for name in before.difference(&self.open) {
            put(batch, name, at, STALE_MARKER);
        }
    }
}

/// Series that each scrape adds beside `up`.
const SCRAPE_SERIES: [&str; 4] = [
    names::SCRAPE_DURATION_SECONDS,
    names::SCRAPE_SAMPLES_SCRAPED,
    names::SCRAPE_SAMPLES_POST_METRIC_RELABELING,
    names::SCRAPE_SERIES_ADDED,
];

/// Names of process figures that a scrape's body has itself.
fn told_by(batch: &Batch) -> Vec<&'static str> {
    let is_told = |name: &&str| {
        let is_name = |key: &[u8]| {
            // The first byte is the length of a name shorter than 128.
            let name = name.as_bytes();
            key.first().is_some_and(|n| usize::from(*n) == name.len()) && key[1..].starts_with(name)
        };
        batch.rows().iter().any(|row| is_name(batch.key(row)))
    };
    PROCESS_METRICS.into_iter().filter(is_told).collect()
}

/// Probes of one agent.
#[derive(Debug)]
pub(super) struct ProbeSession {
    agent: AgentId,
    up: Option<bool>,
    /// Whether its last probe was the agent's `up` too.
    is_alone: bool,
    began: bool,
    described: bool,
}

impl ProbeSession {
    /// A session in which nothing was probed yet.
    pub(super) const fn new(agent: AgentId) -> Self {
        Self {
            agent,
            up: None,
            began: false,
            is_alone: false,
            described: false,
        }
    }

    /// Whose probes these are.
    pub(super) const fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// What the last probe found; `None` before the first.
    pub(super) const fn up(&self) -> Option<bool> {
        self.up
    }

    /// A probe begun at `at` succeeded, or failed with an error. Where nothing is scraped, the probe alone
    /// tells whether the agent is reached, and is its `up` too.
    pub(super) fn result(
        &mut self,
        error: Option<String>,
        at: Timestamp,
        is_alone: bool,
    ) -> Append {
        let up = error.is_none();
        self.began = true;
        let mut batch = Batch::new();
        put(
            &mut batch,
            names::HEALTH_PROBE_UP,
            at,
            f64::from(u8::from(up)),
        );
        self.is_alone = is_alone;
        if is_alone {
            put(&mut batch, names::UP, at, f64::from(u8::from(up)));
        }
        if !self.described {
            let help = "Whether the health endpoint answered with success";
            batch.metadata.push(gauge(names::HEALTH_PROBE_UP, help, ""));
            self.described = true;
        }
        let urgency = urgency(self.up.replace(up) == Some(up));
        Append {
            agent: self.agent.clone(),
            batch,
            contact: Some(Contact::Probe { error }),
            urgency,
        }
    }

    /// Probing ended at `at`; `None` when it never began.
    pub(super) fn end(&mut self, at: Timestamp) -> Option<Append> {
        if !std::mem::take(&mut self.began) {
            return None;
        }
        self.up = None;
        let mut batch = Batch::new();
        put(&mut batch, names::HEALTH_PROBE_UP, at, STALE_MARKER);
        if self.is_alone {
            put(&mut batch, names::UP, at, STALE_MARKER);
        }
        Some(Append {
            agent: self.agent.clone(),
            batch,
            contact: None,
            urgency: Urgency::Relaxed,
        })
    }

    /// Tells whether an append became durable.
    pub(super) const fn settle(&mut self, durable: bool) {
        if !durable {
            self.up = None;
            self.described = false;
        }
    }
}

/// A change of status is worth a commit of its own; news of no change is not.
const fn urgency(is_same: bool) -> Urgency {
    if is_same {
        Urgency::Relaxed
    } else {
        Urgency::News
    }
}

fn put(batch: &mut Batch, name: &str, at: Timestamp, value: f64) {
    // A name without labels is always a series.
    let _ = batch.push(name, &mut [], at, value);
}

fn gauge(name: &str, help: &str, unit: &str) -> MetricMetadata {
    MetricMetadata {
        name: name.to_owned(),
        kind: MetricKind::Gauge,
        help: help.to_owned(),
        unit: unit.to_owned(),
    }
}

/// Leaves out series that longwatch derives itself: an agent must not tell its own status. Those
/// with labels (of a federation) are other series and stay.
fn without_derived(batch: Batch) -> Batch {
    let forged = |key: &[u8]| {
        // The first byte is the length of a name shorter than 128; no label follows the name.
        let (Some((&length, name)), false) = (key.split_first(), key.is_empty()) else {
            return false;
        };
        usize::from(length) == name.len() && std::str::from_utf8(name).is_ok_and(is_derived_metric)
    };
    if !batch.rows().iter().any(|row| forged(batch.key(row))) {
        return batch;
    }
    let mut kept = Batch::new();
    for row in batch.rows() {
        let bytes = batch.key(row);
        if let (false, Some(key)) = (forged(bytes), SeriesKey::from_bytes(bytes)) {
            let mut labels: Vec<_> = key.labels().collect();
            let _ = kept.push(key.name(), &mut labels, row.time, row.value);
        }
    }
    kept.metadata = batch.metadata;
    kept
}

#[cfg(test)]
mod tests;
