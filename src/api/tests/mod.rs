//! The edge as a whole: requests against the router over a store in a temporary folder, and
//! connections against the server.

mod connections;
mod gates;
mod jaeger;
mod requests;
mod tempo;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode, header},
    response::Response,
};
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt;

use super::{Access, Context, Peer, Readiness, Settings, TargetFiles, TraceIntake, router};
use crate::{
    collect::ContactLedger,
    ingest::{self, SpanLimits},
    model::{Clock, Limits, ManualClock, Policy, PriceTable, Timestamp},
    store::{self, Store},
    telemetry::OwnMetrics,
};

/// 2023-11-14T22:13:20Z.
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A router with what stands behind it.
struct Edge {
    router: Router,
    store: Store,
    clock: Arc<ManualClock>,
    ready: watch::Sender<Readiness>,
    settings: Settings,
    _dir: tempfile::TempDir,
}

impl Edge {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        Self::since(START, settings)
    }

    /// One whose clock begins then.
    fn since(start: Timestamp, settings: Settings) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(start));
        let metrics = Arc::new(OwnMetrics::default());
        let store = Store::open(
            &dir.path().join("test.redb"),
            // The disk may be nearly full.
            store::Settings {
                disk_reserve: Some(0),
                ..store::Settings::default()
            },
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::clone(&metrics),
        )
        .unwrap();
        let (ready, readiness) = watch::channel(Readiness::Ready);
        let context = Context {
            store: store.clone(),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            metrics: Arc::clone(&metrics),
            policy: Policy::default(),
            limits: Limits::default(),
            traces: TraceIntake {
                agent_attribute: None,
                prices: Arc::new(PriceTable::built_in()),
                limits: SpanLimits::default(),
            },
            ledger: Arc::new(ContactLedger::default()),
            started: start,
            ready: readiness,
            rules: tokio::sync::watch::channel(crate::rules::RulesStatus::default()).1,
            target_files: watch::channel(TargetFiles::default()).1,
            span_tap: crate::traces::SpanTap::new().0,
        };
        let access = Access::load(&settings).unwrap();
        Self {
            router: router(context, &settings, access),
            store,
            clock,
            ready,
            settings,
            _dir: dir,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        Answer::read(response).await
    }

    async fn get(&self, uri: &str) -> Answer {
        self.send(request("GET", uri, Body::empty())).await
    }

    async fn post(&self, uri: &str, body: impl Into<Body>) -> Answer {
        self.send(request("POST", uri, body)).await
    }

    async fn delete(&self, uri: &str) -> Answer {
        self.send(request("DELETE", uri, Body::empty())).await
    }

    /// Sends a document of OTLP in JSON, of which every span is taken.
    async fn append_otlp(&self, document: &[u8]) {
        let mut sent = request("POST", "/v1/traces", document.to_vec());
        let json = "application/json".parse().unwrap();
        sent.headers_mut().insert(header::CONTENT_TYPE, json);
        let answer = self.send(sent).await.json(200);
        let rejected = answer.pointer("/partialSuccess/rejectedSpans");
        assert!(rejected.is_none_or(|number| number == "0"), "{answer}");
    }

    fn advance(&self, seconds: i64) {
        self.clock
            .set(self.clock.now().plus_millis(seconds * 1_000));
    }
}

/// A request as a program on the same host sends it.
fn request(method: &str, uri: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(uri)
        .header(header::HOST, "localhost:7464")
        .extension(Peer(([127, 0, 0, 1], 5).into()))
        .body(body.into())
        .unwrap()
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: body.to_vec(),
        }
    }

    fn header(&self, name: impl axum::http::header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body of an answer of this status as JSON.
    #[track_caller]
    fn json(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        let value: Value = serde_json::from_slice(&self.body).unwrap();
        if status >= 400 {
            assert_eq!(
                self.header(header::CONTENT_TYPE),
                "application/problem+json"
            );
            assert_eq!(value["status"], status);
            assert!(value["title"].is_string() && value["detail"].is_string());
        }
        value
    }

    /// Pointers of a problem's errors.
    #[track_caller]
    fn pointers(&self, status: u16) -> Vec<String> {
        self.json(status)["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|e| e["pointer"].as_str().unwrap().to_owned())
            .collect()
    }
}
