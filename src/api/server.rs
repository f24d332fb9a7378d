//! Connections: accepted up to a number, bounded in time at every step, ended in good order.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

use super::{Settings, stall::StallGuard, tls};
use crate::telemetry::OwnMetrics;

/// Bytes of a request's head, and of what is read of a body at a time. A head has at most 100 headers
/// beside that, which is hyper's own limit.
const BUFFER_BYTES_MAX: usize = 64 << 10;
/// A client that takes nothing of its answer for so long is cut off.
const WRITE_STALL: Duration = Duration::from_mins(1);
/// Requests under way at the end may take so long.
const GRACE: Duration = Duration::from_secs(10);
/// Pause after an error that accepting again at once would only repeat (no file handles left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

const NO_PLACE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    content-type: application/problem+json\r\ncontent-length: 95\r\nretry-after: 1\r\nconnection: close\r\n\r\n\
    {\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"too many connections; try again in 1 s\"}\n";

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The reason of the operating system.
        source: io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("{path}: {why}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// Where a request's connection comes from; [`Server`] adds it to each request, and without it no
/// caller counts as near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A socket that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
    head_timeout: Duration,
    /// How long requests under way may take once it ends.
    pub(super) grace: Duration,
    metrics: Arc<OwnMetrics>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Reads certificate and key, if there are any, and listens. Connections wait in the socket's queue
    /// until [`Self::run`].
    ///
    /// # Errors
    /// [`ServerError`] that names the address or the file.
    pub async fn bind(settings: &Settings, metrics: Arc<OwnMetrics>) -> Result<Self, ServerError> {
        let tls = settings.tls.as_ref().map(tls::acceptor).transpose()?;
        let failed = |source| ServerError::Bind {
            address: settings.listen,
            source,
        };
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            tls,
            places: Arc::new(Semaphore::new(
                settings.connections_max.min(Semaphore::MAX_PERMITS),
            )),
            head_timeout: Duration::from_millis(settings.header_timeout_ms),
            grace: GRACE,
            metrics,
        })
    }

    /// The address with its real port.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`; then accepts no more, lets requests under way finish within 10 s and
    /// cuts off the rest. No task of a connection is left when it returns.
    pub async fn run(self, router: Router, shutdown: CancellationToken) {
        let graceful = GracefulShutdown::new();
        let end = CancellationToken::new();
        let tasks = TaskTracker::new();
        loop {
            let (stream, peer) = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = accept(&self.listener) => accepted,
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                self.metrics.http_connections_refused.inc();
                self.turn_away(stream);
                continue;
            };
            let connection = Connection {
                peer,
                router: router.clone(),
                head_timeout: self.head_timeout,
                watcher: graceful.watcher(),
            };
            let (tls, end) = (self.tls.clone(), end.clone());
            tasks.spawn(async move {
                tokio::select! {
                    () = end.cancelled() => {}
                    () = connection.serve(stream, tls) => {}
                }
                drop(place);
            });
        }
        drop(self.listener);
        tasks.close();
        if timeout(self.grace, graceful.shutdown()).await.is_err() {
            tracing::warn!(
                connections = tasks.len(),
                "requests did not finish in time and are cut off"
            );
        }
        end.cancel();
        tasks.wait().await;
    }

    /// Says why, as far as that goes without waiting for the client.
    fn turn_away(&self, stream: TcpStream) {
        if self.tls.is_none()
            && let Ok(mut stream) = stream.into_std()
        {
            let _ = stream.write(NO_PLACE);
        }
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // The client has gone already.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionRefused
                ) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

struct Connection {
    peer: SocketAddr,
    router: Router,
    head_timeout: Duration,
    watcher: Watcher,
}

impl Connection {
    async fn serve(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        // Answers are written whole; waiting for more would only delay them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else {
            return self.converse(stream).await;
        };
        match timeout(self.head_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.converse(stream).await,
            Ok(Err(error)) => {
                tracing::debug!(peer = %self.peer, %error, "TLS handshake failed");
            }
            Err(_) => tracing::debug!(peer = %self.peer, "TLS handshake took too long"),
        }
    }

    async fn converse(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self {
            peer,
            router,
            head_timeout,
            watcher,
        } = self;
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer));
            router.clone().call(request)
        });
        let mut http = http1::Builder::new();
        // The time for a head also bounds how long a connection may idle between two requests.
        http.timer(TokioTimer::new())
            .header_read_timeout(head_timeout)
            .max_header_size(BUFFER_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES_MAX);
        let io = TokioIo::new(StallGuard::new(stream, WRITE_STALL));
        if let Err(error) = watcher.watch(http.serve_connection(io, service)).await {
            tracing::debug!(%peer, %error, "a connection ended early");
        }
    }
}
