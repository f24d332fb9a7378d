//! One evaluation of rules over the present moment: finds what changes the alerts.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use super::{
    bindings::{Binding, Bindings, BoundSeries},
    condition::{Case, Judgement, is_silent, judge, silence},
    expression::{Expressions, Moment},
    names,
    readings::{BaselineCache, LiveAgent, Readings},
};
use crate::{
    alerts::{self, Finding, Life, Surroundings, Terms},
    model::{
        Agent, AgentId, AgentNo, Alert, AlertBook, AlertEventKind, AlertSource, Batch, Condition,
        EvidenceSample, History, MetricKind, NoData, ReadError, Rule, SeriesInfo, SpanFilter,
        StoredRule, Timestamp, TraceId, TraceQuery, Window, downtime_ms, is_derived_metric,
    },
    store::Observation,
};

/// Samples that are frozen as evidence of a change.
const EVIDENCE_SAMPLES: usize = 60;
/// How far back they are looked for, in milliseconds.
const EVIDENCE_MS: i64 = 3_600_000;
/// Traces of the agent that are named beside them.
const EVIDENCE_TRACES: usize = 5;
/// How far back these are looked for, in milliseconds.
const EVIDENCE_TRACES_MS: i64 = 900_000;
/// Alerts of one evaluation that traces are looked for.
const TRACE_LOOKUPS_MAX: u32 = 50;

/// Which rules are evaluated.
#[derive(Clone, Debug)]
pub enum Scope {
    /// Those that samples decide, for agents that samples came of.
    Arrivals(HashSet<AgentNo>),
    /// All that time may decide, for all agents.
    Schedule,
}

/// What an evaluation led to.
#[derive(Debug, Default)]
pub struct Evaluated {
    /// What changes alerts.
    pub observations: Vec<Observation>,
    /// Conditions that were judged.
    pub judged: u64,
    /// Samples that recording rules yield, by the agent whose they are.
    pub recorded: BTreeMap<AgentId, Batch>,
    /// Rules that could not be evaluated, and why.
    pub errors: Vec<(String, String)>,
}

/// Evaluates rules; keeps what it worked out about names and pasts.
#[derive(Debug, Default)]
pub struct Evaluator {
    bindings: Bindings,
    baselines: RefCell<BaselineCache>,
    expressions: Expressions,
    /// Whether everything was evaluated once.
    is_warm: bool,
}

/// What is the same for all of an evaluation.
struct Round<'a> {
    history: &'a dyn History,
    book: &'a AlertBook,
    at: Timestamp,
    listening_since: Option<Timestamp>,
    interval_ms: i64,
    /// Alerts that traces may still be looked for.
    trace_lookups: Cell<u32>,
}

impl Evaluator {
    /// An evaluator whose templates know the address under which people reach longwatch (`$externalURL`).
    pub fn with_external_url(url: &str) -> Self {
        Self {
            expressions: Expressions::with_external_url(url),
            ..Self::default()
        }
    }

    /// Judges everything on the next schedule: what was found last was not committed.
    pub fn look_again(&mut self) {
        self.is_warm = false;
        self.expressions.look_again();
    }

    /// Evaluates over the present moment of the file.
    pub fn evaluate(
        &mut self,
        history: &dyn History,
        scope: &Scope,
        listening_since: Option<Timestamp>,
        at: Timestamp,
    ) -> Evaluated {
        let book = history.book();
        if self.bindings.take_rules(&book.rules) {
            self.is_warm = false;
        }
        self.baselines.borrow_mut().forget_before(at);
        let mut out = Evaluated::default();
        let round = Round {
            history,
            book: &book,
            at,
            listening_since,
            interval_ms: history.policy(at).interval_ms,
            trace_lookups: Cell::new(TRACE_LOOKUPS_MAX),
        };
        let agents: Vec<Agent> = history
            .agents(at)
            .into_iter()
            .filter(|agent| agent.deregistered_at.is_none())
            .collect();
        for agent in &agents {
            match scope {
                Scope::Arrivals(touched) if !touched.contains(&agent.no) => {}
                Scope::Arrivals(_) => self.on_arrival(&round, agent, &mut out),
                Scope::Schedule => self.on_schedule(&round, agent, &mut out),
            }
        }
        if matches!(scope, Scope::Schedule) {
            self.bindings.retain(&agents);
            self.is_warm = true;
        }
        // What could not be read now is judged on the next schedule.
        self.is_warm &= out.errors.is_empty();
        if matches!(scope, Scope::Schedule) {
            let moment = Moment {
                history,
                book: &book,
                agents: &agents,
                at,
                listening_since,
            };
            self.expressions.evaluate(&moment, &mut out);
        }
        out
    }

