//! The list of settings: name, form, bounds, meaning, and where each lands.
//!
//! File, environment, flags, the man page and `docs/configuration.md` are all served from it, so that
//! none can know a setting that the others do not.

use std::net::SocketAddr;

use tracing::level_filters::LevelFilter;

use super::{
    LogFormat,
    agents::TIMEOUT_MS,
    forward, ingest, query,
    setting::{Draft, Field, Kind, Setting, TextField},
    traces,
    value::{check_public_url, check_url},
};
use crate::model::{AgentId, DAY_MS, INTERVAL_MS, STALE_AFTER_MS_MIN};
use crate::notify::Secret;
use crate::store::FUTURE_MS_LIMIT;

/// A setting as documents show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingInfo {
    /// Section of the file; empty for its top.
    pub section: &'static str,
    /// Key within the section.
    pub key: &'static str,
    /// Environment variable.
    pub variable: String,
    /// Flag of `serve`, where there is one.
    pub flag: Option<&'static str>,
    /// What a value looks like.
    pub form: String,
    /// The default as TOML; `None` when nothing is set by default.
    pub default: Option<String>,
    /// What it does.
    pub meaning: &'static str,
}

/// Every setting that has a name of its own, section by section. `[[agents]]` is not among them.
pub fn settings() -> Vec<SettingInfo> {
    let defaults = Draft::default();
    all()
        .map(|setting| SettingInfo {
            section: setting.section(),
            key: setting.key(),
            variable: setting.variable(),
            flag: setting.flag,
            form: setting.form(),
            default: setting.shown(&defaults),
            meaning: setting.meaning,
        })
        .collect()
}

/// A setting whose kind holds accessors to the field at a path of the draft.
macro_rules! setting {
    ($name:literal, duration($least:expr, $most:expr), $($field:ident).+ as $int:ty, $meaning:literal) => {
        setting!(@ $name, None, Kind::Duration(Field {
            get: |d| Some(d.config.$($field).+ as i64),
            set: |d, ms| d.config.$($field).+ = ms as $int,
        }, $least, $most), $meaning)
    };
    ($name:literal, size($least:expr, $most:expr), $($field:ident).+ as $int:ty, $meaning:literal) => {
        setting!(@ $name, None, Kind::Size(Field {
            get: |d| Some(d.config.$($field).+ as u64),
            set: |d, bytes| d.config.$($field).+ = bytes as $int,
        }, $least, $most), $meaning)
    };
    ($name:literal, count($least:expr, $most:expr), $($field:ident).+ as $int:ty, $meaning:literal) => {
        setting!(@ $name, None, Kind::Count(Field {
            get: |d| d.config.$($field).+ as u64,
            set: |d, n| d.config.$($field).+ = n as $int,
        }, $least, $most), $meaning)
    };
    ($name:literal, number($least:expr, $most:expr), $($field:ident).+, $meaning:literal) => {
        setting!(@ $name, None, Kind::Number(Field {
            get: |d| d.config.$($field).+,
            set: |d, n| d.config.$($field).+ = n,
        }, $least, $most), $meaning)
    };
    ($name:literal, switch, $($field:ident).+, $meaning:literal) => {
        setting!(@ $name, None, Kind::Switch(Field {
            get: |d| d.config.$($field).+,
            set: |d, on| d.config.$($field).+ = on,
        }), $meaning)
    };
    ($name:literal, text($form:literal), $get:expr, $set:expr, $meaning:literal) => {
        setting!(@ $name, None, Kind::Text($form, TextField { get: $get, set: $set }), $meaning)
    };
    (@ $name:literal, $flag:expr, $kind:expr, $meaning:literal) => {
        Setting { name: $name, flag: $flag, kind: $kind, meaning: $meaning }
    };
}

pub(super) use setting;

pub(super) const MINUTE_MS: i64 = 60_000;
/// Contacts that wait longer would let readers call agents stale that are not.
const SCRAPE_COMMIT_DELAY_MS_MAX: i64 = STALE_AFTER_MS_MIN / 2;
pub(super) const YEAR_MS: i64 = 365 * DAY_MS;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
pub(super) const TIB: u64 = 1 << 40;

pub(super) fn path_text(path: &std::path::Path) -> String {
    path.display().to_string()
}

pub(super) fn no_control_characters(text: &str) -> Result<(), String> {
    match text.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, _)) => Err(format!("must not hold control characters (byte {at})")),
        None => Ok(()),
    }
}

