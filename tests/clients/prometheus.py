"""Debian's Prometheus beside a running longwatch: both hold the same remote-written data and must give the same answers;
Prometheus scrapes longwatch and sends on to it; promtool asks it.

    python3 prometheus.py http://127.0.0.1:7464 FOLDER [queries.json]

Only Python's own modules and the programs `prometheus` and `promtool` are needed. Queries of Prometheus' compliance suite
come from `queries.json`, where it is given; some of our own are always asked.
"""

import json
import math
import pathlib
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

LONGWATCH, FOLDER = sys.argv[1], pathlib.Path(sys.argv[2])
QUERIES = sys.argv[3] if len(sys.argv) > 3 else None
STEP = 15
MINUTES = 75

# What answers differently on purpose: Debian's Prometheus is version 2.42, longwatch follows 3, which limits the way to a
# counter's zero after the gap at the window's beginning. It shows where a counter was set back.
KNOWN = {"rate(demo_cpu_usage_seconds_total[1h])", "increase(demo_cpu_usage_seconds_total[1h])"}
# Of the suite's questions so many samples are answered at least: two empty answers are equal, too.
SAMPLES_MIN = 200_000


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def field(number, body):
    return varint(number << 3 | 2) + varint(len(body)) + body


def write_request(series):
    """A remote write request of version 1: pairs of labels and of [(milliseconds, value)]."""
    out = bytearray()
    for labels, samples in series:
        one = bytearray()
        for name, value in sorted(labels.items()):
            one += field(1, field(1, name.encode()) + field(2, value.encode()))
        for time_ms, value in samples:
            one += field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time_ms))
        out += field(1, bytes(one))
    return bytes(out)


def snappy(body):
    """Snappy's block format, all of it literals."""
    out = bytearray(varint(len(body)))
    for at in range(0, len(body), 65536):
        part = body[at : at + 65536]
        out += bytes([61 << 2]) + struct.pack("<H", len(part) - 1) + part
    return bytes(out)


