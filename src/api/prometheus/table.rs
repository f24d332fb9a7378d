//! The routes of Prometheus' API.

use axum::{
    http::Method,
    routing::{MethodRouter, get, post},
};

use super::{
    EXEMPLAR_PARAMETERS, EXPRESSION_PARAMETERS, INSTANT_PARAMETERS, MATCH_PARAMETERS,
    METADATA_PARAMETERS, OTHER_PARAMETERS, RANGE_PARAMETERS, RULE_PARAMETERS, TARGET_PARAMETERS,
    alerts, build_info, config, exemplars, flags, format_query, instant, label_names, label_values,
    metadata, parse_query, range, rules, runtime_info, series, targets, tsdb,
};
use crate::api::{access::Permission, routes::Route};

/// Routes that read.
pub(in crate::api) fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    let mut add = |path, parameters, method, handler: MethodRouter<_>| {
        routes.push(Route {
            method,
            path,
            needs: Permission::Read,
            parameters,
            handler,
        });
    };
    add(
        "/prometheus/api/v1/query",
        &INSTANT_PARAMETERS,
        Method::GET,
        get(instant),
    );
    add(
        "/prometheus/api/v1/query",
        &INSTANT_PARAMETERS,
        Method::POST,
        post(instant),
    );
    add(
        "/prometheus/api/v1/query_range",
        &RANGE_PARAMETERS,
        Method::GET,
        get(range),
    );
    add(
        "/prometheus/api/v1/query_range",
        &RANGE_PARAMETERS,
        Method::POST,
        post(range),
    );
    add(
        "/prometheus/api/v1/query_exemplars",
        &EXEMPLAR_PARAMETERS,
        Method::GET,
        get(exemplars),
    );
    add(
        "/prometheus/api/v1/query_exemplars",
        &EXEMPLAR_PARAMETERS,
        Method::POST,
        post(exemplars),
    );
    add(
        "/prometheus/api/v1/format_query",
        &EXPRESSION_PARAMETERS,
        Method::GET,
        get(format_query),
    );
    add(
        "/prometheus/api/v1/format_query",
        &EXPRESSION_PARAMETERS,
        Method::POST,
        post(format_query),
    );
    add(
        "/prometheus/api/v1/parse_query",
        &EXPRESSION_PARAMETERS,
        Method::GET,
        get(parse_query),
    );
    add(
        "/prometheus/api/v1/parse_query",
        &EXPRESSION_PARAMETERS,
        Method::POST,
        post(parse_query),
    );
    add(
        "/prometheus/api/v1/series",
        &MATCH_PARAMETERS,
        Method::GET,
        get(series),
    );
    add(
        "/prometheus/api/v1/series",
        &MATCH_PARAMETERS,
        Method::POST,
        post(series),
    );
    add(
        "/prometheus/api/v1/labels",
        &MATCH_PARAMETERS,
        Method::GET,
        get(label_names),
    );
    add(
        "/prometheus/api/v1/labels",
        &MATCH_PARAMETERS,
        Method::POST,
        post(label_names),
    );
    add(
        "/prometheus/api/v1/label/{name}/values",
        &MATCH_PARAMETERS,
        Method::GET,
        get(label_values),
    );
    add(
        "/prometheus/api/v1/metadata",
        &METADATA_PARAMETERS,
        Method::GET,
        get(metadata),
    );
    add(
        "/prometheus/api/v1/rules",
        &RULE_PARAMETERS,
        Method::GET,
        get(rules),
    );
    add(
        "/prometheus/api/v1/alerts",
        &OTHER_PARAMETERS,
        Method::GET,
        get(alerts),
    );
    add(
        "/prometheus/api/v1/targets",
        &TARGET_PARAMETERS,
        Method::GET,
        get(targets),
    );
    add(
        "/prometheus/api/v1/status/buildinfo",
        &OTHER_PARAMETERS,
        Method::GET,
        get(build_info),
    );
    add(
        "/prometheus/api/v1/status/runtimeinfo",
        &OTHER_PARAMETERS,
        Method::GET,
        get(runtime_info),
    );
    add(
        "/prometheus/api/v1/status/config",
        &OTHER_PARAMETERS,
        Method::GET,
        get(config),
    );
    add(
        "/prometheus/api/v1/status/flags",
        &OTHER_PARAMETERS,
        Method::GET,
        get(flags),
    );
    add(
        "/prometheus/api/v1/status/tsdb",
        &OTHER_PARAMETERS,
        Method::GET,
        get(tsdb),
    );
    routes
}
