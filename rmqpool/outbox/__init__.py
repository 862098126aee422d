"""The transactional outbox and inbox on Postgres: committed means delivered at least once, rolled back means never.

Needs the extra ``rmqpool[postgres]``; importing this package loads no driver. The names are loaded when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from rmqpool.errors import ConfigurationError
from rmqpool.late_imports import IMPORTING

if TYPE_CHECKING:
    from rmqpool.outbox.async_inbox import AsyncInbox
    from rmqpool.outbox.async_inspector import AsyncInspector
    from rmqpool.outbox.async_pool import AsyncOutboxPool
    from rmqpool.outbox.async_writing import AsyncOutbox
    from rmqpool.outbox.inbox import Inbox
    from rmqpool.outbox.inspector import Inspector
    from rmqpool.outbox.looking import Looked, ReplicaHealth
    from rmqpool.outbox.pool import OutboxPool
    from rmqpool.outbox.pool_parts import OutboxPoolStats
    from rmqpool.outbox.relay import Relay
    from rmqpool.outbox.relay_values import RelayStats
    from rmqpool.outbox.tables import Tables
    from rmqpool.outbox.transaction import AsyncTransaction, Transaction
    from rmqpool.outbox.writing import Outbox

__all__ = [
    "AsyncInbox",
    "AsyncInspector",
    "AsyncOutbox",
    "AsyncOutboxPool",
    "AsyncTransaction",
    "Inbox",
    "Inspector",
    "Looked",
    "Outbox",
    "OutboxPool",
    "OutboxPoolStats",
    "Relay",
    "RelayStats",
    "ReplicaHealth",
    "Tables",
    "Transaction",
]

_HOME = {
    "AsyncInbox": "async_inbox",
    "AsyncInspector": "async_inspector",
    "AsyncOutbox": "async_writing",
    "AsyncOutboxPool": "async_pool",
    "AsyncTransaction": "transaction",
    "Inbox": "inbox",
    "Inspector": "inspector",
    "Looked": "looking",
    "Outbox": "writing",
    "OutboxPool": "pool",
    "OutboxPoolStats": "pool_parts",
    "Relay": "relay",
    "RelayStats": "relay_values",
    "ReplicaHealth": "looking",
    "Tables": "tables",
    "Transaction": "transaction",
}


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load the module of a public name when it is first used (PEP 562)."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            with IMPORTING:
                value: object = getattr(importlib.import_module(f"rmqpool.outbox.{_HOME[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name not in ("psycopg", "psycopg_pool"):
                raise
            raise ConfigurationError(
                f"rmqpool.outbox.{name} needs {error.name}: pip install 'rmqpool[postgres]'"
            ) from error
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
