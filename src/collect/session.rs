//! What one agent's scrapes and probes become: rows, stale markers, contacts. No clock, no network,
//! no store.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::{
    model::{
        AgentId, Batch, Contact, MetricKind, MetricMetadata, STALE_MARKER, SeriesKey, Timestamp,
        is_derived_metric, names,
    },
    store::{Append, Urgency},
};

type Key = Box<[u8]>;

/// Series that each scrape adds, with their help and unit.
const SCRAPE_SERIES: [(&str, &str, &str); 5] = [
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
];

/// What a good scrape brought.
#[derive(Debug, Default)]
pub(super) struct Scraped {
    /// Its samples.
    pub batch: Batch,
    /// Samples in the body, those refused included.
    pub total: usize,
}

/// A series of the last good scrape.
#[derive(Debug)]
struct Seen {
    scrape: u64,
    /// Samples with times of their own end by themselves; no marker is written for them.
    ends_with_marker: bool,
}

/// Scrapes of one agent, one after the other. Rules: Prometheus, `scrape/scrape.go`.
#[derive(Debug)]
pub(super) struct ScrapeSession {
    agent: AgentId,
    scrape: u64,
    seen: HashMap<Key, Seen>,
    up: Option<bool>,
    began: bool,
    described: bool,
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
            scrape: 0,
            seen: HashMap::new(),
            up: None,
            began: false,
            described: false,
            unsettled: VecDeque::new(),
            owed: HashSet::new(),
        }
    }

    /// Whose scrapes these are.
    pub(super) const fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// What the last scrape found; `None` before the first.
    pub(super) const fn up(&self) -> Option<bool> {
        self.up
    }

    /// A scrape begun at `at` succeeded: its samples, markers for what it no longer has, `up` = 1.
    pub(super) fn success(
        &mut self,
        scraped: Scraped,
        at: Timestamp,
        duration_seconds: f64,
    ) -> Append {
        let Scraped { batch, total } = scraped;
        let mut batch = without_derived(batch);
        self.scrape += 1;
        let kept = batch.len();
        let added = self.take_in(&batch, at);
        let scrape = self.scrape;
        let mut gone = Vec::new();
        self.seen.retain(|key, seen| {
            let stays = seen.scrape == scrape;
            if !stays && seen.ends_with_marker {
                gone.push(key.clone());
            }
            stays
        });
        self.mark(&mut batch, gone, at);
        let numbers = [
            1.0,
            duration_seconds,
            total as f64,
            kept as f64,
            added as f64,
        ];
        self.finish(batch, numbers, at, None)
    }

    /// A scrape begun at `at` failed: markers for all that was alive, `up` = 0.
    pub(super) fn failure(
        &mut self,
        error: String,
        at: Timestamp,
        duration_seconds: f64,
    ) -> Append {
        let mut batch = Batch::new();
        let gone = self.take_alive();
        self.mark(&mut batch, gone, at);
        let numbers = [0.0, duration_seconds, 0.0, 0.0, 0.0];
        self.finish(batch, numbers, at, Some(error))
    }

    /// Collection ended at `at`: markers for all that was alive, the scrape's own series included.
    /// `None` when there is nothing to end.
    pub(super) fn end(&mut self, at: Timestamp) -> Option<Append> {
        if !std::mem::take(&mut self.began) {
            return None;
        }
        self.up = None;
        let mut batch = Batch::new();
        let gone = self.take_alive();
        self.mark(&mut batch, gone, at);
        for (name, ..) in SCRAPE_SERIES {
            put(&mut batch, name, at, STALE_MARKER);
        }
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
            self.described = false;
        }
    }

    /// Notes the series of a good scrape; returns how many are new.
    fn take_in(&mut self, batch: &Batch, at: Timestamp) -> usize {
        let mut added = 0;
        for row in batch.rows() {
            let key = batch.key(row);
            let ends_with_marker = row.time == at;
            if let Some(seen) = self.seen.get_mut(key) {
                seen.scrape = self.scrape;
                seen.ends_with_marker = ends_with_marker;
                continue;
            }
            added += 1;
            self.owed.remove(key);
            let scrape = self.scrape;
            self.seen.insert(
                key.into(),
                Seen {
                    scrape,
                    ends_with_marker,
                },
            );
        }
        added
    }

    fn take_alive(&mut self) -> Vec<Key> {
        self.seen
            .drain()
            .filter_map(|(key, seen)| seen.ends_with_marker.then_some(key))
            .collect()
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

    fn finish(
        &mut self,
        mut batch: Batch,
        numbers: [f64; 5],
        at: Timestamp,
        error: Option<String>,
    ) -> Append {
        for ((name, help, unit), value) in SCRAPE_SERIES.into_iter().zip(numbers) {
            put(&mut batch, name, at, value);
            if !self.described {
                batch.metadata.push(gauge(name, help, unit));
            }
        }
        self.described = true;
        self.began = true;
        let up = error.is_none();
        let urgency = urgency(&mut self.up, up);
        Append {
            agent: self.agent.clone(),
            batch,
            contact: Some(Contact::Scrape { error }),
            urgency,
        }
    }
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
        let urgency = urgency(&mut self.up, up);
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
fn urgency(last: &mut Option<bool>, up: bool) -> Urgency {
    if last.replace(up) == Some(up) {
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
