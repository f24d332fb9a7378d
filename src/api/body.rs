//! Request bodies: bounded in bytes, in time, and in what all of them hold together.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    context::{Edge, blocking},
    problem::Problem,
};
use crate::ingest;

/// So much of a body that is too large is read and thrown away, because a client that is still sending
/// would see a reset connection in place of the answer.
const DRAINED_BYTES_MAX: u64 = 128 << 20;

/// A body as it came over the wire.
#[derive(Debug)]
pub(super) struct Payload {
    bytes: Bytes,
    encoding: Option<String>,
    decodes: Arc<Semaphore>,
    decompressed_bytes_max: usize,
    /// Its share of what all bodies may hold.
    share: Option<OwnedSemaphorePermit>,
}

impl FromRequest<Arc<Edge>> for Payload {
    type Rejection = Problem;

    async fn from_request(request: Request, edge: &Arc<Edge>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let time = Duration::from_millis(edge.settings.body_timeout_ms);
        let reading = collect(edge, &parts.headers, body);
        let (bytes, share) = tokio::time::timeout(time, reading).await.map_err(|_| {
            Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                format!("the body did not arrive within {} s", time.as_secs_f64()),
            )
            .closing()
        })??;
        Ok(Self {
            bytes,
            encoding: content_encoding(&parts.headers),
            decodes: Arc::clone(&edge.decodes),
            decompressed_bytes_max: edge.settings.decompressed_bytes_max,
            share,
        })
    }
}

impl Payload {
    /// A body that something else has read, bounded and decompressed.
    pub(super) fn plain(bytes: Bytes, edge: &Edge) -> Self {
        Self {
            bytes,
            encoding: None,
            decodes: Arc::clone(&edge.decodes),
            decompressed_bytes_max: edge.settings.decompressed_bytes_max,
            share: None,
        }
    }

    /// Decompresses the body and hands it to `parse`, where blocking is allowed.
    pub(super) async fn parsed<T: Send + 'static>(
        self,
        parse: impl FnOnce(&[u8]) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        // The semaphore is never closed.
        let place = Arc::clone(&self.decodes).acquire_owned().await.ok();
        blocking(move || {
            let plain = ingest::decompress(
                self.encoding.as_deref(),
                &self.bytes,
                self.decompressed_bytes_max,
            )?;
            let parsed = parse(&plain);
            drop((self.share, place));
            parsed
        })
        .await
    }

    /// Hands the body to `parse` as it was sent, where blocking is allowed.
    pub(super) async fn sent<T: Send + 'static>(
        self,
        parse: impl FnOnce(&[u8]) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let place = Arc::clone(&self.decodes).acquire_owned().await.ok();
        blocking(move || {
            let parsed = parse(&self.bytes);
            drop((self.share, place));
            parsed
        })
        .await
    }

    /// The body as JSON; an empty one is an empty object.
    pub(super) async fn json_or_nothing(self) -> Result<Value, Problem> {
        if self.bytes.is_empty() {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        self.json().await
    }

    /// The body as JSON.
    pub(super) async fn json(self) -> Result<Value, Problem> {
        self.parsed(|bytes| {
            serde_json::from_slice(bytes).map_err(|why| {
                Problem::new(
                    StatusCode::BAD_REQUEST,
                    format!("the body is no JSON: {why}"),
                )
            })
        })
        .await
    }
}

fn content_encoding(headers: &HeaderMap) -> Option<String> {
    let given: Vec<_> = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    (!given.is_empty()).then(|| given.join(", "))
}

async fn collect(
    edge: &Edge,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem> {
    let max = edge.settings.body_bytes_max;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = announced.filter(|length| *length > max as u64) {
        // Who asks first (`Expect: 100-continue`) has sent nothing yet.
        if !headers.contains_key(header::EXPECT) && length <= DRAINED_BYTES_MAX {
            drain(body, length).await;
        }
        return Err(too_large(max));
    }
    let mut bytes = Vec::with_capacity(announced.unwrap_or(0).min(64 << 10) as usize);
    let mut share: Option<OwnedSemaphorePermit> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the body broke off").closing())?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if bytes.len() + data.len() > max {
            drain(body, DRAINED_BYTES_MAX).await;
            return Err(too_large(max));
        }
        let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needed = (bytes.len() + data.len()).div_ceil(1024) - held;
        let more = Arc::clone(&edge.body_kib)
            .try_acquire_many_owned(needed as u32)
            .map_err(|_| Problem::busy("too many bodies are arriving", 1).closing())?;
        match &mut share {
            Some(share) => share.merge(more),
            None => share = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.into(), share))
}

fn too_large(max: usize) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("a body has at most {max} bytes (http.body_size_max)"),
    )
    .closing()
}

async fn drain(mut body: Body, bytes_max: u64) {
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await {
        seen += frame.data_ref().map_or(0, |data| data.len() as u64);
        if seen > bytes_max {
            break;
        }
    }
}
