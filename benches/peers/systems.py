"""The systems that are measured: how each is started, where it listens, and what its process took."""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

TICKS = os.sysconf("SC_CLK_TCK")
# A process has settled when it takes less than this share of a core for so many seconds; it gets so long for it.
IDLE_SHARE = 0.03
IDLE_SECONDS = 10
SETTLE_MAX = 240


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class System:
    """A server in a folder of its own."""

    def __init__(self, name, program, base, write, ready, arguments):
        self.name = name
        self.program = shutil.which(program)
        self.missing = f"{program} is not installed"
        self.base = base
        self.write = write
        self.ready = ready
        self.arguments = arguments

    def start(self, folder):
        self.folder = folder
        folder.mkdir()
        self.port = free_port()
        arguments = self.arguments(folder, self.port)
        self.log = open(folder.with_suffix(".log"), "wb")
        self.process = subprocess.Popen([self.program, *arguments], stdout=self.log, stderr=self.log, cwd=folder)
        self.wait_until_ready()

    def wait_until_ready(self):
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{self.ready}", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except (OSError, urllib.error.URLError):
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"{self.name} does not start, see {self.log.name}")

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def peak_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0

    def settle(self):
        """Waits for what goes on behind the requests: merging, flushing."""
        idle = 0
        for _ in range(SETTLE_MAX):
            before = self.cpu_seconds()
            time.sleep(1)
            idle = idle + 1 if self.cpu_seconds() - before < IDLE_SHARE else 0
            if idle >= IDLE_SECONDS:
                return

    def disk_bytes(self):
        """What the files take on the disk, holes left out."""
        total = 0
        for folder, _, files in os.walk(self.folder):
            for name in files:
                total += os.stat(os.path.join(folder, name)).st_blocks * 512
        return total

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=120)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


def prometheus_arguments(folder, port):
    config = folder.with_suffix(".yml")
    config.write_text("global: {}\n", encoding="ascii")
    return [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
    ]


def victoria_metrics_arguments(folder, port):
    return [
        f"-storageDataPath={folder}",
        f"-httpListenAddr=127.0.0.1:{port}",
        # Else it answers from what it answered before, and leaves the last 30 seconds out.
        "-search.disableCache",
        "-search.latencyOffset=0s",
    ]


def longwatch_arguments(folder, port):
    return ["serve", "--db", str(folder / "longwatch.redb"), "--listen", f"127.0.0.1:{port}"]


def systems(longwatch):
    """All of them, longwatch first."""
    return [
        System("longwatch", longwatch, "/prometheus", "/prometheus/api/v1/write", "/prometheus/api/v1/status/buildinfo", longwatch_arguments),
        System("Prometheus", "prometheus", "", "/api/v1/write", "/-/ready", prometheus_arguments),
        System("VictoriaMetrics", "victoria-metrics", "", "/api/v1/write", "/health", victoria_metrics_arguments),
    ]
