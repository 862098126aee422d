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
_TELL_AFTER: Final = 2.0  # seconds: if Postgres is away altogether, the relay notices and tells within one
_NOTHING_TO_DO: Final = 60.0  # seconds, then it looks whether it missed something
Done = tuple[Work, bool]


class Settling:
    """Runs work in order. What fails is done again on a new connection: every statement may run twice.

    ``connect`` opens a connection. ``on_done`` is called on this thread when there is something to :meth:`collect`, or
    scheduled rows became due. Owned by the relay, which starts and stops it.
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
        self._releases = False  # scheduled rows that are due
        self._next_schedule = 0.0
        self._late_releases = 0  # failures in a row
        self._late_since = 0.0  # monotonic
        self._in_a_hurry = False  # Postgres is there again: the pause after a failure ends
        self._is_doubtful = False  # the relay has lost its own connection meanwhile: this one may be dead too
        self._unsettled = ""  # why work cannot be done that is there
        self._unreleased = ""  # why scheduled rows stay where they are
        self.died: BaseException | None = None  # of an error of its own: nothing is settled any more
        self._thread = threading.Thread(target=self._run, name=f"{name}-settling", daemon=True)

    @property
    def statements(self) -> int:
        """Statements on the connection that is open now."""
        connection = self._connection
        return 0 if connection is None else connection.statements

    @property
    def trouble(self) -> str:
        """What cannot be done now, and why; empty if there is nothing that could not be done. From any thread."""
        unsettled, unreleased = self._unsettled, self._unreleased
        return unsettled or (f"scheduled rows cannot be released: {unreleased}" if unreleased else "")

    def release_rows(self, whether: bool) -> None:
        """Move scheduled rows when they are due, or do not: only while the relay itself works with Postgres.

        That it does is also the reason to try again at once what has failed.
        """
        with self._changed:
            self._releases = self._in_a_hurry = self._is_doubtful = whether
            self._next_schedule, self._late_releases, self._unreleased = 0.0, 0, ""
            self._changed.notify()

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
                attempt = 1 if self._unsettled == "" else attempt + 1
                if attempt == 1:
                    _LOGGER.warning("rows cannot be settled, and stay until they can: %s", str(error).strip())
                self._unsettled = f"{self._what_waits()}: {str(error).strip()}"
                if not self._pause(self._backoff.delay(attempt, random.random())):
                    break

    def _what_waits(self) -> str:
        with self._changed:
            published = any(isinstance(item, Delete) for item in self._work)
        return "published rows cannot be removed" if published else "rows that failed cannot be set aside"

    def _settle(self) -> None:
        """Work until the end is asked for and nothing is left. Raises psycopg.Error with work that is left."""
        while True:
            work = self._next()
            if work is None:
                return
            try:
                self._do_all(work)
            finally:
                if self._done:
                    self._on_done()
            if self._unsettled:
                _LOGGER.info("rows are settled again")
                self._unsettled = ""
            self._release_due()

    def _do_all(self, work: list[Work]) -> None:
        """After a failure deletes go first: one statement that cannot succeed must not keep what was published."""
        if self._unsettled:
            work.sort(key=lambda item: not isinstance(item, Delete))
        left = deque(merge(work))
        try:
            while left:
                done = do(left[0], self._connected(), self._statements)
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
                remaining = self._next_schedule - time.monotonic() if self._releases else _NOTHING_TO_DO
                if remaining <= 0:
                    return []
                self._changed.wait(remaining)
            work = list(self._work)
            self._work.clear()
            return work

    def _release_due(self) -> None:
        """A failure of this keeps nothing else waiting, and is told for itself."""
        now = time.monotonic()
        if not self._releases or now < self._next_schedule or self._ending:
            return
        try:
            released = self._connected().value(self._statements.release_due, [_DUE_AT_ONCE])
        except (psycopg.Error, ConnectionFailedError) as error:
            self._drop_connection()
            self._not_released(str(error).strip())
            return
        self._released(0.0 if released == _DUE_AT_ONCE else time.monotonic() + _SCHEDULE_EVERY)
        if released:
            self._on_done()

    def _released(self, next_one: float) -> None:
        with self._changed:
            if self._unreleased:
                _LOGGER.info("scheduled rows are released again")
            self._next_schedule, self._late_releases, self._unreleased = next_one, 0, ""

    def _not_released(self, failure: str) -> None:
        with self._changed:
            if not self._releases:  # the relay itself has noticed meanwhile
                return
            now = time.monotonic()
            self._late_releases += 1
            if self._late_releases == 1:
                self._late_since = now
            if now - self._late_since >= _TELL_AFTER:
                if not self._unreleased:
                    _LOGGER.warning("scheduled rows cannot be released, and stay until they can: %s", failure)
                self._unreleased = failure
            pause = min(_TELL_AFTER, self._backoff.delay(self._late_releases, random.random()))
            self._next_schedule = now + max(_SCHEDULE_EVERY, pause)

    def _pause(self, seconds: float) -> bool:
        """Wait before the next try; False if the end was asked for and there is nothing left to do."""
        with self._changed:
            # New work does not cut it short.
            self._changed.wait_for(lambda: self._ending or self._in_a_hurry, max(0.05, seconds))
            self._in_a_hurry = False
            return not self._ending or bool(self._work)

    def _connected(self) -> RelayConnection:
        if self._is_doubtful:
            self._is_doubtful = False
            self._drop_connection()
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
