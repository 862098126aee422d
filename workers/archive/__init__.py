"""Keeps every message of a queue in Postgres, in batches. ``rmqpool worker workers.archive:worker``; docs/how-to/workers.md.

The worker is made when it is asked for: its settings are read from the environment then (workers/archive/settings.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rmqpool.errors import ConfigurationError

if TYPE_CHECKING:
    from rmqpool import Worker

    worker: Worker

__all__ = ["worker"]


def __getattr__(name: str) -> object:
    if name != "worker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from workers.archive.app import make_worker
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("psycopg"):
            raise
        raise ConfigurationError("workers.archive needs psycopg: pip install 'rmqpool[postgres]'") from None
    from rmqpool.config import load_settings
    from workers.archive.settings import PREFIX, ArchiveSettings
    from workers.environment import read_settings

    made = make_worker(read_settings(ArchiveSettings, PREFIX), load_settings().postgres_url)
    globals()["worker"] = made
    return made
