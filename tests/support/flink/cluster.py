"""A Flink cluster on the loopback interface: a JobManager, TaskManagers, and Beam's pool of Python workers.

    python tests/support/flink/cluster.py fetch            # the libraries, once; about 400 MB
    python tests/support/flink/cluster.py run -- COMMAND   # COMMAND; "{options}" in it becomes Beam's for the cluster
    python tests/support/flink/cluster.py run              # until Ctrl-C; prints the options

Needs Java 11 or 17, Maven, and a Python with pip or uv. The libraries lie in RT2DATA_FLINK, by default .flink/ of the
checkout.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

FLINK = "1.19.3"  # of the versions that Beam lists, the newest whose runner every mirror of Maven Central has
HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("RT2DATA_FLINK") or HERE.parents[2] / ".flink").absolute()
HOST = "127.0.0.1"
FETCH_SECONDS = 480
START_SECONDS = 90

# What Flink's scripts give to Java 17; they are not in the Python package, which has the libraries alone.
LANG = ("lang", "lang.invoke", "lang.reflect", "net", "io", "nio", "text", "time")
UTIL = ("util", "util.concurrent", "util.concurrent.atomic", "util.concurrent.locks")
OPEN = (*(f"java.{name}" for name in LANG + UTIL), "sun.nio.ch", "sun.net.util")
JVM = [
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # compiles less well and sooner: these processes live for minutes
    "-XX:MaxMetaspaceSize=384m",
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPEN),
]

LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss,SSS} %-5p %c{1} %m%n
"""


class Missing(Exception):
    """Something that the cluster needs is not there and cannot be had."""


def flink_home() -> Path:
    """Where Flink's libraries are, once fetched."""
    return CACHE / f"flink-{FLINK}" / "pyflink"


def job_server() -> Path:
    """Beam's job server, once fetched; another one where pom.xml is another."""
    return CACHE / f"job-server-{hashlib.sha256((HERE / 'pom.xml').read_bytes()).hexdigest()[:12]}.jar"


def fetch() -> None:
    """Fetch what is not there yet.

    Raises:
        Missing: a tool is not installed, or a repository does not answer.
    """
    for tool in ("java", "mvn"):
        if not shutil.which(tool):
            raise Missing(f"{tool} is not installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as both:
        for done in [both.submit(_fetch_flink), both.submit(_fetch_job_server)]:
            done.result()


def _fetch_flink() -> None:
    if not flink_home().is_dir():
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            folder = Path(scratch) / "flink"
            _call([*_installer(), "--quiet", "--no-deps", "--target", str(folder), f"apache-flink-libraries=={FLINK}"])
            os.replace(folder, flink_home().parent)


def _fetch_job_server() -> None:
    if not job_server().is_file():
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            shutil.copy(HERE / "pom.xml", scratch)
            _call(["mvn", "--batch-mode", "--quiet", "-Dmaven.artifact.threads=10", "package"], cwd=scratch)
            os.replace(next(Path(scratch).glob("target/flink-job-server-*.jar")), job_server())


def _installer() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", sys.executable]
    for python in ("python3", "python"):
        pip = [python, "-m", "pip"]
        if (
            shutil.which(python)
            and not subprocess.run([*pip, "--version"], check=False, capture_output=True).returncode
        ):
            return [*pip, "install", "--disable-pip-version-check"]
    raise Missing("neither pip nor uv is installed")


def _call(command: Sequence[str], cwd: str | None = None) -> None:
    try:
        done = subprocess.run(command, check=False, cwd=cwd, capture_output=True, text=True, timeout=FETCH_SECONDS)
    except subprocess.TimeoutExpired:
        raise Missing(f"{command[0]} took more than {FETCH_SECONDS} s") from None
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line]
        raise Missing(f"{' '.join(command[:3])} … failed: {(lines or ['no reason given'])[0][:300]}")


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


