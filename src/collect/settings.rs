//! Settings of collection.

/// Settings of collection (`[collect]` and `[host]` of the configuration). The default interval and
/// job are part of `model::Policy`, since they change results.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Time-out of a scrape or probe in milliseconds; the interval when that is shorter (`scrape_timeout`, 10 s).
    pub timeout_ms: i64,
    /// Scrapes under way at once (`concurrency`, 64).
    pub concurrency: usize,
    /// Whether this host is an agent (`[host] enabled`, true).
    pub host_enabled: bool,
    /// Its agent id; `None` takes the hostname (`[host] agent_id`).
    pub host_agent_id: Option<String>,
    /// Interval of the host's and longwatch's own samples in milliseconds; `None` takes `collect.interval` (`[host] interval`).
    pub host_interval_ms: Option<i64>,
    /// Limits on what is fetched.
    pub net: crate::net::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout_ms: 10_000,
            concurrency: 64,
            host_enabled: true,
            host_agent_id: None,
            host_interval_ms: None,
            net: crate::net::Settings::default(),
        }
    }
}
