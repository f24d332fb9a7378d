//! Configuration from file, environment and flags; its documents compared with the list of settings.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use longwatch::{
    config::{
        AGENT_KEYS, CHANNEL_SECTIONS, Config, KeyInfo, LogFormat, Origin, Overrides,
        RETENTION_RULE_KEYS, ROUTING_SECTIONS, SettingInfo, load, settings,
    },
    model::{DAY_MS, RegistrationSource, Severity},
    notify::{ChannelKind, MailSecurity, Secret},
};
use tracing::level_filters::LevelFilter;

const NO_ENV: [(&str, &str); 0] = [];

/// A file in a folder that lives as long as the value.
struct TempFile {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn file(text: &str) -> TempFile {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("longwatch.toml");
    fs::write(&path, text).unwrap();
    TempFile {
        _folder: folder,
        path,
    }
}

fn read(text: &str) -> Config {
    let file = file(text);
    load(Some(&file.path), NO_ENV, &Overrides::default()).unwrap_or_else(|e| panic!("{text}\n{e}"))
}

/// Errors of a text as lines, the file's name left out.
fn errors(text: &str) -> Vec<String> {
    let file = file(text);
    let errors = load(Some(&file.path), NO_ENV, &Overrides::default()).unwrap_err();
    let name = format!("{}:", file.path.display());
    errors
        .to_string()
        .lines()
        .map(|line| line.strip_prefix(&name).unwrap_or(line).to_owned())
        .collect()
}

#[test]
fn settings_of_detectors_stand_in_sections_of_their_own_or_behind_dots() {
    for text in [
        "[traces.detectors.loop]\nrounds = 7\nseverity = \"critical\"\n[traces.detectors.idle]\nenabled = false",
        "[traces]\ndetectors.loop.rounds = 7\ndetectors.loop.severity = \"critical\"\ndetectors.idle = { enabled = false }",
    ] {
        let detectors = read(text).watch.detectors;
        assert_eq!(detectors.looping.rounds, 7);
        assert_eq!(detectors.looping.switch.severity, Severity::Critical);
        assert!(!detectors.idle.switch.enabled && detectors.looping.switch.enabled);
    }
    assert_eq!(
        errors(
            "[traces.detectors.loop]\nround = 7\nrounds = 1\n[traces.detectors.lop]\nrounds = 7\n[traces.x]"
        ),
        [
            "2:1: traces.detectors.loop.round: unknown key; did you mean `detectors.loop.rounds`?",
            "3:10: traces.detectors.loop.rounds: must be between 2 and 1000000, not 1",
            "4:19: traces.detectors.lop: unknown key",
            "6:9: traces.x: unknown key",
        ]
    );
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let config = load(None, NO_ENV, &Overrides::default()).unwrap();
    assert_eq!(config.database, Path::new("longwatch.redb"));
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:7464");
    assert_eq!(config.store.retention_ms, 30 * DAY_MS);
    assert!(config.agents.is_empty());
    assert_eq!(read("").store.policy, config.store.policy);
}

#[test]
fn the_file_sets_every_room() {
    let config = read(
        r#"
database = "/var/lib/longwatch/a.redb"
[http]
listen = "0.0.0.0:80"
tokens_file = "tokens.toml"
tls_cert = "c.pem"
tls_key = "k.pem"
allowed_hosts = ["monitor.example", "m"]
body_size_max = "1MiB"
header_timeout = "5s"
[storage]
retention = "400d"
cache_size = 1_048_576
[limits]
series_total = 0x1000
[collect]
interval = "1m30s"
job = "fleet"
stale_after_intervals = 5
redirects_max = 0
[host]
enabled = false
interval = "5s"
[health]
window = "2h"
cpu_high_points = 12.5
alert_points = 7
[log]
level = "debug"
format = "json"
"#,
    );
    assert_eq!(config.database, Path::new("/var/lib/longwatch/a.redb"));
    assert_eq!(config.api.listen.to_string(), "0.0.0.0:80");
    assert_eq!(config.api.tls.unwrap().key, Path::new("k.pem"));
    assert_eq!(config.api.allowed_hosts, ["monitor.example", "m"]);
    assert_eq!(config.api.body_bytes_max, 1 << 20);
    assert_eq!(config.api.header_timeout_ms, 5_000);
    assert_eq!(config.store.retention_ms, 400 * DAY_MS);
    assert_eq!(config.store.cache_bytes, 1 << 20);
    assert_eq!(config.store.limits.series_total, 4_096);
    assert_eq!(config.store.policy.interval_ms, 90_000);
    assert_eq!(config.store.policy.job, "fleet");
    assert_eq!(config.store.policy.stale_after_intervals, 5);
    assert_eq!(config.store.policy.health_window_ms, 7_200_000);
    assert_eq!(config.store.policy.health.cpu_high_points, 12.5);
    assert_eq!(config.store.policy.health.alert_points, 7.0);
    assert_eq!(config.collect.net.redirects_max, 0);
    assert!(!config.collect.host_enabled);
    assert_eq!(config.collect.host_interval_ms, Some(5_000));
    assert_eq!(config.log.level, LevelFilter::DEBUG);
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn agents_are_registered_as_written() {
    let config = read(
        r#"
[[agents]]
agent_id = "planner/ä 1"
metrics_endpoint = "http://user:hunter2@10.0.0.7:9100/metrics"
health_endpoint = "https://10.0.0.7/health"
collection_interval = "15s"
pid = 4711
honor_labels = true
labels = { zone = "b", job = "planners", empty = "" }
[agents.info]
owner = "ops"
since = 2024-05-01
ratio = 0.5
worst = inf
list = [1, "two", { three = true }]

[[agents]]
agent_id = "silent"
"#,
    );
    let [planner, silent] = config.agents.as_slice() else {
        panic!("{:?}", config.agents)
    };
    let told = &planner.registration;
    assert_eq!(planner.id.as_str(), "planner/ä 1");
    assert_eq!(
        told.metrics_endpoint.as_deref(),
        Some("http://user:hunter2@10.0.0.7:9100/metrics")
    );
    assert_eq!(told.interval_ms, Some(15_000));
    assert_eq!(told.pid, Some(4711));
    assert!(told.honor_labels);
    assert_eq!(told.source, RegistrationSource::Config);
    let label = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    assert_eq!(told.labels, [label("job", "planners"), label("zone", "b")]);
    let info: serde_json::Value = serde_json::from_str(&told.info).unwrap();
    assert_eq!(
        info,
        serde_json::json!({"owner": "ops", "since": "2024-05-01", "ratio": 0.5, "worst": "+Inf",
            "list": [1, "two", {"three": true}]})
    );
    assert!(silent.registration.is_push_only());
    assert_eq!(silent.registration.info, "{}");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn channels_are_read_as_written() {
    let config = read(
        r#"
[notify]
group_wait = "0s"
external_url = "https://watch.example/lw/"
heartbeat_url = "https://hc.example/hunter2"
[[notify.webhook]]
name = "pager"
url = "https://user:hunter2@pager.example/hook"
headers = { X-Key = "hunter2" }
bearer_token_file = "/run/secrets/pager"
timeout = "3s"
send_resolved = false
[[notify.log]]
name = "journal"
[[notify.slack]]
name = "chat"
url_env = "CHAT_URL"
[[notify.email]]
name = "mail"
smtp_host = "mail.example"
from = "longwatch <watch@example.org>"
to = ["ops@example.org"]
username = "watch"
password_file = "/run/secrets/mail"
[[notify.command]]
name = "page"
command = ["/usr/local/bin/page", "--token=hunter2"]
"#,
    );
    let notify = &config.notify;
    assert_eq!(notify.group_wait_ms, 0);
    assert_eq!(
        notify.external_url.as_deref(),
        Some("https://watch.example/lw")
    );
    assert!(notify.heartbeat_url.is_some());
    let names: Vec<_> = notify.channels.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["journal", "pager", "chat", "mail", "page"]);
    let [journal, pager, chat, mail, page] = notify.channels.as_slice() else {
        panic!("{notify:?}")
    };
    assert_eq!(journal.kind, ChannelKind::Log);
    assert_eq!((pager.timeout_ms, pager.send_resolved), (3_000, false));
    assert_eq!((chat.timeout_ms, chat.send_resolved), (10_000, true));
    assert_eq!(page.timeout_ms, 30_000);
    let ChannelKind::Webhook(hook) = &pager.kind else {
        panic!("{pager:?}")
    };
    assert_eq!(
        hook.url,
        Secret::Text("https://user:hunter2@pager.example/hook".to_owned())
    );
    assert_eq!(hook.headers()["x-key"], "hunter2");
    assert_eq!(
        hook.bearer_token,
        Some(Secret::File("/run/secrets/pager".into()))
    );
    let ChannelKind::Slack(slack) = &chat.kind else {
        panic!("{chat:?}")
    };
    assert_eq!(slack.url, Secret::Variable("CHAT_URL".to_owned()));
    let ChannelKind::Email(email) = &mail.kind else {
        panic!("{mail:?}")
    };
    assert_eq!((email.smtp_port, email.tls), (587, MailSecurity::StartTls));
    assert_eq!(email.login.as_ref().unwrap().username, "watch");
    let ChannelKind::Command(command) = &page.kind else {
        panic!("{page:?}")
    };
    assert_eq!(command.command.len(), 2);
    assert!(!format!("{config:?}").contains("hunter2"));

    let log = read("[notify]\ngroup_by = []\n").notify;
    assert_eq!(log.channels.len(), 1);
    assert_eq!(
        (log.channels[0].name.as_str(), &log.channels[0].kind),
        ("log", &ChannelKind::Log)
    );
}

#[test]
fn mistakes_of_channels_are_reported_with_their_places() {
    let text = "\
[notify]
group_wait = 'soon'
webhok = 1
slack = 5
[[notify.webhook]]
url = 'ftp://user:hunter2@host/'
headers = { Host = 'x', 'a b' = 'hunter2', X-N = 1, X-L = \"hunter2\\r\\nX: y\" }
timeout = '1h'
[[notify.webhook]]
name = 'a'
url = 'http://h/'
url_file = 'u'
bearer_token = 'hunter2'
bearer_token_file = 't'
bearer_token_env = 'LONGWATCH_TOKEN'
headers = { Authorization = 'hunter2' }
[[notify.log]]
name = 'a'
timeout = '1s'
[[notify.command]]
name = ''
command = '/bin/sh'
[[notify.command]]
name = 'c'
command = []
send_resolved = 1
[[notify.email]]
name = 'm'
smtp_host = 'mail.example'
smtp_port = 70000
tls = 'none'
from = 'nobody'
to = ['a@b', \"a@b\\r\\nBcc: c@d\"]
username = 'u'
password = 'hunter2'
[[notify.email]]
name = 'n'
smtp_host = 'a b'
tls = 'ssl'
from = 'a@b'
to = []
password_env = 'MAIL'
";
    let expected = [
        "2:14: notify.group_wait: `soon` is not a duration: give a number and a unit, such as `30s`, `5m`, `24h`, `7d`",
        "3:1: notify.webhok: unknown key; did you mean `webhook`?",
        "4:9: notify.slack: expected sections [[notify.slack]], found an integer",
        "5:1: notify.webhook.name: is missing",
        "6:7: notify.webhook.url: the URL must begin with http:// or https://",
        "7:20: notify.webhook.headers.Host: this header is set by longwatch itself",
        "7:33: notify.webhook.headers.a b: not a header's name",
        "7:50: notify.webhook.headers.X-N: expected text, found an integer",
        "7:59: notify.webhook.headers.X-L: a header's value holds no control characters",
        "8:11: notify.webhook.timeout: must be between 100ms and 10m, not 1h",
        "10:8: notify.webhook.name: `a` is given twice, first at FILE:18:8",
        "12:12: notify.webhook.url_file: excludes `url`: give one of them",
        "13:1: notify.webhook.bearer_token: unknown key; a secret is given by `bearer_token_file` or `bearer_token_env`",
        "15:20: notify.webhook.bearer_token_env: excludes `bearer_token_file`: give one of them",
        "15:20: notify.webhook.bearer_token_env: variables that begin with LONGWATCH_ are settings; call it otherwise",
        "16:29: notify.webhook.headers.Authorization: the bearer token is sent in this header",
        "19:1: notify.log.timeout: unknown key",
        "21:8: notify.command.name: must not be empty: expected text",
        "22:11: notify.command.command: expected a list of texts such as [\"a\", \"b\"], found text",
        "25:11: notify.command.command: must name a program",
        "26:17: notify.command.send_resolved: expected true or false, found an integer",
        "30:13: notify.email.smtp_port: must be between 1 and 65535, not 70000",
        "31:7: notify.email.tls: `mail.example` is not this host: mail would go over the network in clear; set `allow_plaintext = true` if that is meant",
        "32:8: notify.email.from: `nobody` is not a mail address, such as `ops@example.org` or `Operations <ops@example.org>`",
        "33:6: notify.email.to: a mail address holds no control characters",
        "34:12: notify.email.username: needs `password_file` or `password_env` beside it",
        "35:1: notify.email.password: unknown key; a secret is given by `password_file` or `password_env`",
        "38:13: notify.email.smtp_host: not a host name or an IP address",
        "39:7: notify.email.tls: `ssl` is none of starttls, implicit, none",
        "41:6: notify.email.to: must name a recipient",
        "42:16: notify.email.password_env: needs `username` beside it",
    ];
    let found: Vec<String> = errors(text)
        .iter()
        .map(|line| match line.split_once("first at ") {
            Some((before, place)) => {
                let at = place.rsplit_once(".toml").map_or("", |(_, at)| at);
                format!("{before}first at FILE{at}")
            }
            None => line.clone(),
        })
        .collect();
    assert_eq!(found.join("\n"), expected.join("\n"));
}

#[test]
fn mail_in_clear_stays_on_this_host_unless_said_otherwise() {
    let mail = |host: &str, more: &str| {
        format!(
            "[[notify.email]]\nname = 'm'\nsmtp_host = '{host}'\ntls = 'none'\nfrom = 'a@b.example'\nto = ['c@d.example']\n{more}"
        )
    };
    for host in ["localhost", "127.0.0.1", "::1"] {
        read(&mail(host, ""));
    }
    read(&mail("mail.example", "allow_plaintext = true\n"));
    for (host, more) in [
        ("mail.example", ""),
        ("10.0.0.1", "allow_plaintext = false\n"),
    ] {
        let found = errors(&mail(host, more));
        assert!(
            found.len() == 1 && found[0].starts_with("4:7: notify.email.tls: "),
            "{found:?}"
        );
    }
}

#[test]
fn later_sources_win() {
    let file = file(
        "database = \"file.redb\"\n[http]\nlisten = \"127.0.0.1:1\"\n[storage]\nretention = \"1d\"\n[log]\nlevel = \"warn\"\n",
    );
    let env = [
        ("LONGWATCH_HTTP_LISTEN", "127.0.0.1:2"),
        ("LONGWATCH_STORAGE_RETENTION", "2d"),
        ("LONGWATCH_HTTP_ALLOWED_HOSTS", "a.example, b.example"),
        ("LONGWATCH_CONFIG", "elsewhere.toml"),
        ("LONGWATCH_TOKEN", "secret"),
        ("PATH", "/bin"),
    ];
    let flags = Overrides {
        retention: Some("3d".to_owned()),
        ..Overrides::default()
    };
    let config = load(Some(&file.path), env, &flags).unwrap();
    assert_eq!(config.log.level, LevelFilter::WARN);
    assert_eq!(config.database, Path::new("file.redb"));
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:2");
    assert_eq!(config.api.allowed_hosts, ["a.example", "b.example"]);
    assert_eq!(config.store.retention_ms, 3 * DAY_MS);
    assert_eq!(config.store.alert_retention_ms, 400 * DAY_MS);
}

#[test]
fn all_mistakes_are_reported_with_their_places() {
    let text = "\
databse = 'x'
[collect]
intervall = '30s'
interval = '0s'
job = 7
  stale_after_intervals = -3
retention = '30d'
[colect]
job = 'a'
[health]
alert_points = -10
window = \"1 fortnight\"
[http]
listen = 'ä:é'
[[agents]]
agent_id = ' '
metrics_endpoint = 'ftp://user:hunter2@host/'
pid = 0
colour = 1
labels = { agent_id = 'x', __name__ = 'y', zone = 1 }
[[agents]]
collection_interval = 15
[[agents]]
agent_id = 'b'
[[agents]]
agent_id = 'longwatch'
";
    let expected = [
        "1:1: databse: unknown key; did you mean `database`?",
        "3:1: collect.intervall: unknown key; did you mean `interval`?",
        "4:12: collect.interval: must be between 100ms and 7d, not 0s",
        "5:7: collect.job: expected text, found an integer",
        "6:27: collect.stale_after_intervals: `-3` is not a whole number, 0 or more",
        "7:1: collect.retention: unknown key; it belongs to [storage]",
        "8:2: colect: unknown section; did you mean `collect`?",
        "11:16: health.alert_points: must be between 0 and 100, not -10",
        "12:10: health.window: `1 fortnight` is not a duration: give a number and a unit, such as `30s`, `5m`, `24h`, `7d`",
        "14:10: http.listen: `ä:é` is not an IP address and port, such as 127.0.0.1:7464 or [::1]:7464",
        "16:12: agents.agent_id: an agent id must not begin or end with a blank",
        "17:20: agents.metrics_endpoint: the URL must begin with http:// or https://",
        "18:7: agents.pid: must be between 1 and 4294967295",
        "19:1: agents.colour: unknown key",
        "20:12: agents.labels.agent_id: this label is set by longwatch itself",
        "20:28: agents.labels.__name__: this label is set by longwatch itself",
        "20:51: agents.labels.zone: expected text, found an integer",
        "21:1: agents.agent_id: is missing",
        "22:23: agents.collection_interval: expected a duration such as \"30s\", \"5m\", \"24h\", \"7d\", found an integer",
        "26:12: agents.agent_id: `longwatch` is longwatch's own id",
    ];
    let found = errors(text);
    assert_eq!(found.join("\n"), expected.join("\n"));
}

#[test]
fn retention_rules_are_read_in_order() {
    let config = read(
        "\
[storage]
retention = '30d'
[[storage.retention_rules]]
metric = 'debug_*'
keep = '1d'
[[storage.retention_rules]]
agent_id = 'web-*'
labels = { zone = 'b', env = 'd*' }
keep = '30d'
",
    );
    let rules = config.store.retention_rules.iter();
    let rules: Vec<String> = rules.map(ToString::to_string).collect();
    assert_eq!(
        rules,
        [
            "metric \"debug_*\": 24h",
            "agent_id \"web-*\", label \"env\" \"d*\", label \"zone\" \"b\": 30d"
        ]
    );
}

#[test]
fn mistakes_in_retention_rules_are_reported_with_their_places() {
    let text = "\
[storage]
retention = '10d'
[[storage.retention_rules]]
metric = 'a'
keep = '11d'
[[storage.retention_rules]]
keep = '1d'
[[storage.retention_rules]]
metric = ''
agent_id = 7
labels = { zone = 1, env = '' }
keep = '5m'
[[storage.retention_rules]]
labels = 'zone=b'
matric = 'a'
metric = 'a'
[[storage.retention_rules]]
labels = {}
keep = 7
[[storage.retention_rules]]
metric = 'up'
keep = '1d'
";
    let expected = [
        "5:8: storage.retention_rules.keep: 11d is longer than storage.retention (10d), which a rule can only shorten",
        "6:1: storage.retention_rules: says of no series: give `metric`, `agent_id` or `labels`",
        "9:10: storage.retention_rules.metric: must not be empty: expected a metric's name",
        "10:12: storage.retention_rules.agent_id: expected an agent id, found an integer",
        "11:19: storage.retention_rules.labels.zone: expected a label's value, found an integer",
        "11:28: storage.retention_rules.labels.env: must not be empty: expected a label's value",
        "12:8: storage.retention_rules.keep: must be between 1h and 36500d, not 5m",
        "13:1: storage.retention_rules.keep: is missing",
        "14:10: storage.retention_rules.labels: expected a table, found text",
        "15:1: storage.retention_rules.matric: unknown key; did you mean `metric`?",
        "17:1: storage.retention_rules: says of no series: give `metric`, `agent_id` or `labels`",
        "19:8: storage.retention_rules.keep: expected a duration such as \"30s\", \"5m\", \"24h\", \"7d\", found an integer",
        "21:10: storage.retention_rules.metric: says when agents were reached: it is kept for storage.retention, so that the past does not look like silence",
    ];
    assert_eq!(errors(text).join("\n"), expected.join("\n"));
    // A flag may shorten what rules are held against.
    let rule = "[[storage.retention_rules]]\nmetric = 'a'\nkeep = '20d'\n";
    assert_eq!(read(rule).store.retention_rules.len(), 1);
    let file = file(rule);
    let shorter = Overrides {
        retention: Some("3d".to_owned()),
        ..Overrides::default()
    };
    let error = load(Some(&file.path), NO_ENV, &shorter).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains(
            ":3:8: storage.retention_rules.keep: 20d is longer than storage.retention (3d)"
        ),
        "{error}"
    );
    for (text, expected) in [
        (
            "[storage]\nretention_rules = '7d'\n",
            "2:19: storage.retention_rules: expected sections [[storage.retention_rules]], found text",
        ),
        (
            "[storage]\nretention_rules = [7]\n",
            "2:20: storage.retention_rules: expected a table, found an integer",
        ),
        (
            "[[storage.retention_rule]]\nkeep = '7d'\n",
            "1:11: storage.retention_rule: unknown key; did you mean `retention_rules`?",
        ),
    ] {
        assert_eq!(errors(text), [expected], "{text}");
    }
}

#[test]
fn settings_are_checked_together() {
    for (text, expected) in [
        (
            "[http]\ntls_cert = 'c'\n",
            "2:12: http.tls_cert: needs `tls_key` beside it",
        ),
        (
            "[http]\ntls_key = 'k'\n",
            "2:11: http.tls_key: needs `tls_cert` beside it",
        ),
        (
            "[http]\nlisten = '0.0.0.0:7464'\n",
            "2:10: http.listen: 0.0.0.0:7464 is reachable from other hosts: set `tokens_file` (--tokens-file), or `insecure` (--insecure) to serve everybody",
        ),
        (
            "[health]\ncpu_critical_percent = 50\n",
            "2:24: health.cpu_high_percent: 60 is above `cpu_critical_percent` (50)",
        ),
        (
            "[host]\nagent_id = 'longwatch'\n",
            "2:12: host.agent_id: `longwatch` is longwatch's own id",
        ),
        (
            "[host]\nagent_id = 'h'\n[[agents]]\nagent_id = 'h'\n",
            "4:12: agents.agent_id: `h` is this host's own id (host.agent_id)",
        ),
        (
            "[[agents]]\nagent_id = 'longwatch'\n",
            "2:12: agents.agent_id: `longwatch` is longwatch's own id",
        ),
    ] {
        assert_eq!(errors(text), [expected], "{text}");
    }
    let twice = errors("[[agents]]\nagent_id = 'a'\n[[agents]]\nagent_id = 'a'\n");
    assert_eq!(twice.len(), 1, "{twice:?}");
    assert!(
        twice[0].starts_with("4:12: agents.agent_id: `a` is given twice, first at ")
            && twice[0].ends_with("longwatch.toml:2:12"),
        "{twice:?}"
    );
    // A mistake elsewhere hides none of these, and a wrong setting is not judged with others.
    let mixed = errors("[http]\nlisten = '0.0.0.0:1'\ntls_key = ''\n[log]\nlevel = 'loud'\n");
    let places: Vec<_> = mixed.iter().map(|e| e.split(' ').next().unwrap()).collect();
    assert_eq!(places, ["2:10:", "3:11:", "5:9:"], "{mixed:?}");
    let insecure = read("[http]\nlisten = '0.0.0.0:7464'\ninsecure = true\n");
    assert!(insecure.api.insecure);
}

#[test]
fn broken_syntax_is_reported_beside_other_mistakes() {
    let found = errors("[collect]\ninterval = \njob = 5\ninterval = '1s'\n");
    assert!(found.iter().any(|e| e.starts_with("2:")), "{found:?}");
    assert!(
        found.contains(&"3:7: collect.job: expected text, found an integer".to_owned()),
        "{found:?}"
    );
    let twice = errors("[log]\nlevel = 'info'\nlevel = 'warn'\n");
    assert!(
        twice.len() == 1 && twice[0].starts_with("3:1: duplicate key"),
        "{twice:?}"
    );
}

#[test]
fn files_that_are_no_text_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    fs::write(&path, b"database = 'x'\n# \xff\n").unwrap();
    let name = path.display();
    let of = |path: &Path| {
        load(Some(path), NO_ENV, &Overrides::default())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(of(&path), format!("{name}:2:3: not UTF-8"));
    fs::remove_file(&path).unwrap();
    assert_eq!(of(&path), format!("{name}: no such file"));
    assert!(of(folder.path()).contains("cannot be read"));
    fs::write(&path, "a = ".to_owned() + &"[".repeat(200_000)).unwrap();
    assert!(of(&path).starts_with(&format!("{name}:1:")));
}

#[test]
fn variables_and_flags_name_themselves() {
    let env = [
        ("LONGWATCH_COLLECT_INTERVAL", "soon"),
        ("LONGWATCH_COLLECT_INTERVALL", "30s"),
        ("LONGWATCH_SHOE_SIZE", "44"),
        ("LONGWATCH_HTTP_INSECURE", "1"),
    ];
    let flags = Overrides {
        retention: Some("30".to_owned()),
        ..Overrides::default()
    };
    let errors = load(None, env, &flags).unwrap_err();
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "environment variable LONGWATCH_COLLECT_INTERVAL: `soon` is not a duration: give a number and a unit, such as `30s`, `5m`, `24h`, `7d`",
            "environment variable LONGWATCH_COLLECT_INTERVALL: sets nothing; did you mean `LONGWATCH_COLLECT_INTERVAL`?",
            "environment variable LONGWATCH_HTTP_INSECURE: expected true or false",
            "environment variable LONGWATCH_SHOE_SIZE: sets nothing",
            "--retention: `30` is not a duration: give a number and a unit, such as `30s`, `5m`, `24h`, `7d`",
        ]
    );
    let listen = Overrides {
        listen: Some("[::]:7464".to_owned()),
        ..Overrides::default()
    };
    let errors = load(None, NO_ENV, &listen).unwrap_err();
    let first = errors.iter().next().unwrap();
    assert_eq!(first.origin, Origin::Flag("--listen"));
    assert_eq!(errors.count(), 1);
}

proptest::proptest! {
    /// Whatever a file holds, it is a configuration or every mistake has a place in it.
    #[test]
    fn no_file_panics(lines in proptest::collection::vec("(\\[{1,2}[a-z.]{0,8}\\]{1,2}|[a-zä_.]{0,12} ?= ?(['\"\\[{]?[-a-z0-9._:, é]{0,12}['\"\\]}]?)|\\[(http|collect|health)\\]|\\[\\[agents\\]\\]|\\[\\[notify\\.(log|webhook|email)\\]\\]|(name|url|to|headers|interval|listen|agent_id|pid|labels|info) = ('[a-z0-9]{0,5}'|[0-9]{1,25}|\\{a = [0-9.]{1,4}\\}))", 0..12)) {
        let text = lines.join("\n");
        let file = file(&text);
        if let Err(errors) = load(Some(&file.path), NO_ENV, &Overrides::default()) {
            let count = text.lines().count() + 1;
            for error in errors.iter() {
                let Origin::Place { line, column, .. } = &error.origin else {
                    panic!("{error}")
                };
                proptest::prop_assert!((1..=count).contains(line) && *column >= 1, "{}", error);
            }
        }
    }
}

/// Compares a document with what the list of settings makes of it; `UPDATE_DOCS=1` writes it.
fn check_document(path: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{} is not what the settings say; write it with UPDATE_DOCS=1 cargo test --test it config",
        path.display()
    );
}

