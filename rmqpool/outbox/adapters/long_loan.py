"""A relay's connection out of the application's pool: kept for long, with LISTEN and settings of its own, and then as it was."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from rmqpool.errors import ConnectionFailedError, PoolError
from rmqpool.outbox.adapters.liveness import is_idle
from rmqpool.outbox.adapters.port import Lender
from rmqpool.outbox.adapters.raw_manners import PlainManners
from rmqpool.outbox.tables import quote_identifier

__all__ = ["LongLender", "LongLoan"]

_HELD: Final = (
    b"SELECT (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'),"
    b" ARRAY(SELECT pg_listening_channels())"
)


@dataclass(frozen=True, slots=True)
class LongLender:
    """Who lends. Without ``session`` PgBouncer stands before the server, and nothing of a session is touched."""

    lender: Lender
    session: bool = True


class LongLoan:
    """Belongs to one thread. ``settings`` are the session's.

    Raises ConnectionFailedError, with the pool's state, if there is no connection within ``timeout`` seconds.
    """

    def __init__(self, database: LongLender, *, timeout: float, autocommit: bool, settings: Mapping[str, str]) -> None:
        session = database.session
        try:
            self._borrowed = database.lender.take(time.monotonic() + timeout, own=True)
        except PoolError as error:
            raise ConnectionFailedError(str(error), stage="pool") from error
        self.handlers: list[Callable[[psycopg.Notify], None]] = []
        self._session = session
        self._before: dict[str, str] = {}
        self._channels: frozenset[str] = frozenset()
        self._locks = 0
        try:
            self.raw: psycopg.Connection[Any] = self._borrowed.raw
            if not is_idle(self.raw):
                self.raw.rollback()
            self._plain = PlainManners(self.raw, autocommit=True)
            if session:
                self._locks, channels = self._row(_HELD)
                self._channels = frozenset(channels)
                for name, value in settings.items():
                    self._before[name] = self._row(b"SELECT current_setting(%s)", name)[0]
                    self._row(b"SELECT set_config(%s, %s, false)", name, value)
            self.raw.autocommit = autocommit
        except BaseException:
            self._borrowed.discard()
            raise

    def end(self, let_go: Callable[[], bool]) -> None:
        """Give it back as it was found; or discard it, if that cannot be. Raises nothing of psycopg's.

        ``let_go`` is called before: nobody cuts it from then on. It returns False if somebody has.
        """
        is_well = False
        with contextlib.suppress(psycopg.Error, OSError):
            is_well = self._restored()
        if let_go() and is_well:
            self._borrowed.give_back()
        else:
            self._borrowed.discard()

    def _restored(self) -> bool:
        raw = self.raw
        if raw.closed or raw.info.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
            return False
        raw.rollback()
        raw.autocommit = True
        if self._session:
            _, channels = self._row(_HELD)
            for channel in frozenset(channels) - self._channels:
                raw.execute(b"UNLISTEN " + quote_identifier(channel).encode())
            if self._locks:
                return False  # whose is which? All of them end with the connection
            self._row(b"SELECT pg_advisory_unlock_all()")
            for name, value in self._before.items():
                self._row(b"SELECT set_config(%s, %s, false)", name, value)
        for handler in self.handlers:
            raw.remove_notify_handler(handler)
        self.handlers.clear()
        self._plain.restore()
        return is_idle(raw)

    def _row(self, sql: bytes, *parameters: Any) -> tuple[Any, ...]:
        with psycopg.Cursor(self.raw) as cursor:
            row: tuple[Any, ...] | None = cursor.execute(sql, parameters or None).fetchone()
        assert row is not None
        return row
