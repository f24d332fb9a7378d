//! From records of the log to requests.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::{
    ingest::{write_metadata_v1, write_request_v1},
    model::{AgentId, AgentNo, Labels, LabelsBuilder, MetricMetadata, OWN_ID, SeriesNo, Timestamp},
    query::OwnedLabels,
    store::{LogRecord, Store, View},
};

/// Series whose labels are remembered; beyond it all are looked up anew.
const REMEMBERED_MAX: usize = 200_000;

/// Samples of one series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outgoing {
    labels: Arc<Labels>,
    times: Vec<i64>,
    values: Vec<f64>,
}

/// What one request says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Request {
    series: Vec<Outgoing>,
    metadata: Vec<MetricMetadata>,
}

impl Request {
    /// Samples in it.
    pub(super) fn samples(&self) -> usize {
        self.series.iter().map(|series| series.times.len()).sum()
    }

    /// The body of remote write 1.0, not compressed.
    pub(super) fn encode(&self) -> Vec<u8> {
        let series = self.series.iter();
        let mut body = write_request_v1(series.map(|s| (s.labels.iter(), &*s.times, &*s.values)));
        write_metadata_v1(&mut body, &self.metadata);
        body
    }

    /// Two requests that say the same, in their order; `None` for a single sample.
    pub(super) fn split(mut self) -> Option<(Self, Self)> {
        let half = self.samples() / 2;
        if half == 0 {
            return None;
        }
        let mut second = Self::default();
        let mut before = 0;
        for series in &mut self.series {
            let keep = half.saturating_sub(before).min(series.times.len());
            before += series.times.len();
            if keep < series.times.len() {
                second.series.push(Outgoing {
                    labels: Arc::clone(&series.labels),
                    times: series.times.split_off(keep),
                    values: series.values.split_off(keep),
                });
            }
        }
        self.series.retain(|series| !series.times.is_empty());
        Some((self, second))
    }
}

impl Outgoing {
    /// Puts samples in the order of their times, as receivers ask for.
    fn sort(&mut self) {
        if self.times.is_sorted() {
            return;
        }
        let (times, values) = (self.times.iter(), self.values.iter());
        let mut samples: Vec<(i64, f64)> = times.copied().zip(values.copied()).collect();
        samples.sort_by_key(|(time, _)| *time);
        (self.times, self.values) = samples.into_iter().unzip();
    }
}

/// Requests that make up a stretch of the log.
#[derive(Debug, Default)]
pub(super) struct Package {
    /// The log is forwarded up to this sequence once all are delivered.
    pub(super) up_to: u64,
    /// When the oldest of it was committed.
    pub(super) oldest: Option<Timestamp>,
    /// Samples whose series have left, so that nobody knows what they are called.
    pub(super) forgotten: u64,
    pub(super) requests: Vec<Request>,
}

/// Makes requests of log records; remembers what labels series have.
#[derive(Debug)]
pub(super) struct Packer {
    external: Vec<(String, String)>,
    /// What the agent `longwatch` is called elsewhere, where there are others of that name.
    own_name: String,
    samples_per_request: usize,
    labels: HashMap<(AgentNo, SeriesNo), Option<Arc<Labels>>>,
    owned: HashMap<AgentNo, OwnedLabels>,
    /// Metrics whose metadata was told.
    told: HashSet<(AgentNo, String)>,
    /// Metadata that was told, by the family's name.
    told_families: HashSet<(AgentNo, String)>,
    /// Metadata of agents, by name.
    families: HashMap<AgentNo, HashMap<String, MetricMetadata>>,
}

impl Packer {
    /// Requests have up to `samples_per_request` samples. `host` tells this longwatch from others.
    pub(super) fn new(
        external: Vec<(String, String)>,
        host: Option<&AgentId>,
        samples_per_request: usize,
    ) -> Self {
        Self {
            external,
            own_name: host
                .and_then(|host| AgentId::of_text(&format!("{OWN_ID}/{host}")))
                .map_or_else(|| OWN_ID.to_owned(), |id| id.to_string()),
            samples_per_request: samples_per_request.max(1),
            labels: HashMap::new(),
            owned: HashMap::new(),
            told: HashSet::new(),
            told_families: HashSet::new(),
            families: HashMap::new(),
        }
    }

