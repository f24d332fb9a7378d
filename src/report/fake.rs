//! A history in memory for tests: slow and obvious.

use std::sync::Arc;

use crate::model::{
    Agent, AgentId, AgentNo, Alert, AlertEvent, History, Increase, MetricKind, OccurrenceNo,
    Policy, ReadError, Registration, RegistrationSource, Run, Sample, SeriesExtent, SeriesInfo,
    SeriesKey, SeriesNo, Severity, Span, SpanFilter, Summary, Timestamp, TraceCursor, TraceHistory,
    TracePage, TraceQuery, TraceSummary, TraceVisit, Unreadable, Visit, Window, is_stale_marker,
};

#[derive(Debug, Default)]
pub(super) struct FakeHistory {
    pub(super) runs: Vec<Run>,
    pub(super) policy: Policy,
    pub(super) agents: Vec<Agent>,
    pub(super) series: Vec<(SeriesInfo, Vec<Sample>)>,
    pub(super) alerts: Vec<Alert>,
    pub(super) unreadable: Vec<(AgentNo, Unreadable)>,
    /// Samples before this have expired: statistics are all that is left of them.
    pub(super) expired_before: Option<Timestamp>,
    /// Traces in the order that they are handed over in, each with its spans.
    pub(super) traces: Vec<Vec<Span>>,
    /// What is met after so many of them.
    pub(super) damaged_after: Option<usize>,
}

impl FakeHistory {
    /// Registers an agent that is scraped every 30 s.
    pub(super) fn add_agent(&mut self, id: &str, registered_at: Timestamp) -> AgentNo {
        let no = AgentNo(self.agents.len() as u32 + 1);
        let mut registration = Registration::bare(RegistrationSource::Api);
        registration.metrics_endpoint = Some("http://127.0.0.1:9000/metrics".into());
        self.agents.push(Agent {
            no,
            id: AgentId::new(id).unwrap(),
            registered_at,
            deregistered_at: None,
            registration,
        });
        no
    }

    /// Adds a series with samples in order of time.
    pub(super) fn add_series(
        &mut self,
        agent: AgentNo,
        name: &str,
        labels: &[(&str, &str)],
        samples: impl IntoIterator<Item = (Timestamp, f64)>,
    ) {
        let info = SeriesInfo {
            no: SeriesNo(self.series.len() as u32 + 1),
            agent,
            key: SeriesKey::new(name, labels).unwrap(),
            kind: MetricKind::Gauge,
        };
        let samples = samples
            .into_iter()
            .map(|(time, value)| Sample { time, value })
            .collect();
        self.series.push((info, samples));
    }

    pub(super) fn add_alert(
        &mut self,
        agent: AgentNo,
        name: &str,
        severity: Severity,
        fired_at: Timestamp,
        resolved_at: Option<Timestamp>,
        description: &str,
    ) {
        let id = &self.agents[agent.0 as usize - 1].id;
        let alert_id = if name == crate::alerts::HEALTH_ALERT_NAME {
            crate::alerts::health_alert_id(id)
        } else {
            format!("{name}:{id}:system_cpu_usage")
        };
        let occurrence = OccurrenceNo(self.alerts.len() as u64 + 1);
        self.alerts.push(Alert {
            description: description.to_owned(),
            resolved_at,
            ..Alert::fired(occurrence, agent, alert_id, name, severity, fired_at)
        });
    }

    fn samples(&self, series: SeriesNo, window: Window) -> impl Iterator<Item = Sample> {
        self.series
            .iter()
            .filter(move |(info, _)| info.no == series)
            .flat_map(|(_, samples)| samples.iter().copied())
            .filter(move |sample| window.contains(sample.time))
    }
}

impl TraceHistory for FakeHistory {
    fn find_traces(&self, query: &TraceQuery) -> Result<TracePage, ReadError> {
        let mut cursors = Vec::new();
        self.each_trace(query.window, &query.filter, &mut |trace_id, spans| {
            let start_ns = spans.iter().map(|s| s.start_ns).min().unwrap();
            cursors.push(TraceCursor { start_ns, trace_id });
            true
        })?;
        cursors.sort_unstable_by(|a, b| b.cmp(a));
        let summary = |cursor: &TraceCursor| TraceSummary {
            trace_id: cursor.trace_id,
            name: None,
            start_ns: cursor.start_ns,
            end_ns: cursor.start_ns,
            root_agent: AgentId::unknown(),
            root_operation: "".into(),
            root_service: None,
            has_root: true,
            spans: 0,
            failed_spans: 0,
            open_spans: 0,
            agents: Vec::new(),
            tokens: 0,
            cost: None,
            is_pinned: false,
        };
        Ok(TracePage {
            traces: cursors.iter().take(query.limit).map(summary).collect(),
            next: None,
        })
    }

    fn each_trace(
        &self,
        window: Window,
        filter: &SpanFilter,
        visit: &mut TraceVisit<'_>,
    ) -> Result<(), ReadError> {
        let bounds = [window.from, window.to].map(|t| t.as_millis().saturating_mul(1_000_000));
        for (at, spans) in self.traces.iter().enumerate() {
            if self.damaged_after == Some(at) {
                return Err(ReadError::Damaged(
                    "a block of spans, for a test".to_owned(),
                ));
            }
            let start = spans.iter().map(|s| s.start_ns).min().unwrap();
            let is_asked =
                (bounds[0]..=bounds[1]).contains(&start) && spans.iter().any(|s| filter.fits(s));
            if is_asked && !visit(spans[0].trace_id, spans.clone()) {
                break;
            }
        }
        Ok(())
    }

