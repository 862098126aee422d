"""How a borrowed psycopg 3 connection behaves: plain and in autocommit for our own statements, and then as it was."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.rows import tuple_row

from rmqpool.outbox.pool_manners import Manners, restore

__all__ = ["PlainManners"]


class PlainManners:
    """Puts a connection that is in no transaction into the state that our statements need; :meth:`restore` undoes it.

    All of it lives in psycopg, none in the server's session.
    """

    def __init__(self, raw: psycopg.Connection[Any], *, autocommit: bool) -> None:
        self._raw = raw
        self._before = Manners.of(raw)
        self._cursor_factory, self._prepare_threshold = raw.cursor_factory, raw.prepare_threshold
        self._adapters = raw._adapters
        raw.autocommit = autocommit
        raw.isolation_level = raw.read_only = raw.deferrable = None
        raw.row_factory, raw.cursor_factory = tuple_row, psycopg.Cursor
        raw.prepare_threshold = None  # PgBouncer before 1.21 knows no prepared statements in transaction mode
        raw._adapters = None  # the application may read and write some types in its own way

    def restore(self) -> None:
        """As it was. Raises psycopg.Error if it is in a transaction."""
        raw = self._raw
        restore(raw, self._before)
        raw.cursor_factory, raw.prepare_threshold = self._cursor_factory, self._prepare_threshold
        raw._adapters = self._adapters
