//! Where the engine reads: series found by matchers, with the labels that a query sees.

use std::collections::HashMap;

use crate::model::{
    AgentNo, History, Labels, LabelsBuilder, MatchOperator, Matcher, NAME_LABEL, ReadError,
    Registration, SeriesInfo, SeriesNo, Timestamp, Visit, Window,
};

/// A series that matchers found.
#[derive(Clone, Debug)]
pub struct Selected {
    /// Labels, the metric's name among them.
    pub labels: Labels,
    /// Whose it is.
    pub agent: AgentNo,
    /// Its number.
    pub no: SeriesNo,
    /// More stored series with the same labels, such as one that was scraped first and remote-written later.
    pub others: Vec<(AgentNo, SeriesNo)>,
}

/// What an expression is evaluated over.
pub trait Source: Sync {
    /// Series that all matchers fit and that may have samples in the window, in a fixed order.
    fn select(&self, matchers: &[Matcher], window: Window) -> Result<Vec<Selected>, ReadError>;

    /// Hands each asked series of an agent that has samples in the window to `visit`, once, with its times
    /// (ascending, milliseconds) and values; stale markers among them.
    fn scan(
        &self,
        agent: AgentNo,
        series: &[SeriesNo],
        window: Window,
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError>;
}

/// Durable history as a source.
pub struct HistorySource<'a> {
    history: &'a dyn History,
}

impl<'a> HistorySource<'a> {
    /// A source that reads one moment of the file.
    pub const fn new(history: &'a dyn History) -> Self {
        Self { history }
    }
}

impl Source for HistorySource<'_> {
    fn select(&self, matchers: &[Matcher], window: Window) -> Result<Vec<Selected>, ReadError> {
        let mut found = Vec::new();
        let wanted = Wanted::new(matchers);
        for agent in self.history.known_agents() {
            let series = self.history.series_within(agent, wanted.metric, window)?;
            if series.is_empty() {
                continue;
            }
            let owned = OwnedLabels::of(self.history, agent, window.to);
            for info in &series {
                let labels = owned.labels_of(info);
                if wanted.fit(&labels) {
                    found.push(Selected {
                        labels,
                        agent,
                        no: info.no,
                        others: Vec::new(),
                    });
                }
            }
        }
        Ok(joined(found))
    }

    fn scan(
        &self,
        agent: AgentNo,
        series: &[SeriesNo],
        window: Window,
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError> {
        self.history.scan(agent, series, window, visit)
    }
}

/// Conditions, the metric's name apart where it is given exactly.
struct Wanted<'m> {
    metric: Option<&'m str>,
    others: Vec<&'m Matcher>,
}

impl<'m> Wanted<'m> {
    fn new(matchers: &'m [Matcher]) -> Self {
        let is_exact = |m: &&Matcher| {
            m.name() == NAME_LABEL && m.operator() == MatchOperator::Equal && !m.value().is_empty()
        };
        let exact = matchers.iter().find(is_exact);
        let others = matchers.iter();
        Self {
            metric: exact.map(Matcher::value),
            others: others
                .filter(|m| exact.is_none_or(|exact| !std::ptr::eq(exact, *m)))
                .collect(),
        }
    }

    fn fit(&self, labels: &Labels) -> bool {
        self.others.iter().all(|m| m.matches(labels.get(m.name())))
    }
}

/// Labels that the series of an agent get when they are queried.
#[derive(Debug, Default)]
pub struct OwnedLabels {
    agent_id: String,
    instance: String,
    job: String,
}

impl OwnedLabels {
    /// Those of an agent as of a moment: its id, the label `job` of its registration or the setting `collect.job`,
    /// and host and port of its endpoint.
    pub fn of(history: &dyn History, agent: AgentNo, at: Timestamp) -> Self {
        let Some(id) = history.agent_id(agent) else {
            return Self::default();
        };
        let registered = history.agent(&id, at);
        let registered = registered.or_else(|| history.agent(&id, Timestamp::MAX));
        let registration = registered.as_ref().map(|agent| &agent.registration);
        let job = registration.and_then(|r| r.labels.iter().find(|(name, _)| *name == "job"));
        let job = job.map(|(_, value)| value.to_owned());
        Self {
            agent_id: id.to_string(),
            instance: registration
                .and_then(Registration::instance)
                .unwrap_or_default(),
            job: job.unwrap_or_else(|| history.policy(at).job),
        }
    }

    /// Names and values, by name.
    pub fn pairs(&self) -> [(&'static str, &str); 3] {
        [
            ("agent_id", &self.agent_id),
            ("instance", &self.instance),
            ("job", &self.job),
        ]
    }

    /// All labels of one of the agent's series. Those that its sender was allowed to set stay as they are.
    pub fn labels_of(&self, info: &SeriesInfo) -> Labels {
        let mut builder = LabelsBuilder::default();
        let [agent_id, instance, job] = self.pairs();
        let mut added: &[(&str, &str)] = &[(NAME_LABEL, info.key.name()), agent_id, instance, job];
        if info.key.is_exact() {
            added = &added[..1];
        }
        let mut added = added.iter().copied().peekable();
        for (label, value) in info.key.labels() {
            while let Some((own, own_value)) = added.next_if(|(own, _)| *own <= label) {
                if own != label {
                    builder.push(own, own_value);
                }
            }
            builder.push(label, value);
        }
        added.for_each(|(own, value)| builder.push(own, value));
        builder.finish()
    }
}

/// Series with the same labels as one.
fn joined(found: Vec<Selected>) -> Vec<Selected> {
    let mut at: HashMap<Labels, usize> = HashMap::with_capacity(found.len());
    let mut joined: Vec<Selected> = Vec::with_capacity(found.len());
    for series in found {
        if let Some(at) = at.get(&series.labels) {
            joined[*at].others.push((series.agent, series.no));
            continue;
        }
        at.insert(series.labels.clone(), joined.len());
        joined.push(series);
    }
    joined
}
