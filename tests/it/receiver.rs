//! A webhook that counts: what it was told, with which idempotency key, and how it answers.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::{Arc, Mutex};

use axum::{Router, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use serde_json::Value;
use tokio::task::JoinHandle;

/// One attempt that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) key: String,
    pub(crate) body: Value,
}

impl Attempt {
    /// Ids of the alerts that it tells of, each with its status.
    pub(crate) fn alerts(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let alerts = self.body["alerts"].as_array().unwrap();
        alerts
            .iter()
            .map(|a| (text(&a["id"]), text(&a["status"])))
            .collect()
    }
}

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Status(u16),
    Hang,
}

#[derive(Debug)]
struct Shared {
    attempts: Mutex<Vec<Attempt>>,
    mood: Mutex<Mood>,
}

/// The webhook.
pub(crate) struct Receiver {
    url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::on("127.0.0.1:0").await
    }

    /// On an address, such as one that a receiver before it had.
    pub(crate) async fn on(address: &str) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            attempts: Mutex::default(),
            mood: Mutex::new(Mood::Status(200)),
        });
        let app = Router::new()
            .route("/hook", post(take))
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, shared, task }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn answers(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
    }

    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.shared.attempts.lock().unwrap().clone()
    }

    /// Attempts that told of an alert with a status.
    pub(crate) fn told(&self, id: &str, status: &str) -> Vec<Attempt> {
        let mut attempts = self.attempts();
        attempts.retain(|a| a.alerts().iter().any(|(i, s)| i == id && s == status));
        attempts
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> StatusCode {
    let key = headers.get("idempotency-key");
    let key = key.map_or("", |key| key.to_str().unwrap()).to_owned();
    let body = serde_json::from_str(&body).unwrap();
    shared.attempts.lock().unwrap().push(Attempt { key, body });
    let mood = *shared.mood.lock().unwrap();
    match mood {
        Mood::Status(status) => StatusCode::from_u16(status).unwrap(),
        Mood::Hang => std::future::pending().await,
    }
}
