//! Open work that stands still: spans older than work of their kind, agents that fell silent within a run.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::{HashMap, HashSet};

use super::{
    Detector, DetectorSettings, Finding, OpenState, Subject,
    finding::EVIDENCE_MAX,
    open_state::{limit_ns, open_state},
};
use crate::model::{AgentId, AgentStatus, EvidenceSpan, Span, SpanId, TraceId, format_duration_ms};

/// What is known of agents and operations beside the spans.
pub struct Surroundings<'a> {
    /// The present moment, nanoseconds since the epoch.
    pub now_ns: i64,
    /// 99th percentile of an operation's durations, nanoseconds, where it is known.
    pub p99_ns: &'a dyn Fn(&AgentId, &str) -> Option<i64>,
    /// Status of an agent.
    pub status: &'a dyn Fn(&AgentId) -> AgentStatus,
}

impl Surroundings<'_> {
    fn limit_ns(&self, span: &Span, settings: &DetectorSettings) -> i64 {
        limit_ns(
            (self.p99_ns)(&span.agent, &span.name),
            &settings.silent_stall,
        )
    }

    const fn age_ns(&self, span: &Span) -> i64 {
        self.now_ns.saturating_sub(span.start_ns)
    }
}

fn shown(ns: i64) -> String {
    format_duration_ms(ns / 1_000_000_000 * 1_000)
}

fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

/// Open spans that wait for no other open span, by trace and agent: where the work stands.
fn standing(open: &[Arc<Span>]) -> BTreeMap<(TraceId, &AgentId), Vec<&Span>> {
    let waiting: HashSet<(TraceId, SpanId)> = open
        .iter()
        .filter_map(|span| Some((span.trace_id, span.parent_id?)))
        .collect();
    let mut standing: BTreeMap<(TraceId, &AgentId), Vec<&Span>> = BTreeMap::new();
    for span in open {
        if !waiting.contains(&(span.trace_id, span.span_id)) {
            let of_agent = standing.entry((span.trace_id, &span.agent)).or_default();
            of_agent.push(span);
        }
    }
    for spans in standing.values_mut() {
        spans.sort_by_key(|span| span.start_ns);
    }
    standing
}

fn evidence(spans: &[&Span]) -> Vec<EvidenceSpan> {
    let spans = spans.iter().take(EVIDENCE_MAX);
    spans.map(|span| EvidenceSpan::from(*span)).collect()
}

/// Open spans that stand still: stalled ones, and those of agents that are gone once they are older than the floor.
/// A span that waits for another open one is not blamed.
pub fn stalls(
    open: &[Arc<Span>],
    around: &Surroundings<'_>,
    settings: &DetectorSettings,
) -> Vec<Finding> {
    let stall = &settings.silent_stall;
    if !stall.switch.enabled {
        return Vec::new();
    }
    let floor = limit_ns(None, stall);
    let mut found = Vec::new();
    for ((trace, agent), spans) in standing(open) {
        let status = (around.status)(agent);
        let still: Vec<&Span> = spans
            .into_iter()
            .filter(|span| {
                let p99 = (around.p99_ns)(agent, &span.name);
                match open_state(span, around.now_ns, p99, status, stall) {
                    OpenState::Open => false,
                    OpenState::Stalled => true,
                    OpenState::Lost => around.age_ns(span) > floor,
                }
            })
            .collect();
        let Some(oldest) = still.first() else {
            continue;
        };
        let limit = match status {
            AgentStatus::Stale | AgentStatus::Unhealthy => floor,
            _ => around.limit_ns(oldest, settings),
        };
        let (age, name) = (around.age_ns(oldest), &oldest.name);
        let why = match status {
            AgentStatus::Stale | AgentStatus::Unhealthy => format!("and the agent is {status}"),
            _ => format!("where {} is the most to be expected", shown(limit)),
        };
        found.push(Finding {
            detector: Detector::SilentStall,
            agent: agent.clone(),
            subject: Subject::Trace(trace),
            mark: String::new(),
            severity: stall.switch.severity,
            message: format!("{agent} has been at {name} for {}, {why}", shown(age)),
            value: seconds(age),
            threshold: seconds(limit),
            until: None,
            spans: evidence(&still),
        });
    }
    found
}

/// Last sign of every agent within a trace: starts, ends and events of its spans, nanoseconds since the epoch.
fn last_signs(spans: &[Span]) -> HashMap<&AgentId, i64> {
    let mut last: HashMap<&AgentId, i64> = HashMap::new();
    for span in spans {
        let events = span.events.iter().map(|event| event.time_ns);
        let signs = events.chain(span.end_ns).chain([span.start_ns]);
        let known = last.entry(&span.agent).or_insert(i64::MIN);
        *known = signs.fold(*known, i64::max);
    }
    last
}

/// Agents with open work in a trace of which no span began or ended for long: idle where the agent is alive, else
/// stalled. Work that usually takes longer is left alone.
pub fn quiet_agents(
    spans: &[Span],
    around: &Surroundings<'_>,
    settings: &DetectorSettings,
) -> Vec<Finding> {
    let open = spans.iter().filter(|span| span.is_open());
    let open: Vec<Arc<Span>> = open.cloned().map(Arc::new).collect();
    let last = last_signs(spans);
    let mut found = Vec::new();
    for ((trace, agent), standing) in standing(&open) {
        let status = (around.status)(agent);
        let is_alive = status == AgentStatus::Active;
        let (detector, after_ms) = if is_alive {
            (Detector::Idle, settings.idle.after_ms)
        } else {
            (Detector::SilentStall, settings.silent_stall.silence_ms)
        };
        let switch = settings.switch(detector);
        let limit = after_ms.saturating_mul(1_000_000);
        let Some(last) = last.get(agent).filter(|_| switch.enabled) else {
            continue;
        };
        let quiet = around.now_ns.saturating_sub(*last);
        let is_usual = standing.iter().any(|span| {
            let is_known = (around.p99_ns)(agent, &span.name).is_some();
            is_known && around.age_ns(span) <= around.limit_ns(span, settings)
        });
        if quiet <= limit || is_usual {
            continue;
        }
        let names: Vec<&str> = standing.iter().take(3).map(|span| &*span.name).collect();
        let how = if is_alive {
            "is alive, but"
        } else {
            "is silent and"
        };
        found.push(Finding {
            detector,
            agent: agent.clone(),
            subject: Subject::Trace(trace),
            mark: String::new(),
            severity: switch.severity,
            message: format!(
                "{agent} {how} began and ended nothing for {} while {} is open",
                shown(quiet),
                names.join(", ")
            ),
            value: seconds(quiet),
            threshold: seconds(limit),
            until: None,
            spans: evidence(&standing),
        });
    }
    found
}
