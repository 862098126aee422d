"""Inbox: a message's effects and the mark that it was handled are committed together, so they happen once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final, TypeVar, cast

import psycopg
import psycopg_pool

from rmqpool.outbox.adapters import is_pool
from rmqpool.outbox.adapters.transactions import BorrowedTransaction
from rmqpool.outbox.inbox_parts import Progress, check_inbox, lock_timeout_text, prune_seconds, unavailable
from rmqpool.outbox.inbox_statements import InboxStatements
from rmqpool.outbox.pool import OutboxPool
from rmqpool.outbox.tables import Tables, tables_or_default
from rmqpool.outbox.transaction import Transaction
from rmqpool.pool_options import whole_number
from rmqpool.secret import Secret

__all__ = ["Inbox"]

Marked = TypeVar("Marked")


class Inbox:
    """For ``@worker.consumer("orders", inbox=Inbox(database))`` and a ``def`` handler.

    ``database`` is a URL, an OutboxPool, or the application's own psycopg_pool.ConnectionPool, SQLAlchemy Engine or
    ``django.db.connections[alias]``, whose connection ``transaction.connection`` is then. Each handler runs in a
    transaction; it gets it if it has a parameter named ``transaction``: statements, and messages into the outbox, are
    committed with the mark, and then the message is acknowledged. A message that was marked before is acknowledged
    without the handler. One without a message id is parked: nobody could know it again.

    ``consumer`` is the name under which messages are marked (default: the queue's name). ``timeout`` seconds bound the
    wait for a connection, and for somebody who handles the same message at this moment. Thread-safe.
    """

    is_async: Final = False

    def __init__(
        self,
        database: object,
        *,
        consumer: str | None = None,
        tables: Tables | None = None,
        timeout: float = 10.0,
    ) -> None:
        check_inbox(database, consumer, (OutboxPool, psycopg_pool.ConnectionPool))
        self.consumer = consumer
        self._database = database
        given = database.outbox.tables if tables is None and isinstance(database, OutboxPool) else tables
        self._tables = tables_or_default(given)
        self._statements = InboxStatements(self._tables)
        self._timeout = timeout
        self._lock_timeout = lock_timeout_text(timeout)
        self._lock = threading.Lock()
        self._pool: OutboxPool[Any] | None = None
        self._users = 0
        if isinstance(database, str | Secret):
            OutboxPool(database, tables=self._tables)  # a URL that cannot be read is told here
        # Made here, so that a forked child knows whose its connections are.
        lends = is_pool(database) and not isinstance(database, psycopg_pool.ConnectionPool)
        self._lending = OutboxPool.of(cast("Any", database), tables=self._tables) if lends else None

    def open(self, concurrency: int) -> None:
        """Get ready for so many handlers at once; connections are made when they are needed."""
        with self._lock:
            self._users += 1
            if self._pool is None:
                self._pool = self._make_pool(concurrency)

    @contextmanager
    def transaction(self, consumer: str, message_id: str) -> Iterator[Transaction[Any] | None]:
        """The transaction in which the message is marked; None if it was marked before. Committed at the end.

        Raises InboxUnavailableError if the database cannot be reached or gave the transaction up: nothing was done, or
        (the answer to the COMMIT was lost) the next look tells.
        """
        with self._transaction(lambda begun: self._mark(begun, consumer, message_id)) as (transaction, is_new):
            yield transaction if is_new else None

    @contextmanager
    def transaction_for_many(
        self, consumer: str, message_ids: Sequence[str]
    ) -> Iterator[tuple[Transaction[Any], set[str]]]:
        """One transaction in which all these messages are marked, and the ids that were not marked before. Committed at
        the end. Raises as :meth:`transaction` does.
        """
        with self._transaction(lambda begun: self._mark_batch(begun, consumer, message_ids)) as entered:
            yield entered

    @contextmanager
    def _transaction(self, mark: Callable[[Transaction[Any]], Marked]) -> Iterator[tuple[Transaction[Any], Marked]]:
        pool = self._pool
        if pool is None:
            self.open(1)
            pool = self._pool
            assert pool is not None
        progress = Progress()
        try:
            with pool.transaction(self._timeout) as transaction:
                marked = mark(transaction)
                progress.is_handed_out = True
                try:
                    yield transaction, marked
                except Exception as error:
                    if not transaction.is_inherited:
                        progress.raised(error, transaction)
                    raise
        except Exception as error:
            later = unavailable(error, progress, self._tables)
            if later is None:
                raise
            raise later from error

    def mark_many(self, transaction: Transaction[Any], consumer: str, message_ids: Iterable[str]) -> set[str]:
        """Mark many messages in one statement, in the caller's transaction; returns those that were not marked before."""
        if isinstance(transaction, BorrowedTransaction):
            rows = transaction.rows(self._statements.mark_many.decode(), [consumer, list(message_ids)])
            return {message_id for (message_id,) in rows}
        cursor = transaction.connection.execute(self._statements.mark_many, [consumer, list(message_ids)])
        return {message_id for (message_id,) in cursor}

    def prune(self, older_than: float | timedelta, *, chunk: int = 10_000) -> int:
        """Forget marks of so long ago (seconds, or a timedelta), in transactions of ``chunk`` rows; returns how many.

        The retention must be longer than a message can be on its way, in dead-letter queues and replays too.
        """
        seconds, chunk, pruned = prune_seconds(older_than), whole_number("chunk", chunk), 0
        self.open(1)
        try:
            while True:
                pool = self._pool
                assert pool is not None
                with pool.transaction(self._timeout) as transaction:
                    gone = self._prune(transaction, [seconds, chunk])
                pruned += gone
                if gone < chunk:
                    return pruned
        finally:
            self.close()

    def close(self) -> None:
        """Close the connections when nobody uses them any more; the application's own pool is left as it is."""
        with self._lock:
            self._users = max(0, self._users - 1)
            pool = self._pool if not self._users else None
            if pool is not None:
                self._pool = None
        if pool is not None and pool is not self._database and pool is not self._lending:
            pool.close()

    def __repr__(self) -> str:
        return f"<Inbox {self._tables.inbox}>"

    def _mark(self, transaction: Transaction[Any], consumer: str, message_id: str) -> bool:
        if isinstance(transaction, BorrowedTransaction):
            return bool(self._mark_borrowed(transaction, self._statements.mark_one, [consumer, message_id]))
        with psycopg.ClientCursor(transaction.connection) as cursor:
            cursor.execute(self._statements.mark, [self._lock_timeout, consumer, message_id])
            cursor.nextset()  # SET has no rows
            return cursor.fetchone() is not None

    def _mark_batch(self, transaction: Transaction[Any], consumer: str, message_ids: Sequence[str]) -> set[str]:
        if isinstance(transaction, BorrowedTransaction):
            parameters = [consumer, list(message_ids)]
            return self._mark_borrowed(transaction, self._statements.mark_many.decode(), parameters)
        with psycopg.ClientCursor(transaction.connection) as cursor:
            cursor.execute(self._statements.mark_batch, [self._lock_timeout, consumer, list(message_ids)])
            cursor.nextset()  # SET has no rows
            return {message_id for (message_id,) in cursor}

    def _prune(self, transaction: Transaction[Any], parameters: list[Any]) -> int:
        if isinstance(transaction, BorrowedTransaction):
            return int(transaction.rows(self._statements.prune_counted, parameters)[0][0])
        return int(transaction.connection.execute(self._statements.prune, parameters).rowcount)

    def _mark_borrowed(self, transaction: BorrowedTransaction, sql: str, parameters: list[Any]) -> set[str]:
        transaction.rows(self._statements.wait_for_others, [self._lock_timeout])
        found = {message_id for (message_id,) in transaction.rows(sql, parameters)}
        transaction.rows(self._statements.wait_as_before, [])
        return found

    def _make_pool(self, concurrency: int) -> OutboxPool[Any]:
        database = self._database
        if isinstance(database, OutboxPool):
            return database
        if not isinstance(database, str | Secret):
            return (
                self._lending
                if self._lending is not None
                else OutboxPool.of(cast("Any", database), tables=self._tables)
            )
        return OutboxPool(
            database, min_size=0, max_size=max(1, concurrency), timeout=self._timeout, tables=self._tables, name="inbox"
        )
