"""The demo's worker: handles orders, and writes each one down. ``rmqpool worker workers.orders:worker``

Settings (environment):
    ORDERS_QUEUE     the queue to consume; default ``orders``
    ORDERS_FILE      a file that gets one line for each order handled: order id, a tab, the message id. Default: none
    ORDERS_SECONDS   how long an order takes, in seconds; default 0.001
    ORDERS_AT_ONCE   how many orders are handled at once; default 8

A line is one ``write`` on a file opened with O_APPEND, before the order is acknowledged: a worker that is killed with -9
may leave an order that is written and comes again, never one that is acknowledged and not written. Several workers may
share the file.
"""

from __future__ import annotations

import functools
import os
import time
from typing import Any

from rmqpool import Delivery, Worker

__all__ = ["handle", "worker"]

_QUEUE = os.environ.get("ORDERS_QUEUE", "orders")
_FILE = os.environ.get("ORDERS_FILE", "")
_SECONDS = float(os.environ.get("ORDERS_SECONDS", "0.001"))
_AT_ONCE = int(os.environ.get("ORDERS_AT_ONCE", "8"))

worker = Worker("orders")


@worker.consumer(_QUEUE, concurrency=_AT_ONCE)
def handle(order: Any, delivery: Delivery) -> None:
    """Take the time an order takes, then write it down. Any JSON value is an order; its ``id`` is its number."""
    time.sleep(_SECONDS)
    if _FILE:
        number = order.get("id", "") if isinstance(order, dict) else ""
        _write(f"{number}\t{delivery.message_id or ''}\n".encode())


def _write(line: bytes) -> None:
    written = os.write(_file(), line)
    if written != len(line):
        raise OSError(f"only {written} of {len(line)} bytes were written to {_FILE}")


@functools.cache
def _file() -> int:
    """The file, opened once and kept open until the process ends."""
    return os.open(_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
