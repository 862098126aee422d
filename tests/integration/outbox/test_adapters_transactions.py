"""OutboxPool, Inbox and their twins on the application's own pool: the same promises for every library."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from rmqpool.errors import (
    ConfigurationError,
    ConnectionLostError,
    InboxUnavailableError,
    NotInTransactionError,
    PoolClosedError,
    PoolTimeoutError,
)
from rmqpool.outbox import AsyncInbox, AsyncOutboxPool, Inbox, OutboxPool
from rmqpool.testing.waiting import wait_until
from tests.integration.outbox.lenders import APPLICATIONS, ASYNC_APPLICATIONS, Application, AsyncApplication

KINDS = (
    "engine-psycopg",
    "engine-psycopg-in-autocommit",
    "engine-psycopg2",
    "django",
    "django-pool",
    *ASYNC_APPLICATIONS,
)


class Side:
    """A pool and an inbox on an application, called alike whether they block or are awaited."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.is_async = isinstance(application, AsyncApplication)
        self.pool: Any = (AsyncOutboxPool if self.is_async else OutboxPool).of(application.handed)
        self.inbox: Any = (AsyncInbox if self.is_async else Inbox)(application.handed, timeout=30.0)

    def run(self, result: Any) -> Any:
        runner = getattr(self.application, "runner", None)
        return result if runner is None else runner.run(result)

    @contextlib.contextmanager
    def entered(self, manager: Any) -> Iterator[Any]:
        if not self.is_async:
            with manager as one:
                yield one
            return
        one = self.run(manager.__aenter__())
        try:
            yield one
        except BaseException as error:
            if not self.run(manager.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self.run(manager.__aexit__(None, None, None))

    @contextlib.contextmanager
    def transaction(self, timeout: float | None = None) -> Iterator[Any]:
        with self.entered(self.pool.transaction(timeout)) as transaction:
            yield transaction

    def write(self, transaction: Any, body: Any) -> None:
        self.run(transaction.publish("orders", body))

    def pid(self, transaction: Any) -> int:
        found = self.run(transaction.execute("SELECT pg_backend_pid()"))
        return int((found if isinstance(found, list) else found.fetchall())[0][0])

    def all_back(self) -> None:
        def none_is_out() -> bool:
            if self.is_async:
                self.run(asyncio.sleep(0))  # what comes too late is given back by the loop
            return self.application.out() == 0

        wait_until(none_is_out, "all connections to be back", timeout=60)
        assert self.pool.stats().leased == 0


@pytest.fixture
def open_side(database: str) -> Iterator[Callable[[str], Side]]:
    opened: list[Application] = []

    def open_one(name: str) -> Side:
        opened.append({**APPLICATIONS, **ASYNC_APPLICATIONS}[name](database))
        return Side(opened[-1])

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture(params=KINDS)
def side(request: pytest.FixtureRequest, open_side: Callable[[str], Side]) -> Side:
    """Each kind in turn, with one connection."""
    return open_side(request.param)


def waiting(observer: psycopg.Connection[Any]) -> int:
    row = observer.execute("SELECT count(*) FROM rmqpool_outbox").fetchone()
    assert row is not None
    return int(row[0])


def fail_with(side: Side, error: BaseException) -> None:
    with side.transaction() as transaction:
        side.write(transaction, {"id": 2})
        raise error


def hide_an_error(side: Side) -> None:
    with side.transaction() as transaction:
        side.write(transaction, {"id": 3})
        with contextlib.suppress(Exception):
            side.run(transaction.execute("SELECT 1 / 0"))


def test_a_transaction_is_committed_or_rolled_back_and_goes_back_once(
    side: Side, observer: psycopg.Connection[Any]
) -> None:
    """Committed at the block's end; rolled back after any error, also after one that the block hid."""
    with side.transaction() as transaction:
        side.write(transaction, {"id": 1})
        assert waiting(observer) == 0
    assert waiting(observer) == 1
    for error in (ValueError("mine"), KeyboardInterrupt()):
        with pytest.raises(type(error)):
            fail_with(side, error)
        side.all_back()
    with pytest.raises(NotInTransactionError, match="hid its error"):
        hide_an_error(side)
    side.all_back()
    assert waiting(observer) == 1
    stats = side.pool.stats()
    assert (stats.committed, stats.rolled_back, stats.unknown) == (1, 3, 0)
    with pytest.raises(NotInTransactionError, match="is over"):
        transaction.connection  # noqa: B018 - it raises
    assert side.application.is_open()


def test_a_connection_that_is_lost_in_a_transaction_is_discarded(side: Side, observer: psycopg.Connection[Any]) -> None:
    """Nothing is committed, the error says so, and the next transaction has another connection."""
    with pytest.raises(Exception) as caught:
        lose(side, observer)
    assert (
        isinstance(caught.value, ConnectionLostError)
        or "terminat" in str(caught.value)
        or "closed" in str(caught.value)
    )
    side.all_back()
    assert waiting(observer) == 0
    with side.transaction() as transaction:
        side.write(transaction, {"id": 2})
    side.all_back()
    assert waiting(observer) == 1


def lose(side: Side, observer: psycopg.Connection[Any]) -> None:
    with side.transaction() as transaction:
        side.write(transaction, {"id": 1})
        observer.execute("SELECT pg_terminate_backend(%s, 30000)", [side.pid(transaction)])


@pytest.mark.parametrize("name", [name for name in KINDS if not name.startswith("django")])
def test_waiting_for_the_pool_ends_by_our_deadline(name: str, open_side: Callable[[str], Side]) -> None:
    """With the pool's state in the error; and what came too late goes back. (Django has a connection for each thread.)"""
    side = open_side(name)
    with side.application.raw():
        with pytest.raises(PoolTimeoutError, match="of 1 connections"), side.transaction(0.2):
            raise AssertionError("nobody has a connection to lend")
        assert side.pool.stats().timeouts == 1
    side.all_back()
    with side.transaction() as transaction:
        assert side.pid(transaction) > 0
    side.all_back()


def test_a_message_is_marked_once_with_its_effects(side: Side, observer: psycopg.Connection[Any]) -> None:
    """The inbox' mark, the handler's rows and its messages are one transaction on the application's connection."""
    message_id = uuid.uuid4().hex
    for attempt in range(3):
        with (
            contextlib.suppress(ZeroDivisionError),
            side.entered(side.inbox.transaction("c", message_id)) as transaction,
        ):
            assert (transaction is None) == (attempt == 2)
            if transaction is not None:
                side.write(transaction, {"id": attempt})
                side.run(transaction.execute("SELECT current_setting('lock_timeout')"))
            1 / attempt
    with side.entered(side.inbox.transaction_for_many("c", [message_id, message_id + "2"])) as (_, fresh):
        assert fresh == {message_id + "2"}
    side.all_back()
    assert waiting(observer) == 1
    assert side.run(side.inbox.prune(0, chunk=1)) >= 2


def test_who_handles_the_same_message_is_waited_for_no_longer_than_asked(
    side: Side, database: str, observer: psycopg.Connection[Any]
) -> None:
    """InboxUnavailableError: the message comes again."""
    inbox = (AsyncInbox if side.is_async else Inbox)(side.application.handed, timeout=30.0)
    inbox._lock_timeout = "100ms"  # and time enough to get a connection
    message_id = uuid.uuid4().hex
    with psycopg.connect(database) as other:
        other.execute("INSERT INTO rmqpool_inbox (consumer, message_id) VALUES ('c', %s)", [message_id])
        with (
            pytest.raises(InboxUnavailableError, match="same message"),
            side.entered(inbox.transaction("c", message_id)),
        ):
            raise AssertionError("somebody else has it")
        other.rollback()
    side.all_back()
    with side.entered(side.inbox.transaction("c", message_id)) as transaction:
        assert transaction is not None


def test_the_pool_stays_the_applications(side: Side) -> None:
    """Closing ours ends its transactions, and closes nothing of theirs."""
    with side.transaction():
        pass
    assert side.run(side.pool.close()) is True
    with pytest.raises(PoolClosedError), side.transaction():
        raise AssertionError("it is closed")
    side.all_back()
    assert side.application.is_open()


def test_an_engine_in_autocommit_is_in_autocommit_again(open_side: Callable[[str], Side]) -> None:
    """Our transactions are real ones all the same."""
    side = open_side("engine-psycopg-in-autocommit")
    with side.transaction():
        pass
    with side.application.raw() as raw:
        assert raw.autocommit


def test_djangos_own_transactions_are_left_alone(open_side: Callable[[str], Side]) -> None:
    """The ORM works in the block as in atomic(); a thread that is in a transaction already is told what to do."""
    from django.db import transaction as django_transaction

    side = open_side("django")
    done: list[str] = []
    with side.transaction() as transaction:
        assert transaction.connection.in_atomic_block
        django_transaction.on_commit(lambda: done.append("committed"), using=side.application.handed.alias)
        assert done == []
    assert done == ["committed"]
    with django_transaction.atomic(using=side.application.handed.alias):
        with pytest.raises(NotInTransactionError, match="in a transaction already"), side.transaction():
            raise AssertionError("it would be part of somebody else's transaction")
        assert side.application.handed.in_atomic_block
    assert not side.application.handed.in_atomic_block


def test_a_thread_has_its_own_django_connection(open_side: Callable[[str], Side]) -> None:
    """As everything in Django has; it is closed behind us where Django would close it."""
    side = open_side("django")
    side.application.handed.settings_dict["CONN_MAX_AGE"] = 0
    seen: list[Any] = []

    def work() -> None:
        with side.transaction() as transaction:
            seen.append(transaction.connection)
        seen.append(transaction._connection.connection)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert seen[0] is not side.application.handed
    assert seen[1] is None


def test_a_forked_child_leaves_the_parents_connections_alone(open_side: Callable[[str], Side], database: str) -> None:
    """An engine of the parent's is refused in the child, whatever became of other pools; the parent's goes on."""
    gone = APPLICATIONS["django"](database)
    pools = [OutboxPool.of(gone.handed)]
    gone.close()
    side = open_side("engine-psycopg2")
    with side.transaction():
        pass
    child = os.fork()
    if not child:
        try:
            with side.transaction():
                os._exit(1)
        except PoolClosedError as error:
            os._exit(0 if "make one in each process" in str(error) else 2)
        finally:
            os._exit(3)
    assert os.waitpid(child, 0)[1] == 0
    with side.transaction():
        pass
    side.all_back()
    assert pools


def test_a_forked_child_has_a_django_connection_of_its_own(open_side: Callable[[str], Side]) -> None:
    """As Django's settings make them; the parent's is neither used nor closed."""
    side = open_side("django")
    with side.transaction() as transaction:
        mine = side.pid(transaction)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException), side.transaction() as transaction:
            os.write(write, str(side.pid(transaction)).encode())
        os._exit(0)
    os.close(write)
    theirs = int(os.read(read, 20) or b"0")
    os.close(read)
    assert os.waitpid(child, 0)[1] == 0
    assert theirs not in (0, mine)
    with side.transaction() as transaction:
        assert side.pid(transaction) == mine