    fn open_spans(&self) -> Vec<Arc<Span>> {
        let spans = self.traces.iter().flatten().filter(|span| span.is_open());
        let mut open: Vec<_> = spans.cloned().map(Arc::new).collect();
        open.sort_by_key(|span| span.start_ns);
        open
    }
}

impl History for FakeHistory {
    fn last_commit(&self) -> Option<Timestamp> {
        self.runs.last().map(|run| run.end)
    }

    fn runs(&self) -> Vec<Run> {
        self.runs.clone()
    }

    fn policy(&self, _at: Timestamp) -> Policy {
        self.policy.clone()
    }

    fn agents(&self, at: Timestamp) -> Vec<Agent> {
        let mut agents = self.agents.clone();
        agents.retain(|a| a.registered_at <= at && a.deregistered_at.is_none_or(|end| end > at));
        agents.sort_by(|a, b| a.id.cmp(&b.id));
        agents
    }

    fn agent(&self, id: &AgentId, _at: Timestamp) -> Option<Agent> {
        self.agents.iter().find(|a| a.id == *id).cloned()
    }

    fn agent_id(&self, no: AgentNo) -> Option<AgentId> {
        Some(self.agents.iter().find(|a| a.no == no)?.id.clone())
    }

    fn series(&self, agent: AgentNo, metric: Option<&str>) -> Vec<SeriesInfo> {
        let mut found: Vec<SeriesInfo> = self
            .series
            .iter()
            .map(|(info, _)| info.clone())
            .filter(|s| s.agent == agent && metric.is_none_or(|m| m == s.key.name()))
            .collect();
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found
    }

    fn series_within(
        &self,
        agent: AgentNo,
        metric: Option<&str>,
        _: Window,
    ) -> Result<Vec<SeriesInfo>, ReadError> {
        Ok(self.series(agent, metric))
    }

    fn extents(&self, agent: AgentNo, window: Window) -> Result<Vec<SeriesExtent>, ReadError> {
        let own = self.series.iter().filter(|(info, _)| info.agent == agent);
        Ok(own
            .filter_map(|(info, _)| {
                let times: Vec<Timestamp> = self
                    .samples(info.no, window)
                    .filter(|s| !is_stale_marker(s.value))
                    .map(|s| s.time)
                    .collect();
                Some(SeriesExtent {
                    no: info.no,
                    first: *times.first()?,
                    last: *times.last()?,
                    samples: times.len() as u64,
                })
            })
            .collect())
    }

    fn scan(
        &self,
        _agent: AgentNo,
        series: &[SeriesNo],
        window: Window,
        visit: &mut Visit<'_>,
    ) -> Result<(), ReadError> {
        for no in series {
            let (times, values): (Vec<i64>, Vec<f64>) = self
                .samples(*no, window)
                .filter(|s| self.expired_before.is_none_or(|kept| s.time >= kept))
                .map(|s| (s.time.as_millis(), s.value))
                .unzip();
            if !times.is_empty() {
                visit(*no, &times, &values);
            }
        }
        Ok(())
    }

    fn summarise(
        &self,
        _agent: AgentNo,
        series: &[SeriesNo],
        window: Window,
    ) -> Result<Vec<Summary>, ReadError> {
        let one = |no: &SeriesNo| {
            let mut all = Summary::default();
            let mut increase = Increase::default();
            for sample in self.samples(*no, window) {
                if is_stale_marker(sample.value) {
                    continue;
                }
                let mut sum = crate::model::ExactSum::default();
                let is_nan = sample.value.is_nan();
                if !is_nan {
                    sum.add(sample.value);
                    increase.push(sample.value);
                }
                all.merge(&Summary {
                    samples: 1,
                    nans: u64::from(is_nan),
                    sum,
                    min: (!is_nan).then_some(sample.value),
                    max: (!is_nan).then_some(sample.value),
                    first: Some(sample),
                    last: Some(sample),
                    increase: Increase::default(),
                });
            }
            all.increase = increase;
            all
        };
        Ok(series.iter().map(one).collect())
    }

    fn last_sample(
        &self,
        _agent: AgentNo,
        series: SeriesNo,
        at: Timestamp,
        wanted: Option<f64>,
    ) -> Result<Option<Sample>, ReadError> {
        Ok(self
            .samples(series, Window::until(at))
            .filter(|s| !is_stale_marker(s.value) && wanted.is_none_or(|w| w == s.value))
            .last())
    }

    fn episodes(&self, window: Window) -> Result<Vec<Alert>, ReadError> {
        let overlaps = |a: &&Alert| {
            a.active_at <= window.to && a.resolved_at.is_none_or(|end| end > window.from)
        };
        let mut found: Vec<Alert> = self
            .alerts
            .iter()
            .filter(overlaps)
            .map(|alert| alert.as_of(window.to))
            .collect();
        found.sort_by_key(|a| a.active_at);
        Ok(found)
    }

    fn unreadable(&self, agent: AgentNo, window: Window) -> Vec<Unreadable> {
        let own = self.unreadable.iter().filter(|(no, _)| *no == agent);
        own.map(|(_, lack)| lack.clone())
            .filter(|lack| window.touches(lack.first, lack.last))
            .collect()
    }

    fn alert_events(&self, _alert: &Alert) -> Result<Vec<AlertEvent>, ReadError> {
        Ok(Vec::new())
    }
}