    /// Forgets what registrations say of series. Metadata is told anew, since a receiver may have missed it.
    pub(super) fn forget(&mut self) {
        self.labels.clear();
        self.owned.clear();
        self.told.clear();
        self.told_families.clear();
        self.families.clear();
    }

    /// The requests that records make. Samples of series that have left, which is long after their last one, are
    /// counted.
    pub(super) fn pack(&mut self, store: &Store, records: Vec<LogRecord>) -> Package {
        let mut package = Package {
            // One that could not be read has no time.
            oldest: records
                .iter()
                .map(|record| record.time)
                .find(|time| *time > Timestamp::MIN),
            up_to: records.last().map_or(0, |record| record.sequence),
            forgotten: 0,
            requests: Vec::new(),
        };
        if self.labels.len() > REMEMBERED_MAX {
            self.forget();
        }
        let view = store.view();
        let mut request = Request::default();
        let mut places = HashMap::new();
        let mut room = self.samples_per_request;
        for (agent, rows) in records.into_iter().flat_map(|record| record.samples) {
            for (no, time, value) in rows {
                let Some(labels) = self.labels_of(store, &view, (agent, no), &mut request) else {
                    package.forgotten += 1;
                    continue;
                };
                let place = *places.entry((agent, no)).or_insert_with(|| {
                    request.series.push(Outgoing {
                        labels,
                        times: Vec::new(),
                        values: Vec::new(),
                    });
                    request.series.len() - 1
                });
                let series = &mut request.series[place];
                series.times.push(time);
                series.values.push(value);
                room -= 1;
                if room == 0 {
                    package.requests.push(std::mem::take(&mut request));
                    places.clear();
                    room = self.samples_per_request;
                }
            }
        }
        if request != Request::default() {
            package.requests.push(request);
        }
        let series = package.requests.iter_mut().flat_map(|r| &mut r.series);
        series.for_each(Outgoing::sort);
        package
    }

    fn labels_of(
        &mut self,
        store: &Store,
        view: &View,
        at: (AgentNo, SeriesNo),
        request: &mut Request,
    ) -> Option<Arc<Labels>> {
        if let Some(known) = self.labels.get(&at) {
            return known.clone();
        }
        let (agent, no) = at;
        let labels = store.series_of(agent, no).map(|info| {
            let owned = self
                .owned
                .entry(agent)
                .or_insert_with(|| OwnedLabels::of(&**view, agent, Timestamp::MAX));
            let labels = owned.labels_of(&info);
            self.tell(view, agent, info.key.name(), request);
            Arc::new(self.outside(&labels, info.key.is_exact()))
        });
        self.labels.insert(at, labels.clone());
        labels
    }

    /// Labels as others are told them.
    fn outside(&self, labels: &Labels, is_exact: bool) -> Labels {
        let external = self.external.iter();
        let mut pairs: Vec<(&str, &str)> = external
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| labels.get(name).is_empty())
            .chain(labels.iter())
            .collect();
        pairs.sort_unstable();
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            let is_own = name == "agent_id" && value == OWN_ID && !is_exact;
            builder.push(name, if is_own { &self.own_name } else { value });
        }
        builder.finish()
    }

    /// Adds what is known of a metric, unless that was told before.
    fn tell(&mut self, view: &View, agent: AgentNo, name: &str, request: &mut Request) {
        if !self.told.insert((agent, name.to_owned())) {
            return;
        }
        let families = self.families.entry(agent).or_insert_with(|| {
            let metadata = view.metadata(agent).into_iter();
            metadata.map(|told| (told.name.clone(), told)).collect()
        });
        // Series of a histogram have suffixes that its family has not.
        let cut = name.rsplit_once('_').map(|(family, _)| family);
        for name in [Some(name), cut].into_iter().flatten() {
            let family = families.get(name);
            let is_new =
                |told: &&MetricMetadata| self.told_families.insert((agent, told.name.clone()));
            request.metadata.extend(family.filter(is_new).cloned());
        }
    }
}
