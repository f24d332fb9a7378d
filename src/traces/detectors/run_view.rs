//! A run as detectors see it.

use super::{
    Detector, DetectorSettings, EdgeHistory, Finding, Subject, cascading_timeouts, failed_handoffs,
    finding::EVIDENCE_MAX, loops, repeated_steps, retry_storms, run_budgets,
};
use crate::{
    model::{AgentId, EvidenceSpan, Severity, Span},
    traces::{Edge, Forest, Node, NodeNo, correct_skew, edges},
};

/// The spans of a run's traces as one forest, with the edges between its agents.
#[derive(Debug)]
pub struct RunView<'a> {
    /// Its session, or the id of its first trace.
    pub id: &'a str,
    /// Its spans; clocks that disagree are corrected.
    pub forest: Forest<'a>,
    /// Who asked whom.
    pub edges: Vec<Edge>,
    /// The present moment, nanoseconds since the epoch.
    pub now_ns: i64,
}

impl<'a> RunView<'a> {
    /// The run of these spans, of one trace or of several.
    pub fn new(id: &'a str, spans: impl IntoIterator<Item = &'a Span>, now_ns: i64) -> Self {
        let mut forest = Forest::new(spans);
        correct_skew(&mut forest);
        let edges = edges(&forest);
        Self {
            id,
            forest,
            edges,
            now_ns,
        }
    }

    /// `agent:operation` of the first root that was received: what kind of run it is.
    pub fn workflow(&self) -> Option<String> {
        let mut roots = self.forest.roots.iter().map(|no| &self.forest.nodes[*no]);
        roots.find(|root| root.is_received()).map(Node::label)
    }

    /// The nodes as evidence, as many as a finding may have; those not received are left out.
    pub(super) fn evidence(&self, nodes: impl IntoIterator<Item = NodeNo>) -> Vec<EvidenceSpan> {
        let nodes = nodes.into_iter().map(|no| &self.forest.nodes[no]);
        nodes
            .filter_map(|node| {
                let span = EvidenceSpan::from(node.span?);
                let agent_id = node.agent_name().to_owned();
                Some(EvidenceSpan { agent_id, ..span })
            })
            .take(EVIDENCE_MAX)
            .collect()
    }

    /// A finding about the run.
    pub(super) fn finding(
        &self,
        detector: Detector,
        severity: Severity,
        agent: AgentId,
        message: String,
        (value, threshold): (f64, f64),
        nodes: impl IntoIterator<Item = NodeNo>,
    ) -> Finding {
        Finding {
            detector,
            agent,
            subject: Subject::Run(self.id.to_owned()),
            mark: String::new(),
            severity,
            message,
            value,
            threshold,
            until: None,
            spans: self.evidence(nodes),
        }
    }
}

/// All that detectors which are switched on find in a run. `history` knows what is usual in its workflow.
pub fn judge_run(
    run: &RunView<'_>,
    settings: &DetectorSettings,
    history: &EdgeHistory,
) -> Vec<Finding> {
    let usual = run.workflow().and_then(|name| history.usual(&name));
    let looks = |detector: Detector| settings.switch(detector).enabled;
    let mut found = Vec::new();
    if looks(Detector::Loop) {
        found.extend(loops(run, &settings.looping, usual));
    }
    if looks(Detector::RepeatedStep) {
        found.extend(repeated_steps(run, &settings.repeated_step));
    }
    if looks(Detector::RunawayCost) {
        found.extend(run_budgets(run, &settings.runaway_cost));
    }
    if looks(Detector::FailedHandoff) {
        found.extend(failed_handoffs(run, &settings.failed_handoff));
    }
    if looks(Detector::RetryStorm) {
        found.extend(retry_storms(run, &settings.retry_storm));
    }
    if looks(Detector::CascadingTimeout) {
        found.extend(cascading_timeouts(run, &settings.cascading_timeout));
    }
    found
}
