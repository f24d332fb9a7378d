//! Which agents are collected from: follows the registrations.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use tokio::{
    sync::watch,
    task::{Id, JoinSet},
};

use super::{
    bound_process::ProcessName,
    target::{Context, Plan, watch_agent},
};
use crate::model::{Agent, AgentId};

/// A task that collects from one agent.
#[derive(Debug)]
struct Watched {
    plan: watch::Sender<Option<Plan>>,
    task: Id,
}

/// One task per agent that names an endpoint or a process. Dropping it ends them all without a trace in the file.
#[derive(Debug)]
pub(super) struct Roster {
    ctx: Arc<Context>,
    interval_ms: i64,
    watched: HashMap<AgentId, Watched>,
    tasks: JoinSet<()>,
}

impl Roster {
    /// An empty roster; agents without an interval of their own get `interval_ms`.
    pub(super) fn new(ctx: Arc<Context>, interval_ms: i64) -> Self {
        Self {
            ctx,
            interval_ms,
            watched: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Starts, changes and ends tasks so that they fit the agents registered now.
    pub(super) fn reconcile(&mut self, agents: &[Agent]) {
        let mut wanted = HashSet::new();
        for agent in agents {
            let Some(plan) = self.plan(agent) else {
                continue;
            };
            wanted.insert(&agent.id);
            match self.watched.get(&agent.id) {
                None => self.start(agent.id.clone(), plan),
                // A task that is ending writes its last markers; `ended` leads back here.
                Some(watched) if watched.plan.borrow().is_none() => {}
                Some(watched) => {
                    watched.plan.send_if_modified(|held| {
                        let differs = held.as_ref() != Some(&plan);
                        if differs {
                            *held = Some(plan);
                        }
                        differs
                    });
                }
            }
        }
        for (id, watched) in &self.watched {
            if !wanted.contains(id) {
                watched.plan.send_if_modified(|held| held.take().is_some());
            }
        }
    }

    /// Waits until a task has ended and forgets it; the caller then reconciles again, since its agent
    /// may be registered anew. Pending for ever while there is no task.
    pub(super) async fn ended(&mut self) {
        let task = match self.tasks.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((task, ()))) => task,
            Some(Err(error)) => {
                tracing::error!(%error, "a collecting task failed and starts anew");
                error.id()
            }
        };
        self.watched.retain(|_, watched| watched.task != task);
    }

    fn plan(&self, agent: &Agent) -> Option<Plan> {
        let said = &agent.registration;
        let process = said.pid.map(|pid| ProcessName {
            pid,
            start: said.pid_start.clone(),
        });
        if said.metrics_endpoint.is_none() && said.health_endpoint.is_none() && process.is_none() {
            return None;
        }
        Some(Plan {
            metrics_endpoint: said.metrics_endpoint.clone(),
            health_endpoint: said.health_endpoint.clone(),
            interval_ms: said.interval_ms.unwrap_or(self.interval_ms),
            timeout_ms: said.timeout_ms,
            honor_labels: said.honor_labels,
            process,
        })
    }

    fn start(&mut self, id: AgentId, plan: Plan) {
        let (sender, plans) = watch::channel(Some(plan));
        let watching = watch_agent(Arc::clone(&self.ctx), id.clone(), plans);
        let task = self.tasks.spawn(watching).id();
        self.watched.insert(id, Watched { plan: sender, task });
    }
}

#[cfg(test)]
mod tests;
