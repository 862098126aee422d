"""The command ``rmqpool``, forked from a process that has imported it: a fixture of the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prepared import Prepared

__all__ = ["COMMAND", "clean_environment", "commands"]

COMMAND = "rmqpool.cli.entry"  # Prepared.fork(COMMAND, ["publish", ...], ...)
_ROOT = Path(__file__).parent.parent
_MODULES = ("rmqpool.cli.*", "rmqpool.amqp.*", "rmqpool.core.*", "rmqpool.planning.*", "rmqpool.dlq.*", "rmqpool.outbox.*",
    "rmqpool.worker.*", "rmqpool.supervisor.*", "rmqpool.pool", "rmqpool.publisher", "rmqpool.config", "rmqpool.health",
    "rmqpool.pool_parts", "typer._adapters", "typer._click.decorators", "encodings.idna")  # fmt: skip


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without settings of rmqpool, and with this checkout importable from any folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RMQPOOL_")}
    kept.pop("NO_COLOR", None)
    return {**kept, "PYTHONPATH": str(_ROOT), "PYTHONWARNINGS": "", **more}


@pytest.fixture(scope="session")
def commands() -> Iterator[Prepared]:
    """Forks ``rmqpool`` with any arguments: `COMMAND`."""
    with Prepared(_MODULES, (), clean_environment()) as server:
        yield server
