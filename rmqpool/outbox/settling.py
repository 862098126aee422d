"""The settling thread: deletes what was confirmed, on a connection of its own in autocommit, while the relay reads on."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import psycopg

from rmqpool.core.backoff import Backoff
from rmqpool.errors import ConnectionFailedError
from rmqpool.outbox.relay_connection import RelayConnection
from rmqpool.outbox.relay_statements import RelayStatements
from rmqpool.outbox.relay_work import Delete, Work, do, merge

__all__ = ["Done", "Settling"]

_LOGGER = logging.getLogger("rmqpool.outbox.relay")
_SCHEDULE_EVERY: Final = 0.1  # seconds
_DUE_AT_ONCE: Final = 1000  # rows
Done = tuple[Work, bool]


class Settling:
    """Runs work in order. What fails is done again on a new connection: every statement may run twice.

    ``connect`` opens a connection. ``on_done`` is called on this thread when there is something to :meth:`collect`, and
    ``on_due`` when scheduled rows became due. Owned by the relay, which starts and stops it.
    """

    def __init__(
        self,
        connect: Callable[[], RelayConnection],
        statements: RelayStatements,
        backoff: Backoff,
        on_done: Callable[[], object],
        name: str,
    ) -> None:
        self._connect = connect
        self._statements = statements
        self._backoff = backoff
        self._on_done = on_done
        self._changed = threading.Condition()
        self._work: deque[Work] = deque()
        self._done: deque[Done] = deque()
        self._ending = False
        self._connection: RelayConnection | None = None
        self._next_schedule = 0.0
        self.failure = ""
        self.died: BaseException | None = None  # of an error of its own: nothing is settled any more
        self._thread = threading.Thread(target=self._run, name=f"{name}-settling", daemon=True)

    @property
    def statements(self) -> int:
        """Statements on the connection that is open now."""
        connection = self._connection
        return 0 if connection is None else connection.statements

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def add(self, *work: Work) -> None:
        """Have this done, in this order."""
        with self._changed:
            self._work.extend(work)
            self._changed.notify()

    def collect(self) -> list[Done]:
        """What was done since the last time, in order."""
        return [self._done.popleft() for _ in range(len(self._done))]

    def end(self) -> None:
        """Do what is there, and end."""
        with self._changed:
            self._ending = True
            self._changed.notify()

    def join(self, timeout: float) -> bool:
        """Wait for the thread; False if it has not ended after ``timeout`` seconds, and then its connection is cut."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            with self._changed:
                self._work.clear()
            connection = self._connection
            if connection is not None:
                connection.abort()
            self._thread.join(1.0)
            return False
        return True

    def _run(self) -> None:
        try:
            self._live()
        except BaseException as error:  # noqa: BLE001 - the relay's thread raises it
            self.died = error
        finally:
            self._drop_connection()
            self._on_done()

    def _live(self) -> None:
        attempt = 0
        while True:
            try:
                self._settle()
                break
            except (psycopg.Error, ConnectionFailedError) as error:
                self._drop_connection()
                attempt = 1 if self.failure == "" else attempt + 1
                if attempt == 1:
                    _LOGGER.warning("rows cannot be settled, and stay until they can: %s", str(error).strip())
                self.failure = str(error).strip()
                if not self._pause(self._backoff.delay(attempt, random.random())):
                    break

    def _settle(self) -> None:
        """Work until the end is asked for and nothing is left."""
        while True:
            work = self._next()
            if work is None:
                return
            try:
                self._do_all(work)
            finally:
                if self._done:
                    self._on_done()
            self._release_due()
            if self.failure:
                _LOGGER.info("rows are settled again")
                self.failure = ""

    def _do_all(self, work: list[Work]) -> None:
        """After a failure deletes go first: one statement that cannot succeed must not keep what was published."""
        if self.failure:
            work.sort(key=lambda item: not isinstance(item, Delete))
        left = deque(merge(work))
        try:
            while left:
                if self._connection is None:
                    self._connection = self._connect()
                done = do(left[0], self._connection, self._statements)
                self._finished(left[0], done)
                left.popleft()
        finally:
            with self._changed:
                self._work.extendleft(reversed(left))

    def _finished(self, item: Work, done: bool) -> None:
        self._done.append((item, done))

    def _next(self) -> list[Work] | None:
        """All the work there is; none of it when only the time for scheduled rows has come; None: the end."""
        with self._changed:
            while not self._work:
                if self._ending:
                    return None
                remaining = self._next_schedule - time.monotonic()
                if remaining <= 0:
                    return []
                self._changed.wait(remaining)
            work = list(self._work)
            self._work.clear()
            return work

    def _release_due(self) -> None:
        now = time.monotonic()
        if now < self._next_schedule or self._ending:
            return
        if self._connection is None:
            self._connection = self._connect()
        released = self._connection.value(self._statements.release_due, [_DUE_AT_ONCE])
        self._next_schedule = 0.0 if released == _DUE_AT_ONCE else time.monotonic() + _SCHEDULE_EVERY
        if released:
            self._on_done()

    def _pause(self, seconds: float) -> bool:
        """Wait before the next try; False if the end was asked for and there is nothing left to do."""
        with self._changed:
            self._changed.wait_for(lambda: self._ending, max(0.05, seconds))  # new work does not cut it short
            return not self._ending or bool(self._work)

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
