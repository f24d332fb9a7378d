//! One target file: from its bytes to groups of targets, each with its place.

use std::path::Path;

use super::{
    json,
    pattern::{Format, format_of},
    target::{self, FileTarget, TargetLimits},
    yaml,
};
use crate::config::{ConfigError, ConfigErrors, Origin, file::Source};

/// Longest target file that is read, in bytes; 10,000 targets with many labels take a quarter of it.
pub(super) const TARGET_FILE_BYTES_MAX: u64 = 8 << 20;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) at: Origin,
}

/// Targets that share their labels.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) targets: Vec<Placed<String>>,
    /// Label names with their values, in any order; each name once.
    pub(super) labels: Vec<(String, Placed<String>)>,
}

/// Reads a target file.
///
/// # Errors
/// Every mistake with its place; a file with a mistake names no agents at all.
pub fn read_targets(
    path: &Path,
    limits: &TargetLimits<'_>,
) -> Result<Vec<FileTarget>, ConfigErrors> {
    let source = Source::read(path, TARGET_FILE_BYTES_MAX).map_err(ConfigErrors::one)?;
    read(&source, limits)
}

/// Reads the text of a target file that came from `path`.
///
/// # Errors
/// As [`read_targets`].
pub fn parse_targets(
    path: &Path,
    text: String,
    limits: &TargetLimits<'_>,
) -> Result<Vec<FileTarget>, ConfigErrors> {
    read(&Source::new(path, text), limits)
}

fn read(source: &Source, limits: &TargetLimits<'_>) -> Result<Vec<FileTarget>, ConfigErrors> {
    let groups = match format_of(source.path()) {
        Some(Format::Json) => json::read(source),
        Some(Format::Yaml) => yaml::read(source),
        None => Err(source.error(
            0,
            String::new(),
            "neither .json nor .yml nor .yaml".to_owned(),
        )),
    }
    .map_err(ConfigErrors::one)?;
    check_number(&groups, limits.targets_max).map_err(ConfigErrors::one)?;
    let mut targets = Vec::new();
    let mut errors = Vec::new();
    for group in &groups {
        target::take_group(group, limits, &mut targets, &mut errors);
    }
    match ConfigErrors::of(errors) {
        Some(errors) => Err(errors),
        None => Ok(targets),
    }
}

fn check_number(groups: &[Group], max: usize) -> Result<(), ConfigError> {
    match groups.iter().flat_map(|g| &g.targets).nth(max) {
        None => Ok(()),
        Some(excess) => Err(ConfigError {
            origin: excess.at.clone(),
            key: "targets".to_owned(),
            reason: format!("more than {max} targets (collect.file_sd_targets_max)"),
        }),
    }
}
