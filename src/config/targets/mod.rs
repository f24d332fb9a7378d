//! Target files: Prometheus' `file_sd` format, as JSON or YAML.
//!
//! `pattern` finds the files, `json` and `yaml` read one with the place of everything in it, `target` makes
//! agents of it, `roll` puts the agents of all files together.
//!
//! Source: Prometheus, "Configuration", `<file_sd_config>`; `discovery/file/file.go` and
//! `scrape/target.go` for what labels mean.

mod document;
mod json;
mod pattern;
mod roll;
mod target;
mod yaml;

pub use document::{parse_targets, read_targets};
pub use pattern::TargetPattern;
pub use roll::{LeftOut, Roll, call_roll};
pub use target::{FileTarget, TargetLimits};
