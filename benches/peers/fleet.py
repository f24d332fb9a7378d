"""The samples that all systems get, as remote write requests that are made before anything is timed.

Per agent as in `benches/fleet`: cpu and memory in percent with one decimal, 8 gauges that wander with 0 to 2 decimals, 6 counters that
idle and are reset now and then, 4 constants. A connection has its own agents, since Prometheus takes the samples of a
series in the order of their time only.
"""

import multiprocessing
import random
import struct

try:
    from cramjam import snappy

    def compressed(body):
        return bytes(snappy.compress_raw(body))

except ImportError:

    def compressed(body):
        """Snappy's block format, all of it literals."""
        out = bytearray(varint(len(body)))
        for at in range(0, len(body), 65536):
            part = body[at : at + 65536]
            out += bytes([61 << 2]) + struct.pack("<H", len(part) - 1) + part
        return bytes(out)


AGENTS = 100
METRICS = 20
CONNECTIONS = 4
STEP_MS = 10_000
STEPS_OF_A_DAY = 8_640
# Samples of a request.
BATCH = 2_000
AGENTS_EACH = AGENTS // CONNECTIONS
STEPS_EACH = BATCH // (AGENTS_EACH * METRICS)

NAMES = (
    ["system_cpu_usage", "system_memory_usage"]
    + [f"gauge_{n:02}" for n in range(2, 10)]
    + [f"work_{n:02}_total" for n in range(10, 16)]
    + [f"limit_{n:02}" for n in range(16, 20)]
)


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out + bytes([number]))


def field(number, body):
    return varint(number << 3 | 2) + varint(len(body)) + body


def labels_of(agent, metric):
    labels = {
        "__name__": NAMES[metric],
        "agent_id": f"agent-{agent:03}",
        "instance": f"10.0.0.{agent}:9100",
        "job": "fleet",
    }
    pairs = (field(1, name.encode()) + field(2, value.encode()) for name, value in sorted(labels.items()))
    return b"".join(field(1, pair) for pair in pairs)


class Course:
    """How one series goes on, in units of its last decimal."""

    def __init__(self, metric, seed):
        self.metric = metric
        self.draw = random.Random(seed)
        self.value = self.draw.randrange(900)
        decimals = 1 if metric < 2 else metric % 3 if metric < 10 else 0
        self.unit = 10**decimals

    def following(self):
        draw = self.draw.random()
        if self.metric < 10:
            self.value = min(1_000, max(0, self.value + int(draw * 21) - 10))
        elif self.metric < 16:
            if draw < 0.0002:
                self.value = 0
            elif draw > 0.5:
                self.value += int((draw - 0.5) * 80)
        return self.value / self.unit


def encode(path, connection, first_ms, steps):
    """Writes the requests of a connection to a file, each behind its length."""
    agents = range(connection * AGENTS_EACH, (connection + 1) * AGENTS_EACH)
    series = [(agent, metric) for agent in agents for metric in range(METRICS)]
    courses = [Course(metric, agent * METRICS + metric) for agent, metric in series]
    sample_bytes = 2 + 1 + 8 + 1 + len(varint(first_ms))
    parts = []
    for agent, metric in series:
        labels = labels_of(agent, metric)
        length = len(labels) + STEPS_EACH * sample_bytes
        parts.append(varint(1 << 3 | 2) + varint(length) + labels)
    # Of a request only values and times change: labels, then (head of a sample, value, time) for every step.
    sample = f"3sd{sample_bytes - 11}s" * STEPS_EACH
    layout = struct.Struct("<" + "".join(f"{len(part)}s{sample}" for part in parts))
    head = bytes([2 << 3 | 2, sample_bytes - 2, 1 << 3 | 1])
    with open(path, "wb") as out:
        for begin in range(0, steps, STEPS_EACH):
            times = [first_ms + (begin + i) * STEP_MS for i in range(STEPS_EACH)]
            times = [bytes([2 << 3]) + varint(time) for time in times]
            fields = []
            for part, course in zip(parts, courses):
                fields.append(part)
                for time in times:
                    fields += (head, course.following(), time)
            body = compressed(layout.pack(*fields))
            out.write(struct.pack("<I", len(body)) + body)


def make(folder, end_ms, steps):
    """Files of requests, one for each connection."""
    paths = [folder / f"requests-{connection}" for connection in range(CONNECTIONS)]
    first_ms = end_ms - (steps - 1) * STEP_MS
    jobs = [
        multiprocessing.Process(target=encode, args=(path, connection, first_ms, steps))
        for connection, path in enumerate(paths)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
        if job.exitcode != 0:
            raise RuntimeError("the requests could not be made")
    return paths
