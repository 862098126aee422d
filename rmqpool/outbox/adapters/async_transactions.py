"""AsyncOutboxPool on a pool of another library than psycopg_pool: its own connections, in its own transactions."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from rmqpool.errors import PoolClosedError
from rmqpool.outbox.adapters.port import AsyncBorrowed, AsyncLender
from rmqpool.outbox.adapters.sessions import TIMEOUT
from rmqpool.outbox.adapters.transaction_parts import outcome_of_commit, stats_of_lender, waiting
from rmqpool.outbox.async_pool import AsyncOutboxPool
from rmqpool.outbox.async_writing import AsyncOutbox
from rmqpool.outbox.pool_parts import OutboxPoolStats, commit_is_impossible
from rmqpool.outbox.transaction import AsyncTransaction, Parameters
from rmqpool.pool_options import seconds

__all__ = ["AsyncBorrowedTransaction", "AsyncBorrowingPool", "borrowing"]


class AsyncBorrowedTransaction(AsyncTransaction[Any]):
    """One open transaction on a connection of the application's library, which :attr:`connection` is."""

    _connection: Any

    def __init__(self, borrowed: AsyncBorrowed, outbox: AsyncOutbox) -> None:
        super().__init__(borrowed.native, outbox)
        self._borrowed = borrowed

    @property
    def connection(self) -> Any:
        """The library's connection: SQLAlchemy's AsyncConnection, or asyncpg's."""
        self.check()
        return self._connection

    @property
    def is_broken(self) -> bool:
        return self._borrowed.is_lost

    async def execute(self, sql: str, parameters: Parameters = None) -> Any:
        """Run a statement with the driver's placeholders; returns SQLAlchemy's result, or asyncpg's rows."""
        self.check()
        return await self._borrowed.execute(sql, parameters)

    async def rows(self, sql: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
        """A statement of our own, with ``%s``."""
        self.check()
        return await self._borrowed.rows(sql, parameters)

    def looks_lost(self) -> bool:
        return self._borrowed.is_lost


class AsyncBorrowingPool(AsyncOutboxPool[Any]):
    """What :meth:`AsyncOutboxPool.of` makes of a SQLAlchemy AsyncEngine or an asyncpg Pool."""

    _pool: Any  # an AsyncLender

    def __init__(self, lender: AsyncLender, outbox: AsyncOutbox) -> None:
        self._check_after = float("inf")
        self._set_up(lender, None, TIMEOUT, None, outbox)  # type: ignore[arg-type]

    @property
    def _lender(self) -> AsyncLender:
        lender: AsyncLender = self._pool
        return lender

    async def open(self, wait: bool = True, timeout: float = 10.0) -> None:
        """Take a connection, and give it back: to know that there is one."""
        self._check_open()
        if wait:
            await self._finish(self._ended(await self._lend(timeout), well=True))

    @asynccontextmanager
    async def transaction(self, timeout: float | None = None) -> AsyncIterator[AsyncTransaction[Any]]:
        """As :meth:`AsyncOutboxPool.transaction`; the library's errors are passed on if the server refuses the COMMIT."""
        borrowed = await self._lend(self._timeout if timeout is None else timeout)
        transaction = AsyncBorrowedTransaction(borrowed, self.outbox)
        began, outcome = time.monotonic(), "rolled_back"
        try:
            await borrowed.begin()
            yield transaction
            transaction.check()
            commit_is_impossible(borrowed.is_lost, await borrowed.status())
            outcome = "unknown"
            try:
                await borrowed.commit()
            except Exception as error:
                outcome = outcome_of_commit(error)
                raise
            outcome = "committed"
        finally:
            transaction.over = True
            if not transaction.is_inherited:
                self._figures.ended(outcome, began)
                await self._finish(self._ended(borrowed, well=outcome == "committed"))

    def stats(self) -> OutboxPoolStats:
        """The figures of this moment."""
        return stats_of_lender(self._lender, self._figures)

    async def _open(self) -> None:
        self._check_open()

    async def _lend(self, timeout: float) -> AsyncBorrowed:
        deadline = time.monotonic() + seconds("timeout", timeout)
        self._check_open()
        with waiting(self._figures):
            borrowed = await self._lender.take(deadline)
        self._figures.count("leased")
        try:
            self._check_open()  # it may have been closed meanwhile
        except PoolClosedError:
            await self._finish(self._ended(borrowed, well=True))
            raise
        return borrowed

    async def _ended(self, borrowed: AsyncBorrowed, *, well: bool) -> None:
        """Roll back what is open, and give it back; what cannot be rolled back is discarded."""
        try:
            try:
                if not well:
                    await borrowed.rollback()
                well = borrowed.is_idle
            except Exception:  # noqa: BLE001 - the block's error says more
                well = False
            if well:
                await borrowed.give_back()
            else:
                await borrowed.discard()
        finally:
            if os.getpid() == self._process:
                self._figures.count("leased", -1)


def borrowing(lender: AsyncLender, outbox: AsyncOutbox) -> AsyncOutboxPool[Any]:
    """An AsyncOutboxPool on this lender."""
    return AsyncBorrowingPool(lender, outbox)
