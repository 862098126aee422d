"""Relay: publishes what was committed into the outbox, and nothing else."""

from __future__ import annotations

import logging
import os
import threading
import time
from types import TracebackType
from typing import Any, Literal, Self

from rmqpool.core.lanes import LANES
from rmqpool.errors import ConfigurationError, PoolClosedError
from rmqpool.outbox.adapters.for_relays import database_of_relay
from rmqpool.outbox.relay_loop import RelayLoop
from rmqpool.outbox.relay_values import Order, RelayOptions, RelayStats
from rmqpool.outbox.tables import Tables, tables_or_default
from rmqpool.pool import ConnectionPool
from rmqpool.publisher import Publisher

__all__ = ["Relay"]

_LOGGER = logging.getLogger("rmqpool.outbox.relay")


class Relay:
    """Moves rows from the outbox to the broker: a row is deleted after the broker confirmed it, and did not return it.

    ``amqp`` is a URL, or a pool to share; ``database`` a URL of Postgres, or the application's own pool with psycopg 3
    (psycopg_pool.ConnectionPool, a SQLAlchemy Engine, ``django.db.connections[alias]``), three connections of which it
    keeps for as long as it runs (two without a doorbell), and gives back as they were. Any number of relays share the rows
    by lanes; one that dies leaves its lanes to the others within seconds. A relay may publish a message twice, with the same
    message id, when it or the broker dies at a bad moment; it never loses one.

    ``order`` is ``key`` (rows of one key leave in the order of their ids) or ``strict`` (all rows in one order; one relay
    works, others stand by). ``key_window`` rows of one key at most are on their way: 1 keeps their order even when the
    broker refuses one; None is faster. ``batch_size`` rows are read at once, and ``batches_in_flight`` times as many are in
    hand; none is read while their bodies have ``max_bytes`` or more, so there is one body above it at most. A row that the
    broker returns or refuses stalls its key, and is given up (moved to the dead table) after ``max_attempts``. ``doorbell``
    False, and ``pgbouncer`` True, leave LISTEN out: rows are found by polling. ``publish_timeout`` is seconds.

    Thread-safe. A context manager: starts and stops. Raises ConfigurationError for what cannot be meant.
    """

    def __init__(
        self,
        amqp: str | ConnectionPool,
        database: object,
        *,
        tables: Tables | None = None,
        order: Order = "key",
        batch_size: int = 1000,
        batches_in_flight: int = 4,
        max_bytes: int = 64 * 2**20,
        key_window: int | None = None,
        doorbell: bool = True,
        pgbouncer: bool = False,
        max_attempts: int = 1000,
        publish_timeout: float = 30.0,
        name: str | None = None,
        **tuning: Any,
    ) -> None:
        if not isinstance(amqp, str | ConnectionPool):
            raise ConfigurationError(f"amqp is a {type(amqp).__name__}; give the broker's URL, or a ConnectionPool")
        if order not in ("key", "strict"):
            raise ConfigurationError(f"order is {order!r}; it must be key or strict")
        for field, value in (
            ("batch_size", batch_size),
            ("batches_in_flight", batches_in_flight),
            ("max_bytes", max_bytes),
            ("max_attempts", max_attempts),
            ("key_window", 1 if key_window is None else key_window),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{field} is {value!r}; it must be a whole number of at least 1")
        own = database_of_relay(database, doorbell=doorbell, pgbouncer=pgbouncer)
        self.name = name or f"rmqpool-relay-{os.getpid()}"
        self._options = RelayOptions(
            database=own,
            name=self.name,
            tables=tables_or_default(tables),
            order=order,
            batch_size=batch_size,
            batches_in_flight=batches_in_flight,
            max_bytes=max_bytes,
            key_window=key_window,
            doorbell=doorbell,
            pgbouncer=pgbouncer,
            max_attempts=max_attempts,
            publish_timeout=publish_timeout,
            **tuning,
        )
        self._amqp = amqp
        self._lock = threading.Lock()
        self._state: Literal["new", "running", "stopping", "stopped"] = "new"
        self._stop_by: float | None = None
        self._loop: RelayLoop | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    @property
    def failure(self) -> BaseException | None:
        """An error of its own that it died of; None while it lives, and after it was stopped."""
        return self._failure

    def start(self) -> None:
        """Start a thread that relays until :meth:`stop`. Raises PoolClosedError if it was started before."""
        with self._lock:
            if self._state != "new":
                raise PoolClosedError(f"{self!r} was started before: make a new one")
            own = isinstance(self._amqp, str)
            in_hand = self._options.batch_size * self._options.batches_in_flight
            pool = ConnectionPool(self._amqp, window=2 * in_hand) if isinstance(self._amqp, str) else self._amqp
            try:
                loop = RelayLoop(self._options, Publisher(pool, retry=False))
            except BaseException:
                if own:
                    pool.close(0)
                raise
            self._loop, self._state = loop, "running"
            self._thread = threading.Thread(target=self._run, args=(loop, pool if own else None), name=self.name)
            self._thread.daemon = True
            self._thread.start()
            if self._stop_by is not None:  # asked for while this was under way
                self._state = "stopping"
                loop.stop(self._stop_by)

    def run(self) -> None:
        """Start, and wait until another thread, or a signal handler, calls :meth:`stop`. Raises what the relay died of."""
        self.start()
        self.wait()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end, ``timeout`` seconds at most; True if it has come. Raises what the relay died of."""
        thread = self._thread
        if thread is None:
            return self._state == "stopped"
        deadline = None if timeout is None else time.monotonic() + timeout
        while thread.is_alive():  # in steps: an endless wait would not let signal handlers run on every platform
            remaining = 0.5 if deadline is None else min(0.5, deadline - time.monotonic())
            if remaining <= 0:
                return False
            thread.join(remaining)
        if self._failure is not None:
            raise self._failure
        return True

    def stop(self, timeout: float = 10.0) -> bool:
        """Read nothing more, wait for the outcomes of what is on its way, delete what was confirmed, free the lanes.

        True if nothing was left over after ``timeout`` seconds; what is left is published again by the next relay.
        Idempotent. :meth:`request_stop` does not wait.
        """
        deadline = time.monotonic() + timeout
        thread = self.request_stop(timeout)
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(max(0.0, deadline + 0.5 - time.monotonic()))
        if thread.is_alive():
            loop = self._loop
            if loop is not None:
                loop.abort()
            thread.join(5.0)
            return False
        loop = self._loop
        return loop is None or len(loop.flight) == 0

    def request_stop(self, timeout: float = 10.0) -> threading.Thread | None:
        """As :meth:`stop`, without waiting: for signal handlers. Returns the relay's thread, if it has one."""
        self._stop_by = time.monotonic() + timeout  # first: start() looks for it last
        if self._state == "new" and not self._lock.locked():
            self._state = "stopped"
        loop = self._loop
        if loop is not None and self._state == "running":
            self._state = "stopping"
            loop.stop(self._stop_by)
        return self._thread

    def stats(self) -> RelayStats:
        """What it has done, and does now."""
        loop = self._loop
        if loop is None:
            return RelayStats(self._state)
        counters, claim = loop.counters, loop.claim
        return RelayStats(
            state=self._state,
            lanes=0 if claim is None else len(claim.owned),
            relays=loop.relays,
            in_hand=len(loop.flight),
            bytes_in_hand=loop.flight.bytes,
            stalled_keys=len(loop.stalls),
            read=counters.read,
            confirmed=counters.confirmed,
            failed=counters.failed,
            sent_again=counters.sent_again,
            removed=counters.removed,
            buried=counters.buried,
            swept=counters.swept,
            fetches=counters.fetches,
            statements=loop.statements,
            trouble=loop.trouble or loop.settling_trouble,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        loop = self._loop
        lanes = 0 if loop is None or loop.claim is None else len(loop.claim.owned)
        return f"<Relay {self.name} {self._state}, {self._options.tables.outbox}, {lanes} of {LANES} lanes>"

    def _run(self, loop: RelayLoop, own_pool: ConnectionPool | None) -> None:
        try:
            loop.run()
        except BaseException as error:
            self._failure = error
            _LOGGER.exception("%s ended by an error of its own", self.name)
        finally:
            self._state = "stopped"
            if own_pool is not None:
                own_pool.close(1.0)
