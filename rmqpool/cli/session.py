"""From a command's options to settings and a pool: the same way in every command."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rmqpool.config import Settings
    from rmqpool.pool import ConnectionPool

__all__ = ["load", "open_pool", "pool_of", "quiet_logs", "sources_of"]

_CONNECT = 10.0  # seconds to reach the broker when the user gave no --timeout


def load(**arguments: Any) -> Settings:
    """The settings: arguments that are not None, then environment, pyproject.toml, defaults. ConfigurationError."""
    from rmqpool.config import load_settings

    quiet_logs()
    return load_settings(**arguments)


def sources_of(settings: Settings) -> dict[str, str]:
    """Where each setting came from: ``argument``, ``environment …``, ``default``."""
    from rmqpool.config import explain

    return {row.name: row.source for row in explain(settings)}


def pool_of(settings: Settings, name: str) -> ConnectionPool:
    """A pool with all that the settings say; not opened yet. ``name`` shows in the broker's list of connections."""
    from rmqpool.pool import ConnectionPool

    return ConnectionPool(
        settings.connection(),
        name=name,
        publish_connections=settings.publish_connections,
        consume_connections=settings.consume_connections,
        channels_per_connection=settings.channels_per_connection,
        timeout=settings.timeout,
        max_waiting=settings.max_waiting,
        max_lifetime=settings.max_lifetime,
        max_idle=settings.max_idle,
        leak_after=settings.leak_after,
    )


def open_pool(settings: Settings, command: str, timeout: float | None) -> ConnectionPool:
    """An open pool for a command.

    Raises why the broker cannot be reached, or does not let us in, at most ``timeout`` seconds later (None: 10).
    """
    pool = pool_of(settings, f"rmqpool {command} {socket.gethostname()}:{os.getpid()}"[:200])
    try:
        pool.open(timeout=_CONNECT if timeout is None else timeout)
    except BaseException:
        pool.close(timeout=1.0)
        raise
    return pool


def quiet_logs() -> None:
    """Commands tell what happened in their own words: log records go nowhere unless a command sets logging up."""
    for name in ("rmqpool", "pika"):
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
