//! Target files in YAML.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_saphyr::{Options, Spanned};

use super::document::{Group, Placed, TARGET_FILE_BYTES_MAX};
use crate::config::{
    ConfigError,
    file::Source,
    yaml::{mistake, place},
};

/// Lists, mappings and scalars of a file, those that an alias repeats included.
const NODES_MAX: usize = 1_000_000;
/// A file is nested 4 deep.
const DEPTH_MAX: usize = 16;

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a mapping with `targets` and `labels`"
)]
struct YamlGroup {
    #[serde(default)]
    targets: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    labels: Option<BTreeMap<String, Spanned<Option<String>>>>,
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            // One alone is taken; the second is told with its place.
            max_documents: 2,
            // What aliases repeat counts each time.
            max_total_scalar_bytes: 2 * TARGET_FILE_BYTES_MAX as usize,
            max_recorded_anchor_bytes: TARGET_FILE_BYTES_MAX as usize,
        },
        with_snippet: false,
    }
}

/// Reads the groups of a file.
pub(super) fn read(source: &Source) -> Result<Vec<Group>, ConfigError> {
    let read: Result<Option<Vec<YamlGroup>>, _> =
        serde_saphyr::from_str_with_options(source.text(), options());
    let groups = read.map_err(|error| mistake(source, &error))?;
    // A file that is just being written is empty for a moment; it must not end all its agents.
    let groups = groups.ok_or_else(|| {
        let reason = "the file says nothing; write [] for no targets".to_owned();
        source.error(0, String::new(), reason)
    })?;
    let placed = |spanned: Spanned<String>| Placed {
        at: place(source, spanned.referenced),
        value: spanned.value,
    };
    let group = |group: YamlGroup| Group {
        targets: group
            .targets
            .unwrap_or_default()
            .into_iter()
            .map(placed)
            .collect(),
        labels: group
            .labels
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| {
                let at = place(source, value.referenced);
                let value = value.value.unwrap_or_default();
                (name, Placed { value, at })
            })
            .collect(),
    };
    Ok(groups.into_iter().map(group).collect())
}
