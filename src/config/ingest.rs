//! Settings of metrics whose senders name all labels: `[ingest]`.

use std::sync::Arc;

use super::setting::{Kind, Setting, TextField};
use crate::ingest::AgentRule;

/// The agent of series that have none of the labels.
const FALLBACK: &str = "remote";

/// All of them.
pub(super) static SETTINGS: &[Setting] = &[Setting {
    name: "ingest.agent_labels",
    flag: None,
    kind: Kind::Text(
        "names of labels",
        TextField {
            get: |d| Some(d.config.api.agent_rule.to_string()),
            set: |d, text| {
                let choices = text.split(',').map(|labels| {
                    labels
                        .trim()
                        .split('/')
                        .map(|label| label.trim().to_owned())
                        .collect()
                });
                let rule = AgentRule::new(choices.collect(), FALLBACK);
                d.config.api.agent_rule = Arc::new(rule.map_err(|why| why.to_string())?);
                Ok(())
            },
        },
    ),
    meaning: "Labels that name the agent of series that come by remote write or OTLP: the first of the list that a series has; `job/instance` needs both and joins their values. A series with none of them belongs to the agent `remote`.",
}];
