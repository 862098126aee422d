"""Django's connections: ``django.db.connection`` and ``connections["alias"]``.

Django has a connection for each thread. A transaction uses that of the thread in which it runs, as the ORM does; who needs
a connection for longer gets one more with the same settings (from Django's own pool, where ``OPTIONS`` has one).
Django takes psycopg 3 where that can be imported, and this module needs it: there is no psycopg 2 here.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Any, Final

from django.db import Error as DjangoError
from django.db import connections, transaction

from rmqpool.errors import ConfigurationError, ConnectionFailedError, NotInTransactionError, PoolTimeoutError
from rmqpool.outbox.adapters.django_pool import bounded
from rmqpool.outbox.adapters.liveness import is_dead
from rmqpool.outbox.adapters.port import Borrowed, Lender
from rmqpool.outbox.connect_failures import stage_of
from rmqpool.secret import MASK

__all__ = ["lender"]


class _Borrowed:
    """``keep``: the thread had it open before, and goes on with it afterwards."""

    def __init__(self, connection: Any, *, keep: bool) -> None:
        self.native = connection
        self._keep = keep
        self._is_back = False
        self._atomic: Any = None

    @property
    def raw(self) -> Any:
        return self.native.connection

    def begin(self) -> None:
        self._atomic = transaction.atomic(using=self.native.alias, durable=False)
        self._atomic.__enter__()

    def commit(self) -> None:
        atomic, self._atomic = self._atomic, None
        atomic.__exit__(None, None, None)

    def rollback(self) -> None:
        atomic, self._atomic = self._atomic, None
        if atomic is not None:
            self.native.needs_rollback = True
            atomic.__exit__(None, None, None)
        elif self.raw is not None:
            self.raw.rollback()

    def execute(self, sql: str, parameters: Any = None) -> Any:
        cursor = self.native.cursor()
        cursor.execute(sql, parameters)
        return cursor

    def rows(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self.native.cursor() as cursor:
            cursor.execute(sql, list(parameters))
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []

    def give_back(self) -> None:
        if not self._is_back:
            self._is_back = True
            if not self._keep:
                self.native.close()

    def discard(self) -> None:
        if not self._is_back:
            self._is_back = True
            self._leave()
            if self.raw is not None:
                with contextlib.suppress(Exception):  # it is broken already
                    self.raw.close()
            self.native.close()

    def _leave(self) -> None:
        atomic, self._atomic = self._atomic, None
        if atomic is not None:
            self.native.needs_rollback = True
            with contextlib.suppress(DjangoError):
                atomic.__exit__(None, None, None)


class _Lender:
    driver: Final = "psycopg"

    def __init__(self, connection: Any) -> None:
        if getattr(connection, "vendor", None) != "postgresql":
            raise ConfigurationError(
                "the Django connection is none to Postgres, where the outbox lives; give django.db.connections[alias] of a "
                "database whose ENGINE is django.db.backends.postgresql"
            )
        self.alias: str = connection.alias
        self._inherited: Any = None

    @property
    def what(self) -> str:
        return f"the Django connection {self.alias!r}"

    @property
    def largest(self) -> int | None:
        pool = getattr(connections[self.alias], "pool", None)
        return None if pool is None else pool.max_size or None

    def take(self, deadline: float, *, own: bool = False) -> Borrowed:
        began = time.monotonic()
        connection = connections.create_connection(self.alias) if own else self._of_this_thread()
        if own:
            connection.inc_thread_sharing()
        keep = not own and (connection.connection is not None or connection.settings_dict["CONN_MAX_AGE"] != 0)
        while True:
            try:
                with bounded(connection, deadline):
                    connection.ensure_connection()
                if not is_dead(connection.connection):
                    return _Borrowed(connection, keep=keep)
                connection.close()
            except DjangoError as error:
                raise self._failed(error, connection, time.monotonic() - began) from None
            except Exception as error:
                if type(error).__module__.partition(".")[0] != "psycopg_pool":
                    raise
                raise self._failed(error, connection, time.monotonic() - began) from None
            if time.monotonic() >= deadline:
                raise PoolTimeoutError(f"{self.what} gave no connection that is alive within its time ({self.state()})")

    def state(self) -> str:
        pool = getattr(connections[self.alias], "pool", None)
        if pool is None:
            return "a connection for each thread"
        figures = pool.get_stats()
        return f"{figures['pool_size']} of {figures['pool_max']} connections, {figures['pool_available']} idle"

    def sizes(self) -> tuple[int, int, int]:
        pool = getattr(connections[self.alias], "pool", None)
        if pool is None:
            return 0, 0, 0
        figures = pool.get_stats()
        return figures["pool_size"], figures["pool_max"], figures["pool_available"]

    def forget(self) -> None:
        with contextlib.suppress(Exception):  # the alias may be gone, and others are told after this
            self._inherited = connections[self.alias].connection  # of the one thread that goes on in the child

    def _of_this_thread(self) -> Any:
        connection = connections[self.alias]
        if self._inherited is not None and connection.connection is self._inherited:
            connection.connection = None  # the parent's: not closed, or the parent would lose it
        if connection.in_atomic_block or (connection.connection is not None and not connection.get_autocommit()):
            raise NotInTransactionError(
                f"{self.what} of this thread is in a transaction already: write into that with Outbox.publish(connection, …), "
                "or end it first"
            )
        connection.close_if_unusable_or_obsolete()
        return connection

    def _failed(self, error: Exception, connection: Any, waited: float) -> Exception:
        if type(error.__cause__ or error).__name__ == "PoolTimeout":
            return PoolTimeoutError(f"{self.what} gave no connection within {waited:.3g} s ({self.state()})")
        settings = connection.settings_dict
        told, password = str(error).strip(), str(settings.get("PASSWORD") or "")
        if len(password) >= 4:
            told = told.replace(password, MASK)
        return ConnectionFailedError(
            f"no connection to Postgres through {self.what}: {told}",
            host=str(settings.get("HOST") or ""),
            stage=stage_of(told),
        )


def lender(connection: Any) -> Lender:
    """Of this alias. Raises ConfigurationError for another database than Postgres."""
    return _Lender(connection)
