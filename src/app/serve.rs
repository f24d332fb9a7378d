//! `serve`: opens the file, starts every task, waits for a signal, ends in order.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    StartError,
    alerting::{self, Evaluation, RuleFiles},
    discovery::Discovery,
    intake::trace_intake,
    logging, rounds,
    signals::EndSignals,
    trace_watch::watch_traces,
};
use crate::{
    api::{self, Access, GrpcServer, Readiness, Server, ServerError},
    collect::{self, Collector, ContactLedger},
    config::Config,
    forward::Forwarder,
    model::{Clock, SystemClock, Timestamp, format_duration_ms},
    notify,
    rules::RulesStatus,
    store::Store,
    telemetry::OwnMetrics,
    traces::SpanTap,
};

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// [`StartError`] says what kept it from starting, or from ending in order.
pub async fn serve(config: Config) -> Result<(), StartError> {
    logging::start(config.log);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Running::start(config, clock).await?.until_signal().await
}

/// A server with all its tasks.
pub(super) struct Running {
    store: Store,
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
    ready: watch::Sender<Readiness>,
    signals: EndSignals,
    address: SocketAddr,
}

impl Running {
    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a task that ends with the server.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        task: impl FnOnce(CancellationToken) -> F,
    ) {
        self.tasks.spawn(task(self.shutdown.clone()));
    }

    /// Opens the file and starts every task.
    pub(super) async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let signals = EndSignals::listen().map_err(|source| StartError::Io {
            what: "signals".to_owned(),
            source,
        })?;
        let access = Access::load(&config.api).map_err(|e| StartError::Config(e.to_string()))?;
        let metrics = Arc::new(OwnMetrics::default());
        let server = Server::bind(&config.api, Arc::clone(&metrics))
            .await
            .map_err(server_error)?;
        let started = clock.now();
        let store = open(&config, &clock, &metrics).await?;
        let discovery = Discovery::new(
            config.file_sd,
            config.store.limits.clone(),
            config.agents,
            collect::host_agent_id(&config.collect),
            Arc::clone(&clock),
            Arc::clone(&metrics),
        );
        let rules_status = watch::Sender::new(RulesStatus::default());
        let rule_files = RuleFiles {
            settings: config.rules.clone(),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            status: rules_status.clone(),
        };
        let (ready, readiness) = watch::channel(Readiness::NotReady("starting".to_owned()));
        let (span_tap, told_spans) = SpanTap::new();
        let context = api::Context {
            store: store.clone(),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            policy: config.store.policy.clone(),
            limits: config.store.limits.clone(),
            traces: trace_intake(&config.api.traces)?,
            ledger: Arc::new(ContactLedger::new()),
            started,
            ready: readiness,
            target_files: discovery.report(),
            rules: rules_status.subscribe(),
            span_tap,
        };
        let scheme = if config.api.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let address = server.local_addr();
        let grpc = grpc_server(&context, &config.api).await?;
        let router = api::router(context, &config.api, access);

        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let discovery = discovery.begin(&store).await?;
        let forwarder = Forwarder {
            store: store.clone(),
            settings: config.forward,
            host: collect::host_name(&config.collect),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
        };
        let collector = Collector {
            store: store.clone(),
            settings: config.collect,
            policy: config.store.policy.clone(),
            limits: config.store.limits.clone(),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
        };
        rule_files
            .apply(&store)
            .await
            .map_err(|why| StartError::Config(format!("alert rules: {why}")))?;
        let mut notify_settings = config.notify;
        let external_url = notify_settings
            .external_url
            .get_or_insert_with(|| format!("{scheme}://{address}"))
            .clone();
        let evaluation = Evaluation {
            store: store.clone(),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&metrics),
            interval: Duration::from_millis(config.rules.interval_ms.unsigned_abs()),
            started,
            status: rules_status,
            external_url,
        };
        let builtin = collector.register_builtin().await;
        // Connections wait in the socket's queue until here.
        tasks.spawn(server.run(router, shutdown.clone()));
        tasks.spawn(forward(forwarder, shutdown.clone()));
        let end = shutdown.clone();
        tasks.spawn(async move {
            if let Err(error) = collector.run(builtin, end).await {
                tracing::error!(%error, "nothing is collected");
            }
        });
        tasks.spawn(discovery.follow(store.clone(), shutdown.clone()));
        let healthy = {
            let store = store.clone();
            move || store.condition().problem().is_none()
        };
        alerting::give_up_orphans(&store, &notify_settings.channels).await;
        let delivery = notify::start(
            &store,
            notify_settings,
            &clock,
            &metrics,
            healthy,
            &shutdown,
        );
        tasks.spawn(delivery.map_err(|e| StartError::Other(e.into()))?);
        tasks.spawn(evaluation.run(shutdown.clone()));
        tasks.spawn(rule_files.follow(store.clone(), shutdown.clone()));
        tasks.spawn(alerting::dispatch(
            store.clone(),
            Arc::clone(&clock),
            shutdown.clone(),
        ));
        tasks.spawn(watch_traces(
            store.clone(),
            Arc::clone(&clock),
            Arc::clone(&metrics),
            config.watch,
            told_spans,
            shutdown.clone(),
        ));
        tasks.spawn(rounds::record_scores(
            store.clone(),
            Arc::clone(&clock),
            shutdown.clone(),
        ));
        tasks.spawn(rounds::judge_stale(
            store.clone(),
            rounds::STALE_INTERVAL,
            shutdown.clone(),
        ));

        ready.send_replace(Readiness::Ready);
        tracing::info!("listening on {scheme}://{address}");
        if let Some(grpc) = grpc {
            tracing::info!("OTLP over gRPC on {}", grpc.local_addr());
            let end = shutdown.clone();
            tasks.spawn(async move {
                if let Err(error) = grpc.serve(end.cancelled_owned()).await {
                    tracing::error!(%error, "OTLP over gRPC ended");
                }
            });
        }
        // Outside of systemd there is nobody to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        Ok(Self {
            store,
            tasks,
            shutdown,
            ready,
            signals,
            address,
        })
    }

    /// Waits for a signal, then ends: no new requests, those under way are finished, what waits is
    /// committed, the file is closed.
    pub(super) async fn until_signal(mut self) -> Result<(), StartError> {
        let mut failed = self.store.failed();
        tokio::select! {
            signal = self.signals.next() => tracing::info!("{signal}: ending"),
            _ = failed.wait_for(|failed| *failed) => {
                return Err(StartError::Other(anyhow::anyhow!("the database can no longer be written")));
            }
        }
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.ready
            .send_replace(Readiness::NotReady("shutting down".to_owned()));
        self.shutdown.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.store.close().await.map_err(|e| {
            StartError::Other(anyhow::Error::new(e).context("closing the database"))
        })?;
        tracing::info!("ended");
        Ok(())
    }
}

