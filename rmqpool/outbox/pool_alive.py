"""Whether a connection still is one: what the kernel knows already costs no round trip; an answer has its deadline.

On libpq itself: psycopg's own statements wait for as long as the server keeps the socket open.
"""

from __future__ import annotations

import asyncio
import select
import time
from typing import Any

import psycopg
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus

__all__ = ["answers", "answers_async", "is_lost"]

_READS = 16  # at most: a server that goes on talking is alive


def is_lost(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """True if the connection is closed, or the server's farewell has arrived. Does not wait; only between statements."""
    pgconn = connection.pgconn
    if pgconn.status != ConnStatus.OK:
        return True
    if pgconn.transaction_status == TransactionStatus.ACTIVE:
        return False  # a statement is under way: what arrives is its answer
    poll = select.poll()
    poll.register(pgconn.socket, select.POLLIN)
    try:
        for _ in range(_READS):
            if not poll.poll(0):
                break
            pgconn.consume_input()
    except psycopg.OperationalError:
        return True
    return pgconn.status != ConnStatus.OK


def answers(connection: psycopg.Connection[Any], deadline: float) -> bool:
    """True if the server answers an empty query before ``deadline`` (monotonic). If not, close the connection."""
    pgconn = connection.pgconn
    try:
        pgconn.send_query(b"")
        pgconn.flush()
        poll = select.poll()
        poll.register(pgconn.socket, select.POLLIN)
        while pgconn.is_busy():
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return False
            pgconn.consume_input()
        return _is_well(connection)
    except psycopg.OperationalError:
        return False


async def answers_async(connection: psycopg.AsyncConnection[Any], deadline: float) -> bool:
    """As :func:`answers`, awaited. Cancelled, it leaves the connection with a query under way: close it."""
    pgconn = connection.pgconn
    loop = asyncio.get_running_loop()
    try:
        pgconn.send_query(b"")
        pgconn.flush()
        while pgconn.is_busy():
            readable = asyncio.Event()
            loop.add_reader(pgconn.socket, readable.set)
            try:
                await asyncio.wait_for(readable.wait(), deadline - time.monotonic())
            finally:
                loop.remove_reader(pgconn.socket)
            pgconn.consume_input()
        return _is_well(connection)
    except (psycopg.OperationalError, TimeoutError):
        return False


def _is_well(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> bool:
    """Reads the empty query's results, all of which have arrived."""
    pgconn, well = connection.pgconn, True
    while (result := pgconn.get_result()) is not None:
        well = well and result.status == ExecStatus.EMPTY_QUERY
    return well and pgconn.status == ConnStatus.OK and pgconn.transaction_status == TransactionStatus.IDLE
