//! Expression rules over the present moment: observations for the committer, samples to record.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{
    agents::{Agents, OWN_AGENT},
    compiled::Compiled,
    memory::{Memory, Overlay},
    rows::{Outside, Place, Row, annotations, identities, instant, rows},
};
use crate::{
    alerts::Finding,
    model::{
        Agent, AgentId, AgentNo, Alert, AlertBook, AlertSource, Batch, Condition, History,
        LabelPairs, Labels, NoData, Rule, STALE_MARKER, StoredRule, Timestamp,
    },
    query::{HistorySource, LOOKBACK_MS},
    rules::{
        condition::Judgement,
        evaluation::{Evaluated, change},
        names,
    },
    store::Observation,
};

/// What is the same for all rules of an evaluation.
pub(in crate::rules) struct Moment<'a> {
    pub(in crate::rules) history: &'a dyn History,
    pub(in crate::rules) book: &'a AlertBook,
    pub(in crate::rules) agents: &'a [Agent],
    pub(in crate::rules) at: Timestamp,
    /// When the server began to listen.
    pub(in crate::rules) listening_since: Option<Timestamp>,
}

/// Evaluates expression rules; keeps what it parsed and what it recorded.
#[derive(Debug, Default)]
pub(in crate::rules) struct Expressions {
    compiled: HashMap<String, (Arc<StoredRule>, Arc<Compiled>)>,
    /// Which interval of its group each rule was evaluated in last.
    evaluated: HashMap<String, i64>,
    /// Series that each rule recorded last, which end when their row vanishes.
    recorded: BTreeMap<String, Vec<(AgentId, Labels)>>,
    outside: Outside,
}

impl Expressions {
    /// Templates know this address.
    pub(in crate::rules) fn with_external_url(url: &str) -> Self {
        let outside = Outside {
            url: url.to_owned(),
            ..Outside::default()
        };
        Self {
            outside,
            ..Self::default()
        }
    }

    /// Evaluates every rule again, whatever its interval.
    pub(in crate::rules) fn look_again(&mut self) {
        self.evaluated.clear();
    }

    /// Evaluates the rules that are due, those of a group one after the other.
    pub(in crate::rules) fn evaluate(&mut self, moment: &Moment<'_>, out: &mut Evaluated) {
        let rules = in_order(moment.book);
        self.forget_others(&rules, moment.at, out);
        if rules.is_empty() {
            return;
        }
        let history = moment.history;
        let agents = Agents::of_history(history, moment.agents, moment.at);
        let open = open_by_rule(moment.book);
        let stored = HistorySource::new(history);
        let outside = self.outside.clone();
        let mut memory = Memory::default();
        for rule in &rules {
            if !self.is_due(&rule.rule, moment.at) {
                continue;
            }
            out.judged += 1;
            let overlay = Overlay {
                memory: &memory,
                below: Some(&stored),
            };
            let place = Place {
                source: &overlay,
                at: moment.at,
                outside: &outside,
            };
            let open = open.get(rule.rule.name.as_str());
            let evaluated = self.compiled(rule).and_then(|compiled| {
                let rows = rows(&rule.rule, &compiled, &place)?;
                if matches!(rule.rule.condition, Condition::Record { .. }) {
                    return Ok(Some(rows));
                }
                let pass = Pass {
                    moment,
                    place: &place,
                    rule,
                    compiled: &compiled,
                    agents: &agents,
                    open: open.map_or(&[], Vec::as_slice),
                };
                pass.observe(&rows, out);
                Ok(None)
            });
            match evaluated {
                Ok(Some(rows)) => {
                    self.record_rows(&rule.rule, &rows, &agents, moment, &mut memory, out);
                }
                Ok(None) => {}
                Err(error) => out.errors.push((rule.rule.name.clone(), error)),
            }
        }
    }

    /// Forgets rules that are gone, and ends the series that they recorded.
    fn forget_others(&mut self, rules: &[Arc<StoredRule>], at: Timestamp, out: &mut Evaluated) {
        let names: HashSet<&str> = rules.iter().map(|r| r.rule.name.as_str()).collect();
        self.compiled
            .retain(|name, _| names.contains(name.as_str()));
        self.evaluated
            .retain(|name, _| names.contains(name.as_str()));
        let is_gone =
            |name: &String, _: &mut Vec<(AgentId, Labels)>| !names.contains(name.as_str());
        for (_, ended) in self.recorded.extract_if(.., is_gone) {
            for (agent, labels) in ended {
                record(out, &agent, &labels, at, STALE_MARKER);
            }
        }
    }

