//! Works the report out: the figures of each agent, shared out among threads, and those of all of them.

use crate::model::{
    Agent, AgentStatus, Alert, Distribution, History, Policy, ReadError, Run, Summary, Window,
};

use super::{
    contact::{Contact, contact},
    coverage::{coverage, runs_until_end},
    crew::share_out,
    findings::judge,
    firing::{AlertBook, firing_ms, resolved_by},
    health::score_of,
    measurements::{Measurements, measurements},
    performance::{
        AgentPerformance, AlertInWindow, PerformanceReport, ReportRequest, SystemTrends,
    },
    status::agent_status,
    traces,
    traffic::Traffic,
    unread::unread,
};

/// Computes the report. Only agents registered at the window's end are in it.
pub fn performance_report(
    history: &dyn History,
    request: &ReportRequest,
) -> Result<PerformanceReport, ReadError> {
    let window = request.window;
    let mut registered = history.agents(window.to);
    registered.retain(|agent| request.agent.as_ref().is_none_or(|id| *id == agent.id));
    registered.sort_by(|a, b| a.id.cmp(&b.id));
    let context = ReportContext {
        history,
        window,
        policy: history.policy(window.to),
        runs: runs_until_end(history, window),
        alerts: AlertBook::read(history, window)?,
    };
    let (measured, usages) = share_out(&registered, |agent, fleet| context.measure(agent, fleet))?;
    let fleet = usages.into_iter().reduce(|all, one| all.merge(&one));
    let mut alerts: Vec<AlertInWindow> = registered
        .iter()
        .flat_map(|agent| {
            let own = context.alerts.of(agent.no).iter();
            own.map(move |alert| in_window(alert, agent, window))
        })
        .collect();
    alerts.sort_by(|a, b| {
        (a.fired, &a.agent_id, &a.alert_id).cmp(&(b.fired, &b.agent_id, &b.alert_id))
    });
    // In the order of the agents, since the sum of fractions depends on it.
    let (mut sent, mut received) = (Traffic::default(), Traffic::default());
    for (_, traffic) in &measured {
        sent.merge(traffic[0]);
        received.merge(traffic[1]);
    }
    let mut agents: Vec<AgentPerformance> = measured.into_iter().map(|(agent, _)| agent).collect();
    let traces = traces::read(history, window, request.agent.as_ref())?;
    if let Some(traces) = &traces {
        for agent in &mut agents {
            agent.traces = traces.agent(&agent.agent_id);
        }
    }
    let unread = unread(history, &registered, window);
    let mut report = PerformanceReport {
        window,
        coverage: coverage(&context.runs, &unread, window),
        unread,
        trends: SystemTrends {
            traces: traces.map(|traces| traces.system()),
            ..trends(&agents, &fleet.unwrap_or_default(), [sent, received])
        },
        agents,
        recommendations: Vec::new(),
        findings: Vec::new(),
        alerts,
        comparison: None,
    };
    let weights = &context.policy.health;
    (report.recommendations, report.findings) = judge(&report, request.agent.is_none(), weights);
    Ok(report)
}

/// What every agent's figures are worked out from.
struct ReportContext<'a> {
    history: &'a dyn History,
    window: Window,
    policy: Policy,
    runs: Vec<Run>,
    alerts: AlertBook,
}

impl ReportContext<'_> {
    /// Figures of one agent, and its bytes sent and received; its usage goes into that of the fleet.
    fn measure(
        &self,
        agent: &Agent,
        fleet: &mut FleetUsage,
    ) -> Result<(AgentPerformance, [Traffic; 2]), ReadError> {
        let Self {
            history, window, ..
        } = *self;
        let measured = measurements(history, agent.no, window)?;
        fleet.add(&measured);
        let verdict = agent_status(history, agent, window.to)?;
        let contact = contact(
            history,
            agent,
            window,
            &self.runs,
            self.policy.stale_after_ms(&agent.registration),
            verdict.last_heartbeat.or(verdict.last_contact).is_some(),
        )?;
        let health = score_of(
            &measured.figures,
            verdict.status,
            &self.alerts.firing(agent.no),
            &self.policy.health,
        );
        let occurrences = self.alerts.of(agent.no);
        let firing_ms: i64 = occurrences.iter().map(|a| firing_ms(a, window)).sum();
        let performance = AgentPerformance {
            health_score: health.score,
            deductions: health.deductions,
            status: verdict.status,
            last_heartbeat: verdict.last_heartbeat,
            alerts: occurrences.len() as u64,
            alert_firing_seconds: firing_ms as f64 / 1000.0,
            ..told(agent, &measured, contact)
        };
        Ok((performance, [measured.sent, measured.received]))
    }
}

/// Cpu and memory of many agents together; the order in which they are added makes no difference.
#[derive(Default)]
struct FleetUsage {
    cpu: (Summary, Distribution),
    memory: (Summary, Distribution),
}

impl FleetUsage {
    fn add(&mut self, agent: &Measurements) {
        self.cpu.0.merge(&agent.figures.cpu);
        self.cpu.1.merge(&agent.cpu.distribution);
        self.memory.0.merge(&agent.figures.memory);
        self.memory.1.merge(&agent.memory.distribution);
    }

