//! Prometheus' HTTP API, as Grafana, promtool and client libraries call it.
//!
//! Source: Prometheus, `docs/querying/api.md`, `web/api/v1/api.go`.

mod answer;
mod asked;
mod expression;
mod names;
mod query;
mod rules;
mod status;
mod table;
mod targets;

use expression::{format_query, parse_query};
use names::{label_names, label_values, metadata, series};
use query::{exemplars, instant, range};
use rules::{alerts, rules};
use status::{build_info, config, flags, runtime_info, tsdb};
use targets::targets;

pub(super) use status::root;
pub(super) use table::routes;

use super::parameters::ANY_OTHER;

const INSTANT_PARAMETERS: [&str; 7] = [
    "query",
    "time",
    "timeout",
    "limit",
    "lookback_delta",
    "stats",
    ANY_OTHER,
];
const RANGE_PARAMETERS: [&str; 9] = [
    "query",
    "start",
    "end",
    "step",
    "timeout",
    "limit",
    "lookback_delta",
    "stats",
    ANY_OTHER,
];
const MATCH_PARAMETERS: [&str; 5] = ["match[]", "start", "end", "limit", ANY_OTHER];
const METADATA_PARAMETERS: [&str; 4] = ["metric", "limit", "limit_per_metric", ANY_OTHER];
const EXPRESSION_PARAMETERS: [&str; 2] = ["query", ANY_OTHER];
const EXEMPLAR_PARAMETERS: [&str; 4] = ["query", "start", "end", ANY_OTHER];
const RULE_PARAMETERS: [&str; 5] = [
    "type",
    "rule_name[]",
    "rule_group[]",
    "exclude_alerts",
    ANY_OTHER,
];
const TARGET_PARAMETERS: [&str; 3] = ["state", "scrapePool", ANY_OTHER];
const OTHER_PARAMETERS: [&str; 1] = [ANY_OTHER];