    fn on_arrival(&mut self, round: &Round<'_>, agent: &Agent, out: &mut Evaluated) {
        let rules = Arc::clone(&self.bindings.index.rules);
        let open = open_by_id(round.book, agent.no);
        let bound = self.bindings.of(round.history, agent);
        let pass = Pass::new(round, agent, &open, &self.baselines);
        for binding in &bound.by_arrival {
            pass.judge(&rules, &bound.series, *binding, out);
        }
    }

    /// What time decides; and what samples decide where an alert is open or nothing was evaluated yet: the end of
    /// `for`, of keeping, of the data.
    fn on_schedule(&mut self, round: &Round<'_>, agent: &Agent, out: &mut Evaluated) {
        let rules = Arc::clone(&self.bindings.index.rules);
        let about_agents = self.bindings.index.about_agents.clone();
        let open = open_by_id(round.book, agent.no);
        let bound = self.bindings.of(round.history, agent);
        let pass = Pass::new(round, agent, &open, &self.baselines);
        for binding in &bound.by_time {
            pass.judge(&rules, &bound.series, *binding, out);
        }
        for binding in &bound.by_arrival {
            let rule = &rules[binding.rule as usize].rule;
            if !self.is_warm || pass.has_open(rule) || moves_with_time(rule) {
                pass.judge(&rules, &bound.series, *binding, out);
            }
        }
        for rule in about_agents {
            pass.judge_agent(&rules[rule as usize], out);
        }
        pass.end_others(out);
    }
}

/// Whether a condition that does not hold may hold later without a new sample.
pub(super) fn moves_with_time(rule: &Rule) -> bool {
    let slides = match &rule.condition {
        Condition::Threshold { aggregate, .. } => *aggregate != crate::model::Aggregate::Last,
        Condition::RateOfChange { window_ms, .. } => window_ms.is_some(),
        _ => false,
    };
    slides || rule.no_data == NoData::Alert
}

type Open<'a> = HashMap<&'a str, &'a Arc<Alert>>;

/// Open alerts of rules about an agent, by identity.
fn open_by_id(book: &AlertBook, agent: AgentNo) -> Open<'_> {
    let of_agent = book.open.get(&agent).into_iter().flatten();
    of_agent
        .filter(|alert| alert.source == AlertSource::Rule)
        .filter(|alert| {
            let stored = book.rules.get(alert.rule_name());
            // Those of expressions are judged by row.
            stored.is_none_or(|stored| stored.rule.condition.expression().is_none())
        })
        .map(|alert| (alert.alert_id.as_str(), alert))
        .collect()
}

/// The evaluation of one agent.
struct Pass<'a> {
    round: &'a Round<'a>,
    agent: &'a Agent,
    open: &'a Open<'a>,
    /// Names of rules that have open alerts about the agent.
    busy: HashSet<&'a str>,
    live: LiveAgent<'a>,
    /// Identities of open alerts that were judged.
    seen: RefCell<HashSet<String>>,
}

impl<'a> Pass<'a> {
    fn new(
        round: &'a Round<'a>,
        agent: &'a Agent,
        open: &'a Open<'a>,
        baselines: &'a RefCell<BaselineCache>,
    ) -> Self {
        Self {
            round,
            agent,
            open,
            busy: open.values().map(|alert| alert.name.as_str()).collect(),
            live: LiveAgent::new(round.history, agent.no, baselines),
            seen: RefCell::default(),
        }
    }

    fn has_open(&self, rule: &Rule) -> bool {
        self.busy.contains(rule.name.as_str())
    }

    fn case(&self, kind: MetricKind, alert: Option<&Alert>) -> Case {
        let registration = &self.agent.registration;
        Case {
            at: self.round.at,
            kind,
            interval_ms: registration.interval_ms.unwrap_or(self.round.interval_ms),
            is_open: alert.is_some(),
            is_firing: alert.is_some_and(|alert| alert.fired_at.is_some()),
            listening_since: self.round.listening_since,
        }
    }

    fn judge(
        &self,
        rules: &[Arc<StoredRule>],
        series: &[BoundSeries],
        binding: Binding,
        out: &mut Evaluated,
    ) {
        let stored = &rules[binding.rule as usize];
        let bound = &series[binding.series as usize];
        let info = &bound.info;
        let (known_id, alert) = self.open_alert(&stored.rule, info);
        if alert.is_some() {
            self.seen.borrow_mut().extend(known_id.clone());
        }
        let readings = self.live.series(info.no);
        let case = self.case(info.kind, alert.map(|a| &**a));
        out.judged += 1;
        match judge(&stored.rule, &readings, &case) {
            Ok(found) => {
                let begins = alert.is_none() && !may_begin(&stored.rule, &found.finding);
                if !begins {
                    let (rule, agent) = (&stored.rule.name, self.agent.id.as_str());
                    let id = known_id.unwrap_or_else(|| {
                        if bound.is_alone {
                            names::alert_id(rule, agent, &info.key)
                        } else {
                            names::alert_id_with_labels(rule, agent, &info.key)
                        }
                    });
                    self.observe(stored, id, alert, Some((info, &readings)), found, out);
                }
            }
            Err(error) => note_error(&stored.rule, &error, out),
        }
    }