    /// Whether the rule's interval has come; it begins at multiples of itself since the epoch, so that a restart
    /// changes nothing.
    fn is_due(&mut self, rule: &Rule, at: Timestamp) -> bool {
        let interval_ms = rule.member.as_ref().and_then(|member| member.interval_ms);
        let Some(interval_ms) = interval_ms else {
            return true;
        };
        let slot = at.as_millis().div_euclid(interval_ms);
        self.evaluated.insert(rule.name.clone(), slot) != Some(slot)
    }

    fn compiled(&mut self, stored: &Arc<StoredRule>) -> Result<Arc<Compiled>, String> {
        let name = &stored.rule.name;
        if let Some((known, compiled)) = self.compiled.get(name)
            && Arc::ptr_eq(known, stored)
        {
            return Ok(Arc::clone(compiled));
        }
        let compiled = Compiled::new(&stored.rule).map_err(|mistake| mistake.reason)?;
        let compiled = Arc::new(compiled);
        let entry = (Arc::clone(stored), Arc::clone(&compiled));
        self.compiled.insert(name.clone(), entry);
        Ok(compiled)
    }

    fn record_rows(
        &mut self,
        rule: &Rule,
        rows: &[Row],
        agents: &Agents<'_>,
        moment: &Moment<'_>,
        memory: &mut Memory,
        out: &mut Evaluated,
    ) {
        let offset_ms = rule.member.as_ref().map_or(0, |m| m.query_offset_ms);
        let at = moment.at.plus_millis(-offset_ms);
        let mut now = Vec::with_capacity(rows.len());
        for row in rows {
            let agent = agents.of(&row.identity).agent;
            let agent = moment.history.agent_id(agent);
            let Some(agent) = agent.or_else(|| AgentId::new(OWN_AGENT).ok()) else {
                continue;
            };
            record(out, &agent, &row.identity, at, row.value);
            memory.push(&row.identity, at.as_millis(), row.value);
            now.push((agent, row.identity.clone()));
        }
        let before = self.recorded.insert(rule.name.clone(), now);
        let now = self.recorded.get(&rule.name);
        let kept: HashSet<&Labels> = now
            .into_iter()
            .flatten()
            .map(|(_, labels)| labels)
            .collect();
        let ended = before.into_iter().flatten();
        for (agent, labels) in ended.filter(|(_, labels)| !kept.contains(labels)) {
            record(out, &agent, &labels, at, STALE_MARKER);
            memory.push(&labels, at.as_millis(), STALE_MARKER);
        }
    }
}

/// Expression rules in the order of their evaluation: by group and place in it.
fn in_order(book: &AlertBook) -> Vec<Arc<StoredRule>> {
    let all = book.rules.values();
    let mut rules: Vec<Arc<StoredRule>> = all
        .filter(|stored| stored.rule.condition.expression().is_some())
        .cloned()
        .collect();
    let place = |rule: &Rule| {
        let member = rule.member.as_ref();
        member.map(|member| (member.group.clone(), member.position))
    };
    rules.sort_by_cached_key(|stored| place(&stored.rule));
    rules
}

fn open_by_rule(book: &AlertBook) -> HashMap<&str, Vec<&Arc<Alert>>> {
    let mut open: HashMap<&str, Vec<&Arc<Alert>>> = HashMap::new();
    for alert in book.open.values().flatten() {
        if alert.source == AlertSource::Rule {
            open.entry(alert.rule_name()).or_default().push(alert);
        }
    }
    open
}

/// Notes a sample of a series whose labels are all its own.
fn record(out: &mut Evaluated, agent: &AgentId, labels: &Labels, at: Timestamp, value: f64) {
    let plain = labels.without_name();
    let mut pairs: Vec<(&str, &str)> = plain.iter().collect();
    let batch: &mut Batch = out.recorded.entry(agent.clone()).or_default();
    if let Err(error) = batch.push_exact(labels.name(), &mut pairs, at, value) {
        tracing::debug!(%error, "a rule yields labels that no series can have");
    }
}