/// What each section is about.
fn title(section: &str) -> &'static str {
    match section {
        "" => "Above all sections",
        "http" => "The HTTP server",
        "storage" => "The database file",
        "forward" => "Samples sent on to another system",
        "ingest" => "Metrics of remote write and OTLP",
        "query" => "Queries of PromQL",
        "traces" => "Traces",
        "limits" => "Limits on what is taken in",
        "collect" => "Collection from agents",
        "host" => "This host as an agent",
        "health" => "The health score",
        "rules" => "Alert rules",
        "notify" => "Notifications",
        "log" => "The log",
        other => panic!("section [{other}] needs a title here"),
    }
}

fn sections(settings: &[SettingInfo]) -> impl Iterator<Item = &[SettingInfo]> {
    settings.chunk_by(|a, b| a.section == b.section)
}

fn write_keys(text: &mut String, keys: &[KeyInfo]) {
    for key in keys {
        writeln!(text, "| `{}` | {} | {} |", key.key, key.form, key.meaning).unwrap();
    }
}

#[test]
fn the_reference_says_what_the_settings_are() {
    let mut text = include_str!("config/preface.md").to_owned();
    for section in sections(&settings()) {
        let name = section[0].section;
        let heading = if name.is_empty() {
            title(name).to_owned()
        } else {
            format!(
                "`[{name}]`: {}",
                title(name)
                    .to_lowercase()
                    .replace("http", "HTTP")
                    .replace("otlp", "OTLP")
                    .replace("promql", "PromQL")
                    .replace("otlp", "OTLP")
                    .replace("promql", "PromQL")
            )
        };
        write!(text, "\n## {heading}\n\n| setting | environment | default | value | meaning |\n|---|---|---|---|---|\n").unwrap();
        for s in section {
            let default = s
                .default
                .as_ref()
                .map_or("not set".to_owned(), |d| format!("`{d}`"));
            let flag = s.flag.map_or(String::new(), |f| format!("<br>`{f}`"));
            writeln!(
                text,
                "| `{}` | `{}`{flag} | {default} | {} | {} |",
                s.key, s.variable, s.form, s.meaning
            )
            .unwrap();
        }
    }
    text.push_str(include_str!("config/agents.md"));
    write_keys(&mut text, &AGENT_KEYS);
    text.push_str(include_str!("config/channels.md"));
    for section in CHANNEL_SECTIONS {
        let (key, title) = (section.key, section.title);
        write!(
            text,
            "\n### `[[notify.{key}]]`: {title}\n\n| key | value | meaning |\n|---|---|---|\n"
        )
        .unwrap();
        write_keys(&mut text, section.keys);
    }
    text.push_str(include_str!("config/routing.md"));
    for section in ROUTING_SECTIONS {
        let (key, title) = (section.key, section.title);
        write!(
            text,
            "\n### `[[notify.{key}]]`: {title}\n\n| key | value | meaning |\n|---|---|---|\n"
        )
        .unwrap();
        write_keys(&mut text, section.keys);
    }
    text.push_str(include_str!("config/rule.md"));
    for (key, form, meaning) in longwatch::alerts::RULE_KEYS {
        writeln!(text, "| `{key}` | {form} | {meaning} |").unwrap();
    }
    text.push_str(include_str!("config/retention_rules.md"));
    for key in RETENTION_RULE_KEYS {
        writeln!(text, "| `{}` | {} | {} |", key.key, key.form, key.meaning).unwrap();
    }
    check_document("docs/configuration.md", &text);
}

