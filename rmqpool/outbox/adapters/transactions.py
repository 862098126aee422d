"""OutboxPool on a pool of another library than psycopg_pool: its own connections, in its own transactions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rmqpool.errors import PoolClosedError
from rmqpool.outbox.adapters.liveness import is_dead, is_idle
from rmqpool.outbox.adapters.port import Borrowed, Lender
from rmqpool.outbox.adapters.sessions import TIMEOUT
from rmqpool.outbox.adapters.transaction_parts import outcome_of_commit, stats_of_lender, waiting
from rmqpool.outbox.pool import OutboxPool
from rmqpool.outbox.pool_parts import Figures, OutboxPoolStats, commit_is_impossible
from rmqpool.outbox.transaction import Parameters, Transaction
from rmqpool.outbox.writing import Outbox
from rmqpool.pool_options import seconds

__all__ = ["BorrowedTransaction", "BorrowingPool", "borrowing"]


class BorrowedTransaction(Transaction[Any]):
    """One open transaction on a connection of the application's library, which :attr:`connection` is."""

    _connection: Any

    def __init__(self, borrowed: Borrowed, outbox: Outbox) -> None:
        super().__init__(borrowed.native, outbox)
        self._borrowed = borrowed

    @property
    def connection(self) -> Any:
        """The library's connection: SQLAlchemy's Connection, or Django's. Committing or closing it is the block's business."""
        self.check()
        return self._connection

    @property
    def is_broken(self) -> bool:
        raw = self._borrowed.raw
        return raw is None or bool(raw.closed)

    def execute(self, sql: str, parameters: Parameters = None) -> Any:
        """Run a statement with the driver's placeholders; returns the library's cursor or result, raises its errors."""
        self.check()
        return self._borrowed.execute(sql, parameters)

    def rows(self, sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        """A statement of our own, with ``%s``."""
        self.check()
        return self._borrowed.rows(sql, parameters)

    def looks_lost(self) -> bool:
        return _is_lost(self._borrowed)


class BorrowingPool(OutboxPool[Any]):
    """What :meth:`OutboxPool.of` makes of a SQLAlchemy Engine or a Django connection."""

    _pool: Any  # a Lender

    def __init__(self, lender: Lender, outbox: Outbox) -> None:
        self._check_after = float("inf")
        self._set_up(lender, None, None, TIMEOUT, None, outbox)  # type: ignore[arg-type]

    @property
    def _lender(self) -> Lender:
        lender: Lender = self._pool
        return lender

    def open(self, wait: bool = True, timeout: float = 10.0) -> None:
        """Take a connection, and give it back: to know that there is one."""
        self._open()
        if wait:
            borrowed = self._lend(timeout)
            self._end(borrowed, well=True)

    @contextmanager
    def transaction(self, timeout: float | None = None) -> Iterator[Transaction[Any]]:
        """As :meth:`OutboxPool.transaction`; the library's errors are passed on if the server refuses the COMMIT."""
        borrowed = self._lend(self._timeout if timeout is None else timeout)
        transaction = BorrowedTransaction(borrowed, self.outbox)
        began, outcome = time.monotonic(), "rolled_back"
        try:
            borrowed.begin()
            yield transaction
            transaction.check()
            commit_is_impossible(_is_lost(borrowed), _status(borrowed))
            outcome = "unknown"
            try:
                borrowed.commit()
            except Exception as error:
                outcome = outcome_of_commit(error)
                raise
            outcome = "committed"
        finally:
            transaction.over = True
            if not transaction.is_inherited:
                self._figures.ended(outcome, began)
                self._end(borrowed, well=outcome == "committed")

    def stats(self) -> OutboxPoolStats:
        """The figures of this moment."""
        return stats_of_lender(self._lender, self._figures)

    def _lend(self, timeout: float) -> Borrowed:
        deadline = time.monotonic() + seconds("timeout", timeout)
        self._open()
        with waiting(self._figures):
            borrowed = self._lender.take(deadline)
        self._figures.count("leased")
        try:
            self._open()  # it may have been closed meanwhile
        except PoolClosedError:
            self._end(borrowed, well=True)
            raise
        return borrowed

    def _end(self, borrowed: Borrowed, *, well: bool) -> None:
        """Roll back what is open, and give it back; what cannot be rolled back is discarded."""
        try:
            try:
                if not well:
                    borrowed.rollback()
                well = borrowed.raw is not None and is_idle(borrowed.raw)
            except Exception:  # noqa: BLE001 - the block's error says more
                well = False
            if well:
                borrowed.give_back()
            else:
                borrowed.discard()
        finally:
            self._figures.count("leased", -1)

    def _forget_parents(self) -> None:
        self._figures = Figures()
        self._lender.forget()


def borrowing(lender: Lender, outbox: Outbox) -> OutboxPool[Any]:
    """An OutboxPool on this lender."""
    return BorrowingPool(lender, outbox)


def _status(borrowed: Borrowed) -> int:
    return 0 if borrowed.raw is None else int(borrowed.raw.info.transaction_status)


def _is_lost(borrowed: Borrowed) -> bool:
    return borrowed.raw is None or is_dead(borrowed.raw)
