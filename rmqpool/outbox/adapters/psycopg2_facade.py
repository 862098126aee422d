"""A psycopg 2 connection that answers as psycopg 3 does, as far as the outbox' own looking, repairing and migrating asks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, Self

import psycopg2
from psycopg import pq
from psycopg2 import extensions

from rmqpool.outbox.adapters.failures import as_psycopg

__all__ = ["Facade"]


class Facade:
    """In autocommit. :meth:`restore` puts the connection back to what it was."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._before = raw.autocommit
        raw.autocommit = True

    @property
    def info(self) -> Any:
        """The role's name and the transaction's status."""
        info = self._raw.info
        return SimpleNamespace(user=info.user, transaction_status=pq.TransactionStatus(info.transaction_status))

    @property
    def closed(self) -> bool:
        return bool(self._raw.closed)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction: committed at the end of the block, or rolled back."""
        with self.cursor() as cursor:
            cursor.execute(b"BEGIN")
            try:
                yield
            except BaseException:
                if not self.closed:
                    with contextlib.suppress(Exception):  # the block's error says more
                        cursor.execute(b"ROLLBACK")
                raise
            cursor.execute(b"COMMIT")

    def cursor(self) -> _Cursor:
        return _Cursor(self._raw)

    def restore(self) -> None:
        """As it was; only outside of a transaction."""
        self._raw.autocommit = self._before


class _Cursor:
    def __init__(self, raw: Any) -> None:
        with _translated():
            self._cursor = raw.cursor(cursor_factory=extensions.cursor)  # not the application's, which may do more

    def execute(self, sql: bytes, parameters: Sequence[Any] | None = None) -> Self:
        with _translated():
            self._cursor.execute(sql, None if parameters is None else tuple(parameters))
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        with _translated():
            row: tuple[Any, ...] | None = self._cursor.fetchone()
            return row

    def fetchall(self) -> list[tuple[Any, ...]]:
        with _translated():
            return list(self._cursor.fetchall())

    @property
    def rowcount(self) -> int:
        return int(self._cursor.rowcount)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.fetchall())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(psycopg2.Error):
            self._cursor.close()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except psycopg2.Error as error:
        raise (as_psycopg(error) or error) from error
