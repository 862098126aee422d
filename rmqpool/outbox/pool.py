"""OutboxPool: Postgres connections for services that have no pool of their own, handed out as transactions."""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

import psycopg
import psycopg_pool
import tenacity

from rmqpool.errors import PoolClosedError
from rmqpool.outbox.adapters import borrowing_pool
from rmqpool.outbox.pool_alive import answers, is_lost
from rmqpool.outbox.pool_connections import Database, PooledConnection, new_pool
from rmqpool.outbox.pool_manners import adopt, restore
from rmqpool.outbox.pool_parts import (
    Figures,
    OutboxPoolStats,
    check_before_commit,
    check_sizes,
    commit_failed,
    not_given,
    retrying,
    stats_of,
    what_is_left,
)
from rmqpool.outbox.tables import Tables
from rmqpool.outbox.transaction import ConnectionT, Transaction
from rmqpool.outbox.writing import Outbox
from rmqpool.pool_options import seconds
from rmqpool.secret import Secret

if TYPE_CHECKING:
    from rmqpool.outbox.adapters.pool_types import DjangoAlias, DjangoProxy, Engine

__all__ = ["OutboxPool"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_OfPool = TypeVar("_OfPool", bound="psycopg.Connection[Any]")
_Connection = psycopg.Connection[Any]
_CLOSED = "the pool of Postgres connections is closed: make a new one"
_FORKED = "the application's pool is of the process that forked this one: make one in each process"


class OutboxPool(Generic[ConnectionT]):
    """Hands out transactions. psycopg_pool is underneath; :meth:`of` takes the application's own pool instead.

    ``database`` is a URL. ``min_size`` to ``max_size`` connections; times are seconds: ``timeout`` to wait for one,
    connecting and looking at it included; ``max_lifetime`` and ``max_idle`` of one; ``check_after`` of idleness before
    the server is asked for an answer before use. A connection whose end the server has announced is never handed out.
    ``pgbouncer`` True leaves prepared statements out. ``outbox`` writes the messages (default: ``Outbox(tables)``).

    Opened by :meth:`open`, by the first transaction, or as a context manager. Thread-safe. A forked child gets connections
    of its own; a transaction that was open at the fork is the parent's. A statement has no deadline here: give it one with
    ``?options=-c statement_timeout=…`` in the URL, or in the role. Raises ConfigurationError for a URL that cannot be
    read, and for sizes that make no sense.
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
        sizes = {
            "min_size": min_size,
            "max_size": max_size,
            "timeout": timeout,
            "max_lifetime": max_lifetime,
            "max_idle": max_idle,
        }
        check_sizes(**sizes)  # type: ignore[arg-type]
        owned = Database(database, name)

        def make() -> psycopg_pool.ConnectionPool[Any]:
            return new_pool(owned, pgbouncer=pgbouncer, name=name, max_waiting=max_waiting, **sizes)

        self._check_after = check_after
        self._set_up(make(), make, owned, timeout, isolation_level, outbox or Outbox(tables))

    @overload
    @classmethod
    def of(
        cls, pool: psycopg_pool.ConnectionPool[_OfPool], *, tables: Tables | None = None, outbox: Outbox | None = None
    ) -> OutboxPool[_OfPool]: ...
    @overload
    @classmethod
    def of(cls, pool: Engine[_T], *, tables: Tables | None = None, outbox: Outbox | None = None) -> OutboxPool[_T]: ...
    @overload
    @classmethod
    def of(
        cls, pool: DjangoAlias | DjangoProxy, *, tables: Tables | None = None, outbox: Outbox | None = None
    ) -> OutboxPool[Any]: ...
    @classmethod
    def of(cls, pool: object, *, tables: Tables | None = None, outbox: Outbox | None = None) -> OutboxPool[Any]:
        """Transactions on the application's own pool, which stays its own: it is neither opened nor closed here.

        A psycopg_pool.ConnectionPool, a SQLAlchemy Engine (on psycopg or psycopg2), or ``django.db.connections[alias]``.
        ``transaction.connection`` is a connection of that library. Raises ConfigurationError for anything else.
        """
        if not isinstance(pool, psycopg_pool.ConnectionPool):
            borrowing: OutboxPool[Any] = borrowing_pool(pool, outbox or Outbox(tables))
            return borrowing
        one = cls.__new__(cls)
        one._check_after = float("inf")
        one._set_up(pool, None, None, pool.timeout, None, outbox or Outbox(tables))
        return one

    def _set_up(
        self,
        pool: psycopg_pool.ConnectionPool[Any],
        make: Callable[[], psycopg_pool.ConnectionPool[Any]] | None,
        database: Database | None,
        timeout: float,
        isolation_level: psycopg.IsolationLevel | None,
        outbox: Outbox,
    ) -> None:
        self._pool, self._make, self._database = pool, make, database
        self._timeout, self._isolation_level, self.outbox = timeout, isolation_level, outbox
        self._figures = Figures()
        self._closed: str | None = None
        _POOLS.add(self)

    def open(self, wait: bool = True, timeout: float = 10.0) -> None:
        """Connect. With ``wait``: until a connection is there; after ``timeout`` seconds PoolTimeoutError with what the
        last attempt said. The pool goes on trying."""
        self._open()
        if wait:
            self._give_back(self._take(timeout))

    @contextmanager
    def transaction(self, timeout: float | None = None) -> Iterator[Transaction[ConnectionT]]:
        """A transaction: committed at the end of the block, rolled back if the block raises anything.

        ``timeout`` seconds bound the wait for a connection (PoolTimeoutError, TooManyWaitingError, PoolClosedError). At the
        end psycopg's errors are passed on if the server refuses the COMMIT; NotInTransactionError if a statement failed
        and the block hid its error, ConnectionLostError if the connection was lost before the COMMIT: nothing is committed
        then. CommitUnknownError if the answer to the COMMIT was lost.
        """
        connection = self._take(self._timeout if timeout is None else timeout)
        transaction: Transaction[Any] = Transaction(connection, self.outbox)
        before = None
        began, outcome = time.monotonic(), "rolled_back"
        try:
            before = adopt(connection, self._isolation_level)
            yield transaction
            transaction.check()
            check_before_commit(connection)
            outcome = "unknown"
            try:
                connection.commit()
            except psycopg.Error as error:
                unknown = commit_failed(error)
                if unknown is None:
                    outcome = "rolled_back"
                    raise
                raise unknown from error
            outcome = "committed"
        except BaseException:
            if not transaction.is_inherited:
                _roll_back(connection)
            raise
        finally:
            transaction.over = True
            if not transaction.is_inherited:
                self._figures.ended(outcome, began)
                try:
                    if before is not None:
                        restore(connection, before)
                finally:
                    self._give_back(connection)

    def run(
        self,
        function: Callable[Concatenate[Transaction[ConnectionT], _P], _T],
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
        options = retrying(attempts, deadline)

        def call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
            until = time.monotonic() + deadline

            def once() -> Any:
                with self.transaction(what_is_left(until, self._timeout)) as transaction:
                    return function(transaction, *arguments, **named)

            return tenacity.Retrying(**options)(once)

        return call

    def stats(self) -> OutboxPoolStats:
        """The figures of this moment."""
        return stats_of(self._pool, self._figures)

    def close(self, timeout: float = 5.0) -> bool:
        """Begin no more transactions, wait at most ``timeout`` seconds for open ones, and close the connections.

        True if none is open any more; one that is may go on to its end, and its connection is closed then. Whoever waits
        for a connection gets PoolClosedError. The application's own pool is left as it is. May be called twice.
        """
        deadline = time.monotonic() + timeout
        self._closed = self._closed or _CLOSED
        ended = self._figures.wait_for_nobody(timeout)
        if self._make is not None:
            self._pool.close(max(0.1, deadline - time.monotonic()))
        return ended

    def __enter__(self) -> Self:
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        stats = self.stats()
        state = "closed" if self._closed else f"{stats.size} of {stats.max_size} connections, {stats.idle} idle"
        return f"<OutboxPool {stats.name}: {state}>"

    def _open(self) -> None:
        if self._closed is not None:
            raise PoolClosedError(self._closed)
        if self._make is not None and self._pool.closed:
            try:
                self._pool.open()
            except psycopg_pool.PoolClosed:  # by another thread, just now
                raise PoolClosedError(_CLOSED) from None

    def _take(self, timeout: float) -> _Connection:
        """A connection that is not known to be dead, before ``timeout`` seconds have gone by. Give it back."""
        deadline = time.monotonic() + seconds("timeout", timeout)
        self._open()
        while True:
            connection = self._next(deadline, timeout)
            self._figures.count("leased")
            try:
                if self._closed is not None:
                    raise PoolClosedError(self._closed)
                if self._is_alive(connection, deadline):
                    return connection
                self._figures.count("found_lost")
            except PoolClosedError:
                self._give_back(connection)
                raise
            except BaseException:
                connection.close()  # a question may be under way
                self._give_back(connection)
                raise
            connection.close()
            self._give_back(connection)

    def _next(self, deadline: float, timeout: float) -> _Connection:
        try:
            connection: _Connection = self._pool.getconn(max(0.0, deadline - time.monotonic()))
            return connection
        except (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests, psycopg_pool.PoolClosed) as error:
            if isinstance(error, psycopg_pool.PoolTimeout):
                self._figures.count("timeouts")
            said = self._database.last_error if self._database is not None else None
            raise not_given(error, self.stats(), timeout, said) from None

    def _is_alive(self, connection: _Connection, deadline: float) -> bool:
        # Not in psycopg_pool's check=: it has no deadline there, and each dead connection is a pause of a second or more.
        if is_lost(connection):
            return False
        if not isinstance(connection, PooledConnection):
            return True
        return time.monotonic() - connection.idle_since <= self._check_after or answers(connection, deadline)

    def _give_back(self, connection: _Connection) -> None:
        if isinstance(connection, PooledConnection):
            connection.idle_since = time.monotonic()
        try:
            self._pool.putconn(connection)
        finally:
            self._figures.count("leased", -1)

    def _forget_parents(self) -> None:
        """In a forked child: the sockets and threads are the parent's, and a lock that was held is never let go."""
        _OF_PARENTS.append(self._pool)  # never collected: nothing of it is closed here
        self._figures = Figures()
        if self._make is None:
            self._closed = _FORKED
            return
        self._pool._closed = True  # or its __del__ would wait for threads that are not here
        self._pool = self._make()


def _roll_back(connection: _Connection) -> None:
    """Roll back; or close the connection if that fails, and the server rolls back."""
    if not connection.closed:
        try:
            connection.rollback()
        except psycopg.Error:
            connection.close()


def _after_fork_in_child() -> None:
    for pool in list(_POOLS):
        pool._forget_parents()


_POOLS: weakref.WeakSet[OutboxPool[Any]] = weakref.WeakSet()
_OF_PARENTS: list[object] = []
os.register_at_fork(after_in_child=_after_fork_in_child)
