//! Every route in one table: method, path, what it asks of the caller, its query parameters.

use std::sync::Arc;

use axum::{
    Router,
    handler::Handler,
    http::{HeaderValue, Method, StatusCode, header},
    middleware,
    response::Response,
    routing::{MethodRouter, delete, get, post, put},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer, Predicate,
        predicate::{NotForContentType, SizeAbove},
    },
};

use super::{
    Access, Context, Settings, access::Permission, agents, alertmanager, alerts, care,
    context::Edge, guard, jaeger, metrics, notifications, observe, openapi, own_metrics,
    parameters::ANY_LABEL, problem::Problem, prometheus, push, reports, rules, samples, series,
    silences, snapshot, tempo, traces,
};

/// One method of one path.
pub(super) struct Route {
    #[cfg_attr(
        not(test),
        expect(
            dead_code,
            reason = "the handler knows it; tests hold it against the document"
        )
    )]
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) needs: Permission,
    /// Names of its query parameters; every other is refused.
    pub(super) parameters: &'static [&'static str],
    pub(super) handler: MethodRouter<Arc<Edge>>,
}

const AGENTS: &str = "/api/v1/agents";
const AGENT: &str = "/api/v1/agents/{agent_id}";
const RULES: &str = "/api/v1/rules";
const RULE: &str = "/api/v1/rules/{name}";
const SILENCES: &str = "/api/v1/silences";
const TRACE: &str = "/api/v1/traces/{trace_id}";
const TRACE_PIN: &str = "/api/v1/traces/{trace_id}/pin";

fn reading<H: Handler<T, Arc<Edge>>, T: 'static>(
    path: &'static str,
    parameters: &'static [&'static str],
    handler: H,
) -> Route {
    Route {
        method: Method::GET,
        path,
        needs: Permission::Read,
        parameters,
        handler: get(handler),
    }
}

fn writing(
    method: Method,
    path: &'static str,
    needs: Permission,
    handler: MethodRouter<Arc<Edge>>,
) -> Route {
    Route {
        method,
        path,
        needs,
        parameters: &[],
        handler,
    }
}

fn open<H: Handler<T, Arc<Edge>>, T: 'static>(path: &'static str, handler: H) -> Route {
    Route {
        needs: Permission::Open,
        ..reading(path, &[], handler)
    }
}

