"""One connection for all tests that look into a database: to connect takes as long as a test."""

from __future__ import annotations

from typing import Any, Self

import psycopg

from rmqpool.outbox import Tables


class KeptConnection:
    """In autocommit, to a database with the outbox' tables; opened again when it, or its server, has ended."""

    def __init__(self, url: str, *tables: Tables) -> None:
        self._url = url
        self._connection: psycopg.Connection[Any] | None = None
        names = [name for one in tables for name in (one.outbox, one.scheduled)]
        self._emptying = "; ".join(f"DELETE FROM {name}" for name in names).encode()

    def emptied(self) -> psycopg.Connection[Any]:
        """The connection, as new, when its tables are empty."""
        if self._connection is not None:
            try:
                return self._as_new(self._connection)
            except psycopg.OperationalError:
                self._connection.close()
        # Prepared statements do not outlive DISCARD ALL.
        self._connection = psycopg.connect(self._url, autocommit=True, prepare_threshold=None)
        return self._as_new(self._connection)

    def _as_new(self, connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
        connection.rollback()
        connection.execute("DISCARD ALL")
        connection.execute(self._emptying)
        return connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()