def send(url, series):
    headers = {
        "Content-Type": "application/x-protobuf",
        "Content-Encoding": "snappy",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    request = urllib.request.Request(url, snappy(write_request(series)), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        expect(f"{url} takes the data: {answer.status}", answer.status in (200, 204))


def expect(what, is_so):
    if not is_so:
        raise AssertionError(what)


def ask(base, path, **query):
    url = f"{base}/api/v1/{path}?{urllib.parse.urlencode(query)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def demo(start_ms):
    """The metrics that the compliance suite asks for, on three instances."""
    times = [start_ms + i * STEP * 1000 for i in range(MINUTES * 60 // STEP)]
    series = []

    def add(name, instance, value, **labels):
        labels = {"__name__": name, "instance": f"demo.promlabs.com:{10000 + instance}", "job": "demo", **labels}
        samples = [(t, float(v)) for i, t in enumerate(times) if (v := value(i)) is not None]
        series.append((labels, samples))

    for n in range(3):
        for m, mode in enumerate(("user", "system", "idle")):
            # With a reset in the middle of the second instance.
            add("demo_cpu_usage_seconds_total", n, lambda i, n=n, m=m: (i % 200 if n == 1 else i) * (m + 1) * 1.25 + n, mode=mode)
        for m, kind in enumerate(("buffers", "cached", "free", "used")):
            add("demo_memory_usage_bytes", n, lambda i, n=n, m=m: 1e9 * (m + 1) + 1e7 * math.sin(i / 7 + n), type=kind)
        add("demo_num_cpus", n, lambda i: 4)
        add("demo_disk_usage_bytes", n, lambda i, n=n: 5e9 + i * 1e5 * (n + 1))
        add("demo_disk_total_bytes", n, lambda i: 2.5e11)
        add("demo_batch_last_success_timestamp_seconds", n, lambda i: times[i] // 1000 // 300 * 300)
        add("demo_intermittent_metric", n, lambda i, n=n: 1 if (i // 25 + n) % 2 else None)
        for path in ("/api/foo", "/api/bar"):
            for status in ("200", "500"):
                rate = 3 if status == "200" else 1
                for k, le in enumerate(("0.0001", "0.01", "0.1", "1", "+Inf")):
                    add("demo_api_request_duration_seconds_bucket", n, lambda i, k=k, rate=rate: i * rate * (k + 1), method="GET", path=path, status=status, le=le)
                add("demo_api_request_duration_seconds_count", n, lambda i, rate=rate: i * rate * 5, method="GET", path=path, status=status)
                add("demo_api_request_duration_seconds_sum", n, lambda i, rate=rate: i * rate * 0.3, method="GET", path=path, status=status)
    return series


def same(a, b):
    if a == b or (math.isnan(a) and math.isnan(b)):
        return True
    return abs(a - b) <= 1e-9 * max(abs(a), abs(b))


def series_of(answer):
    """The series of a range query by their labels."""
    found = {}
    for one in answer["data"]["result"]:
        key = tuple(sorted(one["metric"].items()))
        found[key] = [(float(t), float(v)) for t, v in one["values"]]
    return found


def difference(ours, theirs, must_fail):
    """Why two answers differ, and how many samples agree."""
    if ours["status"] != theirs["status"] or (ours["status"] == "error") != must_fail:
        return f"{ours.get('error', 'ok')} / {theirs.get('error', 'ok')}", 0
    if must_fail:
        return None, 0
    a, b = series_of(ours), series_of(theirs)
    if a.keys() != b.keys():
        return f"series {sorted(a.keys() ^ b.keys())[:2]} on one side only", 0
    agree = 0
    for key, samples in a.items():
        others = b[key]
        if len(samples) != len(others):
            return f"{key}: {len(samples)} / {len(others)} samples", agree
        for (t, v), (u, w) in zip(samples, others):
            if t != u or not same(v, w):
                return f"{key}: {v} @ {t} / {w} @ {u}", agree
            agree += 1
    return None, agree


def queries():
    own = [
        "demo_num_cpus",
        "sum by (mode) (rate(demo_cpu_usage_seconds_total[5m]))",
        "histogram_quantile(0.9, sum by (le) (rate(demo_api_request_duration_seconds_bucket[2m])))",
        "topk(2, demo_memory_usage_bytes)",
        "demo_intermittent_metric == 1 or demo_num_cpus",
    ]
    own = [{"query": query} for query in own]
    if QUERIES is None:
        return own
    with open(QUERIES, encoding="utf-8") as document:
        return own + json.load(document)["queries"]


def compare(prometheus, start_ms):
    # Between samples, so that no window of either version begins at one.
    start = start_ms / 1000 + 15 * 60 + 7
    window = {"start": start, "end": start + 10 * 60, "step": 10}
    answers = samples = 0
    for case in queries():
        query = case["query"]
        ours = ask(f"{LONGWATCH}/prometheus", "query_range", query=query, **window)
        theirs = ask(prometheus, "query_range", query=query, **window)
        found, agree = difference(ours, theirs, case.get("should_fail", False))
        answers += 1
        samples += agree
        if found is None:
            continue
        expect(f"{query}: {found}", query in KNOWN)
        print(f"    differs, as version 3 does: {query}\n        {found}")
    if QUERIES is not None:
        expect(f"{samples} samples are too few", samples > SAMPLES_MIN)
    print(f"    {answers} queries, {samples} samples as Prometheus has them")


def wait_for(what, ask_once, seconds=60):
    for _ in range(seconds * 5):
        try:
            if ask_once():
                return
        except (OSError, ValueError):
            pass
        time.sleep(0.2)
    raise AssertionError(f"{what} took longer than {seconds} s")


def up_of_prometheus():
    """Prometheus' own sample of its scrape of longwatch, which it has sent on."""
    answer = ask(f"{LONGWATCH}/prometheus", "query", query='up{job="through-prometheus"}')
    result = answer["data"]["result"]
    return bool(result) and result[0]["value"][1] == "1"


def promtool():
    for command in (["instant", LONGWATCH + "/prometheus", "up"], ["labels", LONGWATCH + "/prometheus", "job"]):
        ran = subprocess.run(["promtool", "query", *command], capture_output=True, text=True, timeout=60)
        expect(f"promtool query {command[0]}: {ran.stderr}", ran.returncode == 0 and ran.stdout.strip())
    now = int(time.time())
    series = ["--match=up", f"--start={now - 3600}", f"--end={now}", LONGWATCH + "/prometheus"]
    ran = subprocess.run(["promtool", "query", "series", *series], capture_output=True, text=True, timeout=60)
    expect(f"promtool query series: {ran.stderr}", ran.returncode == 0 and "up" in ran.stdout)


def main():
    port = free_port()
    prometheus = f"http://127.0.0.1:{port}"
    target = LONGWATCH.removeprefix("http://")
    config = FOLDER / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: through-prometheus, static_configs: [{{targets: ['{target}']}}]}}]\n"
        f"remote_write: [{{url: '{LONGWATCH}/prometheus/api/v1/write', write_relabel_configs: "
        "[{source_labels: [job], regex: through-prometheus, action: keep}]}]\n"
    )
    flags = ["--web.enable-remote-write-receiver", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]
    with open(FOLDER / "prometheus.log", "wb") as log:
        server = subprocess.Popen(
            ["prometheus", *flags, f"--storage.tsdb.path={FOLDER}/prometheus-data"], stdout=log, stderr=log
        )
    try:
        wait_for("Prometheus", lambda: urllib.request.urlopen(f"{prometheus}/-/ready", timeout=5).status == 200)
        start_ms = (int(time.time()) // 60 - MINUTES) * 60 * 1000
        data = demo(start_ms)
        send(f"{LONGWATCH}/prometheus/api/v1/write", data)
        send(f"{prometheus}/api/v1/write", data)
        compare(prometheus, start_ms)
        wait_for("the way through Prometheus", up_of_prometheus)
        print("    Prometheus scrapes longwatch and sends on to it")
        promtool()
        print("    promtool query instant, labels and series")
    finally:
        server.terminate()
        server.wait(timeout=30)


main()
