//! `agent`: collects on another host, keeps what it has until the server took it, answers nobody.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{
    StartError,
    discovery::Discovery,
    logging,
    serve::{forward, open},
    signals::EndSignals,
};
use crate::{
    collect::{self, Collector},
    config::Config,
    forward::Forwarder,
    model::{Clock, SystemClock},
    telemetry::OwnMetrics,
};

/// Collects and forwards until SIGTERM or SIGINT. The configuration is one of [`Config::into_agent`].
///
/// # Errors
/// [`StartError`] says what kept it from starting, or from ending in order.
pub async fn agent(config: Config) -> Result<(), StartError> {
    logging::start(config.log);
    let mut signals = EndSignals::listen().map_err(|source| StartError::Io {
        what: "signals".to_owned(),
        source,
    })?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Arc::new(OwnMetrics::default());
    let store = open(&config, &clock, &metrics).await?;
    let discovery = Discovery::new(
        config.file_sd,
        config.store.limits.clone(),
        config.agents,
        collect::host_agent_id(&config.collect),
        Arc::clone(&clock),
        Arc::clone(&metrics),
    );
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
        clock,
        metrics,
    };
    let builtin = collector.register_builtin().await;
    let shutdown = CancellationToken::new();
    let collecting = tokio::spawn(collector.run(builtin, shutdown.clone()));
    let discovering = tokio::spawn(discovery.follow(store.clone(), shutdown.clone()));
    let forwarding = tokio::spawn(forward(forwarder, shutdown.clone()));
    // Outside of systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let mut failed = store.failed();
    tokio::select! {
        signal = signals.next() => tracing::info!("{signal}: ending"),
        _ = failed.wait_for(|failed| *failed) => {
            return Err(StartError::Other(anyhow::anyhow!("the spool can no longer be written")));
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    shutdown.cancel();
    let (collected, ..) = tokio::join!(collecting, discovering, forwarding);
    if let Ok(Err(error)) = collected {
        tracing::error!(%error, "nothing was collected");
    }
    store
        .close()
        .await
        .map_err(|e| StartError::Other(anyhow::Error::new(e).context("closing the spool")))?;
    tracing::info!("ended");
    Ok(())
}
