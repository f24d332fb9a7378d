//! OTLP over gRPC: the export calls for traces and logs, on an address of their own.
//! Source: OpenTelemetry Protocol Specification 1.9, "OTLP/gRPC".

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context as Poll, Poll as Polled},
    time::Duration,
};

use axum::http;
use bytes::{Buf, BufMut, Bytes};
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codec::{BufferSettings, Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, NamedService, UnaryService},
    transport::{
        Server,
        server::{TcpConnectInfo, TcpIncoming},
    },
};
use tower::Service;

use super::otlp::{take_log_records, take_protobuf};
use crate::{
    api::{
        Access, Context, Settings,
        access::{BoundAgent, Denied, Permission},
        context::Edge,
        problem::Problem,
    },
    ingest::{OtlpFormat, otlp_logs_response, otlp_response},
};

/// Calls of one connection that are worked on at once.
const CALLS_MAX: usize = 32;
/// A client that does not answer for so long is gone.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// OTLP over gRPC, bound to its address.
#[derive(Debug)]
pub struct GrpcServer {
    incoming: TcpIncoming,
    address: SocketAddr,
    edge: Arc<Edge>,
}

impl GrpcServer {
    /// Binds the address of the settings; `None` when they name none.
    ///
    /// # Errors
    /// The address cannot be had.
    pub async fn bind(
        context: Context,
        settings: &Settings,
        access: Access,
    ) -> std::io::Result<Option<Self>> {
        let Some(address) = settings.traces.otlp_grpc_listen else {
            return Ok(None);
        };
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let edge = Arc::new(Edge::new(context, settings.clone(), access));
        Ok(Some(Self {
            incoming,
            address,
            edge,
        }))
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `end`; calls under way are finished.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn serve(self, end: impl Future<Output = ()>) -> Result<(), tonic::transport::Error> {
        let traces = Export {
            edge: Arc::clone(&self.edge),
            what: What::Traces,
        };
        let logs = Export {
            edge: self.edge,
            what: What::Logs,
        };
        Server::builder()
            .concurrency_limit_per_connection(CALLS_MAX)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .add_service(TraceService(traces))
            .add_service(LogsService(logs))
            .serve_with_incoming_shutdown(self.incoming, end)
            .await
    }
}

#[derive(Clone, Copy, Debug)]
enum What {
    Traces,
    Logs,
}

/// One export call.
#[derive(Clone, Debug)]
struct Export {
    edge: Arc<Edge>,
    what: What,
}

impl UnaryService<Bytes> for Export {
    type Response = Bytes;
    type Future = BoxFuture<'static, Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let Self { edge, what } = self.clone();
        Box::pin(async move {
            let bound = request.extensions().get::<BoundAgent>().cloned();
            let bound = bound.ok_or_else(|| denial(Denied::Missing))?;
            let body = request.into_inner();
            let answer = match what {
                What::Traces => take_protobuf(&edge, &bound, body)
                    .await
                    .map(|received| otlp_response(&received, OtlpFormat::Protobuf)),
                What::Logs => take_log_records(&edge, &bound, body)
                    .await
                    .map(|received| otlp_logs_response(&received, OtlpFormat::Protobuf)),
            };
            answer
                .map(|bytes| Response::new(bytes.into()))
                .map_err(|problem| status_of(&problem))
        })
    }
}

impl Export {
    /// Who calls is judged by the headers, before the message is read.
    fn answer(&self, mut request: http::Request<Body>) -> BoxFuture<'static, http::Response<Body>> {
        let export = self.clone();
        let peer = peer_of(request.extensions());
        let header = request.headers().get(http::header::AUTHORIZATION);
        let authorization = header.and_then(|value| value.to_str().ok());
        let access = &export.edge.access;
        match access.judge(peer, authorization, Permission::IngestAny, None) {
            Ok(bound) => drop(request.extensions_mut().insert(bound)),
            Err(why) => return Box::pin(async move { denial(why).into_http() }),
        }
        let bytes_max = export.edge.settings.decompressed_bytes_max;
        Box::pin(async move {
            Grpc::new(BytesCodec)
                .accept_compressed(CompressionEncoding::Gzip)
                .max_decoding_message_size(bytes_max)
                .unary(export, request)
                .await
        })
    }
}

/// `opentelemetry.proto.collector.trace.v1.TraceService`
#[derive(Clone, Debug)]
struct TraceService(Export);

/// `opentelemetry.proto.collector.logs.v1.LogsService`
#[derive(Clone, Debug)]
struct LogsService(Export);

impl NamedService for TraceService {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl NamedService for LogsService {
    const NAME: &'static str = "opentelemetry.proto.collector.logs.v1.LogsService";
}

impl Service<http::Request<Body>> for TraceService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Poll<'_>) -> Polled<Result<(), Infallible>> {
        Polled::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        call(&self.0, Self::NAME, request)
    }
}

impl Service<http::Request<Body>> for LogsService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<http::Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Poll<'_>) -> Polled<Result<(), Infallible>> {
        Polled::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        call(&self.0, Self::NAME, request)
    }
}

/// Answers the one method that the services have.
fn call(
    export: &Export,
    service: &str,
    request: http::Request<Body>,
) -> BoxFuture<'static, Result<http::Response<Body>, Infallible>> {
    let method = request.uri().path().strip_prefix('/');
    let method = method.and_then(|path| path.strip_prefix(service));
    if method == Some("/Export") {
        let answer = export.answer(request);
        return Box::pin(async move { Ok(answer.await) });
    }
    Box::pin(async move { Ok(Status::unimplemented("there is no such method").into_http()) })
}

fn peer_of(extensions: &http::Extensions) -> Option<IpAddr> {
    let info = extensions.get::<TcpConnectInfo>()?;
    info.remote_addr().map(|address| address.ip())
}

fn denial(why: Denied) -> Status {
    match why {
        Denied::Missing => Status::unauthenticated("a bearer token is needed"),
        Denied::Unknown => Status::unauthenticated("this token is not known here"),
        Denied::Forbidden => Status::permission_denied("this token may not write spans"),
    }
}

fn status_of(problem: &Problem) -> Status {
    let code = match problem.status.as_u16() {
        // Clients try again after this one.
        503 | 507 => Code::Unavailable,
        403 => Code::PermissionDenied,
        400..=499 => Code::InvalidArgument,
        _ => Code::Internal,
    };
    Status::new(code, problem.detail.clone())
}

/// Messages as they are: the readers of OTLP over HTTP read them.
#[derive(Clone, Copy, Debug)]
struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let length = from.remaining();
        Ok(Some(from.copy_to_bytes(length)))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}
