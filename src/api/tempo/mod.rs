//! Tempo's query API, as Grafana calls it.

mod question;
mod search;
mod tags;
mod trace;

pub(super) use search::{PARAMETERS as SEARCH_PARAMETERS, search};
pub(super) use tags::{
    TAG_PARAMETERS, VALUE_PARAMETERS, tag_names, tag_names_v2, tag_values, tag_values_v2,
};
pub(super) use trace::{PARAMETERS as TRACE_PARAMETERS, build_info, echo, trace, trace_v2};
