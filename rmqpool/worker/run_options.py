"""What one run of a worker is asked for, over what the worker itself says."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterable
from typing import NamedTuple

from rmqpool.errors import ConfigurationError
from rmqpool.pool import ConnectionPool
from rmqpool.settings import ConnectionSettings

__all__ = ["RunOptions", "pool_for", "refuse_in_a_child", "seconds_of"]

_DEFAULT_URL = "amqp://guest:guest@127.0.0.1/"


class RunOptions(NamedTuple):
    """None leaves a value to the worker and its consumers. ``patience``: seconds for a broker that is not there (None:
    without limit).
    """

    queues: Iterable[str] | None
    concurrency: int | None
    prefetch: int | None
    burst: bool
    grace: float | None
    pool: ConnectionPool | ConnectionSettings | str | None
    patience: float | None


def pool_for(worker: str, given: ConnectionPool | ConnectionSettings | str | None) -> tuple[ConnectionPool, bool]:
    """The pool of a run, and whether the run owns it: then the connections carry the worker's name."""
    if isinstance(given, ConnectionPool):
        return given, False
    name = f"rmqpool worker {worker}@{socket.gethostname()}:{os.getpid()}"
    return ConnectionPool(given if given is not None else _DEFAULT_URL, name=name), True


def refuse_in_a_child(worker: str) -> None:
    """Raises ConfigurationError in a child process that imports its handler: a worker there would start children too."""
    locating = sys.modules.get("rmqpool.worker.children.locating")
    if locating is not None and locating.is_loading():
        raise ConfigurationError(
            f'worker {worker!r} is run while its module is imported: run it under if __name__ == "__main__", or with the '
            "command rmqpool worker"
        )


def seconds_of(name: str, value: float) -> float:
    """Seconds, 0 or more. Raises ConfigurationError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < threading.TIMEOUT_MAX:
        raise ConfigurationError(f"{name} is {value!r}; give seconds, 0 or more")
    return float(value)
