"""P11: what it costs to be there: imports, the command line, an idle worker."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pika

from benchmarks.children import python_environment, started
from benchmarks.goals import HELP, IMPORT_PIKA, IMPORT_RMQPOOL
from benchmarks.queues import Queues
from benchmarks.report import Footprint, Startup

__all__ = ["measure_footprint"]

_TIMEOUT = 30.0  # seconds for one start
_SETTLING = 2.0  # seconds that a ready worker gets before it is weighed
_QUEUE = "benchmark-idle"


def measure_footprint(url: str, starts: int, tell: Callable[[str], None]) -> Footprint:
    """Fresh interpreters, alternating, after one of each that writes the .pyc files; then the worker.

    Raises subprocess.CalledProcessError, subprocess.TimeoutExpired, RunFailedError.
    """
    measures: dict[str, Callable[[], float]] = {
        IMPORT_RMQPOOL: lambda: _import_seconds(IMPORT_RMQPOOL),
        IMPORT_PIKA: lambda: _import_seconds(IMPORT_PIKA),
        HELP: _help_seconds,
    }
    seconds: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(starts + 1):
        for name, measure in measures.items():
            taken = measure()
            if number:
                seconds[name].append(taken)
    tell(f"footprint: {starts} starts of each")
    idle = _idle_worker_bytes(url)
    tell(f"footprint: idle worker {idle / 1_000_000:.0f} MB")
    return Footprint(tuple(Startup(name, tuple(taken)) for name, taken in seconds.items()), idle)


def _import_seconds(statement: str) -> float:
    """The seconds of the statement alone, without the interpreter's own start."""
    program = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=_TIMEOUT, check=True)
    return float(done.stdout)


def _help_seconds() -> float:
    """The whole program, as somebody at a terminal waits for it."""
    started_at = time.perf_counter()
    subprocess.run([_rmqpool(), "--help"], capture_output=True, timeout=_TIMEOUT, check=True)
    return time.perf_counter() - started_at


def _idle_worker_bytes(url: str) -> int:
    import psutil  # in the benchmarks' own environment only

    queues = Queues(url)
    command = [_rmqpool(), "worker", "benchmarks.clients.idle_worker:worker"]
    with started(command, {**python_environment(), "RMQPOOL_URL": url}) as child:
        child.wait_for(lambda: _has_consumer(url), "the idle worker consumes", _TIMEOUT)
        time.sleep(_SETTLING)  # there is no event for "nothing more happens"
        size = psutil.Process(child.pid).memory_info().rss
    queues.delete(_QUEUE)
    return int(size)


def _has_consumer(url: str) -> bool:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        return bool(connection.channel().queue_declare(_QUEUE, passive=True).method.consumer_count)
    except pika.exceptions.ChannelClosedByBroker:
        return False  # not declared yet
    finally:
        if connection.is_open:
            connection.close()


def _rmqpool() -> str:
    return str(Path(sys.executable).parent / "rmqpool")