def test_a_pool_that_cannot_serve_is_refused_with_what_can(database: str) -> None:
    """An awaited pool in a place that blocks, and the other way round."""
    for name, place in (("asyncpg-pool", OutboxPool.of), ("engine-psycopg", AsyncOutboxPool.of)):
        application = {**APPLICATIONS, **ASYNC_APPLICATIONS}[name](database)
        with pytest.raises(ConfigurationError, match="give it a URL, or one of these"):
            place(application.handed)
        with pytest.raises(ConfigurationError, match="the inbox' database is a"):
            (Inbox if name == "asyncpg-pool" else AsyncInbox)(application.handed)
        application.close()


@pytest.mark.parametrize("name", list(ASYNC_APPLICATIONS))
def test_cancelled_tasks_leave_nothing_behind(
    name: str, open_side: Callable[[str], Side], observer: psycopg.Connection[Any]
) -> None:
    """Cancelled while they wait for the pool, in a statement, and between: every connection is back, nothing committed."""
    side = open_side(name)

    async def one(begun: asyncio.Event) -> None:
        async with side.pool.transaction(60) as transaction:
            await transaction.publish("orders", {"id": 1})
            begun.set()
            await transaction.execute("SELECT pg_sleep(60)")

    async def cancel_all() -> None:
        begun = asyncio.Event()
        tasks = [asyncio.ensure_future(one(begun)) for _ in range(8)]
        async with asyncio.timeout(60):
            await begun.wait()  # one of them has the only connection
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError)

    side.run(cancel_all())
    side.all_back()
    assert waiting(observer) == 0
    with side.transaction() as transaction:
        side.write(transaction, {"id": 2})
    assert waiting(observer) == 1


def test_threads_that_wait_in_vain_leave_nothing_behind(open_side: Callable[[str], Side]) -> None:
    """What the pool gives them later goes straight back to it."""
    side = open_side("engine-psycopg")
    in_vain: list[BaseException] = []

    def work() -> None:
        try:
            with side.transaction(0.05):
                raise AssertionError("nobody has a connection to lend")
        except PoolTimeoutError as error:
            in_vain.append(error)

    with side.application.raw():
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(in_vain) == 8
    side.all_back()
    assert side.pool.stats().timeouts == 8
    assert side.application.is_open()
