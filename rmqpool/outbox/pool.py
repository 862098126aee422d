"""OutboxPool: Postgres connections for services that have no pool of their own, handed out as transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import psycopg
import psycopg_pool
import tenacity

from rmqpool.errors import PoolTimeoutError
from rmqpool.outbox.pool_parts import (
    IdleTimes,
    OutboxPoolStats,
    commit_failed,
    connection_options,
    not_given,
    retrying,
    stats_of,
)
from rmqpool.outbox.tables import Tables
from rmqpool.outbox.transaction import Transaction
from rmqpool.outbox.writing import Outbox
from rmqpool.secret import Secret

__all__ = ["OutboxPool"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class OutboxPool:
    """Hands out transactions. psycopg_pool is underneath; :meth:`of` takes the application's own pool instead.

    ``database`` is a URL. ``min_size`` to ``max_size`` connections; times are seconds: ``timeout`` to wait for one,
    ``max_lifetime`` and ``max_idle`` of one, ``check_after`` of idleness before one is looked at before it is used.
    ``pgbouncer`` True leaves prepared statements out. ``outbox`` writes the messages (default: ``Outbox(tables)``).

    Opened by :meth:`open`, by the first transaction, or as a context manager. Thread-safe; not for a forked child, which
    makes one of its own. Raises ConfigurationError for a URL that cannot be read.
    """

    def __init__(
        self,
        database: str | Secret,
        *,
        min_size: int = 1,
        max_size: int = 10,
        timeout: float = 30.0,
        max_waiting: int = 0,
        max_lifetime: float = 3600.0,
        max_idle: float = 600.0,
        check_after: float = 30.0,
        pgbouncer: bool = False,
        isolation_level: psycopg.IsolationLevel | None = None,
        tables: Tables | None = None,
        outbox: Outbox | None = None,
        name: str = "rmqpool",
    ) -> None:
        self._idle = IdleTimes(check_after)
        self._isolation_level = isolation_level
        self._owned = True
        self._timeout = timeout
        self.outbox = outbox or Outbox(tables)
        self._pool: psycopg_pool.ConnectionPool[psycopg.Connection[Any]] = psycopg_pool.ConnectionPool(
            "",
            kwargs=connection_options(database, name, pgbouncer=pgbouncer),
            min_size=min_size,
            max_size=max_size,
            open=False,
            configure=self._configure,
            check=self._check,
            reset=self._reset,
            name=name,
            timeout=timeout,
            max_waiting=max_waiting,
            max_lifetime=max_lifetime,
            max_idle=max_idle,
        )

    @classmethod
    def of(
        cls, pool: psycopg_pool.ConnectionPool[Any], *, tables: Tables | None = None, outbox: Outbox | None = None
    ) -> Self:
        """Transactions on the application's own pool, which stays its own: it is neither opened nor closed here."""
        one = cls.__new__(cls)
        one._idle = IdleTimes(float("inf"))
        one._isolation_level = None
        one._owned = False
        one._timeout = pool.timeout
        one._pool = pool
        one.outbox = outbox or Outbox(tables)
        return one

    def open(self, wait: bool = True, timeout: float = 10.0) -> None:
        """Connect. With ``wait``: until ``min_size`` connections are there; PoolTimeoutError after ``timeout`` seconds."""
        if self._owned:
            self._pool.open()
        if wait:
            try:
                self._pool.wait(timeout)
            except psycopg_pool.PoolTimeout as error:
                self._pool.close(0)
                raise PoolTimeoutError(
                    f"no connection to Postgres within {timeout:g} s: is the server up, and the URL right?"
                ) from error

    @contextmanager
    def transaction(self, timeout: float | None = None) -> Iterator[Transaction]:
        """A transaction: committed at the end of the block, rolled back if the block raises anything.

        ``timeout`` seconds bound the wait for a connection (PoolTimeoutError, TooManyWaitingError, PoolClosedError). At the
        end psycopg's errors are passed on, or CommitUnknownError if the answer to the COMMIT was lost.
        """
        connection = self._take(self._timeout if timeout is None else timeout)
        transaction = Transaction(connection, self.outbox)
        try:
            try:
                yield transaction
            finally:
                transaction.over = True
            try:
                connection.commit()
            except psycopg.Error as error:
                unknown = commit_failed(error)
                if unknown is None:
                    raise
                raise unknown from error
        except BaseException:
            with suppress(psycopg.Error):  # it is broken, and the pool finds out
                connection.rollback()
            raise
        finally:
            self._pool.putconn(connection)

    def run(
        self,
        function: Callable[Concatenate[Transaction, _P], _T],
        *arguments: _P.args,
        **named: _P.kwargs,
    ) -> _T:
        """Call ``function(transaction, …)`` in a transaction of its own, and return what it returns.

        A serialization failure (40001), a deadlock (40P01) or a connection lost before the COMMIT calls it again, with
        full jitter, up to 5 times within 10 seconds: it may run more than once, so keep effects out of it that are not
        in the transaction. :meth:`retrying` sets the numbers.
        """
        result: _T = self.retrying()(function, *arguments, **named)
        return result

    def retrying(self, attempts: int = 5, deadline: float = 10.0) -> Callable[..., Any]:
        """As :meth:`run`, with so many attempts within ``deadline`` seconds: ``pool.retrying(9)(function, …)``."""

        def once(function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
            with self.transaction() as transaction:
                return function(transaction, *arguments, **named)

        def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
            return tenacity.Retrying(**retrying(attempts, deadline))(once, function, arguments, named)

        return call

    def stats(self) -> OutboxPoolStats:
        """The figures of this moment."""
        return stats_of(self._pool)

    def close(self, timeout: float = 5.0) -> None:
        """Close the connections; those in use when they come back. The application's own pool is left as it is."""
        if self._owned:
            self._pool.close(timeout)

    def __enter__(self) -> Self:
        if self._owned:
            self._pool.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        stats = self.stats()
        state = "closed" if self._pool.closed else f"{stats.size} of {stats.max_size} connections, {stats.idle} idle"
        return f"<OutboxPool {stats.name}: {state}>"

    def _take(self, timeout: float) -> psycopg.Connection[Any]:
        if self._owned and self._pool.closed:
            with suppress(psycopg.OperationalError):  # closed for good: getconn says so
                self._pool.open()
        try:
            return self._pool.getconn(timeout)
        except (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests, psycopg_pool.PoolClosed) as error:
            raise not_given(error, self._pool, timeout) from error

    def _configure(self, connection: psycopg.Connection[Any]) -> None:
        if self._isolation_level is not None:
            connection.isolation_level = self._isolation_level
        self._idle.returned(connection)

    def _reset(self, connection: psycopg.Connection[Any]) -> None:
        self._idle.returned(connection)

    def _check(self, connection: psycopg.Connection[Any]) -> None:
        if self._idle.needs_check(connection):
            psycopg_pool.ConnectionPool.check_connection(connection)
