//! longwatch's own metrics: a closed set of names, counted by the rooms, shown at `/metrics` and
//! recorded as the agent `longwatch`.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// One label that says which: a source, a reason, a result.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct By {
    /// The word; always from a closed set in the code, never from outside.
    pub by: &'static str,
}

/// Route and status of an answered request.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route's pattern, such as `/api/v1/agents/{agent_id}`.
    pub route: String,
    /// Status code.
    pub status: u16,
}

/// A channel of notifications; its name is the configuration's.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByChannel {
    /// Its name.
    pub channel: String,
}

impl ByChannel {
    /// The label of a channel.
    pub fn new(channel: &str) -> Self {
        Self {
            channel: channel.to_owned(),
        }
    }
}

/// Own metrics. Rooms get an `Arc` of it and count directly.
#[derive(Debug)]
pub struct OwnMetrics {
    registry: Registry,
    /// Commits of the database.
    pub commits: Counter,
    /// Seconds a commit took, fsync included.
    pub commit_seconds: Histogram,
    /// Bytes written to the database file.
    pub file_bytes_written: Counter,
    /// Syncs of the database file.
    pub file_syncs: Counter,
    /// Samples made durable.
    pub samples_appended: Counter,
    /// Samples refused, by reason.
    pub samples_rejected: Family<By, Counter>,
    /// Spans made durable.
    pub spans_appended: Counter,
    /// Spans refused, by reason.
    pub spans_rejected: Family<By, Counter>,
    /// Spans that are durable, but that what is derived from traces missed: too much waited.
    pub spans_unwatched: Counter,
    /// Bytes of blocks of spans written.
    pub span_block_bytes_written: Counter,
    /// Checkpoints done.
    pub checkpoints: Counter,
    /// Blocks written by checkpoints.
    pub blocks_written: Counter,
    /// Bytes of blocks written by checkpoints.
    pub block_bytes_written: Counter,
    /// Days of agents whose blocks were merged.
    pub merges: Counter,
    /// Bytes of blocks and rollups written by merges.
    pub merged_bytes_written: Counter,
    /// Blocks and rollups found damaged since the start, as far as the file still has them.
    pub blocks_quarantined: Gauge,
    /// Commands that wait for a commit, by class (`control`, `push`, `spans`, `scrape`).
    pub queue_length: Family<By, Gauge>,
    /// Bytes of them, by class.
    pub queue_bytes: Family<By, Gauge>,
    /// Bytes free on the database's disk.
    pub disk_available: Gauge,
    /// Bytes of it that are kept in reserve.
    pub disk_reserve: Gauge,
    /// 1 while new samples are refused: the reserve is touched, or the file cannot be written.
    pub writes_refused: Gauge,
    /// How often the file was opened anew after an error of the disk.
    pub reopenings: Counter,
    /// Series known.
    pub series: Gauge,
    /// Agents registered now.
    pub agents: Gauge,
    /// Bytes of the database file.
    pub file_bytes: Gauge,
    /// Bytes of samples held in memory until the next checkpoint.
    pub head_bytes: Gauge,
    /// Seconds for which a plain copy that begins now is safe.
    pub copy_safe_seconds: Gauge<f64, AtomicU64>,
    /// Samples that a receiver took, forwarded from the log.
    pub forwarded: Counter,
    /// Samples that were not forwarded, by reason (`refused`, `spool_full`).
    pub forward_dropped: Family<By, Counter>,
    /// Requests to the receiver that failed and are tried again.
    pub forward_retries: Counter,
    /// Seconds since the commit of the oldest sample that waits to be forwarded.
    pub forward_delay_seconds: Gauge<f64, AtomicU64>,
    /// Scrapes, by result (`ok`, `failed`).
    pub scrapes: Family<By, Counter>,
    /// Seconds a scrape took.
    pub scrape_seconds: Histogram,
    /// Health probes, by result (`ok`, `failed`).
    pub probes: Family<By, Counter>,
    /// Kinds of a metric that contradicted an earlier one.
    pub metadata_conflicts: Counter,
    /// Exemplars seen and dropped.
    pub exemplars_dropped: Counter,
    /// Lines of scrapes that break a rule of their format and were taken all the same.
    pub format_departures: Counter,
    /// Target files known.
    pub target_files: Gauge,
    /// Agents that target files name.
    pub target_file_agents: Gauge,
    /// Contents of target files that were refused.
    pub target_files_refused: Counter,
    /// Conditions of rules that were judged.
    pub rule_evaluations: Counter,
    /// Seconds an evaluation of rules took.
    pub rule_evaluation_seconds: Histogram,
    /// Rules that could not be evaluated, counted each time.
    pub rule_errors: Counter,
    /// Contents of the rules directory that were refused.
    pub rule_files_refused: Counter,
    /// 1 while the rules directory is good, or there is none.
    pub rule_directory_is_good: Gauge,
    /// Requests answered.
    pub http_requests: Family<RequestLabels, Counter>,
    /// Connections refused for lack of a place.
    pub http_connections_refused: Counter,
    /// Attempts to deliver a notification, by channel.
    pub notification_attempts: Family<ByChannel, Counter>,
    /// Attempts that failed or were refused, by channel.
    pub notification_failures: Family<ByChannel, Counter>,
    /// Notifications that arrived, by channel.
    pub notifications_delivered: Family<ByChannel, Counter>,
    /// Notifications that were given up, by channel.
    pub notifications_given_up: Family<ByChannel, Counter>,
    /// Notifications that wait to be delivered, by channel.
    pub notifications_waiting: Family<ByChannel, Gauge>,
    /// Calls of the heartbeat's URL, by result (`ok`, `failed`).
    pub heartbeats: Family<By, Counter>,
}