class Cluster:
    """JobManager, TaskManagers and worker pool. A context manager: leaving it ends them all.

    Its processes stay in the caller's process group, so that what ends the caller (Ctrl-C, `timeout`) ends them too.
    """

    def __init__(self, folder: Path, *, taskmanagers: int = 2, slots: int = 2) -> None:
        self.folder, self.slots, self._count = folder, slots, taskmanagers
        self.taskmanagers: list[subprocess.Popen[bytes]] = []
        self._all: list[subprocess.Popen[bytes]] = []
        self._rest, self._rpc, self._pool = free_port(), free_port(), free_port()

    def options(self, parallelism: int = 2) -> list[str]:
        """Beam's options for this cluster."""
        return [
            "--runner=FlinkRunner",
            f"--flink_master={HOST}:{self._rest}",
            f"--flink_version={FLINK.rpartition('.')[0]}",
            f"--flink_job_server_jar={job_server()}",
            f"--parallelism={parallelism}",
            "--environment_type=EXTERNAL",
            f"--environment_config={HOST}:{self._pool}",
        ]

    def __enter__(self) -> Cluster:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._configure()
        try:
            entry = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
            self._java("jobmanager", entry, "512m")
            for _ in range(self._count):
                self.add_taskmanager()
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the pool starts "python"
            self._start("pool", [sys.executable, str(HERE / "worker_pool.py"), str(self._pool)], PATH=path)
            self._await(lambda: len(self.get("/taskmanagers")["taskmanagers"]) == self._count, "TaskManagers")
            self._await(lambda: socket.create_connection((HOST, self._pool), 1).close() is None, "the worker pool")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._all):
            process.terminate()
        deadline = time.monotonic() + 10
        for process in self._all:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def get(self, path: str) -> Any:
        """The answer of the JobManager's REST interface."""
        with urllib.request.urlopen(f"http://{HOST}:{self._rest}{path}", timeout=10) as answer:
            return json.load(answer)

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs, the latest last."""
        return sorted(self.get("/jobs/overview")["jobs"], key=lambda job: job["start-time"])

    def add_taskmanager(self) -> None:
        """Start one more."""
        entry = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        self.taskmanagers.append(self._java(f"taskmanager-{len(self.taskmanagers)}", entry, "512m"))

    def log(self, name: str) -> str:
        """What a process has said, such as ``taskmanager-0``."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _configure(self) -> None:
        settings = {
            "jobmanager.rpc.address": HOST, "jobmanager.rpc.port": self._rpc, "jobmanager.bind-host": HOST,
            "jobmanager.memory.process.size": "1g",
            "rest.address": HOST, "rest.bind-address": HOST, "rest.port": self._rest,
            "taskmanager.host": HOST, "taskmanager.bind-host": HOST, "taskmanager.numberOfTaskSlots": self.slots,
            "taskmanager.load-balance.mode": "SLOTS",
            # What Flink's scripts compute from taskmanager.memory.process.size.
            "taskmanager.cpu.cores": self.slots, "taskmanager.memory.framework.heap.size": "128m",
            "taskmanager.memory.task.heap.size": "384m", "taskmanager.memory.framework.off-heap.size": "64m",
            "taskmanager.memory.task.off-heap.size": "64m", "taskmanager.memory.managed.size": "128m",
            # Enough for all tasks of a job on one TaskManager: those of a lost one move there.
            "taskmanager.memory.network.min": "192m", "taskmanager.memory.network.max": "192m",
            "taskmanager.memory.jvm-metaspace.size": "384m", "taskmanager.memory.jvm-overhead.min": "128m",
            "taskmanager.memory.jvm-overhead.max": "128m",
            # Without a restart strategy a lost TaskManager fails the job. A lost one is noticed within seconds here.
            "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": 3,
            "restart-strategy.fixed-delay.delay": "1 s", "heartbeat.interval": 1000, "heartbeat.timeout": 5000,
            "io.tmp.dirs": self.folder / "tmp",
        }  # fmt: skip
        (self.folder / "tmp").mkdir(exist_ok=True)
        (self.folder / "flink-conf.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
        (self.folder / "log4j.properties").write_text(LOG4J)

    def _java(self, name: str, entry: str, heap: str) -> subprocess.Popen[bytes]:
        logging = f"-Dlog4j.configurationFile={self.folder / 'log4j.properties'}"
        flags = [*JVM, f"-Xmx{heap}", "-XX:MaxDirectMemorySize=384m", logging]
        classes = ["-cp", f"{flink_home()}/lib/*"]
        return self._start(name, ["java", *flags, *classes, entry, "--configDir", str(self.folder)])

    def _start(self, name: str, command: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | environment
            )
        self._all.append(process)
        return process

    def _await(self, ready: Any, what: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                if ready():
                    return
            dead = next((p for p in self._all if p.poll() is not None), None)
            if dead or time.monotonic() > deadline:
                tails = "\n".join(f"{f.stem}: {self.log(f.stem)[-1500:]}" for f in sorted(self.folder.glob("*.log")))
                raise RuntimeError(f"{what} did not start within {START_SECONDS} s\n{tails}")
            time.sleep(0.2)


@contextlib.contextmanager
def started(**options: Any) -> Iterator[Cluster]:
    """A cluster in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="rt2data-flink-") as folder, Cluster(Path(folder), **options) as cluster:
        yield cluster


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=["fetch", "run"])
    parser.add_argument("--taskmanagers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=2, help="of each TaskManager")
    parser.add_argument("--parallelism", type=int, default=2)
    parser.add_argument("command", nargs="*")
    args = parser.parse_args()
    try:
        fetch()
    except Missing as error:
        print(f"no Flink: {error}", file=sys.stderr)
        return 3
    if args.action == "fetch":
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with started(taskmanagers=args.taskmanagers, slots=args.slots) as cluster:
        options = cluster.options(args.parallelism)
        if args.command:
            command = [one for word in args.command for one in (options if word == "{options}" else [word])]
            return subprocess.run(command, check=False).returncode
        print("\n".join(options), flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main())
