"""Middleware around handling and publishing: in order, told of every end, and unable to lose a message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from rmqpool import ConfigurationError, Delivery, Middleware, Postpone, Publisher, Reject, Retry, Skip, headers
from tests.integration.worker.conftest import Bench
from tests.integration.worker.hooks import Raising


class Recorder(Middleware):
    """Writes down what it is told."""

    def __init__(self, name: str, told: list[Any]) -> None:
        self.name = name
        self.told = told

    def before_handle(self, delivery: Delivery) -> str:
        self.told.append((self.name, "before", delivery.body))
        return f"state of {self.name}"

    def after_handle(self, delivery: Delivery, state: Any, result: Any) -> None:
        self.told.append((self.name, "after", state, result, delivery.settled))

    def on_handle_error(self, delivery: Delivery, state: Any, error: BaseException) -> None:
        self.told.append((self.name, "error", state, type(error).__name__))


def consume(worker: Any, is_async: bool, behave: Callable[[Any], Any], **options: Any) -> None:
    """A handler of either kind on queue orders."""
    if is_async:

        @worker.consumer("orders", **options)
        async def handle_async(body: int) -> Any:
            await asyncio.sleep(0)
            return behave(body)
    else:

        @worker.consumer("orders", **options)
        def handle(body: int) -> Any:
            return behave(body)


@pytest.mark.parametrize("is_async", [False, True])
def test_hooks_stand_around_the_handler_in_order(bench: Bench, is_async: bool) -> None:
    """The worker's outside the consumer's; the result and each one's own state come back; before the ack."""
    told: list[Any] = []
    worker = bench.worker(middleware=[Recorder("outer", told)])
    consume(worker, is_async, lambda body: body + 1, middleware=[Recorder("inner", told)])
    worker.start()
    bench.publisher.publish("orders", 41)
    bench.wait(lambda: worker.stats().handled == 1)
    assert told == [
        ("outer", "before", b"41"),
        ("inner", "before", b"41"),
        ("inner", "after", "state of inner", 42, ""),
        ("outer", "after", "state of outer", 42, ""),
    ]
    bench.wait_empty(worker, "orders", "orders.dead")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("body", "error", "figure"),
    [
        (1, "ValueError", "parked"),
        (2, "Reject", "rejected"),
        (3, "Skip", "skipped"),
        ("x", "DecodeError", "undecodable"),
    ],
)
def test_every_other_end_is_told(bench: Bench, is_async: bool, body: Any, error: str, figure: str) -> None:
    """Exceptions, verdicts, and bodies that cannot be decoded."""
    told: list[Any] = []
    worker = bench.worker(middleware=[Recorder("one", told)])

    def behave(number: int) -> None:
        raise (ValueError, Reject, Skip)[number - 1]

    consume(worker, is_async, behave)
    worker.start()
    bench.publisher.publish("orders", body)
    bench.wait(lambda: getattr(worker.stats(), figure) == 1)
    assert told[1:] == [("one", "error", "state of one", error)]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_hook_may_decide_before_the_handler_does(bench: Bench, is_async: bool) -> None:
    """Skip acknowledges, Reject parks with its reason, Retry brings it back; the handler is not called."""
    verdicts: list[BaseException] = [Retry(delay=0), Skip("known"), Reject("never")]
    told: list[Any] = []
    handled: list[int] = []
    worker = bench.worker(middleware=[Recorder("outer", told), Raising("before_handle", lambda: verdicts.pop(0))])
    consume(worker, is_async, handled.append, concurrency=1)
    worker.start()
    bench.publisher.publish("orders", 1)
    bench.wait(lambda: worker.stats().skipped == 1)
    bench.publisher.publish("orders", 2)
    bench.wait(lambda: worker.stats().parked == 1)
    assert bench.take("orders.dead").headers[headers.REASON] == "rejected:never"
    assert worker.stats().retried == 1
    assert [entry[3] for entry in told if entry[1] == "error"] == ["Retry", "Skip", "Reject"]
    assert not handled


def test_a_hook_that_fails_after_the_handler_fails_the_message(bench: Bench) -> None:
    """It is not acknowledged as if all were well; those outside it hear of the error."""
    told: list[Any] = []
    worker = bench.worker(middleware=[Recorder("outer", told), Raising("after_handle", lambda: OSError("no store"))])
    consume(worker, False, lambda body: None)
    worker.start()
    bench.publisher.publish("orders", 1)
    bench.wait(lambda: worker.stats().parked == 1)
    assert worker.stats().handled == 0
    assert told[-1] == ("outer", "error", "state of outer", "OSError")


def test_a_hook_that_fails_on_an_error_changes_nothing(bench: Bench) -> None:
    """It is logged, and the others are told all the same."""
    told: list[Any] = []
    worker = bench.worker(middleware=[Recorder("outer", told), Raising("on_handle_error", SystemExit)])

    def behave(body: int) -> None:
        raise ValueError

    consume(worker, False, behave)
    worker.start()
    bench.publisher.publish("orders", 1)
    bench.wait(lambda: worker.stats().parked == 1)
    assert told[-1] == ("outer", "error", "state of outer", "ValueError")


