//! Which series a question is about: `agent_id`, `metric_name`, `label.NAME=VALUE`.

use std::io::Write;

use super::{parameters::Parameters, problem::Problem};
use crate::model::{Agent, AgentId, History, ReadError, SeriesInfo, Timestamp, Window};

/// A choice of series.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    agent: Option<AgentId>,
    metric: Option<String>,
    labels: Vec<(String, String)>,
}

/// The agent that the parameter `agent_id` names.
pub(super) fn agent_parameter(parameters: &Parameters) -> Result<Option<AgentId>, Problem> {
    parameters
        .text("agent_id")
        .map(AgentId::new)
        .transpose()
        .map_err(|why| Problem::parameter("agent_id", why.to_string()))
}

impl Selection {
    pub(super) fn read(parameters: &Parameters) -> Result<Self, Problem> {
        let metric = parameters.text("metric_name").map(str::to_owned);
        if metric.as_deref() == Some("") {
            return Err(Problem::parameter("metric_name", "must not be empty"));
        }
        Ok(Self {
            agent: agent_parameter(parameters)?,
            metric,
            labels: parameters
                .labels()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
    }

    /// Agents to look at, sorted by id. One that is named is found whatever its registration says, since
    /// history outlives it; else those registered at the end of the question, and those registered now,
    /// which may have sent samples of an earlier time.
    pub(super) fn agents(
        &self,
        history: &dyn History,
        end: Timestamp,
        now: Timestamp,
    ) -> Vec<Agent> {
        if let Some(id) = &self.agent {
            return history.agent(id, Timestamp::MAX).into_iter().collect();
        }
        let mut agents = history.agents(end);
        if end < now {
            agents.extend(history.agents(now));
            agents.sort_by(|a, b| a.id.cmp(&b.id));
            agents.dedup_by_key(|agent| agent.no);
        }
        agents
    }

    /// Series of one agent that may have something in the window, sorted by key.
    pub(super) fn series(
        &self,
        history: &dyn History,
        agent: &Agent,
        window: Window,
    ) -> Result<Vec<SeriesInfo>, ReadError> {
        let mut series = history.series_within(agent.no, self.metric.as_deref(), window)?;
        // An empty value says that the label is absent.
        series.retain(|info| {
            self.labels
                .iter()
                .all(|(name, value)| info.key.label(name).unwrap_or_default() == value)
        });
        Ok(series)
    }
}

/// Writes what `samples` and `series` say of a series, without the closing brace.
pub(super) fn write_identity(out: &mut Vec<u8>, agent: &Agent, info: &SeriesInfo) {
    out.extend_from_slice(b"{\"agent_id\":");
    write_text(out, agent.id.as_str());
    out.extend_from_slice(b",\"metric_name\":");
    write_text(out, info.key.name());
    // Writing to a Vec cannot fail.
    let _ = write!(out, ",\"metric_type\":\"{}\",\"labels\":{{", info.kind);
    for (i, (name, value)) in info.key.labels().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_text(out, name);
        out.push(b':');
        write_text(out, value);
    }
    out.push(b'}');
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    let _ = serde_json::to_writer(out, text);
}

/// A value as JSON: what JSON has no number for is a text.
pub(super) fn write_value(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"\"NaN\"");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 {
            b"\"+Inf\""
        } else {
            b"\"-Inf\""
        });
    } else {
        let _ = serde_json::to_writer(out, &value);
    }
}
