"""The relay's way out: each row that is sent has one verdict, whatever the publisher says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import pytest

from rmqpool.errors import (
    NackedError,
    NotSentError,
    PoolClosedError,
    PublishError,
    PublishPreconditionError,
    UnknownOutcomeError,
    UnroutableError,
)
from rmqpool.future import PublishFuture
from rmqpool.message import Confirmation, Message
from rmqpool.outbox.outflow import Outflow, Verdicts
from rmqpool.outbox.rows import Row
from rmqpool.publisher import Publisher
from rmqpool.testing.waiting import wait_until
from rmqpool.write_lease import Lease

CONFIRMED = Confirmation("id", "", "orders", 1)


class Owner:
    """Nothing is withdrawn here."""

    on_io_thread = False
    is_inherited = False

    def withdraw(self, future: PublishFuture) -> bool:
        return False

    def end_inherited(self, future: PublishFuture) -> None:
        future.resolve(UnknownOutcomeError("the parent's"))


class OpenPublisher:
    """Takes messages and leaves their outcomes to the test, by message id; refuses those that ``refuses`` names."""

    def __init__(self) -> None:
        self.futures: dict[str, PublishFuture] = {}
        self.timeouts: list[float] = []
        self.leases: list[Lease] = []
        self.refuses: dict[str, Exception] = {}

    def submit_message(self, message: Message, *, timeout: float, retry: bool, lease: Lease) -> PublishFuture:
        assert not retry, "only one party decides what is sent again"
        if message.message_id in self.refuses:
            raise self.refuses[message.message_id]
        self.timeouts.append(timeout)
        self.leases.append(lease)
        future = PublishFuture(message, b"", time.monotonic() + timeout, retry, Owner())
        self.futures[message.message_id] = future
        return future

    def confirm(self, *ids: int) -> None:
        for row_id in ids:
            self.futures[str(row_id)].resolve(CONFIRMED)

    def fail(self, row_id: int, error: PublishError) -> None:
        self.futures[str(row_id)].resolve(error)


def make_row(row_id: int, properties: str | None = None) -> Row:
    return Row(row_id, 0, None, "", "orders", str(row_id), properties, None, b"{}")


def make(wake: Callable[[], object] = lambda: None) -> tuple[OpenPublisher, Outflow]:
    publisher = OpenPublisher()
    return publisher, Outflow(cast(Publisher, publisher), 30.0, wake)


def soon() -> Lease:
    return Lease(time.monotonic() + 60)


def ids(rows: list[Row]) -> list[int]:
    return [row.id for row in rows]


def test_a_batch_has_its_verdicts_when_its_last_row_has_an_outcome() -> None:
    """The relay is woken once for a batch, and then takes all outcomes, each once."""
    woken: list[bool] = []
    publisher, outflow = make(lambda: woken.append(True))
    outflow.send([make_row(1), make_row(2)], soon())
    publisher.confirm(1)
    assert not woken
    publisher.confirm(2)
    assert woken == [True]
    assert ids(outflow.collect().confirmed) == [1, 2]
    assert not outflow.collect()


def test_one_row_without_an_outcome_does_not_hide_the_others_for_long() -> None:
    """After a moment the outcomes that are known are taken, and the rest when it comes."""
    publisher, outflow = make()
    outflow.send([make_row(1), make_row(2), make_row(3)], soon())
    publisher.confirm(1)
    seen: list[int] = []

    def is_confirmed(row_id: int) -> bool:
        seen.extend(ids(outflow.collect().confirmed))
        return row_id in seen

    wait_until(lambda: is_confirmed(1), "row 1 is confirmed", timeout=5)
    publisher.confirm(2)
    wait_until(lambda: is_confirmed(2), "row 2 is confirmed", timeout=5)
    publisher.confirm(3)
    wait_until(lambda: is_confirmed(3), "row 3 is confirmed", timeout=5)
    assert seen == [1, 2, 3]
    assert not outflow.collect()


@pytest.mark.parametrize(
    ("error", "reason", "hopeless"),
    [
        (UnroutableError("no queue"), "returned", False),
        (NackedError("full"), "nacked", False),
        (NackedError("gone", code=404), "nacked:404", False),
        (PublishPreconditionError("too large", code=406), "nacked:406", True),
    ],
)
def test_what_the_broker_does_not_take_failed(error: PublishError, reason: str, hopeless: bool) -> None:
    """Returned and refused are told apart; what can never be taken is hopeless."""
    publisher, outflow = make()
    outflow.send([make_row(1)], soon())
    publisher.fail(1, error)
    (failure,) = outflow.collect().failed
    assert (failure.row.id, failure.reason, failure.error, failure.hopeless) == (1, reason, str(error), hopeless)


@pytest.mark.parametrize("error", [UnknownOutcomeError("no confirm"), NotSentError("no connection")])
def test_what_has_no_outcome_is_to_be_sent_again(error: PublishError) -> None:
    """Neither confirmed nor failed: the row stays, and the trouble is told."""
    publisher, outflow = make()
    outflow.send([make_row(1), make_row(2)], soon())
    publisher.fail(1, error)
    publisher.confirm(2)
    verdicts = outflow.collect()
    assert (ids(verdicts.again), ids(verdicts.confirmed), verdicts.failed) == ([1], [2], [])
    assert verdicts.trouble == str(error)


@pytest.mark.parametrize("error", [NotSentError("blocked"), PoolClosedError("closed")])
def test_what_the_publisher_does_not_accept_is_to_be_sent_again(error: Exception) -> None:
    """The rows before and after it take their way."""
    publisher, outflow = make()
    publisher.refuses["2"] = error
    outflow.send([make_row(1), make_row(2), make_row(3)], soon())
    publisher.confirm(1, 3)
    verdicts = outflow.collect()
    assert (ids(verdicts.confirmed), ids(verdicts.again), verdicts.trouble) == ([1, 3], [2], str(error))
    assert not outflow.collect()


def test_a_row_that_makes_no_message_is_hopeless_and_alone() -> None:
    """Properties that nobody of us wrote: no later attempt ends in another way, and the other rows leave."""
    publisher, outflow = make()
    outflow.send([make_row(1, '{"no_such": 1}'), make_row(2)], soon())
    publisher.confirm(2)
    verdicts = outflow.collect()
    (failure,) = verdicts.failed
    assert (failure.row.id, failure.reason, failure.hopeless) == (1, "unsendable", True)
    assert "no_such" in failure.error
    assert ids(verdicts.confirmed) == [2]


def test_words_of_an_error_are_what_postgres_takes() -> None:
    """A NUL is spelt, and the text is not endless."""
    publisher, outflow = make()
    publisher.refuses["1"] = ValueError("\0" + "x" * 5000)
    outflow.send([make_row(1)], soon())
    (failure,) = outflow.collect().failed
    assert failure.error.startswith("\\0x")
    assert len(failure.error) == 2000


def test_nothing_is_submitted_after_the_deadline() -> None:
    """The lanes may be somebody else's by then."""
    publisher, outflow = make()
    outflow.send([make_row(1), make_row(2)], Lease(time.monotonic() - 0.001))
    assert not publisher.futures
    assert ids(outflow.collect().again) == [1, 2]


def test_messages_wait_for_as_long_as_the_lease_lasts() -> None:
    """However often it is prolonged; the time for the confirm is the publisher's own."""
    publisher, outflow = make()
    lease = soon()
    outflow.send([make_row(1)], lease)
    assert publisher.leases == [lease]
    assert publisher.timeouts == [30.0]


def test_no_verdicts_are_false() -> None:
    """The relay asks often; only what is known takes its time."""
    assert not Verdicts(trouble="words alone")
    assert Verdicts(again=[make_row(1)])
