//! `demo`: a server on a temporary database with the simulated fleet.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Fleet, traces};
use crate::{
    app::{StartError, logging, serve::Running},
    config::{Config, ConfiguredAgent, FileRule, parse_rules},
    model::{Clock, RuleOrigin, StoredRule, SystemClock},
};

/// Scraped samples show up so soon, in milliseconds: a demo is looked at while it starts.
const COMMIT_DELAY_MS: i64 = 300;
/// Interval of the host's and longwatch's own samples, in milliseconds.
const HOST_INTERVAL_MS: i64 = 2_000;

/// What can be chosen for a demo.
#[derive(Clone, Debug, Default)]
pub struct DemoOptions {
    /// Where to listen, 127.0.0.1:7464 unless set.
    pub listen: Option<SocketAddr>,
    /// Database to keep; a temporary one unless set.
    pub db: Option<PathBuf>,
}

/// Serves a simulated fleet until SIGTERM or SIGINT.
///
/// # Errors
/// [`StartError`] as for `serve`.
pub async fn demo(options: DemoOptions) -> Result<(), StartError> {
    let mut config = Config::default();
    logging::start(config.log);
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| StartError::Io { what, source }
    };
    let folder = tempfile::Builder::new()
        .prefix("longwatch-demo-")
        .tempdir()
        .map_err(failed("a folder for the database"))?;
    config.database = options.db.unwrap_or_else(|| {
        // What goes away with the demo needs no care.
        config.store.disk_reserve = Some(0);
        folder.path().join("demo.redb")
    });
    if let Some(listen) = options.listen {
        config.api.listen = listen;
    }
    config.store.scrape_commit_delay_ms = COMMIT_DELAY_MS;
    config.collect.host_interval_ms = Some(HOST_INTERVAL_MS);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let fleet = Fleet::start(Arc::clone(&clock))
        .await
        .map_err(failed("the simulated fleet"))?;
    let registrations = fleet
        .registrations()
        .map_err(|e| StartError::Other(e.into()))?;
    config.agents = registrations
        .into_iter()
        .map(|(id, registration)| ConfiguredAgent { id, registration })
        .collect();
    config.rules.rules = rules()?;
    let agents = config.agents.len();
    let mut running = Running::start(config, Arc::clone(&clock)).await?;
    let address = running.address();
    running.spawn(|shutdown| traces::tell(address, clock, shutdown));
    tracing::info!(
        "{agents} simulated agents are scraped every 2 s; one leaks memory, one crashes, one goes silent; their traces come every 2 s"
    );
    tracing::info!(
        "open the address above in a browser, or: longwatch report --url ADDRESS --window 5m; Ctrl-C ends"
    );
    running.until_signal().await
}

/// Rules that the fleet's faults break.
fn rules() -> Result<Vec<StoredRule>, StartError> {
    let text = include_str!("rules.toml");
    let found = parse_rules(Path::new("rules.toml"), text)
        .map_err(|errors| StartError::Config(errors.to_string()))?;
    let of_config = |found: FileRule| StoredRule {
        origin: RuleOrigin::Config,
        ..found.rule
    };
    Ok(found.into_iter().map(of_config).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_has_rules() {
        assert_eq!(rules().unwrap().len(), 3);
    }
}
