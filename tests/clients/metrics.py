"""Real clients of metrics against a running longwatch: what prometheus_client shows is scraped, what OpenTelemetry's SDK
exports arrives, and prometheus-api-client reads both.

    python metrics.py http://127.0.0.1:7464
"""

import json
import sys
import time
import urllib.request

import prometheus_client
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from prometheus_api_client import PrometheusConnect

HTTP = sys.argv[1]
CLIENT = PrometheusConnect(url=f"{HTTP}/prometheus")


def eventually(what, ask, seconds=30):
    for _ in range(seconds * 5):
        found = ask()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not come within {seconds} s")


def value(expression):
    found = CLIENT.custom_query(expression)
    return float(found[0]["value"][1]) if found else None


def scraped():
    tasks = prometheus_client.Counter("client_tasks", "Tasks", ["kind"])
    tasks.labels("plan").inc(3)
    seconds = prometheus_client.Histogram("client_seconds", "Seconds", buckets=(0.1, 1))
    seconds.observe(0.5)
    server, _ = prometheus_client.start_http_server(0, "127.0.0.1")
    agent = {
        "agent_id": "python-agent",
        "metrics_endpoint": f"http://127.0.0.1:{server.server_port}/metrics",
        "collection_interval_seconds": 1,
        "labels": {"job": "python"},
    }
    request = urllib.request.Request(
        f"{HTTP}/api/v1/agents", json.dumps(agent).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status in (200, 201), answer.status
    found = eventually("the scrape", lambda: CLIENT.custom_query('client_tasks_total{kind="plan"}'))
    assert found[0]["value"][1] == "3", found
    labels = found[0]["metric"]
    assert (labels["agent_id"], labels["job"]) == ("python-agent", "python"), labels
    assert labels["instance"] == f"127.0.0.1:{server.server_port}", labels
    quantile = value('histogram_quantile(0.5, sum by (le) (client_seconds_bucket))')
    assert abs(quantile - 0.55) < 1e-9, quantile
    print("    prometheus_client is scraped")


def exported(name, temporality, counts):
    preferred = {Counter: temporality, Histogram: temporality}
    exporter = OTLPMetricExporter(endpoint=f"{HTTP}/v1/metrics", preferred_temporality=preferred)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    resource = Resource.create({"service.name": name, "service.instance.id": "1"})
    provider = MeterProvider(metric_readers=[reader], resource=resource)
    meter = provider.get_meter("test")
    counter = meter.create_counter("client.requests", unit="1")
    histogram = meter.create_histogram("client.duration", unit="ms")
    for count in counts:
        counter.add(count, {"http.route": "/a"})
        histogram.record(count * 10)
        assert provider.force_flush(), "the export failed"
    selector = f'{{job="{name}", instance="1"}}'
    found = CLIENT.custom_query(f"client_requests_total{selector}")
    assert float(found[0]["value"][1]) == sum(counts), found
    assert found[0]["metric"]["http_route"] == "/a", found
    observed = value(f"client_duration_milliseconds_count{selector}")
    assert observed == len(counts), observed
    provider.shutdown()


def read():
    assert CLIENT.check_prometheus_connection()
    metrics = CLIENT.all_metrics()
    assert {"client_tasks_total", "client_requests_total"} <= set(metrics), metrics
    range_of = CLIENT.get_current_metric_value("client_tasks_total", {"kind": "plan"})
    assert range_of[0]["metric"]["agent_id"] == "python-agent", range_of
    print("    prometheus-api-client reads")


scraped()
exported("otel-cumulative", AggregationTemporality.CUMULATIVE, [2, 3])
exported("otel-delta", AggregationTemporality.DELTA, [2, 3, 4])
print("    OpenTelemetry's metrics arrive, cumulative and as deltas")
read()
