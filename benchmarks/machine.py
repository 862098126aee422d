"""Where the figures were taken, and the versions of everything that was measured."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distributions, version

from benchmarks.children import AMQPSTORM_FOLDER
from benchmarks.report import Machine

__all__ = ["describe_machine"]

PEERS = (
    "rmqpool",
    "pika",
    "kombu",
    "amqp",
    "aio-pika",
    "aiormq",
    "uvloop",
    "celery",
    "dramatiq",
    "faststream",
    "psycopg-pool",
    "sqlalchemy",
)


def describe_machine(rabbitmq: Iterable[int]) -> Machine:
    """This machine, with the version of its broker. A peer that is not there is told as missing."""
    versions = {name: _version(name) for name in PEERS}
    there = {one.name.lower(): one.version for one in distributions(path=[str(AMQPSTORM_FOLDER)])}
    versions["amqpstorm"] = there.get("amqpstorm", "missing")
    return Machine(
        taken=datetime.now(UTC).isoformat(timespec="seconds"),
        processors=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        rabbitmq=".".join(map(str, rabbitmq)),
        versions=versions,
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"