/// Every setting, section by section.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> + Clone {
    let sections = SETTINGS.iter().chain(forward::SETTINGS);
    let sections = sections.chain(ingest::SETTINGS);
    sections.chain(query::SETTINGS).chain(traces::SETTINGS)
}

/// Those of all sections but `[forward]`, `[ingest]`, `[query]` and `[traces]`, which come last.
#[expect(
    clippy::cast_lossless,
    reason = "one macro for integers of every width; bounds keep each within its own"
)]
static SETTINGS: &[Setting] = &[
    setting!(
        "database",
        text("path"),
        |d| Some(path_text(&d.config.database)),
        |d, text| {
            d.config.database = text.into();
            Ok(())
        },
        "The database file; made when it is missing."
    )
    .or_flag("--db"),
    setting!(
        "http.listen",
        text("IP address and port"),
        |d| Some(d.config.api.listen.to_string()),
        |d, text| {
            d.config.api.listen = text.parse::<SocketAddr>().map_err(|_| {
                format!(
                    "`{text}` is not an IP address and port, such as 127.0.0.1:7464 or [::1]:7464"
                )
            })?;
            Ok(())
        },
        "Where to listen. Beyond loopback `tokens_file` or `insecure` is needed."
    )
    .or_flag("--listen"),
    setting!(
        "http.tokens_file",
        text("path"),
        |d| d.config.api.tokens_file.as_deref().map(path_text),
        |d, text| {
            d.config.api.tokens_file = Some(text.into());
            Ok(())
        },
        "File of bearer tokens with their roles."
    )
    .or_flag("--tokens-file"),
    setting!(
        "http.insecure",
        switch,
        api.insecure,
        "Listen beyond loopback without tokens: whoever reaches the port may read and write."
    )
    .or_flag("--insecure"),
    setting!(
        "http.tls_cert",
        text("path"),
        |d| d.tls_cert.as_deref().map(path_text),
        |d, text| {
            d.tls_cert = Some(text.into());
            Ok(())
        },
        "Certificate chain (PEM) to serve TLS with; needs `tls_key`."
    )
    .or_flag("--tls-cert"),
    setting!(
        "http.tls_key",
        text("path"),
        |d| d.tls_key.as_deref().map(path_text),
        |d, text| {
            d.tls_key = Some(text.into());
            Ok(())
        },
        "Private key (PEM) of `tls_cert`."
    )
    .or_flag("--tls-key"),
    Setting {
        name: "http.allowed_hosts",
        flag: None,
        kind: Kind::Texts(Field {
            get: |d| d.config.api.allowed_hosts.clone(),
            set: |d, hosts| d.config.api.allowed_hosts = hosts,
        }),
        meaning: "Host names, beside loopback's own, that requests may be addressed to.",
    },
    setting!(
        "http.connections_max",
        count(1, 1_000_000),
        api.connections_max as usize,
        "Connections at once."
    ),
    setting!(
        "http.body_size_max",
        size(1024, 4 * GIB),
        api.body_bytes_max as usize,
        "A request's body as it comes over the wire."
    ),
    setting!(
        "http.decompressed_size_max",
        size(1024, 16 * GIB),
        api.decompressed_bytes_max as usize,
        "A request's body after decompression."
    ),
    setting!(
        "http.header_timeout",
        duration(100, 10 * MINUTE_MS),
        api.header_timeout_ms as u64,
        "Within this a request's head must have arrived."
    ),
    setting!(
        "http.body_timeout",
        duration(100, 60 * MINUTE_MS),
        api.body_timeout_ms as u64,
        "Within this a request's body must have arrived."
    ),
    setting!(
        "http.samples_per_query_max",
        count(1, 1_000_000_000),
        api.samples_per_query_max as usize,
        "Samples that one query may return."
    ),
    setting!(
        "storage.retention",
        duration(60 * MINUTE_MS, 100 * YEAR_MS),
        store.retention_ms as i64,
        "Samples older than this are deleted, whole UTC days at a time."
    )
    .or_flag("--retention"),
    setting!(
        "storage.retention_size",
        size(0, 1024 * TIB),
        store.retention_bytes as u64,
        "Samples and rollups may take so much of the file; beyond it the oldest days are deleted early. 0 sets no limit."
    ),
    setting!(
        "storage.rollup_retention",
        duration(60 * MINUTE_MS, 100 * YEAR_MS),
        store.rollup_retention_ms as i64,
        "What each day, hour and five minutes added up to is kept for so long, also after the samples themselves."
    ),
    setting!(
        "storage.alert_retention",
        duration(60 * MINUTE_MS, 100 * YEAR_MS),
        store.alert_retention_ms as i64,
        "Alerts are kept for so long after they resolved."
    ),
    setting!(
        "storage.cache_size",
        size(MIB, TIB),
        store.cache_bytes as usize,
        "Memory for pages of the file."
    ),
    setting!(
        "storage.head_size",
        size(MIB, 64 * GIB),
        store.head_bytes_max as usize,
        "Samples in memory that start a checkpoint."
    ),
    setting!(
        "storage.wal_samples_max",
        count(1_000, 1_000_000_000),
        store.wal_samples_max as u64,
        "Samples in the write-ahead log that start a checkpoint, so that opening after a kill is quick."
    ),
    setting!(
        "storage.checkpoint_interval",
        duration(1_000, DAY_MS),
        store.checkpoint_interval_ms as i64,
        "A checkpoint starts at the latest so long after the last one."
    ),
    setting!(
        "storage.scrape_commit_delay",
        duration(0, SCRAPE_COMMIT_DELAY_MS_MAX),
        store.scrape_commit_delay_ms as i64,
        "Scraped samples, and judging who is silent, share a commit for at most so long; pushes never wait for it."
    ),
    setting!(
        "storage.commit_write_budget",
        size(1_000, GIB),
        store.commit_write_budget as u64,
        "Bytes per second that commits may cost beside their payload; above it commits are delayed."
    ),
    setting!(
        "storage.merge_write_budget",
        size(1_000, GIB),
        store.merge_write_budget as u64,
        "Bytes per second that merging blocks in the background may write."
    ),
    setting!(
        "storage.queue_rows_max",
        count(1_000, 1_000_000_000),
        store.queue_rows_max as usize,
        "Rows of pushes, and as many of scrapes, that may wait for a commit; beyond it writers are told to try again."
    ),
    setting!(
        "storage.queue_size",
        size(MIB, 64 * GIB),
        store.queue_bytes_max as usize,
        "Memory that they may take, pushes and scrapes each."
    ),
    Setting {
        name: "storage.disk_reserve",
        flag: None,
        kind: Kind::Size(
            Field {
                get: |d| d.config.store.disk_reserve,
                set: |d, bytes| d.config.store.disk_reserve = Some(bytes),
            },
            0,
            TIB,
        ),
        meaning: "Room on the database's disk that is kept free of new samples; 256MB, or a twentieth of the disk where that is less, unless set; 0 for none.",
    },
    setting!(
        "limits.future",
        duration(0, FUTURE_MS_LIMIT),
        store.future_ms_max as i64,
        "Samples further ahead of the clock than this are refused."
    ),
    setting!(
        "limits.series_per_agent",
        count(1, 1_000_000_000),
        store.limits.series_per_agent as usize,
        "Series with samples that one agent may have."
    ),
    setting!(
        "limits.series_total",
        count(1, 1_000_000_000),
        store.limits.series_total as usize,
        "Series of the whole file that have samples; each takes about 250 bytes of memory."
    ),
    setting!(
        "limits.labels_per_series",
        count(1, 1_024),
        store.limits.labels_per_series as usize,
        "Labels that one series may have."
    ),
    setting!(
        "limits.label_name_bytes",
        count(1, 65_536),
        store.limits.label_name_bytes as usize,
        "Bytes of a label's name."
    ),
    setting!(
        "limits.label_value_bytes",
        count(1, 1_048_576),
        store.limits.label_value_bytes as usize,
        "Bytes of a label's value."
    ),
    setting!(
        "limits.metric_name_bytes",
        count(1, 65_536),
        store.limits.metric_name_bytes as usize,
        "Bytes of a metric's name."
    ),
    setting!(
        "limits.agents_total",
        count(1, 10_000_000),
        store.limits.agents_total as usize,
        "Agents of the whole file, those that were deregistered included."
    ),
    setting!(
        "collect.interval",
        duration(*INTERVAL_MS.start(), *INTERVAL_MS.end()),
        store.policy.interval_ms as i64,
        "Interval of agents that give none."
    ),
    setting!(
        "collect.job",
        text("text"),
        |d| Some(d.config.store.policy.job.clone()),
        |d, text| {
            no_control_characters(text)?;
            text.clone_into(&mut d.config.store.policy.job);
            Ok(())
        },
        "Label `job` of agents that give none."
    ),
    setting!(
        "collect.stale_after_intervals",
        count(1, 1_000),
        store.policy.stale_after_intervals as u32,
        "An agent is stale after so many of its intervals without contact, though never within 30 s."
    ),
    setting!(
        "collect.scrape_timeout",
        duration(*TIMEOUT_MS.start(), *TIMEOUT_MS.end()),
        collect.timeout_ms as i64,
        "Time-out of a scrape or probe; the agent's interval when that is shorter."
    ),
    setting!(
        "collect.concurrency",
        count(1, 10_000),
        collect.concurrency as usize,
        "Scrapes under way at once."
    ),
    setting!(
        "collect.body_size_max",
        size(1024, 4 * GIB),
        collect.net.body_bytes_max as usize,
        "A target's answer as it comes over the wire."
    ),
    setting!(
        "collect.decompressed_size_max",
        size(1024, 16 * GIB),
        collect.net.decompressed_bytes_max as usize,
        "A target's answer after decompression."
    ),
    setting!(
        "collect.redirects_max",
        count(0, 20),
        collect.net.redirects_max as usize,
        "Redirects of a target that are followed."
    ),
    Setting {
        name: "collect.file_sd",
        flag: None,
        kind: Kind::Texts(Field {
            get: |d| d.file_sd.clone(),
            set: |d, patterns| d.file_sd = patterns,
        }),
        meaning: "Target files of Prometheus' `file_sd` format, ending in .json, .yml or .yaml; `*` may stand in the last component of a path. See docs/collection.md.",
    },
    setting!(
        "collect.file_sd_refresh",
        duration(1_000, DAY_MS),
        file_sd.refresh_ms as i64,
        "Target files are read again when they change, and at the latest after this."
    ),
    setting!(
        "collect.file_sd_targets_max",
        count(1, 1_000_000),
        file_sd.targets_max as usize,
        "Targets that one target file may name."
    ),
    setting!(
        "rules.evaluation_interval",
        duration(1_000, 3_600_000),
        rules.interval_ms as i64,
        "Rules that time decides (absence, forecasts, the end of `for`) are evaluated so often; others when samples arrive."
    ),
    setting!(
        "rules.dir",
        text("path of a directory"),
        |d| d.config.rules.directory.as_deref().map(path_text),
        |d, text| {
            d.config.rules.directory = Some(text.into());
            Ok(())
        },
        "Directory of files that end in .toml and hold `[[rule]]` sections, and of Prometheus rule files that end in .yml or .yaml. It is watched; a bad file leaves the last good rules in force. See docs/alerting.md."
    ),
    setting!(
        "host.enabled",
        switch,
        collect.host_enabled,
        "Whether this host is watched as an agent."
    ),
    setting!(
        "host.agent_id",
        text("agent id"),
        |d| d.config.collect.host_agent_id.clone(),
        |d, text| {
            let id = AgentId::new(text).map_err(|e| e.to_string())?;
            d.config.collect.host_agent_id = Some(id.as_str().to_owned());
            Ok(())
        },
        "This host's agent id; its hostname unless set."
    ),
    Setting {
        name: "host.interval",
        flag: None,
        kind: Kind::Duration(
            Field {
                get: |d| d.config.collect.host_interval_ms,
                set: |d, ms| d.config.collect.host_interval_ms = Some(ms),
            },
            *INTERVAL_MS.start(),
            *INTERVAL_MS.end(),
        ),
        meaning: "Interval of the host's and longwatch's own samples; `collect.interval` unless set.",
    },
    setting!(
        "health.window",
        duration(1_000, YEAR_MS),
        store.policy.health_window_ms as i64,
        "Window of the health score outside of reports."
    ),
    setting!(
        "health.cpu_critical_percent",
        number(0.0, 100.0),
        store.policy.health.cpu_critical_percent,
        "Average cpu above this is critical."
    ),
    setting!(
        "health.cpu_critical_points",
        number(0.0, 100.0),
        store.policy.health.cpu_critical_points,
        "Points off the score for critical cpu."
    ),
    setting!(
        "health.cpu_high_percent",
        number(0.0, 100.0),
        store.policy.health.cpu_high_percent,
        "Average cpu above this is high."
    ),
    setting!(
        "health.cpu_high_points",
        number(0.0, 100.0),
        store.policy.health.cpu_high_points,
        "Points off the score for high cpu."
    ),
    setting!(
        "health.memory_critical_percent",
        number(0.0, 100.0),
        store.policy.health.memory_critical_percent,
        "Average memory above this is critical."
    ),
    setting!(
        "health.memory_critical_points",
        number(0.0, 100.0),
        store.policy.health.memory_critical_points,
        "Points off the score for critical memory."
    ),
    setting!(
        "health.memory_high_percent",
        number(0.0, 100.0),
        store.policy.health.memory_high_percent,
        "Average memory above this is high."
    ),
    setting!(
        "health.memory_high_points",
        number(0.0, 100.0),
        store.policy.health.memory_high_points,
        "Points off the score for high memory."
    ),
    setting!(
        "health.status_points",
        number(0.0, 100.0),
        store.policy.health.status_points,
        "Points off the score for a status other than active."
    ),
    setting!(
        "health.alert_points",
        number(0.0, 100.0),
        store.policy.health.alert_points,
        "Points off the score for each firing alert of the agent."
    ),
    setting!(
        "notify.group_wait",
        duration(0, 60 * MINUTE_MS),
        notify.group_wait_ms as i64,
        "A group of alerts is first told so long after its first alert, so that what comes together is told together."
    ),
    setting!(
        "notify.group_interval",
        duration(1_000, DAY_MS),
        notify.group_interval_ms as i64,
        "A group that changed is told so long after it was told last."
    ),
    setting!(
        "notify.repeat_interval",
        duration(MINUTE_MS, YEAR_MS),
        notify.repeat_interval_ms as i64,
        "A group that fires on unchanged is told again after so long."
    ),
    Setting {
        name: "notify.group_by",
        flag: None,
        kind: Kind::Texts(Field {
            get: |d| d.config.notify.group_by.clone(),
            set: |d, labels| d.config.notify.group_by = labels,
        }),
        meaning: "Labels; alerts with the same values of them are a group. An empty list makes one group of all.",
    },
    setting!(
        "notify.give_up_after",
        duration(MINUTE_MS, 30 * DAY_MS),
        notify.give_up_after_ms as i64,
        "A notification that cannot be delivered for so long is given up. See docs/alerting.md."
    ),
    setting!(
        "notify.external_url",
        text("URL, http or https"),
        |d| d.config.notify.external_url.clone(),
        |d, text| {
            check_public_url(text)?;
            d.config.notify.external_url = Some(text.trim_end_matches('/').to_owned());
            Ok(())
        },
        "Where people reach longwatch; links in notifications begin with it. Without it there are none."
    ),
    setting!(
        "notify.heartbeat_url",
        text("URL, http or https"),
        |d| d
            .config
            .notify
            .heartbeat_url
            .as_ref()
            .map(ToString::to_string),
        |d, text| {
            check_url(text)?;
            d.config.notify.heartbeat_url = Some(Secret::Text(text.to_owned()));
            Ok(())
        },
        "Called (GET) in each `heartbeat_interval` while longwatch is healthy, so that another service notices when it is not. Never shown."
    ),
    setting!(
        "notify.heartbeat_interval",
        duration(1_000, DAY_MS),
        notify.heartbeat_interval_ms as i64,
        "How often `heartbeat_url` is called."
    ),
    setting!(
        "log.level",
        text("`off`, `error`, `warn`, `info`, `debug` or `trace`"),
        |d| Some(d.config.log.level.to_string()),
        |d, text| {
            let level = match text {
                "off" => LevelFilter::OFF,
                "error" => LevelFilter::ERROR,
                "warn" => LevelFilter::WARN,
                "info" => LevelFilter::INFO,
                "debug" => LevelFilter::DEBUG,
                "trace" => LevelFilter::TRACE,
                _ => {
                    return Err(format!(
                        "`{text}` is none of off, error, warn, info, debug, trace"
                    ));
                }
            };
            d.config.log.level = level;
            Ok(())
        },
        "Lines below this level are left out."
    )
    .or_flag("--log-level"),
    setting!(
        "log.format",
        text("`text` or `json`"),
        |d| Some(d.config.log.format.as_str().to_owned()),
        |d, text| {
            d.config.log.format = match text {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => return Err(format!("`{text}` is neither text nor json")),
            };
            Ok(())
        },
        "Form of a log line."
    )
    .or_flag("--log-format"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{config::value::Given, model::format_duration_ms};

    #[test]
    fn names_and_variables_are_unique_and_sections_stay_together() {
        let names: BTreeSet<_> = all().map(|s| s.name).collect();
        let variables: BTreeSet<_> = all().map(Setting::variable).collect();
        assert_eq!(names.len(), all().count());
        assert_eq!(variables.len(), all().count());
        let mut sections: Vec<_> = all().map(Setting::section).collect();
        sections.dedup();
        let distinct: BTreeSet<_> = sections.iter().collect();
        assert_eq!(distinct.len(), sections.len(), "{sections:?}");
    }

    /// Reads what it shows, and every setting lands in a field of its own.
    #[test]
    fn defaults_are_taken_back_unchanged() {
        let defaults = Draft::default();
        for setting in all() {
            let Some(shown) = setting.shown(&defaults) else {
                continue;
            };
            let value = toml::de::DeValue::parse(&shown).unwrap();
            let mut draft = Draft::default();
            setting
                .take(&mut draft, Given::Toml(value.get_ref()))
                .unwrap_or_else(|e| panic!("{}: {shown}: {e}", setting.name));
            assert_eq!(setting.shown(&draft), Some(shown), "{}", setting.name);
        }
    }

    #[test]
    fn each_setting_changes_itself_and_nothing_else() {
        let defaults = Draft::default();
        for setting in all() {
            let given = match &setting.kind {
                Kind::Duration(_, least, most) => {
                    format_duration_ms((least + 7_654_321).min(*most))
                }
                Kind::Size(_, least, _) | Kind::Count(_, least, _) => (least + 7).to_string(),
                Kind::Number(..) => "12.5".to_owned(),
                Kind::Switch(field) => (!(field.get)(&defaults)).to_string(),
                Kind::Texts(_) => "one,two".to_owned(),
                Kind::Text(..) => match setting.name {
                    "http.listen" | "traces.otlp_grpc_listen" => "[::1]:99".to_owned(),
                    "log.level" => "trace".to_owned(),
                    "log.format" => "json".to_owned(),
                    "forward.url" => "http://h/".to_owned(),
                    name if name.ends_with(".severity") => "emergency".to_owned(),
                    "notify.external_url" | "notify.heartbeat_url" => "http://h/".to_owned(),
                    _ => "other".to_owned(),
                },
            };
            let given = match setting.name {
                "http.header_timeout" => "77s".to_owned(),
                "http.body_timeout" | "collect.scrape_timeout" => "78s".to_owned(),
                _ => given,
            };
            let mut draft = Draft::default();
            setting
                .take(&mut draft, Given::Text(&given))
                .unwrap_or_else(|e| panic!("{}: {given}: {e}", setting.name));
            for other in all() {
                let changed = other.shown(&draft) != other.shown(&defaults);
                assert_eq!(
                    changed,
                    other.name == setting.name,
                    "{} by {}",
                    other.name,
                    setting.name
                );
            }
        }
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        let take = |name: &str, text: &str| {
            let setting = all().find(|s| s.name == name).unwrap();
            setting.take(&mut Draft::default(), Given::Text(text))
        };
        for (name, text) in [
            ("collect.interval", "0s"),
            ("collect.interval", "30"),
            ("collect.interval", ""),
            ("health.alert_points", "-10"),
            ("health.alert_points", "NaN"),
            ("health.alert_points", "ten"),
            ("limits.series_total", "0"),
            ("limits.series_total", "-1"),
            ("limits.series_total", "1e6"),
            ("http.body_size_max", "1B"),
            ("http.listen", "localhost:80"),
            ("traces.otlp_grpc_listen", "4317"),
            ("traces.agent_attribute", "a\nb"),
            ("http.insecure", "yes"),
            ("host.agent_id", ".."),
            ("log.level", "loud"),
            ("log.format", "xml"),
            ("collect.job", "a\nb"),
            ("notify.external_url", "watch.example"),
            ("notify.external_url", "https://user:hunter2@watch.example"),
            ("notify.heartbeat_url", "ftp://h/"),
            ("database", ""),
        ] {
            assert!(take(name, text).is_err(), "{name} = {text}");
        }
    }
}
