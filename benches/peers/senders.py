"""Sends the requests of every connection from a process of its own, over a plain socket: what is measured is the other side."""

import multiprocessing
import resource
import socket
import struct
import time

# A connection waits for the slowest one beyond so many requests, which are 20 minutes of samples: Prometheus takes nothing that is more
# than an hour older than its newest sample.
LEAD_MAX = 30
AGAIN_AFTER = 0.05


def requests_of(path):
    found = []
    with open(path, "rb") as file:
        while length := file.read(4):
            found.append(file.read(struct.unpack("<I", length)[0]))
    return found


def answer_of(link, buffered):
    """Status and body of an answer."""
    while b"\r\n\r\n" not in buffered:
        more = link.recv(65536)
        if not more:
            raise ConnectionError("the server hung up")
        buffered += more
    head, _, body = bytes(buffered).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    length = 0
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        body += link.recv(65536)
    return int(lines[0].split()[1]), body


def send(number, path, port, target, progress, barrier, again):
    requests = requests_of(path)
    head = (
        f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/x-protobuf\r\n"
        "Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: "
    ).encode()
    link = socket.create_connection(("127.0.0.1", port), timeout=120)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    barrier.wait()
    for at, body in enumerate(requests):
        while at > min(progress) + LEAD_MAX:
            time.sleep(0.001)
        message = head + str(len(body)).encode() + b"\r\n\r\n" + body
        while True:
            link.sendall(message)
            status, text = answer_of(link, bytearray())
            if status in (200, 204):
                break
            if status not in (429, 503):
                raise RuntimeError(f"{target} answers {status}: {text[:300]!r}")
            with again.get_lock():
                again.value += 1
            time.sleep(AGAIN_AFTER)
        progress[number] = at + 1


def children_cpu():
    """CPU seconds of the processes that have ended, the reading of their requests included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def send_all(paths, port, target):
    """Seconds until everything was acknowledged, how often something had to be sent again, and CPU seconds of the senders."""
    progress = multiprocessing.Array("q", len(paths), lock=False)
    barrier = multiprocessing.Barrier(len(paths) + 1)
    again = multiprocessing.Value("q", 0)
    jobs = [
        multiprocessing.Process(target=send, args=(number, path, port, target, progress, barrier, again))
        for number, path in enumerate(paths)
    ]
    for job in jobs:
        job.start()
    barrier.wait(timeout=300)
    began = time.monotonic()
    cpu = children_cpu()
    while any(job.is_alive() for job in jobs):
        if any(job.exitcode not in (None, 0) for job in jobs):
            for job in jobs:
                job.kill()
            raise RuntimeError("a connection failed")
        time.sleep(0.01)
    seconds = time.monotonic() - began
    for job in jobs:
        job.join()
    return seconds, again.value, children_cpu() - cpu
