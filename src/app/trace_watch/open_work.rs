//! What is the case with open spans now: work that stands still, agents that are idle, spans to be closed.

use hashbrown::{HashMap, HashSet};

use super::{raising::detection, watch::is_too_large};
use crate::{
    model::{AgentId, AgentStatus, AlertSource, History, OccurrenceNo, SpanId, Timestamp, TraceId},
    report,
    store::Detection,
    traces::{Detector, Finding, SpanMetrics, Surroundings, WatchSettings, quiet_agents, stalls},
};

/// Traces with open work that are read in one round, to see which agents are quiet.
const TRACES_MAX: usize = 100;
/// Spans that one round closes.
const CLOSED_MAX: usize = 1_000;

/// What a round found.
#[derive(Debug, Default)]
pub(super) struct OpenWork {
    /// Alerts to raise.
    pub(super) detections: Vec<Detection>,
    /// Alerts that are over.
    pub(super) over: Vec<OccurrenceNo>,
    /// Spans to close.
    pub(super) close: Vec<(TraceId, SpanId)>,
}

/// Nanoseconds since the epoch, saturating.
pub(super) const fn nanoseconds(time: Timestamp) -> i64 {
    time.as_millis().saturating_mul(1_000_000)
}

/// Status of the agents that are asked for; `unknown` of those that are not registered.
fn statuses<'a>(
    view: &dyn History,
    agents: impl Iterator<Item = &'a AgentId>,
    now: Timestamp,
) -> HashMap<AgentId, AgentStatus> {
    let mut known: HashMap<AgentId, AgentStatus> = HashMap::new();
    for id in agents {
        if known.contains_key(id) {
            continue;
        }
        let agent = view
            .agent(id, now)
            .filter(|agent| agent.deregistered_at.is_none());
        // What cannot be read is not known.
        let verdict = agent.and_then(|agent| report::agent_status(view, &agent, now).ok());
        let status = verdict.map_or(AgentStatus::Unknown, |verdict| verdict.status);
        known.insert(id.clone(), status);
    }
    known
}

/// Looks at all open spans; `round` counts up, so that of very many traces each is read in its turn.
pub(super) fn look(
    view: &dyn History,
    settings: &WatchSettings,
    metrics: &SpanMetrics,
    round: usize,
    now: Timestamp,
) -> OpenWork {
    let open = view.open_spans();
    let now_ns = nanoseconds(now);
    let known = statuses(view, open.iter().map(|span| &span.agent), now);
    let around = Surroundings {
        now_ns,
        p99_ns: &|agent, operation| metrics.p99_ns(agent, operation),
        status: &|agent| known.get(agent).copied().unwrap_or(AgentStatus::Unknown),
    };
    let detectors = &settings.detectors;
    let mut found: HashMap<String, Finding> = HashMap::new();
    let still = stalls(&open, &around, detectors);
    let stalled: HashSet<_> = still
        .iter()
        .map(|f| (f.agent.clone(), f.subject.clone()))
        .collect();
    found.extend(
        still
            .into_iter()
            .map(|finding| (finding.alert_id(), finding)),
    );

    let least_ms = detectors
        .idle
        .after_ms
        .min(detectors.silent_stall.silence_ms);
    let least_ns = least_ms.saturating_mul(1_000_000);
    let old = open
        .iter()
        .filter(|span| now_ns.saturating_sub(span.start_ns) > least_ns);
    let mut traces: Vec<TraceId> = old.map(|span| span.trace_id).collect();
    traces.sort_unstable();
    traces.dedup();
    let from = (round * TRACES_MAX).checked_rem(traces.len()).unwrap_or(0);
    let in_turn = traces
        .iter()
        .cycle()
        .skip(from)
        .take(TRACES_MAX.min(traces.len()));
    let mut unread: HashSet<TraceId> = traces.iter().copied().collect();
    for trace in in_turn {
        if is_too_large(view, *trace) {
            continue;
        }
        // What cannot be read stays as it is.
        let Ok(spans) = view.trace(*trace) else {
            continue;
        };
        unread.remove(trace);
        for finding in quiet_agents(&spans, &around, detectors) {
            if !stalled.contains(&(finding.agent.clone(), finding.subject.clone())) {
                found.insert(finding.alert_id(), finding);
            }
        }
    }
    let mut work = OpenWork {
        over: over(view, &found, &unread),
        ..OpenWork::default()
    };
    let limit = settings.close_after_ms.saturating_mul(1_000_000);
    let too_old = open
        .iter()
        .filter(|span| now_ns.saturating_sub(span.start_ns) > limit);
    let keys = too_old.map(|span| (span.trace_id, span.span_id));
    work.close.extend(keys.take(CLOSED_MAX));
    let book = view.book();
    for (id, finding) in found {
        let detection = detection(view, finding, None, now);
        // What fires already says how it began; its age is plain from that.
        work.detections.extend(detection.filter(|detection| {
            let open = book.open_alert(detection.agent, &id, AlertSource::Detector);
            open.is_none()
        }));
    }
    work
}

/// Alerts about open work that was not found again. Those of traces that were not read stay.
fn over(
    view: &dyn History,
    found: &HashMap<String, Finding>,
    unread: &HashSet<TraceId>,
) -> Vec<OccurrenceNo> {
    let names: Vec<&str> = Detector::ALL
        .into_iter()
        .filter(|detector| detector.is_of_present())
        .map(Detector::alert_name)
        .collect();
    let is_unread = |label: Option<&str>| {
        let trace = label.and_then(TraceId::from_hex);
        trace.is_some_and(|trace| unread.contains(&trace))
    };
    let open = view.book().all_open();
    open.iter()
        .filter(|alert| alert.source == AlertSource::Detector)
        .filter(|alert| names.contains(&alert.name.as_str()))
        .filter(|alert| !found.contains_key(&alert.alert_id))
        .filter(|alert| !is_unread(alert.label("trace_id")))
        .map(|alert| alert.occurrence)
        .collect()
}