#[test]
fn the_example_file_shows_every_setting_at_its_default() {
    let mut text = String::from(
        "# Configuration of longwatch: every setting at its default. Remove the `#` to change one.\n\
         # Check it with `longwatch check config FILE`; docs/configuration.md explains each.\n",
    );
    for section in sections(&settings()) {
        let name = section[0].section;
        writeln!(text, "\n# {}.", title(name)).unwrap();
        if !name.is_empty() {
            writeln!(text, "[{name}]").unwrap();
        }
        for s in section {
            let default = s.default.as_deref();
            let (line, is_set) = match default {
                Some(default) => (format!("#{} = {default}", s.key), ""),
                None => (format!("#{} =", s.key), " (not set)"),
            };
            writeln!(text, "# {}{is_set}\n{line}", s.meaning).unwrap();
        }
    }
    text.push_str(include_str!("config/example_agents.toml"));
    text.push_str(include_str!("config/example_retention_rules.toml"));
    text.push_str(include_str!("config/example_channels.toml"));
    text.push_str(include_str!("config/example_routing.toml"));
    check_document("packaging/longwatch.toml", &text);

    // As it is, and with every default and the examples switched on, it says what nothing says.
    let live: String = text
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.ends_with('=') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    for text in [text, live] {
        let mut config = read(&text);
        config.agents.clear();
        config.store.retention_rules.clear();
        config.notify.channels = Config::default().notify.channels;
        config.store.routing = Config::default().store.routing;
        config.rules.rules.clear();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }
}
