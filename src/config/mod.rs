//! Configuration: defaults, a TOML file, the environment and flags become each room's own settings.
//!
//! One list of settings ([`settings`]) serves the file, the environment, the flags, the man page and
//! `docs/configuration.md`. Target files ([`read_targets`]) name further agents. Every mistake is reported with its place, all of them at once.

mod agents;
mod catalogue;
mod configuration;
mod error;
mod file;
mod forward;
mod ingest;
mod loader;
mod notify;
mod prometheus_rules;
mod query;
mod retention;
mod rule_tests;
mod rules;
mod setting;
mod suggest;
mod table;
mod targets;
mod traces;
mod value;
mod yaml;

pub use agents::AGENT_KEYS;
pub use catalogue::{SettingInfo, settings};
pub use configuration::{
    Config, ConfiguredAgent, FileSdSettings, LogFormat, LogSettings, RuleSettings,
};
pub use error::{ConfigError, ConfigErrors, Origin};
pub use loader::{Overrides, load};
pub use notify::{CHANNEL_SECTIONS, ChannelSection, ROUTING_SECTIONS, RoutingSection};
pub use retention::{RETENTION_RULE_KEYS, RetentionRuleKey};
pub use rule_tests::{RuleTests, read_rule_tests};
pub use rules::{FileRule, parse_rules, read_rule_directory, read_rule_file, rule_remarks};
pub use table::KeyInfo;
pub use targets::{
    FileTarget, LeftOut, Roll, TargetLimits, TargetPattern, call_roll, parse_targets, read_targets,
};
