//! Jaeger's query API: versions 1 and 3, as its user interface and Grafana call them. A service is the `service.name` of
//! what sent a span, else the span's agent.

mod answer;
mod dependencies;
mod question;
mod services;
mod traces;
mod v3;

pub(super) use dependencies::{PARAMETERS as DEPENDENCY_PARAMETERS, dependencies};
pub(super) use question::{PARAMETERS as SEARCH_PARAMETERS, PARAMETERS_V3 as SEARCH_PARAMETERS_V3};
pub(super) use services::{OPERATION_PARAMETERS, operations, operations_of_service, services};
pub(super) use traces::{TRACE_PARAMETERS, search, show};
pub(super) use v3::{
    OPERATION_PARAMETERS as OPERATION_PARAMETERS_V3, TRACE_PARAMETERS as TRACE_PARAMETERS_V3,
    operations as operations_v3, search as search_v3, services as services_v3, show as show_v3,
};