    fn merge(mut self, other: &Self) -> Self {
        self.cpu.0.merge(&other.cpu.0);
        self.cpu.1.merge(&other.cpu.1);
        self.memory.0.merge(&other.memory.0);
        self.memory.1.merge(&other.memory.1);
        self
    }
}

/// p50, p95 and p99; 0 without numbers.
fn percentiles(distribution: &Distribution) -> [f64; 3] {
    distribution.percentiles([50, 95, 99]).unwrap_or_default()
}

/// What samples and contacts say; status, score and alerts are filled in by the caller.
fn told(agent: &Agent, measured: &Measurements, contact: Contact) -> AgentPerformance {
    let Measurements {
        figures,
        cpu: cpu_spread,
        memory: memory_spread,
        sent,
        received,
    } = measured;
    let (cpu, memory) = (&figures.cpu, &figures.memory);
    let [p50_cpu_usage, p95_cpu_usage, p99_cpu_usage] = percentiles(&cpu_spread.distribution);
    let [p50_memory_usage, p95_memory_usage, p99_memory_usage] =
        percentiles(&memory_spread.distribution);
    AgentPerformance {
        agent_id: agent.id.clone(),
        total_metrics: figures.total_metrics,
        measured_from: [cpu.first, memory.first]
            .into_iter()
            .flatten()
            .map(|s| s.time)
            .min(),
        avg_cpu_usage: cpu.mean().unwrap_or(0.0),
        max_cpu_usage: cpu.max.unwrap_or(0.0),
        avg_memory_usage: memory.mean().unwrap_or(0.0),
        max_memory_usage: memory.max.unwrap_or(0.0),
        health_score: 0.0,
        deductions: Vec::new(),
        min_cpu_usage: cpu.min.unwrap_or(0.0),
        min_memory_usage: memory.min.unwrap_or(0.0),
        cpu_samples: cpu.numbers(),
        memory_samples: memory.numbers(),
        status: AgentStatus::Unknown,
        last_heartbeat: None,
        alerts: 0,
        alert_firing_seconds: 0.0,
        availability: contact.availability,
        p50_cpu_usage,
        p95_cpu_usage,
        p99_cpu_usage,
        p50_memory_usage,
        p95_memory_usage,
        p99_memory_usage,
        cpu_trend: cpu_spread.trend,
        memory_trend: memory_spread.trend,
        gaps: contact.gaps,
        gap_count: contact.gap_count,
        gap_seconds: contact.gap_ms as f64 / 1000.0,
        network_bytes_sent: sent.bytes(),
        network_bytes_received: received.bytes(),
        network_bytes_sent_per_second: sent.per_second(),
        network_bytes_received_per_second: received.per_second(),
        traces: None,
    }
}

fn in_window(alert: &Alert, agent: &Agent, window: Window) -> AlertInWindow {
    AlertInWindow {
        alert_id: alert.alert_id.clone(),
        alert_name: alert.name.clone(),
        severity: alert.severity,
        description: alert.description.clone(),
        agent_id: agent.id.clone(),
        fired: alert.fired_at.unwrap_or(alert.active_at),
        resolved: resolved_by(alert, window.to),
        duration_seconds: firing_ms(alert, window) as f64 / 1000.0,
    }
}

fn trends(
    agents: &[AgentPerformance],
    fleet: &FleetUsage,
    [sent, received]: [Traffic; 2],
) -> SystemTrends {
    let with_status = |status| agents.iter().filter(|a| a.status == status).count() as u64;
    let scores: Vec<f64> = agents
        .iter()
        .filter(|a| a.total_metrics > 0)
        .map(|a| a.health_score)
        .collect();
    let FleetUsage {
        cpu: (cpu, cpu_distribution),
        memory: (memory, memory_distribution),
    } = fleet;
    let [p50_system_cpu, p95_system_cpu, p99_system_cpu] = percentiles(cpu_distribution);
    let [p50_system_memory, p95_system_memory, p99_system_memory] =
        percentiles(memory_distribution);
    SystemTrends {
        total_metrics_in_window: agents.iter().map(|a| a.total_metrics).sum(),
        average_system_cpu: cpu.mean().unwrap_or(0.0),
        average_system_memory: memory.mean().unwrap_or(0.0),
        cpu_samples: cpu.numbers(),
        memory_samples: memory.numbers(),
        average_health_score: (!scores.is_empty())
            .then(|| scores.iter().sum::<f64>() / scores.len() as f64),
        total_agents: agents.len() as u64,
        active_agents: with_status(AgentStatus::Active),
        unhealthy_agents: with_status(AgentStatus::Unhealthy),
        stale_agents: with_status(AgentStatus::Stale),
        unknown_agents: with_status(AgentStatus::Unknown),
        p50_system_cpu,
        p95_system_cpu,
        p99_system_cpu,
        p50_system_memory,
        p95_system_memory,
        p99_system_memory,
        network_bytes_sent: sent.bytes(),
        network_bytes_received: received.bytes(),
        network_bytes_sent_per_second: sent.per_second(),
        network_bytes_received_per_second: received.per_second(),
        traces: None,
    }
}
