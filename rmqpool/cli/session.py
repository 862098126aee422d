"""From a command's options to settings and an open pool: the same way in every command."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rmqpool.config import Settings
    from rmqpool.pool import ConnectionPool

__all__ = ["load", "make_pool", "quiet_logs"]

_CONNECT = 10.0  # seconds to reach the broker when the user gave no --timeout


def load(**arguments: Any) -> Settings:
    """The settings: arguments that are not None, then environment, pyproject.toml, defaults. ConfigurationError."""
    from rmqpool.config import load_settings

    quiet_logs()
    return load_settings(**arguments)


def make_pool(settings: Settings, command: str, timeout: float | None, **options: Any) -> ConnectionPool:
    """An open pool whose connections carry the command's name in the broker's list.

    Raises why the broker cannot be reached, or does not let us in, at most ``timeout`` seconds later (None: 10).
    """
    import os
    import socket

    from rmqpool.pool import ConnectionPool

    name = f"rmqpool {command} {socket.gethostname()}:{os.getpid()}"[:200]
    pool = ConnectionPool(settings.connection(), name=name, timeout=settings.timeout, **options)
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
