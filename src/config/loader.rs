//! Puts a configuration together: defaults, then the file, then the environment, then flags.

use std::{collections::HashMap, ffi::OsString, path::Path, sync::Arc};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Config, ConfigError, ConfigErrors, Origin, agents, catalogue,
    file::{Source, entries},
    forward, notify, retention, rules,
    setting::{Draft, Setting},
    suggest::nearest,
    targets::TargetPattern,
    value::{Given, kind_of},
};
use crate::{api, model::RuleOrigin};

/// What begins the name of a variable that is meant for longwatch.
const PREFIX: &str = "LONGWATCH_";

/// Longest configuration that is read, in bytes. Enough for 10,000 agents with every key.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Variables that name no setting: the configuration file and a client's token.
const OTHER_VARIABLES: [&str; 2] = ["LONGWATCH_CONFIG", "LONGWATCH_TOKEN"];

/// What flags of `serve` say, as it was typed; `None` leaves the setting to the other sources.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--db`
    pub db: Option<String>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--retention`
    pub retention: Option<String>,
    /// `--tokens-file`
    pub tokens_file: Option<String>,
    /// `--tls-cert`
    pub tls_cert: Option<String>,
    /// `--tls-key`
    pub tls_key: Option<String>,
    /// `--insecure`
    pub insecure: bool,
    /// `--log-level`
    pub log_level: Option<String>,
    /// `--log-format`
    pub log_format: Option<String>,
}

impl Overrides {
    /// Flags that were given, with their values.
    fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("--db", self.db.as_deref()),
            ("--listen", self.listen.as_deref()),
            ("--retention", self.retention.as_deref()),
            ("--tokens-file", self.tokens_file.as_deref()),
            ("--tls-cert", self.tls_cert.as_deref()),
            ("--tls-key", self.tls_key.as_deref()),
            ("--insecure", self.insecure.then_some("true")),
            ("--log-level", self.log_level.as_deref()),
            ("--log-format", self.log_format.as_deref()),
        ]
        .into_iter()
        .filter_map(|(flag, value)| Some((flag, value?)))
    }
}

/// Loads the configuration. Of two sources that set the same, the later one counts: defaults, `file`,
/// variables of `env` that begin with `LONGWATCH_`, `overrides`.
///
/// # Errors
/// Every mistake that was found, each with its place.
pub fn load<K: Into<OsString>, V: Into<OsString>>(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (K, V)>,
    overrides: &Overrides,
) -> Result<Config, ConfigErrors> {
    let mut loader = Loader::default();
    let source = file.and_then(|path| match Source::read(path, FILE_BYTES_MAX) {
        Ok(source) => Some(source),
        Err(e) => {
            loader.errors.push(e);
            None
        }
    });
    let document = source.as_ref().map(|source| (source, source.parse()));
    if let Some((source, (table, _))) = &document {
        loader.take_file(source, table.get_ref());
    }
    loader.take_environment(env);
    loader.take_flags(overrides);
    if let Some((source, (table, syntax_errors))) = &document {
        let is_torn = !syntax_errors.is_empty();
        loader.take_agents(source, table.get_ref(), is_torn);
        if !is_torn {
            loader.take_rules(source, table.get_ref());
        }
        loader.take_channels(source, table.get_ref(), is_torn);
        loader.take_retention_rules(source, table.get_ref(), is_torn);
        loader.take_routing(Some((source, table.get_ref(), is_torn)));
        loader.take_syntax_errors(syntax_errors);
    } else {
        loader.take_routing(None);
    }
    loader.finish()
}

/// The work in progress.
#[derive(Default)]
pub(super) struct Loader {
    pub(super) draft: Draft,
    /// Where each setting came from, by its name.
    origins: HashMap<&'static str, Origin>,
    pub(super) errors: Vec<ConfigError>,
    /// Where agents of the file got their ids, in their order.
    agents_at: Vec<Origin>,
    /// Where rules of retention got what they keep, in their order.
    rules_at: Vec<Origin>,
}

impl Loader {
    fn report(&mut self, origin: Origin, key: impl Into<String>, reason: impl Into<String>) {
        self.errors.push(ConfigError {
            origin,
            key: key.into(),
            reason: reason.into(),
        });
    }

    fn take(&mut self, setting: &'static Setting, given: Given<'_>, origin: Origin) {
        match setting.take(&mut self.draft, given) {
            Ok(()) => {
                self.origins.insert(setting.name, origin);
            }
            Err(reason) => self.report(origin, setting.name, reason),
        }
    }

    fn take_file(&mut self, source: &Source, document: &DeTable<'_>) {
        for entry in entries(document) {
            if entry.key == agents::SECTION || entry.key == rules::SECTION {
                continue;
            }
            let in_section = || catalogue::all().filter(|s| s.section() == entry.key);
            if in_section().next().is_some() {
                match entry.value {
                    DeValue::Table(table) => self.take_section(source, entry.key, table),
                    other => self.report(
                        source.place(entry.value_span.start),
                        entry.key,
                        format!(
                            "expected a section [{}], found {}",
                            entry.key,
                            kind_of(other)
                        ),
                    ),
                }
            } else if let Some(setting) = catalogue::all().find(|s| s.name == entry.key) {
                let origin = source.place(entry.value_span.start);
                self.take(setting, Given::Toml(entry.value), origin);
            } else {
                let reason = match entry.value {
                    DeValue::Table(_) | DeValue::Array(_) => unknown_section(entry.key),
                    _ => unknown_key("", entry.key),
                };
                self.report(source.place(entry.key_span.start), entry.key, reason);
            }
        }
    }

    /// Takes a section's settings. Sections within it, as `[traces.detectors.loop]`, make their names longer.
    fn take_section(&mut self, source: &Source, section: &str, table: &DeTable<'_>) {
        let mut ahead = vec![(String::new(), table)];
        while let Some((prefix, table)) = ahead.pop() {
            for entry in entries(table) {
                let is_array =
                    section == notify::SECTION && notify::arrays().any(|key| key == entry.key);
                if prefix.is_empty() && (is_array || (section, entry.key) == retention::PLACE) {
                    continue;
                }
                let key = format!("{prefix}{}", entry.key);
                let below = format!("{key}.");
                let mut known = catalogue::all().filter(|s| s.section() == section);
                let setting = known.clone().find(|s| s.key() == key);
                match (setting, entry.value) {
                    (Some(setting), value) => {
                        let origin = source.place(entry.value_span.start);
                        self.take(setting, Given::Toml(value), origin);
                    }
                    (None, DeValue::Table(inner)) if known.any(|s| s.key().starts_with(&below)) => {
                        ahead.push((below, inner));
                    }
                    (None, _) => self.report(
                        source.place(entry.key_span.start),
                        format!("{section}.{key}"),
                        unknown_key(section, &key),
                    ),
                }
            }
        }
    }

    fn take_environment<K: Into<OsString>, V: Into<OsString>>(
        &mut self,
        env: impl IntoIterator<Item = (K, V)>,
    ) {
        for (name, value) in env {
            // A name that is not UTF-8 cannot be one of ours.
            let Ok(name) = name.into().into_string() else {
                continue;
            };
            if !name.starts_with(PREFIX) || OTHER_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let setting = catalogue::all().find(|s| s.variable() == name);
            let origin = Origin::Variable(name.clone());
            match (setting, value.into().into_string()) {
                (Some(setting), Ok(value)) => self.take(setting, Given::Text(&value), origin),
                (Some(setting), Err(_)) => self.report(origin, setting.name, "not UTF-8"),
                (None, _) => {
                    let names: Vec<String> = catalogue::all().map(Setting::variable).collect();
                    let hint = did_you_mean(&name, names.iter().map(String::as_str));
                    self.report(origin, "", format!("sets nothing{hint}"));
                }
            }
        }
    }

    fn take_flags(&mut self, overrides: &Overrides) {
        for (flag, value) in overrides.given() {
            if let Some(setting) = catalogue::all().find(|s| s.flag == Some(flag)) {
                self.take(setting, Given::Text(value), Origin::Flag(flag));
            }
        }
    }

    fn take_agents(&mut self, source: &Source, document: &DeTable<'_>, is_torn: bool) {
        let Some((_, value)) = document.get_key_value(agents::SECTION) else {
            return;
        };
        let limits = &self.draft.config.store.limits;
        let mut found = agents::read(source, value, limits, is_torn);
        self.errors.append(&mut found.errors);
        for (agent, at) in found.agents {
            self.draft.config.agents.push(agent);
            self.agents_at.push(at);
        }
    }

    fn take_rules(&mut self, source: &Source, document: &DeTable<'_>) {
        if let Some((_, value)) = document.get_key_value(rules::SECTION) {
            let mut found = rules::read(source, value, RuleOrigin::Config);
            self.errors.append(&mut found.errors);
            let rules = found.rules.into_iter().map(|found| found.rule);
            self.draft.config.rules.rules.extend(rules);
        }
    }

    fn take_retention_rules(&mut self, source: &Source, document: &DeTable<'_>, is_torn: bool) {
        let (section, key) = retention::PLACE;
        let Some(DeValue::Table(table)) = document.get(section).map(Spanned::get_ref) else {
            return;
        };
        let Some(value) = table.get(key) else { return };
        let mut found = retention::read(source, value, is_torn);
        self.errors.append(&mut found.errors);
        for (rule, at) in found.rules {
            self.draft.config.store.retention_rules.push(rule);
            self.rules_at.push(at);
        }
    }

    fn take_channels(&mut self, source: &Source, document: &DeTable<'_>, is_torn: bool) {
        let Some((_, value)) = document.get_key_value(notify::SECTION) else {
            return;
        };
        let mut found = notify::read(source, value, is_torn);
        self.errors.append(&mut found.errors);
        if !found.channels.is_empty() {
            self.draft.config.notify.channels = found.channels;
        }
    }

    /// Puts the routing together, once channels and defaults are known.
    fn take_routing(&mut self, document: Option<(&Source, &DeTable<'_>, bool)>) {
        let settings = &self.draft.config.notify;
        let section = document.and_then(|(source, table, is_torn)| {
            let (_, value) = table.get_key_value(notify::SECTION)?;
            Some((source, value, is_torn))
        });
        let routing = match section {
            Some((source, value, is_torn)) => {
                notify::read_routing(source, value, settings, is_torn, &mut self.errors)
            }
            None => notify::routing_of(settings),
        };
        self.draft.config.store.routing = Arc::new(routing);
    }

    /// A line whose syntax is wrong is reported once, not also for what was made of its rest.
    fn take_syntax_errors(&mut self, syntax_errors: &[ConfigError]) {
        let line_of = |e: &ConfigError| match e.origin {
            Origin::Place { line, .. } => Some(line),
            _ => None,
        };
        self.errors.retain(|e| {
            let line = line_of(e);
            line.is_none() || syntax_errors.iter().all(|s| line_of(s) != line)
        });
        self.errors.extend_from_slice(syntax_errors);
    }

    fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).cloned().unwrap_or(Origin::Default)
    }

    /// Whether settings may be judged together: none of them is wrong by itself, and no broken syntax
    /// may have hidden one.
    fn are_sound(&self, names: &[&str]) -> bool {
        self.errors
            .iter()
            .all(|e| !e.key.is_empty() && !names.contains(&e.key.as_str()))
    }

    /// Checks what only several settings together show, and hands out the configuration.
    fn finish(mut self) -> Result<Config, ConfigErrors> {
        if self.are_sound(&["http.tls_cert", "http.tls_key"]) {
            self.check_tls();
        }
        if self.are_sound(&["http.listen", "http.tokens_file", "http.insecure"]) {
            self.check_exposure();
        }
        for part in ["cpu", "memory"] {
            self.check_thresholds(part);
        }
        self.check_agents();
        self.check_target_files();
        self.check_forwarding();
        if self.are_sound(&["storage.retention"]) {
            self.check_retention_rules();
        }
        match ConfigErrors::of(self.errors) {
            Some(errors) => Err(errors),
            None => Ok(self.draft.config),
        }
    }

    fn check_tls(&mut self) {
        let pair = ["http.tls_cert", "http.tls_key"];
        let (given, missing) = match (&self.draft.tls_cert, &self.draft.tls_key) {
            (Some(_), None) => (pair[0], "tls_key"),
            (None, Some(_)) => (pair[1], "tls_cert"),
            _ => {
                self.draft.config.api.tls = self.draft.tls();
                return;
            }
        };
        self.report(
            self.origin(given),
            given,
            format!("needs `{missing}` beside it"),
        );
    }

    fn check_exposure(&mut self) {
        if let Some(reason) = exposure(&self.draft.config.api) {
            self.report(self.origin("http.listen"), "http.listen", reason);
        }
    }

    /// Below "critical" comes "high"; the other way round one of the two would never count.
    fn check_thresholds(&mut self, part: &str) {
        let health = &self.draft.config.store.policy.health;
        let (high, critical) = match part {
            "cpu" => (health.cpu_high_percent, health.cpu_critical_percent),
            _ => (health.memory_high_percent, health.memory_critical_percent),
        };
        let high_name = format!("health.{part}_high_percent");
        let critical_name = format!("health.{part}_critical_percent");
        if high <= critical || !self.are_sound(&[&high_name, &critical_name]) {
            return;
        }
        // Either of the two may be the one that somebody set.
        let origin = match self.origin(&high_name) {
            Origin::Default => self.origin(&critical_name),
            origin => origin,
        };
        let reason = format!("{high} is above `{part}_critical_percent` ({critical})");
        self.report(origin, high_name, reason);
    }

    fn check_target_files(&mut self) {
        for text in std::mem::take(&mut self.draft.file_sd) {
            match TargetPattern::new(&text) {
                Ok(pattern) => self.draft.config.file_sd.patterns.push(pattern),
                Err(why) => self.report(self.origin("collect.file_sd"), "collect.file_sd", why),
            }
        }
    }

    fn check_forwarding(&mut self) {
        let forward = &mut self.draft.config.forward;
        let spool = forward.url.as_ref().map(|_| forward.spool);
        self.draft.config.store.spool = spool;
        match forward::headers(&self.draft.forward_headers) {
            Ok(headers) => forward.headers = headers,
            Err(why) => self.report(self.origin("forward.headers"), "forward.headers", why),
        }
        match forward::labels(&self.draft.forward_labels) {
            Ok(labels) => self.draft.config.forward.external_labels = labels,
            Err(why) => {
                let name = "forward.external_labels";
                self.report(self.origin(name), name, why);
            }
        }
    }

    fn check_retention_rules(&mut self) {
        let store = &self.draft.config.store;
        let rules = store.retention_rules.iter().zip(&self.rules_at);
        let errors = rules.filter_map(|(rule, at)| {
            Some(ConfigError {
                origin: at.clone(),
                key: format!("{}.keep", retention::SECTION),
                reason: retention::longer_than(rule, store.retention_ms)?,
            })
        });
        self.errors.extend(errors);
    }

    fn check_agents(&mut self) {
        let mut first_at: HashMap<&str, &Origin> = HashMap::new();
        let mut errors = Vec::new();
        let host = self.draft.config.collect.host_agent_id.as_deref();
        for (agent, at) in self.draft.config.agents.iter().zip(&self.agents_at) {
            let id = agent.id.as_str();
            let reason = if let Some(first) = first_at.get(id) {
                format!("`{id}` is given twice, first at {first}")
            } else if self.draft.config.collect.host_enabled && host == Some(id) {
                format!("`{id}` is this host's own id (host.agent_id)")
            } else {
                first_at.insert(id, at);
                continue;
            };
            errors.push(ConfigError {
                origin: at.clone(),
                key: "agents.agent_id".to_owned(),
                reason,
            });
        }
        self.errors.append(&mut errors);
        if let Some(id) = host.filter(|id| agents::is_reserved(id)).map(str::to_owned) {
            self.report(
                self.origin("host.agent_id"),
                "host.agent_id",
                format!("`{id}` is longwatch's own id"),
            );
        }
    }
}

/// Why the settings would open the server to others than this host without any access control;
/// `None` when they do not.
fn exposure(http: &api::Settings) -> Option<String> {
    let is_loopback = http.listen.ip().to_canonical().is_loopback();
    if is_loopback || http.insecure || http.tokens_file.is_some() {
        return None;
    }
    Some(format!(
        "{} is reachable from other hosts: set `tokens_file` (--tokens-file), or `insecure` (--insecure) to serve everybody",
        http.listen
    ))
}

fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

fn unknown_section(section: &str) -> String {
    let known = catalogue::all()
        .map(Setting::section)
        .filter(|s| !s.is_empty());
    let hint = did_you_mean(section, known.chain([agents::SECTION, rules::SECTION]));
    format!("unknown section{hint}")
}

fn unknown_key(section: &str, key: &str) -> String {
    let own = catalogue::all().filter(|s| s.section() == section);
    let (rules_section, rules) = retention::PLACE;
    let rules = (section == rules_section).then_some(rules);
    let arrays = notify::arrays().filter(|_| section == notify::SECTION);
    let arrays = arrays.chain(rules);
    let mut hint = did_you_mean(key, own.map(Setting::key).chain(arrays));
    if hint.is_empty()
        && let Some(elsewhere) = catalogue::all().find(|s| s.key() == key)
    {
        hint = match elsewhere.section() {
            "" => "; it belongs above all sections".to_owned(),
            theirs => format!("; it belongs to [{theirs}]"),
        };
    }
    format!("unknown key{hint}")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn every_flag_has_its_setting_and_the_other_way_round() {
        let text = || Some("x".to_owned());
        let all = Overrides {
            db: text(),
            listen: text(),
            retention: text(),
            tokens_file: text(),
            tls_cert: text(),
            tls_key: text(),
            insecure: true,
            log_level: text(),
            log_format: text(),
        };
        let mut flags: Vec<_> = all.given().map(|(flag, _)| flag).collect();
        let mut known: Vec<_> = catalogue::all().filter_map(|s| s.flag).collect();
        flags.sort_unstable();
        known.sort_unstable();
        assert_eq!(flags, known);
    }

    #[test]
    fn loopback_in_any_form_needs_no_tokens() {
        for (listen, is_open) in [
            ("127.0.0.1:1", false),
            ("127.9.9.9:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("192.168.1.1:1", true),
        ] {
            let settings = api::Settings {
                listen: listen.parse().unwrap(),
                ..api::Settings::default()
            };
            assert_eq!(exposure(&settings).is_some(), is_open, "{listen}");
            let with_tokens = api::Settings {
                tokens_file: Some(PathBuf::from("t")),
                ..settings
            };
            assert_eq!(exposure(&with_tokens), None, "{listen}");
        }
    }
}