/// All routes.
pub(super) fn table() -> Vec<Route> {
    use Permission::{Admin, Ingest, IngestAny};
    let mut table = vec![
        open("/healthz", care::healthz),
        open("/readyz", care::readyz),
        // What clients of Prometheus ask to see whether there is one.
        open("/prometheus/-/healthy", care::healthz),
        open("/prometheus/-/ready", care::readyz),
        reading("/prometheus/", &[], prometheus::root),
        reading("/metrics", &[], own_metrics::show),
        reading("/openapi.json", &[], openapi::show),
        reading("/", &[], reports::last_day),
        reading(AGENTS, &["at"], agents::list),
        writing(Method::POST, AGENTS, Admin, post(agents::register)),
        reading(AGENT, &["at"], agents::show),
        writing(Method::DELETE, AGENT, Admin, delete(agents::deregister)),
        writing(
            Method::POST,
            "/api/v1/agents/{agent_id}/heartbeat",
            Ingest,
            post(push::heartbeat),
        ),
        writing(
            Method::POST,
            "/api/v1/agents/{agent_id}/metrics",
            Ingest,
            post(push::metrics),
        ),
        reading(
            "/api/v1/agents/{agent_id}/health",
            &["window", "at"],
            agents::health,
        ),
        reading(
            "/api/v1/samples",
            &[
                "agent_id",
                "metric_name",
                ANY_LABEL,
                "from",
                "to",
                "at",
                "step",
                "aggregate",
            ],
            samples::show,
        ),
        reading(
            "/api/v1/series",
            &["agent_id", "metric_name", ANY_LABEL, "from", "to", "at"],
            series::show,
        ),
        reading("/api/v1/overview", &["at"], reports::overview),
        reading(
            "/api/v1/reports/performance",
            &[
                "time_window_hours",
                "window",
                "from",
                "to",
                "at",
                "agent_id",
                "compare",
                "format",
            ],
            reports::performance,
        ),
        reading(
            "/api/v1/alerts",
            &["state", "severity", "agent_id", "from", "to", "at"],
            alerts::list,
        ),
        reading("/api/v1/alerts/{id}", &["at"], alerts::show),
        writing(
            Method::POST,
            "/api/v1/alerts/{id}/ack",
            Admin,
            post(alerts::acknowledge),
        ),
        writing(
            Method::POST,
            "/api/v1/alerts/{id}/resolve",
            Admin,
            post(alerts::resolve),
        ),
        reading(RULES, &[], rules::list),
        writing(Method::POST, RULES, Admin, post(rules::create)),
        // It reads much and writes nothing.
        writing(
            Method::POST,
            "/api/v1/rules/backtest",
            Permission::Read,
            post(rules::backtest),
        ),
        reading(RULE, &[], rules::show),
        writing(Method::PUT, RULE, Admin, put(rules::put)),
        writing(Method::DELETE, RULE, Admin, delete(rules::remove)),
        reading(SILENCES, &[], silences::list),
        writing(Method::POST, SILENCES, Admin, post(silences::create)),
        writing(
            Method::DELETE,
            "/api/v1/silences/{id}",
            Admin,
            delete(silences::expire),
        ),
        reading("/api/v1/notifications", &["state"], notifications::list),
        writing(
            Method::POST,
            "/api/v1/notifications/{id}/retry",
            Admin,
            post(notifications::retry),
        ),
        reading(
            "/alertmanager/api/v2/alerts",
            &alertmanager::ALERT_PARAMETERS,
            alertmanager::alerts,
        ),
        writing(
            Method::POST,
            "/alertmanager/api/v2/alerts",
            Ingest,
            post(alertmanager::post_alerts),
        ),
        reading(
            "/alertmanager/api/v2/alerts/groups",
            &alertmanager::ALERT_PARAMETERS,
            alertmanager::groups,
        ),
        reading(
            "/alertmanager/api/v2/silences",
            &["filter"],
            alertmanager::list_silences,
        ),
        writing(
            Method::POST,
            "/alertmanager/api/v2/silences",
            Admin,
            post(alertmanager::post_silence),
        ),
        reading(
            "/alertmanager/api/v2/silence/{id}",
            &[],
            alertmanager::show_silence,
        ),
        writing(
            Method::DELETE,
            "/alertmanager/api/v2/silence/{id}",
            Admin,
            delete(alertmanager::expire_silence),
        ),
        reading(
            "/alertmanager/api/v2/receivers",
            &[],
            alertmanager::receivers,
        ),
        reading("/alertmanager/api/v2/status", &[], alertmanager::status),
        reading("/jaeger/api/services", &[], jaeger::services),
        reading(
            "/jaeger/api/services/{service}/operations",
            &[],
            jaeger::operations_of_service,
        ),
        reading(
            "/jaeger/api/operations",
            &jaeger::OPERATION_PARAMETERS,
            jaeger::operations,
        ),
        reading(
            "/jaeger/api/traces",
            &jaeger::SEARCH_PARAMETERS,
            jaeger::search,
        ),
        reading(
            "/jaeger/api/traces/{id}",
            &jaeger::TRACE_PARAMETERS,
            jaeger::show,
        ),
        reading(
            "/jaeger/api/dependencies",
            &jaeger::DEPENDENCY_PARAMETERS,
            jaeger::dependencies,
        ),
        reading("/jaeger/api/v3/services", &[], jaeger::services_v3),
        reading(
            "/jaeger/api/v3/operations",
            &jaeger::OPERATION_PARAMETERS_V3,
            jaeger::operations_v3,
        ),
        reading(
            "/jaeger/api/v3/traces",
            &jaeger::SEARCH_PARAMETERS_V3,
            jaeger::search_v3,
        ),
        reading(
            "/jaeger/api/v3/traces/{id}",
            &jaeger::TRACE_PARAMETERS_V3,
            jaeger::show_v3,
        ),
        reading("/tempo/api/echo", &[], tempo::echo),
        reading("/tempo/api/status/buildinfo", &[], tempo::build_info),
        reading(
            "/tempo/api/traces/{id}",
            &tempo::TRACE_PARAMETERS,
            tempo::trace,
        ),
        reading(
            "/tempo/api/v2/traces/{id}",
            &tempo::TRACE_PARAMETERS,
            tempo::trace_v2,
        ),
        reading(
            "/tempo/api/search",
            &tempo::SEARCH_PARAMETERS,
            tempo::search,
        ),
        reading(
            "/tempo/api/search/tags",
            &tempo::TAG_PARAMETERS,
            tempo::tag_names,
        ),
        reading(
            "/tempo/api/v2/search/tags",
            &tempo::TAG_PARAMETERS,
            tempo::tag_names_v2,
        ),
        reading(
            "/tempo/api/search/tag/{tag}/values",
            &tempo::VALUE_PARAMETERS,
            tempo::tag_values,
        ),
        reading(
            "/tempo/api/v2/search/tag/{tag}/values",
            &tempo::VALUE_PARAMETERS,
            tempo::tag_values_v2,
        ),
        writing(
            Method::POST,
            "/v1/metrics",
            IngestAny,
            post(metrics::otlp_metrics),
        ),
        writing(
            Method::POST,
            "/prometheus/api/v1/write",
            IngestAny,
            post(metrics::write),
        ),
        writing(
            Method::POST,
            "/v1/traces",
            IngestAny,
            post(traces::otlp_traces),
        ),
        writing(Method::POST, "/v1/logs", IngestAny, post(traces::otlp_logs)),
        writing(
            Method::POST,
            "/api/v2/spans",
            IngestAny,
            post(traces::zipkin_spans),
        ),
        reading("/api/v1/traces", &traces::LIST_PARAMETERS, traces::list),
        reading(
            "/api/v1/spans/open",
            &traces::OPEN_PARAMETERS,
            traces::open_spans,
        ),
        reading(
            "/api/v1/traces/profile",
            &traces::PROFILE_PARAMETERS,
            traces::profile,
        ),
        reading(TRACE, &traces::SHOW_PARAMETERS, traces::show),
        reading(
            "/api/v1/traces/{trace_id}/analysis",
            &["format"],
            traces::analysis,
        ),
        reading(
            "/api/v1/traces/{trace_id}/compare",
            &["with", "format"],
            traces::compare,
        ),
        writing(Method::PUT, TRACE_PIN, Admin, put(traces::pin)),
        writing(Method::DELETE, TRACE_PIN, Admin, delete(traces::unpin)),
        writing(
            Method::POST,
            "/api/v1/traces/{trace_id}/spans",
            IngestAny,
            post(traces::start),
        ),
        writing(
            Method::POST,
            "/api/v1/traces/{trace_id}/spans/{span_id}/finish",
            IngestAny,
            post(traces::finish),
        ),
        writing(
            Method::POST,
            "/api/v1/traces/{trace_id}/spans/{span_id}/logs",
            IngestAny,
            post(traces::log),
        ),
        reading(
            "/api/v1/agent-graph",
            &traces::GRAPH_PARAMETERS,
            traces::agent_graph,
        ),
        reading("/api/v1/runs", &traces::RUN_PARAMETERS, traces::runs),
        reading("/api/v1/status", &[], care::status),
        Route {
            needs: Admin,
            ..reading("/api/v1/admin/snapshot", &[], snapshot::take)
        },
    ];
    table.extend(prometheus::routes());
    table
}

