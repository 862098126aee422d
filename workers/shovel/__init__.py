"""Moves messages to another queue, virtual host or broker. ``rmqpool worker workers.shovel:worker``; docs/how-to/workers.md.

The worker is made when it is asked for: its settings are read from the environment then (workers/shovel/settings.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rmqpool import Worker

    worker: Worker

__all__ = ["worker"]


def __getattr__(name: str) -> object:
    if name != "worker":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rmqpool.config import load_settings
    from workers.environment import read_settings
    from workers.shovel.app import make_worker, refuse_a_circle
    from workers.shovel.settings import PREFIX, ShovelSettings

    settings = read_settings(ShovelSettings, PREFIX)
    refuse_a_circle(settings, load_settings().connection())
    made = make_worker(settings)
    globals()["worker"] = made
    return made
