"""Whether a borrowed connection still is one, of psycopg 3 or psycopg 2: what the kernel knows costs no round trip."""

from __future__ import annotations

import select
from typing import Any

import psycopg

from rmqpool.outbox.pool_alive import is_lost

__all__ = ["is_dead", "is_idle"]

_IDLE, _INERROR = 0, 3  # PQTRANS_: the same numbers in psycopg and psycopg 2


def is_dead(raw: Any) -> bool:
    """True if it is closed, or the server's farewell has arrived. Only between statements."""
    if isinstance(raw, psycopg.Connection | psycopg.AsyncConnection):
        return is_lost(raw)
    if raw.closed:
        return True
    poll = select.poll()
    poll.register(raw.fileno(), select.POLLIN)
    was = raw.info.transaction_status
    if was == _INERROR or not poll.poll(0):
        return False
    try:  # a notification, or the end: an answer tells
        with raw.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Exception:  # noqa: BLE001 - whatever it says, it is not of use
        return True
    if was == _IDLE and raw.info.transaction_status != _IDLE:
        raw.rollback()
    return False


def is_idle(raw: Any) -> bool:
    """Whether it is open, and in no transaction."""
    return not raw.closed and raw.info.transaction_status == _IDLE
