//! `GET /api/v1/admin/snapshot`: a consistent, cleanly closed database file.

use std::{io, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, Method, StatusCode, header},
    response::Response,
};
use futures_util::stream::{self, Stream};
use tokio::{io::AsyncReadExt, sync::OwnedSemaphorePermit};

use super::{context::Edge, problem::Problem};

pub(super) const CONTENT_TYPE: &str = "application/octet-stream";
/// Bytes read from the copy at a time.
const PIECE_BYTES: usize = 256 << 10;
const RETRY_AFTER_SECONDS: u32 = 10;

/// The copy on its way; the file, which has no name, goes away with it, and so does its place.
struct Sending {
    from: tokio::fs::File,
    _place: OwnedSemaphorePermit,
}

pub(super) async fn take(
    State(edge): State<Arc<Edge>>,
    method: Method,
) -> Result<Response, Problem> {
    // Whoever asks for the head alone gets no copy made, so that its length is not known.
    if method == Method::HEAD {
        return Ok(described(Body::empty(), &file_name(&edge), None));
    }
    let place = Arc::clone(&edge.snapshots)
        .try_acquire_owned()
        .map_err(|_| {
            Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "another snapshot is being taken; one at a time",
            )
            .retry_after(RETRY_AFTER_SECONDS)
        })?;
    let name = file_name(&edge);
    let from = tokio::fs::File::from_std(edge.context.store.snapshot().await?);
    let length = from.metadata().await.map_err(cannot_send)?.len();
    let sending = Sending {
        from,
        _place: place,
    };
    let body = Body::from_stream(pieces(sending));
    Ok(described(body, &name, Some(length)))
}

#[expect(clippy::needless_pass_by_value, reason = "shape of map_err")]
fn cannot_send(error: io::Error) -> Problem {
    tracing::error!(%error, "a snapshot could not be read back");
    Problem::internal(format!("the snapshot cannot be read back: {error}"))
}

fn pieces(sending: Sending) -> impl Stream<Item = io::Result<Vec<u8>>> {
    stream::try_unfold(sending, |mut sending| async move {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let mut limited = (&mut sending.from).take(PIECE_BYTES as u64);
        let read = limited.read_to_end(&mut piece).await?;
        Ok((read > 0).then_some((piece, sending)))
    })
}

fn file_name(edge: &Edge) -> String {
    let time = edge.now().to_chrono().format("%Y%m%dT%H%M%SZ");
    format!("longwatch-{time}.redb")
}

fn described(body: Body, name: &str, length: Option<u64>) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    response
}