/// The HTTP edge over an open store.
pub fn router(context: Context, settings: &Settings, access: Access) -> Router {
    assemble(table(), context, settings, access)
}

pub(super) fn assemble(
    table: Vec<Route>,
    context: Context,
    settings: &Settings,
    access: Access,
) -> Router {
    let edge = Arc::new(Edge::new(context, settings.clone(), access));
    let mut router = Router::new();
    for route in table {
        let gate = guard::Gate {
            edge: Arc::clone(&edge),
            needs: route.needs,
            parameters: route.parameters,
        };
        let guarded = route
            .handler
            .route_layer(middleware::from_fn_with_state(gate, guard::guard));
        router = router.route(route.path, guarded);
    }
    // A database file is packed already.
    let compressed = SizeAbove::new(860).and(NotForContentType::const_new(snapshot::CONTENT_TYPE));
    router
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(observe::answer_panic))
        .layer(middleware::map_response(observe::add_headers))
        .layer(CompressionLayer::new().compress_when(compressed))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&edge),
            observe::count,
        ))
        .with_state(edge)
}

async fn not_found(uri: axum::http::Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!(
            "there is nothing at {}; /openapi.json lists what is",
            uri.path()
        ),
    )
}

async fn method_not_allowed(method: Method, uri: axum::http::Uri) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take {method}", uri.path()),
    )
}

/// A JSON answer from bytes that are JSON.
pub(super) fn json_response(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}
