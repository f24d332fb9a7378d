//! The fleet's HTTP endpoints, all on one port of the loopback.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use parking_lot::Mutex;
use tokio::{net::TcpListener, task::JoinHandle};

use super::{
    agent::{Condition, Simulated},
    cast::CAST,
    exposition::expose,
};
use crate::model::{AgentId, BadAgentId, Clock, Registration, RegistrationSource, Timestamp};

/// Interval of the simulated agents, in milliseconds.
const INTERVAL_MS: i64 = 2_000;
/// A silent agent's connection is kept so long; every time-out is shorter.
const SILENCE: Duration = Duration::from_mins(1);

#[derive(Debug)]
struct World {
    clock: Arc<dyn Clock>,
    started: Timestamp,
    agents: Vec<Mutex<Simulated>>,
}

impl World {
    fn agent(&self, name: &str) -> Option<&Mutex<Simulated>> {
        let at = CAST.iter().position(|role| role.name == name)?;
        self.agents.get(at)
    }

    fn second(&self) -> u64 {
        let elapsed_ms = self.clock.now().since(self.started);
        u64::try_from(elapsed_ms / 1_000).unwrap_or(0)
    }
}

/// A running simulated fleet; its server ends when it is dropped.
#[derive(Debug)]
pub(super) struct Fleet {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Fleet {
    /// Starts the agents on a free port of 127.0.0.1; their time counts from now.
    ///
    /// # Errors
    /// What the operating system says when no port can be had.
    pub(super) async fn start(clock: Arc<dyn Clock>) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let agents = CAST
            .into_iter()
            .zip(0..)
            .map(|(role, number)| Mutex::new(Simulated::new(role, number)))
            .collect();
        let world = Arc::new(World {
            started: clock.now(),
            clock,
            agents,
        });
        let router = Router::new()
            .route("/agents/{name}/metrics", get(metrics))
            .route("/agents/{name}/health", get(health))
            .with_state(world);
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the simulated fleet ended");
            }
        });
        Ok(Self { address, server })
    }

    /// The agents as they are to be registered.
    ///
    /// # Errors
    /// [`BadAgentId`] if a role were named what no agent can be.
    pub(super) fn registrations(&self) -> Result<Vec<(AgentId, Registration)>, BadAgentId> {
        CAST.iter()
            .map(|role| {
                let url = format!("http://{}/agents/{}", self.address, role.name);
                let registration = Registration {
                    metrics_endpoint: Some(format!("{url}/metrics")),
                    health_endpoint: Some(format!("{url}/health")),
                    interval_ms: Some(INTERVAL_MS),
                    labels: vec![("role".to_owned(), role.work.to_owned())],
                    info: serde_json::json!({ "simulated": true, "shows": role.shows }).to_string(),
                    ..Registration::bare(RegistrationSource::Api)
                };
                Ok((AgentId::new(role.name)?, registration))
            })
            .collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Waits or fails as the agent does at this second; `Ok` with the second when it is well.
async fn condition(world: &World, agent: &Mutex<Simulated>) -> Result<u64, StatusCode> {
    let second = world.second();
    let condition = agent.lock().condition(second);
    match condition {
        Condition::Well => Ok(second),
        Condition::Failing => Err(StatusCode::INTERNAL_SERVER_ERROR),
        Condition::Silent => {
            tokio::time::sleep(SILENCE).await;
            Err(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

async fn metrics(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
) -> Result<Response, StatusCode> {
    let agent = world.agent(&name).ok_or(StatusCode::NOT_FOUND)?;
    let second = condition(&world, agent).await?;
    let mut agent = agent.lock();
    let role = agent.role;
    let (content_type, body) = expose(&role, agent.at(second));
    Ok(([(CONTENT_TYPE, content_type)], body).into_response())
}

async fn health(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
) -> Result<&'static str, StatusCode> {
    let agent = world.agent(&name).ok_or(StatusCode::NOT_FOUND)?;
    condition(&world, agent).await?;
    Ok("ok\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::HeaderMap;

    use super::*;
    use crate::{
        ingest::parse_scrape,
        model::{Limits, ManualClock},
        net::{Client, FetchError, Fetched, Settings},
    };

    struct Stage {
        fleet: Fleet,
        clock: Arc<ManualClock>,
        client: Client,
    }

    async fn stage() -> Stage {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        Stage {
            fleet: Fleet::start(Arc::<ManualClock>::clone(&clock))
                .await
                .unwrap(),
            clock,
            client: Client::new(&Settings::default()).unwrap(),
        }
    }

    impl Stage {
        fn at(&self, second: i64) {
            self.clock.set(Timestamp::from_millis(second * 1_000));
        }

        async fn metrics(&self, name: &str) -> Result<Fetched, FetchError> {
            let url = format!("http://{}/agents/{name}/metrics", self.fleet.address);
            let timeout = Duration::from_secs(30);
            self.client.get(&url, timeout, &HeaderMap::new()).await
        }
    }

    #[tokio::test]
    async fn every_agent_answers_in_one_of_three_formats() {
        let stage = stage().await;
        stage.at(5);
        let mut formats = std::collections::BTreeSet::new();
        let registrations = stage.fleet.registrations().unwrap();
        assert_eq!(registrations.len(), 12);
        for (id, registration) in registrations {
            let fetched = stage.metrics(id.as_str()).await.unwrap();
            let body = std::str::from_utf8(&fetched.body).unwrap();
            for name in [
                "system_cpu_usage",
                "system_memory_usage",
                "network_bytes_sent",
                "network_bytes_recv",
                "agent_messages_sent_total",
                "tasks_completed_total",
                "task_errors_total",
                "queue_depth",
                "task_duration_seconds_bucket",
            ] {
                assert!(body.contains(name), "{id}: {name}");
            }
            let content_type = fetched.content_type.unwrap();
            let at = Timestamp::from_millis(5_000);
            let limits = Limits::default();
            let parsed =
                parse_scrape(Some(&content_type), &fetched.body, at, false, &limits).unwrap();
            assert_eq!(parsed.errors.len(), 0, "{id}");
            assert!(parsed.batch.len() > 15, "{id}");
            assert_eq!(
                body.ends_with("# EOF\n"),
                content_type.starts_with("application/openmetrics-text")
            );
            formats.insert(content_type);
            let health = registration.health_endpoint.unwrap();
            let probed = stage.client.probe(&health, Duration::from_secs(30)).await;
            assert_eq!(probed, Ok(200));
            assert_eq!(registration.labels[0].0, "role");
        }
        assert_eq!(formats.len(), 3);
    }

    #[tokio::test]
    async fn faults_come_and_go() {
        let stage = stage().await;
        stage.at(10);
        assert_eq!(
            stage.metrics("tester").await.unwrap_err(),
            FetchError::Status(500),
            "crashed"
        );
        stage.at(30);
        assert!(stage.metrics("tester").await.is_ok());
        let base = format!("http://{}/agents/watchdog", stage.fleet.address);
        let short = Duration::from_millis(50);
        for path in ["metrics", "health"] {
            let probed = stage.client.probe(&format!("{base}/{path}"), short).await;
            assert_eq!(probed, Err(FetchError::TimedOut(short)), "{path}");
        }
        stage.at(75);
        assert!(stage.metrics("watchdog").await.is_ok());
        assert_eq!(
            stage.metrics("nobody").await.unwrap_err(),
            FetchError::Status(404)
        );
    }

    #[tokio::test]
    async fn two_fleets_are_alike() {
        let (one, other) = (stage().await, stage().await);
        for second in [3, 9, 40] {
            one.at(second);
        }
        one.at(41);
        other.at(41);
        for name in ["planner", "router", "browser", "retriever"] {
            let (a, b) = (one.metrics(name).await, other.metrics(name).await);
            assert_eq!(a.unwrap().body, b.unwrap().body, "{name}");
        }
    }
}
