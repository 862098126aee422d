"""Delivers messages to an HTTP endpoint, signed. ``rmqpool worker workers.webhook:worker``; docs/how-to/workers.md.

The worker is made when it is asked for: its settings are read from the environment then (workers/webhook/settings.py).
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
        from workers.webhook.app import make_worker
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise ConfigurationError("workers.webhook needs httpx: pip install 'rmqpool[http]'") from None
    from workers.environment import read_settings
    from workers.webhook.settings import PREFIX, WebhookSettings

    made = make_worker(read_settings(WebhookSettings, PREFIX))
    globals()["worker"] = made
    return made
