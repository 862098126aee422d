"""SQLAlchemy's Engine, on psycopg or psycopg 2."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import Pool, QueuePool

from rmqpool.errors import ConfigurationError, ConnectionFailedError, PoolClosedError, PoolTimeoutError
from rmqpool.outbox.adapters.liveness import is_dead
from rmqpool.outbox.adapters.port import Borrowed, Lender
from rmqpool.outbox.adapters.waiting import taken_by
from rmqpool.outbox.connect_failures import stage_of
from rmqpool.secret import MASK

__all__ = ["connect_failed", "described", "largest_of", "lender", "not_in_time", "sizes_of", "state_of"]

_DRIVERS = ("psycopg", "psycopg2")
_WAITING = 100  # threads that wait for SQLAlchemy's pool at once; who comes then waits for one of them


class _Borrowed:
    def __init__(self, connection: Connection) -> None:
        self.native = connection
        self._is_back = False

    @property
    def raw(self) -> Any:
        if self.native.closed or self.native.invalidated:
            return None
        return self.native.connection.driver_connection

    def begin(self) -> None:
        if getattr(self.native.connection.dbapi_connection, "autocommit", False):
            # SQLAlchemy puts it back when the connection goes back.
            self.native.execution_options(isolation_level=self.native.default_isolation_level)
        self.native.begin()

    def commit(self) -> None:
        self.native.commit()

    def rollback(self) -> None:
        self.native.rollback()

    def execute(self, sql: str, parameters: Any = None) -> Any:
        return self.native.exec_driver_sql(sql, _tuple(parameters))

    def rows(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        result = self.native.exec_driver_sql(sql, tuple(parameters))
        return [tuple(row) for row in result] if result.returns_rows else []

    def give_back(self) -> None:
        if not self._is_back:
            self._is_back = True
            self.native.close()

    def discard(self) -> None:
        if not self._is_back:
            with contextlib.suppress(SQLAlchemyError):
                if not self.native.invalidated:
                    self.native.invalidate()
            self.give_back()


class _Lender:
    def __init__(self, engine: Engine) -> None:
        dialect = engine.dialect
        if dialect.name != "postgresql" or dialect.driver not in _DRIVERS:
            raise ConfigurationError(
                f"the SQLAlchemy Engine is one to {dialect.name} with {dialect.driver}; the outbox lives in Postgres, and "
                "takes engines of postgresql+psycopg:// and postgresql+psycopg2://"
            )
        self._engine = engine
        self._forked = False
        self._permits = threading.BoundedSemaphore(_WAITING)
        self.driver = dialect.driver

    @property
    def what(self) -> str:
        return described(self._engine)

    @property
    def largest(self) -> int | None:
        return largest_of(self._engine.pool)

    def take(self, deadline: float, *, own: bool = False) -> Borrowed:
        began = time.monotonic()
        if self._forked:
            raise PoolClosedError(f"{self.what} is of the process that forked this one: make one in each process")
        while True:
            try:
                borrowed = _Borrowed(taken_by(deadline, self._engine.connect, Connection.close, self._permits))
            except (TimeoutError, PoolTimeout):
                raise not_in_time(self.what, self.state(), time.monotonic() - began) from None
            except DBAPIError as error:
                raise connect_failed(error, self._engine) from None
            try:
                if borrowed.raw is not None and not is_dead(borrowed.raw):
                    return borrowed
            except BaseException:
                borrowed.discard()
                raise
            borrowed.discard()

    def state(self) -> str:
        return state_of(self._engine.pool)

    def sizes(self) -> tuple[int, int, int]:
        return sizes_of(self._engine.pool, self.largest)

    def forget(self) -> None:
        self._forked = True


def _tuple(parameters: Any) -> Any:
    """A list would mean many executions."""
    return tuple(parameters) if isinstance(parameters, list) else parameters


def described(engine: Engine) -> str:
    """Without the password."""
    return f"the SQLAlchemy Engine of {engine.url.render_as_string(hide_password=True)}"


def state_of(pool: Pool) -> str:
    """Its sizes."""
    if not isinstance(pool, QueuePool):
        return type(pool).__name__
    largest = "any number" if pool._max_overflow < 0 else str(pool.size() + pool._max_overflow)
    return f"{pool.checkedout()} of {largest} connections in use, {pool.checkedin()} idle"


def sizes_of(pool: Pool, largest: int | None) -> tuple[int, int, int]:
    """Connections now, at most, and idle."""
    if not isinstance(pool, QueuePool):
        return 0, 0, 0
    return pool.checkedin() + pool.checkedout(), largest or 0, pool.checkedin()


def largest_of(pool: Pool) -> int | None:
    """How many connections there are at most; None: any number."""
    if not isinstance(pool, QueuePool) or pool._max_overflow < 0 or pool.size() == 0:
        return None
    return pool.size() + pool._max_overflow


def not_in_time(what: str, state: str, waited: float) -> PoolTimeoutError:
    """The deadline came first, ours or the pool's own."""
    return PoolTimeoutError(
        f"{what} gave no connection within {waited:.3g} s ({state}): is the server up, are connections kept for too long, "
        "is its pool_size too small?"
    )


def connect_failed(error: DBAPIError, engine: Engine) -> ConnectionFailedError:
    """There is no connection; the password is in none of its words."""
    told = str(error.orig or error).strip()
    password = engine.url.password
    if password is not None and len(str(password)) >= 4:
        told = told.replace(str(password), MASK)
    return ConnectionFailedError(
        f"no connection to Postgres through {described(engine)}: {told}",
        host=engine.url.host or "",
        port=engine.url.port or 0,
        stage=stage_of(told),
    )


def lender(engine: Engine) -> Lender:
    """Of this engine. Raises ConfigurationError for another database, or another driver."""
    return _Lender(engine)