/// A socket that cannot be had is the system's word; unusable certificates are the configuration's.
fn server_error(error: ServerError) -> StartError {
    match error {
        ServerError::Bind { address, source } => StartError::Io {
            what: format!("cannot listen on {address}"),
            source,
        },
        tls @ ServerError::Tls { .. } => StartError::Config(tls.to_string()),
    }
}

/// OTLP over gRPC, if an address is set for it. Who may write there is decided as on the other address, by the same
/// tokens; without TLS, which it does not have, it stays on the loopback unless everybody is served.
async fn grpc_server(
    context: &api::Context,
    settings: &api::Settings,
) -> Result<Option<GrpcServer>, StartError> {
    let Some(listen) = settings.traces.otlp_grpc_listen else {
        return Ok(None);
    };
    if settings.tls.is_some() && !listen.ip().is_loopback() {
        return Err(StartError::Config(format!(
            "traces.otlp_grpc_listen = {listen}: OTLP over gRPC has no TLS here; listen on the loopback, or send OTLP over HTTP"
        )));
    }
    let settings = api::Settings {
        listen,
        ..settings.clone()
    };
    let access = Access::load(&settings).map_err(|e| StartError::Config(e.to_string()))?;
    let server = GrpcServer::bind(context.clone(), &settings, access).await;
    server.map_err(|source| StartError::Io {
        what: format!("listening on {listen} (traces.otlp_grpc_listen)"),
        source,
    })
}

/// Sends samples on until `shutdown`.
pub(super) async fn forward(forwarder: Forwarder, shutdown: CancellationToken) {
    if let Err(error) = forwarder.run(shutdown).await {
        tracing::error!(%error, "nothing is forwarded");
    }
}

pub(super) async fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Arc<OwnMetrics>,
) -> Result<Store, StartError> {
    let settings = config.store.clone();
    let (path, clock, metrics) = (
        config.database.clone(),
        Arc::clone(clock),
        Arc::clone(metrics),
    );
    let opening = tokio::task::spawn_blocking(move || Store::open(&path, settings, clock, metrics));
    let store = opening.await.map_err(|e| StartError::Other(e.into()))??;
    let status = store.status();
    tracing::info!(
        "database {}: schema {}, {} agents, {} series, last commit {}",
        config.database.display(),
        status.schema_version,
        status.agents,
        status.series,
        status.last_commit_ms.map_or_else(
            || "never".to_owned(),
            |ms| Timestamp::from_millis(ms).to_rfc3339()
        ),
    );
    tracing::info!(
        "retention: samples {}, traces {}, alerts {}",
        format_duration_ms(config.store.retention_ms),
        format_duration_ms(config.store.traces.retention_ms),
        format_duration_ms(config.store.alert_retention_ms),
    );
    for (place, rule) in (1..).zip(&config.store.retention_rules) {
        tracing::info!("retention rule {place}: {rule}");
    }
    Ok(store)
}