impl Default for OwnMetrics {
    fn default() -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.000_5, 2.0, 16));
        let mut metrics = Self {
            registry: Registry::with_prefix("longwatch"),
            commits: Counter::default(),
            commit_seconds: seconds(),
            file_bytes_written: Counter::default(),
            file_syncs: Counter::default(),
            samples_appended: Counter::default(),
            samples_rejected: Family::default(),
            spans_appended: Counter::default(),
            spans_rejected: Family::default(),
            spans_unwatched: Counter::default(),
            span_block_bytes_written: Counter::default(),
            checkpoints: Counter::default(),
            blocks_written: Counter::default(),
            block_bytes_written: Counter::default(),
            merges: Counter::default(),
            merged_bytes_written: Counter::default(),
            blocks_quarantined: Gauge::default(),
            queue_length: Family::default(),
            queue_bytes: Family::default(),
            disk_available: Gauge::default(),
            disk_reserve: Gauge::default(),
            writes_refused: Gauge::default(),
            reopenings: Counter::default(),
            series: Gauge::default(),
            agents: Gauge::default(),
            file_bytes: Gauge::default(),
            head_bytes: Gauge::default(),
            copy_safe_seconds: Gauge::default(),
            forwarded: Counter::default(),
            forward_dropped: Family::default(),
            forward_retries: Counter::default(),
            forward_delay_seconds: Gauge::default(),
            scrapes: Family::default(),
            scrape_seconds: seconds(),
            probes: Family::default(),
            metadata_conflicts: Counter::default(),
            exemplars_dropped: Counter::default(),
            format_departures: Counter::default(),
            target_files: Gauge::default(),
            target_file_agents: Gauge::default(),
            target_files_refused: Counter::default(),
            rule_evaluations: Counter::default(),
            rule_evaluation_seconds: seconds(),
            rule_errors: Counter::default(),
            rule_files_refused: Counter::default(),
            rule_directory_is_good: Gauge::default(),
            http_requests: Family::default(),
            http_connections_refused: Counter::default(),
            notification_attempts: Family::default(),
            notification_failures: Family::default(),
            notifications_delivered: Family::default(),
            notifications_given_up: Family::default(),
            notifications_waiting: Family::default(),
            heartbeats: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl OwnMetrics {
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("commits", "Commits of the database", self.commits.clone());
        r.register_with_unit(
            "commit_duration",
            "Time of a commit with its fsync",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        r.register_with_unit(
            "file_written",
            "Bytes written to the database file",
            Unit::Bytes,
            self.file_bytes_written.clone(),
        );
        r.register(
            "file_syncs",
            "Syncs of the database file",
            self.file_syncs.clone(),
        );
        r.register(
            "samples_appended",
            "Samples made durable",
            self.samples_appended.clone(),
        );
        r.register(
            "samples_rejected",
            "Samples refused, by reason",
            self.samples_rejected.clone(),
        );
        r.register(
            "spans_appended",
            "Spans made durable",
            self.spans_appended.clone(),
        );
        r.register(
            "spans_rejected",
            "Spans refused, by reason",
            self.spans_rejected.clone(),
        );
        r.register(
            "spans_unwatched",
            "Spans that span metrics and detectors missed since too much waited",
            self.spans_unwatched.clone(),
        );
        r.register_with_unit(
            "span_blocks_written_size",
            "Bytes of blocks of spans written",
            Unit::Bytes,
            self.span_block_bytes_written.clone(),
        );
        r.register("checkpoints", "Checkpoints done", self.checkpoints.clone());
        r.register(
            "blocks_written",
            "Blocks written by checkpoints",
            self.blocks_written.clone(),
        );
        r.register_with_unit(
            "blocks_written_size",
            "Bytes of blocks written by checkpoints",
            Unit::Bytes,
            self.block_bytes_written.clone(),
        );
        r.register(
            "merges",
            "Days of agents whose blocks were merged",
            self.merges.clone(),
        );
        r.register_with_unit(
            "merges_written_size",
            "Bytes of blocks and rollups written by merges",
            Unit::Bytes,
            self.merged_bytes_written.clone(),
        );
        r.register(
            "blocks_quarantined",
            "Blocks and rollups that cannot be read",
            self.blocks_quarantined.clone(),
        );
        r.register(
            "queue_length",
            "Writes that wait for a commit, by class",
            self.queue_length.clone(),
        );
        r.register_with_unit(
            "queue_size",
            "Bytes of writes that wait for a commit, by class",
            Unit::Bytes,
            self.queue_bytes.clone(),
        );
        r.register_with_unit(
            "disk_available",
            "Free on the disk of the database",
            Unit::Bytes,
            self.disk_available.clone(),
        );
        r.register_with_unit(
            "disk_reserve",
            "Kept free on the disk of the database",
            Unit::Bytes,
            self.disk_reserve.clone(),
        );
        r.register(
            "writes_refused",
            "1 while new samples are refused for the state of the disk",
            self.writes_refused.clone(),
        );
        r.register(
            "file_reopenings",
            "How often the database file was opened anew after an error",
            self.reopenings.clone(),
        );
        r.register("series", "Series known", self.series.clone());
        r.register("agents", "Agents registered", self.agents.clone());
        r.register_with_unit(
            "file_size",
            "Length of the database file",
            Unit::Bytes,
            self.file_bytes.clone(),
        );
        r.register_with_unit(
            "head_size",
            "Samples in memory until the next checkpoint",
            Unit::Bytes,
            self.head_bytes.clone(),
        );
        r.register_with_unit(
            "copy_safe",
            "Time for which a plain copy that begins now is safe",
            Unit::Seconds,
            self.copy_safe_seconds.clone(),
        );
        r.register(
            "forwarded_samples",
            "Samples that the receiver of [forward] took",
            self.forwarded.clone(),
        );
        r.register(
            "forward_samples_dropped",
            "Samples that were not forwarded, by reason",
            self.forward_dropped.clone(),
        );
        r.register(
            "forward_retries",
            "Requests to the receiver of [forward] that failed and are tried again",
            self.forward_retries.clone(),
        );
        r.register_with_unit(
            "forward_delay",
            "Time since the commit of the oldest sample that waits to be forwarded",
            Unit::Seconds,
            self.forward_delay_seconds.clone(),
        );
        r.register("scrapes", "Scrapes, by result", self.scrapes.clone());
        r.register_with_unit(
            "scrape_duration",
            "Time of a scrape",
            Unit::Seconds,
            self.scrape_seconds.clone(),
        );
        r.register("probes", "Health probes, by result", self.probes.clone());
        r.register(
            "metadata_conflicts",
            "Metric kinds that contradicted an earlier one",
            self.metadata_conflicts.clone(),
        );
        r.register(
            "exemplars_dropped",
            "Exemplars seen and dropped",
            self.exemplars_dropped.clone(),
        );
        r.register(
            "format_departures",
            "Lines of scrapes that break a rule of their format and were taken all the same",
            self.format_departures.clone(),
        );
        r.register(
            "target_files",
            "Target files known",
            self.target_files.clone(),
        );
        r.register(
            "target_file_agents",
            "Agents that target files name",
            self.target_file_agents.clone(),
        );
        r.register(
            "rule_evaluations",
            "Conditions of rules that were judged",
            self.rule_evaluations.clone(),
        );
        r.register_with_unit(
            "rule_evaluation_duration",
            "Time of an evaluation of rules",
            Unit::Seconds,
            self.rule_evaluation_seconds.clone(),
        );
        r.register(
            "rule_errors",
            "Rules that could not be evaluated, counted each time",
            self.rule_errors.clone(),
        );
        r.register(
            "rule_files_refused",
            "Contents of the rules directory that were refused",
            self.rule_files_refused.clone(),
        );
        r.register(
            "rule_directory_is_good",
            "1 while the rules directory is good, or there is none",
            self.rule_directory_is_good.clone(),
        );
        r.register(
            "target_files_refused",
            "Contents of target files that were refused",
            self.target_files_refused.clone(),
        );
        r.register(
            "http_requests",
            "Requests answered",
            self.http_requests.clone(),
        );
        r.register(
            "http_connections_refused",
            "Connections refused for lack of a place",
            self.http_connections_refused.clone(),
        );
        self.register_notifications();
    }

    fn register_notifications(&mut self) {
        let r = &mut self.registry;
        r.register(
            "notification_attempts",
            "Attempts to deliver a notification, by channel",
            self.notification_attempts.clone(),
        );
        r.register(
            "notification_failures",
            "Attempts to deliver a notification that failed or were refused, by channel",
            self.notification_failures.clone(),
        );
        r.register(
            "notifications_delivered",
            "Notifications that arrived, by channel",
            self.notifications_delivered.clone(),
        );
        r.register(
            "notifications_given_up",
            "Notifications that were given up, by channel",
            self.notifications_given_up.clone(),
        );
        r.register(
            "notifications_waiting",
            "Notifications that wait to be delivered, by channel",
            self.notifications_waiting.clone(),
        );
        r.register(
            "heartbeats",
            "Calls of the heartbeat's URL, by result",
            self.heartbeats.clone(),
        );
    }

    /// Counts spans that were refused.
    pub fn reject_spans(&self, reason: &'static str, spans: u64) {
        self.spans_rejected
            .get_or_create(&By { by: reason })
            .inc_by(spans);
    }

    /// Counts refused samples.
    pub fn reject(&self, reason: &'static str, samples: u64) {
        self.samples_rejected
            .get_or_create(&By { by: reason })
            .inc_by(samples);
    }

    /// Counts samples that are not forwarded.
    pub fn forward_dropped(&self, reason: &'static str, samples: u64) {
        self.forward_dropped
            .get_or_create(&By { by: reason })
            .inc_by(samples);
    }

    /// All metrics as OpenMetrics 1.0 text.
    pub fn to_openmetrics(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}