/// The evaluation of one alerting rule.
struct Pass<'a> {
    moment: &'a Moment<'a>,
    place: &'a Place<'a>,
    rule: &'a Arc<StoredRule>,
    compiled: &'a Compiled,
    agents: &'a Agents<'a>,
    open: &'a [&'a Arc<Alert>],
}

impl Pass<'_> {
    fn observe(&self, rows: &[Row], out: &mut Evaluated) {
        let by_identity: HashMap<String, &Arc<Alert>> = self
            .open
            .iter()
            .map(|alert| (alert.series.clone(), *alert))
            .collect();
        let mut present = HashSet::with_capacity(rows.len());
        let mut siblings: HashMap<(AgentNo, &str), usize> = HashMap::new();
        for row in rows {
            let agent = self.agents.of(&row.labels).agent;
            *siblings.entry((agent, row.labels.name())).or_default() += 1;
        }
        for row in rows {
            let agent = self.agents.of(&row.labels);
            let filter = &self.rule.rule.filter;
            let id = self.moment.history.agent_id(agent.agent);
            let id = id.map_or_else(String::new, |id| id.to_string());
            if !filter.takes_agent(&id) {
                continue;
            }
            let identity = row.identity.to_string();
            let open = by_identity.get(&identity).copied();
            let is_alone = siblings.get(&(agent.agent, row.labels.name())) == Some(&1);
            let alert_id = match open {
                Some(open) => open.alert_id.clone(),
                None => self.alert_id(&id, agent.is_named, row, is_alone),
            };
            present.insert(identity.clone());
            let found = Found {
                open,
                agent: open.map_or(agent.agent, |open| open.agent),
                alert_id,
                series: identity,
                finding: Finding::Holds,
                value: Some(row.value),
            };
            let texts = || self.texts(row, if agent.is_named { &id } else { "" });
            self.note(found, texts, out);
        }
        let looked_at = self.looked_at();
        let absent = self
            .open
            .iter()
            .filter(|open| !present.contains(&open.series));
        for open in absent {
            let finding = self.absence(open, &looked_at);
            let found = Found {
                open: Some(open),
                agent: open.agent,
                alert_id: open.alert_id.clone(),
                series: open.series.clone(),
                finding,
                value: None,
            };
            self.note(found, names::Texts::default, out);
        }
    }

    /// Identities of the rows that the rule looks at, those included for which it does not hold.
    fn looked_at(&self) -> LookedAt {
        let rule = &self.rule.rule;
        let makes_difference = match rule.no_data {
            NoData::Resolve => self.open.iter().any(|open| self.is_blind(open)),
            _ => !self.open.is_empty(),
        };
        let presence = self.compiled.presence.as_ref();
        let Some(presence) = presence.filter(|_| makes_difference) else {
            return LookedAt::Untold;
        };
        let as_of = self.moment.at.plus_millis(-self.offset_ms());
        match instant(self.place.source, presence, as_of) {
            Ok(found) => LookedAt::Rows(identities(rule, self.compiled, self.place, &found)),
            Err(error) => {
                tracing::debug!(
                    rule = rule.name,
                    error,
                    "which series it looks at is not known"
                );
                LookedAt::Unknown
            }
        }
    }

    fn offset_ms(&self) -> i64 {
        let member = self.rule.rule.member.as_ref();
        member.map_or(0, |member| member.query_offset_ms)
    }

    /// Whether there may be no samples yet for an alert that was open before the start.
    fn is_blind(&self, open: &Alert) -> bool {
        let blind_ms = LOOKBACK_MS.saturating_add(self.offset_ms());
        self.moment.listening_since.is_some_and(|since| {
            open.active_at < since && self.moment.at < since.plus_millis(blind_ms)
        })
    }

    /// What it means that an alert's row is not there.
    fn absence(&self, open: &Alert, looked_at: &LookedAt) -> Finding {
        let is_blind = self.is_blind(open);
        let is_whole = !is_blind || self.compiled.is_of_single_series;
        match looked_at {
            LookedAt::Unknown => Finding::NotYet,
            LookedAt::Rows(rows) if is_whole && rows.contains(&open.series) => Finding::Ends,
            _ if is_blind => Finding::NotYet,
            LookedAt::Rows(_) if self.rule.rule.no_data != NoData::Resolve => Finding::NoData,
            _ => Finding::Ends,
        }
    }

    fn alert_id(&self, agent: &str, is_named: bool, row: &Row, is_alone: bool) -> String {
        let rule = &self.rule.rule.name;
        let labels = if is_named {
            row.labels.keep(|name| name != "agent_id")
        } else {
            row.labels.clone()
        };
        let plain = match labels.name() {
            "" => names::alert_id_of_agent(rule, agent),
            name => format!("{rule}:{agent}:{name}"),
        };
        let is_free = self.open.iter().all(|open| open.alert_id != plain);
        if is_alone && is_free {
            return plain;
        }
        // What tells alerts of a Prometheus rule apart may be a label that the rule adds.
        let told = format!("{rule}:{agent}:{labels}");
        if self.open.iter().all(|open| open.alert_id != told) {
            return told;
        }
        format!("{rule}:{agent}:{}", row.identity)
    }

    fn texts(&self, row: &Row, agent: &str) -> names::Texts {
        let rule = &self.rule.rule;
        if rule.member.is_none() {
            let found = Judgement::row(row.value);
            return names::texts_of_row(rule, agent, &row.labels, &found);
        }
        let labels = labels_of(rule, agent, row);
        let annotations = annotations(self.compiled, self.place, row);
        let text = |wanted: &str| annotations.iter().find(|(name, _)| name == wanted);
        let said = ["description", "summary", "message"]
            .into_iter()
            .find_map(text);
        names::Texts {
            labels,
            description: said.map_or_else(|| rule.alert_name().to_owned(), |(_, t)| t.clone()),
            annotations,
        }
    }

    /// Hands on what was found if it changes the alert as it is now; only then are its texts filled in.
    fn note(&self, found: Found<'_>, texts: impl FnOnce() -> names::Texts, out: &mut Evaluated) {
        let (rule, moment) = (&self.rule.rule, self.moment);
        let (finding, id) = (&found.finding, &found.alert_id);
        if change(moment.history, moment.at, rule, found.open, finding, id).is_none() {
            return;
        }
        let texts = texts();
        out.observations.push(Observation {
            severity: severity(rule, &texts.labels),
            rule: Arc::clone(self.rule),
            agent: found.agent,
            alert_id: found.alert_id,
            series: found.series,
            labels: texts.labels,
            finding: found.finding,
            value: found.value,
            threshold: None,
            description: texts.description,
            annotations: texts.annotations,
            samples: Vec::new(),
            traces: Vec::new(),
        });
    }
}

