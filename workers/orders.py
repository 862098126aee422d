"""The demo's worker: handles orders, each of them once. ``rmqpool worker workers.orders:worker``

Settings (environment):
    RMQPOOL_POSTGRES_URL   the database with the inbox (``rmqpool outbox migrate``) and the table ``shipments``
    ORDERS_QUEUE           the queue to consume; default ``orders``
    ORDERS_WORKER          the name that is written beside each order handled; default: the process id
    ORDERS_SECONDS         how long an order takes, in seconds; default 0.001
    ORDERS_AT_ONCE         how many orders are handled at once; default 8

The table (workers/demo/tables.py makes it): ``shipments (order_id text, message_id text, worker text, shipped_at
timestamptz)``. A row of it and the mark that the message was handled are committed together, before the message is
acknowledged: a worker that is killed with -9 may leave a message that comes again, and finds its mark; never one that is
acknowledged and not handled. Any number of workers share the queue.
"""

from __future__ import annotations

import os
import time
from typing import Any

from rmqpool import Delivery, Worker
from rmqpool.errors import ConfigurationError
from rmqpool.outbox import Inbox, Transaction

__all__ = ["handle", "worker"]

_QUEUE = os.environ.get("ORDERS_QUEUE", "orders")
_WORKER = os.environ.get("ORDERS_WORKER") or str(os.getpid())
_SECONDS = float(os.environ.get("ORDERS_SECONDS", "0.001"))
_AT_ONCE = int(os.environ.get("ORDERS_AT_ONCE", "8"))
_SHIP = "INSERT INTO shipments (order_id, message_id, worker) VALUES (%s, %s, %s)"


def _database() -> str:
    url = os.environ.get("RMQPOOL_POSTGRES_URL")
    if not url:
        raise ConfigurationError("workers.orders needs a database: set RMQPOOL_POSTGRES_URL to its URL")
    return url


worker = Worker("orders")


@worker.consumer(_QUEUE, concurrency=_AT_ONCE, inbox=Inbox(_database(), consumer="orders"))
def handle(order: Any, delivery: Delivery, transaction: Transaction) -> None:
    """Take the time an order takes, then ship it. Any JSON value is an order; its ``id`` is its number."""
    time.sleep(_SECONDS)
    number = order.get("id", "") if isinstance(order, dict) else ""
    transaction.execute(_SHIP, [str(number), delivery.message_id, _WORKER])