    /// The open alert of a rule about a series, and its identity, which stays what it was when the alert began: with labels
    /// if the metric had several series then.
    fn open_alert(
        &self,
        rule: &Rule,
        info: &SeriesInfo,
    ) -> (Option<String>, Option<&'a Arc<Alert>>) {
        if !self.has_open(rule) {
            return (None, None);
        }
        let agent = self.agent.id.as_str();
        let series = info.key.to_string();
        let ids = [
            names::alert_id_with_labels(&rule.name, agent, &info.key),
            names::alert_id(&rule.name, agent, &info.key),
        ];
        for id in ids {
            if let Some(alert) = self.open.get(id.as_str()).filter(|a| a.series == series) {
                return (Some(id), Some(alert));
            }
        }
        (None, None)
    }

    /// A rule about the whole agent: whether any series that the agent sends itself has been heard of.
    fn judge_agent(&self, stored: &Arc<StoredRule>, out: &mut Evaluated) {
        let rule = &stored.rule;
        let Condition::Absent {
            window_ms,
            known_for_ms,
        } = rule.condition
        else {
            return;
        };
        if !rule.filter.takes_agent(self.agent.id.as_str()) {
            return;
        }
        let id = names::alert_id_of_agent(&rule.name, self.agent.id.as_str());
        let alert = self.open.get(id.as_str()).copied();
        if alert.is_some() {
            self.seen.borrow_mut().insert(id.clone());
        }
        let case = self.case(MetricKind::Gauge, alert.map(|a| &**a));
        out.judged += 1;
        let reach = if alert.is_some() {
            Window::until(case.at)
        } else {
            Window::ending_at(case.at, known_for_ms)
        };
        match self.last_heard(rule, reach) {
            Ok(last) => {
                let holds = match last {
                    Some(last) => is_silent(last, window_ms, &case),
                    None => alert.is_some(),
                };
                let found = silence(holds, last, &case);
                if alert.is_some() || holds {
                    self.observe(stored, id, alert, None, found, out);
                }
            }
            Err(error) => note_error(rule, &error, out),
        }
    }

    fn last_heard(&self, rule: &Rule, reach: Window) -> Result<Option<Timestamp>, ReadError> {
        let history = self.round.history;
        let extents = history.extents(self.agent.no, reach)?;
        let own: HashSet<_> = history
            .series(self.agent.no, None)
            .into_iter()
            .filter(|s| !is_derived_metric(s.key.name()) && rule.filter.takes_series(&s.key))
            .map(|s| s.no)
            .collect();
        let heard = extents.iter().filter(|extent| own.contains(&extent.no));
        Ok(heard.map(|extent| extent.last).max())
    }

    /// Hands on what was found if it changes the alert as it is now.
    fn observe(
        &self,
        stored: &Arc<StoredRule>,
        id: String,
        alert: Option<&Arc<Alert>>,
        series: Option<(&SeriesInfo, &dyn Readings)>,
        found: Judgement,
        out: &mut Evaluated,
    ) {
        let Some(kind) = self.change(&stored.rule, alert, &found.finding, &id) else {
            return;
        };
        let key = series.map(|(info, _)| &info.key);
        let texts = names::texts(&stored.rule, self.agent.id.as_str(), key, &found);
        let is_worth_evidence = matches!(kind, AlertEventKind::Fired | AlertEventKind::Resolved);
        let samples = series
            .filter(|_| is_worth_evidence)
            .map(|(_, readings)| evidence(readings, self.round.at));
        // An alert that ends says what it said when it fired, unless it never did.
        let describes = matches!(kind, AlertEventKind::Pending | AlertEventKind::Fired);
        out.observations.push(Observation {
            rule: Arc::clone(stored),
            agent: self.agent.no,
            alert_id: id,
            series: key.map(ToString::to_string).unwrap_or_default(),
            labels: texts.labels,
            severity: stored.rule.severity,
            finding: found.finding,
            value: found.value,
            threshold: found.threshold,
            description: if describes {
                texts.description
            } else {
                String::new()
            },
            annotations: texts.annotations,
            samples: samples.unwrap_or_default(),
            traces: self.traces_around(kind),
        });
    }

