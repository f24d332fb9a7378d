"""longwatch beside Prometheus and VictoriaMetrics: the same samples by remote write, the same questions over HTTP, one system after the other.

    python3 measure.py LONGWATCH [--scale 0.1] [--repeats 30] [--folder FOLDER] [--only NAME ...]

Prints a table in Markdown. README.md says what is needed.
"""

import argparse
import http.client
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

import fleet
import senders
import systems

HOUR = 3_600


def questions(end):
    """Title, paths that are asked one after the other, and how many series each answer has."""

    def at(query):
        return "/api/v1/query?" + urllib.parse.urlencode({"query": query, "time": end})

    def steps(query, hours, step):
        window = {"query": query, "start": end - hours * HOUR, "end": end, "step": step}
        return "/api/v1/query_range?" + urllib.parse.urlencode(window)

    report = [
        f"{function}_over_time(system_{what}_usage[24h])" for what in ("cpu", "memory") for function in ("avg", "max")
    ]
    return [
        ("the four questions of the 24-hour report", [at(query) for query in report], fleet.AGENTS),
        ("one series, 24 h at 60 s", [steps('system_cpu_usage{agent_id="agent-042"}', 24, 60)], 1),
        ("average over all agents, 24 h at 5 min", [steps("avg(system_cpu_usage)", 24, 300)], 1),
        ("rate of 100 agents, 1 h at 15 s", [steps("rate(work_10_total[5m])", 1, 15)], fleet.AGENTS),
        ("2,000 series listed", [at('{job="fleet"}')], fleet.AGENTS * fleet.METRICS),
        ("the five busiest agents now", [at("topk(5, system_cpu_usage)")], 5),
    ]


def get(link, path):
    link.request("GET", path)
    answer = link.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path} answers {answer.status}: {body[:300]!r}")
    return body


def latencies(port, paths, repeats, check):
    """Seconds that the answers took together: the median, and what 95 of 100 stay below."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for path in paths:
        check(get(link, path))
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        for path in paths:
            get(link, path)
        took.append(time.perf_counter() - began)
    link.close()
    took.sort()
    return statistics.median(took), took[min(len(took) - 1, int(len(took) * 0.95))]


def ask(system, end, repeats):
    """Latencies by the question's title."""
    found = {}
    for title, paths, count in questions(end):

        def check(body, title=title, count=count):
            result = json.loads(body)["data"]["result"]
            if len(result) != count:
                raise RuntimeError(f"{system.name}, {title}: {len(result)} series in place of {count}")

        found[title] = latencies(system.port, [system.base + path for path in paths], repeats, check)
    if system.name == "longwatch":

        def check_report(body):
            agents = json.loads(body)["performance_report"]["agent_performance"]
            if len(agents) < fleet.AGENTS:
                raise RuntimeError(f"the report is of {len(agents)} agents")

        # Until now: at the end of the data it knew no agents yet.
        path = "/api/v1/reports/performance?window=24h"
        found["longwatch's own 24-hour report as JSON"] = latencies(system.port, [path], repeats, check_report)
    return found


def measure(system, folder, paths, end, samples, repeats):
    """Figures by their title, as text."""
    system.start(folder)
    try:
        before = system.cpu_seconds()
        seconds, again, senders_cpu = senders.send_all(paths, system.port, system.write)
        sent_cpu = system.cpu_seconds() - before
        peak = system.peak_bytes()
        system.settle()
        settled_cpu = system.cpu_seconds() - before
        latency = ask(system, end, repeats)
        print(f"    sent in {seconds:.1f} s, {again} requests again; senders took {senders_cpu:.1f} s of CPU", file=sys.stderr)
    finally:
        system.stop()
    millions = samples / 1e6
    rows = {
        "samples/s, acknowledged": f"{samples / seconds:,.0f}",
        "CPU seconds per million samples": f"{sent_cpu / millions:.2f}",
        "the same until it was idle": f"{settled_cpu / millions:.2f}",
        "memory at most (RSS) while samples came": f"{peak / 1e6:,.0f} MB",
        "bytes per sample on disk, after a stop": f"{system.disk_bytes() / samples:.2f}",
    }
    if system.name == "longwatch":
        subprocess.run(
            [system.program, "db", "compact", "--db", str(folder / "longwatch.redb")], check=True, stdout=subprocess.DEVNULL
        )
        rows["bytes per sample after `db compact`"] = f"{system.disk_bytes() / samples:.2f}"
    for title, (median, most) in latency.items():
        rows[title] = f"{median * 1e3:,.1f} / {most * 1e3:,.1f} ms"
    return rows


def table(results):
    titles = list(dict.fromkeys(title for rows in results.values() for title in rows))
    print("| | " + " | ".join(results) + " |")
    print("|---|" + "---|" * len(results))
    for title in titles:
        print(f"| {title} | " + " | ".join(rows.get(title, "-") for rows in results.values()) + " |")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("longwatch", help="the program, built for release")
    parser.add_argument("--scale", type=float, default=1.0, help="share of a day's samples")
    parser.add_argument("--repeats", type=int, default=30, help="of each question")
    parser.add_argument("--folder", help="where files are made; a temporary one")
    parser.add_argument("--only", nargs="*", help="names of systems")
    return parser.parse_args()


def main():
    options = arguments()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="peers-", dir=options.folder))
    steps = max(1, round(fleet.STEPS_OF_A_DAY * options.scale / fleet.STEPS_EACH)) * fleet.STEPS_EACH
    samples = steps * fleet.AGENTS * fleet.METRICS
    end_ms = int(time.time()) // 10 * 10_000
    results = {}
    try:
        print(f"    making {samples:,} samples", file=sys.stderr)
        paths = fleet.make(folder, end_ms, steps)
        for system in systems.systems(str(pathlib.Path(options.longwatch).resolve())):
            if options.only and system.name not in options.only:
                continue
            if system.program is None:
                print(f"    skipped: {system.missing}", file=sys.stderr)
                continue
            print(f"    {system.name}", file=sys.stderr)
            here = folder / system.name
            results[system.name] = measure(system, here, paths, end_ms // 1000, samples, options.repeats)
            shutil.rmtree(here)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{samples:,} samples: {fleet.AGENTS} agents, {fleet.METRICS} metrics, every 10 s. Times: median / 95th percentile of {options.repeats}.\n")
    table(results)


if __name__ == "__main__":
    main()