class Replacing(Middleware):
    """Puts another error in the place of the handler's."""

    def __init__(self, instead: Callable[[BaseException], Any]) -> None:
        self.instead = instead

    def on_handle_error(self, delivery: Delivery, state: Any, error: BaseException) -> BaseException | None:
        found: BaseException | None = self.instead(error)
        return found


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(("body", "first"), [(1, "ValueError"), ("x", "DecodeError")])
def test_a_hook_may_put_another_error_in_the_place_of_one(bench: Bench, is_async: bool, body: Any, first: str) -> None:
    """It is what becomes of the message, and what the hooks outside hear; also where the body could not be decoded."""
    told: list[Any] = []
    replaced: list[str] = []

    def instead(error: BaseException) -> BaseException:
        replaced.append(type(error).__name__)
        return Reject("for good")

    worker = bench.worker(middleware=[Recorder("outer", told), Replacing(instead), Recorder("inner", told)])

    def behave(number: int) -> None:
        raise ValueError

    consume(worker, is_async, behave)
    worker.start()
    bench.publisher.publish("orders", body)
    assert bench.take("orders.dead").headers[headers.REASON] == "rejected:for good"
    assert replaced == [first]
    assert [entry for entry in told if entry[1] == "error"] == [
        ("inner", "error", "state of inner", first),
        ("outer", "error", "state of outer", "Reject"),
    ]
    bench.wait(lambda: worker.stats().rejected == 1)
    assert worker.stats().failed == worker.stats().undecodable == 0


@pytest.mark.parametrize("is_async", [False, True])
def test_a_postponed_message_is_handled_again_and_counts_no_attempt(bench: Bench, is_async: bool) -> None:
    """The worker keeps it, unacknowledged; a handler may say so as well as a hook."""
    attempts: list[int] = []
    verdicts: list[BaseException] = [Postpone(delay=0), Postpone("soon", delay=0.1)]

    class Watching(Middleware):
        def before_handle(self, delivery: Delivery) -> None:
            attempts.append(delivery.attempt)

    worker = bench.worker(middleware=[Watching()])

    def behave(body: int) -> None:
        if verdicts:
            raise verdicts.pop()

    consume(worker, is_async, behave)
    worker.start()
    bench.publisher.publish("orders", 1)
    bench.wait(lambda: worker.stats().handled == 1)
    assert attempts == [1, 1, 1]
    assert worker.stats().postponed == 2
    bench.wait_empty(worker, "orders", "orders.dead")


def test_a_message_that_is_not_to_be_kept_goes_back_to_its_queue(bench: Bench) -> None:
    """Another worker may take it."""
    first = bench.worker("first")
    consume(first, False, Raising("before_handle", lambda: Postpone("not here", keep=False)).before_handle)
    first.start()
    bench.publisher.publish("orders", 1)
    bench.wait(lambda: first.stats().requeued >= 1)
    first.stop()
    second = bench.worker("second")
    consume(second, False, lambda body: None)
    second.start()
    bench.wait(lambda: second.stats().handled == 1)


def test_a_worker_stops_at_once_with_postponed_messages(bench: Bench) -> None:
    """They go back to their queue."""
    worker = bench.worker()
    consume(worker, False, Raising("before_handle", lambda: Postpone(delay=60)).before_handle)
    worker.start()
    bench.publisher.publish("orders", 1)
    bench.wait(lambda: worker.stats().postponed == 1)
    assert worker.stop(5)
    bench.wait_count("orders", 1)


class Told(Middleware):
    """Holds the consumers that it stands around."""

    def __init__(self) -> None:
        self.consumers: list[Any] = []
        self.ended: list[str] = []

    def consumer_started(self, consumer: Any) -> None:
        self.consumers.append(consumer)

    def consumer_stopped(self, consumer: Any) -> None:
        self.ended.append(consumer.queue)
        raise OSError("only logged")


def test_middleware_may_pause_its_consumer_and_let_single_messages_through(bench: Bench) -> None:
    """Each has a hold of its own: the consumer goes on when the last one lets go."""
    one, other = Told(), Told()
    worker = bench.worker(middleware=[one])
    consume(worker, False, lambda body: None, concurrency=1, middleware=[other])
    worker.start()
    first, second = one.consumers[0], other.consumers[0]
    first.pause("the disk is full")
    second.pause("the bank is closed")
    bench.wait(lambda: not worker.is_ready)
    assert worker.stats().consumers[0].paused == "the disk is full; the bank is closed"
    bench.publisher.publish_many("orders", range(10)).raise_for_failures()
    first.resume("there is room")
    second.allow(1)
    bench.wait(lambda: worker.stats().handled >= 1)
    second.allow(0)
    bench.wait(lambda: not worker.is_ready)
    second.resume("the bank is open")
    bench.wait(lambda: worker.stats().handled == 10)
    bench.wait(lambda: worker.is_ready)
    worker.stop()
    assert (one.ended, other.ended) == (["orders"], ["orders"])


def test_what_is_due_later_does_not_run_when_the_worker_stops_before(bench: Bench) -> None:
    """And runs on time otherwise."""
    told = Told()
    ran: list[int] = []
    worker = bench.worker(middleware=[told])
    consume(worker, False, lambda body: None)
    worker.start()
    told.consumers[0].call_later(lambda: ran.append(1), 0.01)
    told.consumers[0].call_later(lambda: ran.append(2), 60)
    bench.wait(lambda: ran)
    worker.stop()
    assert ran == [1]


def test_middleware_that_cannot_begin_ends_the_start(bench: Bench) -> None:
    """With its own error; nothing is consumed."""

    class Refusing(Middleware):
        def consumer_started(self, consumer: Any) -> None:
            raise OSError("no socket")

    worker = bench.worker(middleware=[Refusing()])
    consume(worker, False, lambda body: None)
    with pytest.raises(OSError, match="no socket"):
        worker.start()
    assert worker.stats().state == "stopped"


def test_what_is_no_middleware_is_refused(bench: Bench) -> None:
    """A class instead of an object, mostly."""
    with pytest.raises(ConfigurationError, match=r"write Recorder\(\)"):
        bench.worker(middleware=[Recorder])
    with pytest.raises(ConfigurationError, match="give a list"):
        Publisher(bench.pool, middleware=Recorder("one", []))  # type: ignore[arg-type]
