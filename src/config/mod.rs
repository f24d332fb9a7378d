//! Configuration: defaults, a TOML file, the environment and flags become each room's own settings.
//!
//! One list of settings ([`settings`]) serves the file, the environment, the flags, the man page and
//! `docs/configuration.md`. Target files ([`read_targets`]) name further agents. Every mistake is reported with its place, all of them at once.

mod agents;
mod catalogue;
mod configuration;
mod error;
mod file;
mod loader;
mod notify;
mod setting;
mod suggest;
mod table;
mod targets;
mod value;

pub use agents::AGENT_KEYS;
pub use catalogue::{SettingInfo, settings};
pub use configuration::{Config, ConfiguredAgent, FileSdSettings, LogFormat, LogSettings};
pub use error::{ConfigError, ConfigErrors, Origin};
pub use loader::{Overrides, load};
pub use notify::{CHANNEL_SECTIONS, ChannelSection};
pub use table::KeyInfo;
pub use targets::{
    FileTarget, LeftOut, Roll, TargetLimits, TargetPattern, call_roll, parse_targets, read_targets,
};