    /// Traces of the agent around now, where an alert begins to fire.
    fn traces_around(&self, kind: AlertEventKind) -> Vec<TraceId> {
        let left = self.round.trace_lookups.get();
        if kind != AlertEventKind::Fired || left == 0 {
            return Vec::new();
        }
        self.round.trace_lookups.set(left - 1);
        traces_of(self.round.history, &self.agent.id, self.round.at)
    }

    fn change(
        &self,
        rule: &Rule,
        alert: Option<&Arc<Alert>>,
        finding: &Finding,
        id: &str,
    ) -> Option<AlertEventKind> {
        change(self.round.history, self.round.at, rule, alert, finding, id)
    }

    /// Ends open alerts that no rule looks after any more.
    fn end_others(&self, out: &mut Evaluated) {
        let seen = self.seen.borrow();
        for (id, alert) in self.open.iter().filter(|(id, _)| !seen.contains(**id)) {
            // Where the rule is gone, its deletion has ended them.
            let Some(stored) = self.round.book.rules.get(alert.rule_name()) else {
                continue;
            };
            out.observations.push(Observation {
                rule: Arc::clone(stored),
                agent: self.agent.no,
                alert_id: (*id).to_owned(),
                series: alert.series.clone(),
                labels: alert.labels.clone(),
                severity: alert.severity,
                finding: Finding::Gone("the rule no longer looks at it".to_owned()),
                value: None,
                threshold: None,
                description: String::new(),
                annotations: Vec::new(),
                samples: Vec::new(),
                traces: Vec::new(),
            });
        }
    }
}

/// What the finding would do to the alert. The committer decides; this keeps from asking it in vain.
pub(super) fn change(
    history: &dyn History,
    at: Timestamp,
    rule: &Rule,
    alert: Option<&Arc<Alert>>,
    finding: &Finding,
    id: &str,
) -> Option<AlertEventKind> {
    let down = |from, to| downtime_ms(&history.runs(), from, to);
    let firings = |since| firings_since(history, id, since, at);
    let surroundings = Surroundings {
        downtime_ms: &down,
        firings_since: &firings,
    };
    let life = alert.map(|alert| Life::of(alert));
    let step = alerts::step(life, &Terms::from(rule), finding, at, &surroundings);
    step.map(|step| step.kind)
}

/// Whether a finding may begin an alert.
fn may_begin(rule: &Rule, finding: &Finding) -> bool {
    match finding {
        Finding::Holds => true,
        Finding::NoData => rule.no_data == NoData::Alert,
        Finding::Ends | Finding::NotYet | Finding::Gone(_) => false,
    }
}

fn note_error(rule: &Rule, error: &ReadError, out: &mut Evaluated) {
    if out.errors.iter().all(|(name, _)| *name != rule.name) {
        out.errors.push((rule.name.clone(), error.to_string()));
    }
}

fn evidence(readings: &dyn Readings, at: Timestamp) -> Vec<EvidenceSample> {
    // What cannot be read is no evidence; the alert is told all the same.
    let samples = readings
        .samples(Window::ending_at(at, EVIDENCE_MS))
        .unwrap_or_default();
    let skipped = samples.len().saturating_sub(EVIDENCE_SAMPLES);
    let last = samples.into_iter().skip(skipped);
    last.map(|s| EvidenceSample(s.time, s.value)).collect()
}

/// The last traces of an agent, those in which it failed first. What cannot be read is no evidence.
fn traces_of(history: &dyn History, agent: &AgentId, at: Timestamp) -> Vec<TraceId> {
    let mut found: Vec<TraceId> = Vec::new();
    for status in [Some("failed"), None] {
        let query = TraceQuery {
            window: Window::ending_at(at, EVIDENCE_TRACES_MS),
            filter: SpanFilter {
                agent: Some(agent.clone()),
                status: status.map(str::to_owned),
                ..SpanFilter::default()
            },
            after: None,
            limit: EVIDENCE_TRACES,
        };
        let page = history.find_traces(&query).unwrap_or_default();
        for trace in page.traces {
            if found.len() < EVIDENCE_TRACES && !found.contains(&trace.trace_id) {
                found.push(trace.trace_id);
            }
        }
    }
    found
}

fn firings_since(history: &dyn History, id: &str, since: Timestamp, at: Timestamp) -> usize {
    let alerts = history
        .alerts(Window::closed(since, at))
        .unwrap_or_default();
    let fired = |alert: &&Alert| alert.fired_at.is_some_and(|fired| fired >= since);
    alerts
        .iter()
        .filter(|a| a.alert_id == id)
        .filter(fired)
        .count()
}