/// Which rows a rule looks at.
enum LookedAt {
    /// It cannot be told, or makes no difference.
    Untold,
    /// The question failed: nothing is known of rows that are not there.
    Unknown,
    Rows(HashSet<String>),
}

/// What was found of one alert.
struct Found<'a> {
    open: Option<&'a Arc<Alert>>,
    agent: AgentNo,
    alert_id: String,
    /// Its row's identity.
    series: String,
    finding: Finding,
    value: Option<f64>,
}

/// Labels of an alert. Those of one of a Prometheus rule file are the same as there, with a severity if it has none.
pub(in crate::rules) fn labels_of(rule: &Rule, agent: &str, row: &Row) -> LabelPairs {
    if rule.member.is_none() {
        return names::texts_of_row(rule, agent, &row.labels, &Judgement::row(row.value)).labels;
    }
    let own = row.identity.iter();
    let mut labels: LabelPairs = own.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    if row.identity.get("severity").is_empty() {
        labels.push(("severity".to_owned(), rule.severity.as_str().to_owned()));
        labels.sort();
    }
    labels
}

/// The severity that an alert's own label names, which a template may have filled in; that of the rule otherwise.
fn severity(rule: &Rule, labels: &LabelPairs) -> crate::model::Severity {
    let label = labels.iter().find(|(name, _)| name == "severity");
    let named = crate::model::Severity::ALL
        .into_iter()
        .find(|severity| label.is_some_and(|(_, value)| value == severity.as_str()));
    named.unwrap_or(rule.severity)
}
