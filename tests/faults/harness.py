"""What every fault test needs: publishers that record each outcome, a drain that records each delivery, events to wait for.

Every wait has a deadline. Publishes and deliveries are counted in a `TotalQueueChecker`; the drain reads with pika's own
BlockingConnection, so that what is judged does not judge itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import pika

from rmqpool import ConnectionPool, Consumer, Delivery, PoolEvent, PoolEventKind, Publisher, Queue
from rmqpool.amqp.link import LinkEvent
from rmqpool.errors import PublishError, RmqpoolError
from rmqpool.testing.checker import TotalQueueChecker, Verdict
from rmqpool.testing.rabbitmq_node import RabbitMQNode
from rmqpool.testing.waiting import wait_until

__all__ = [
    "Collector",
    "Event",
    "Events",
    "Load",
    "Waiter",
    "drain",
    "figures",
    "judge",
    "keep_queues",
    "open_pool",
    "publish_recorded",
    "until",
]

_LOGGER = logging.getLogger("faults")
GRACE = 1.0  # seconds that a publish may end after its deadline on a busy machine


@dataclass(frozen=True)
class Event:
    """What a pool said of a connection; `at` is monotonic."""

    event: PoolEventKind
    link: str
    sentence: str
    at: float


class Events:
    """Listens to a pool (`on_event=events`) and lets tests wait. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._seen: list[Event] = []

    def __call__(self, told: PoolEvent) -> None:
        with self._changed:
            self._seen.append(Event(told.kind, told.connection, told.sentence, time.monotonic()))
            self._changed.notify_all()

    def of(self, event: LinkEvent, since: float = 0.0, role: str = "") -> list[Event]:
        """The events of a kind from the monotonic time `since` on; `role` is publish, consume or lease."""
        with self._changed:
            return [e for e in self._seen if e.event == event and e.at >= since and f":{role}" in e.link]

    def wait_for(
        self, event: LinkEvent, *, since: float = 0.0, count: int = 1, timeout: float = 10.0, role: str = ""
    ) -> list[Event]:
        """Wait until there were `count` such events; AssertionError with all that was seen after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.of(event, since, role)) >= count, timeout):
                told = "\n".join(f"  {e.at:.3f} {e.link} {e.event}: {e.sentence}" for e in self._seen)
                raise AssertionError(f"no {count} {event} events within {timeout:g} s; there were:\n{told}")
            return self.of(event, since, role)


@contextmanager
def open_pool(url: Any, **options: Any) -> Iterator[ConnectionPool]:
    """A pool that must end cleanly: every message with its outcome, every thread ended, within 10 s."""
    pool = ConnectionPool(url, **options)
    try:
        yield pool
    finally:
        began = time.monotonic()
        clean = pool.close(timeout=10.0)
        took = time.monotonic() - began
    assert clean, f"the pool did not end cleanly: {pool!r}"
    assert took < 10.0 + GRACE


def publish_recorded(
    publisher: Publisher, queue: str, message_id: str, checker: TotalQueueChecker, *, size: int = 100, **options: Any
) -> Any:
    """Publish one message and record it; return its Confirmation or PublishError. It must end by its deadline."""
    timeout = publisher.timeout_of(options)  # type: ignore[arg-type]
    checker.record_attempt(message_id)
    began = time.monotonic()
    outcome: Any
    try:
        outcome = publisher.publish(queue, b"x" * size, message_id=message_id, **options)
    except PublishError as error:
        outcome = error
    took = time.monotonic() - began
    checker.record_publish(message_id, str(outcome.outcome))  # type: ignore[arg-type]
    assert took <= timeout + GRACE, f"{message_id} took {took:.1f} s, its deadline was {timeout:g} s: {outcome}"
    return outcome


class Load:
    """Threads that publish one message after the other, and record each, until they are stopped.

    A context manager: it ends the threads, and raises what went wrong in them.
    """

    def __init__(
        self,
        publisher: Publisher,
        queue: str,
        checker: TotalQueueChecker,
        *,
        threads: int = 4,
        timeout: float = 40.0,
        size: int = 100,
    ) -> None:
        self.outcomes: list[Any] = []
        self._arguments = (publisher, queue, checker)
        self._options: dict[str, Any] = {"timeout": timeout, "size": size}
        self._timeout = timeout
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(f"{queue}-{number}",), name=f"load-{number}", daemon=True)
            for number in range(threads)
        ]

    @property
    def confirmed(self) -> int:
        """Messages confirmed so far."""
        with self._changed:
            return sum(1 for outcome in self.outcomes if outcome.outcome == "confirmed")

    def wait_for_confirmed(self, count: int, timeout: float = 40.0) -> None:
        """Wait until `count` more messages than now are confirmed."""
        wanted = self.confirmed + count
        with self._changed:
            reached = self._changed.wait_for(lambda: self._errors or self.confirmed >= wanted, timeout)
        self.raise_errors()
        assert reached, f"{self.confirmed} messages confirmed after {timeout:g} s, not {wanted}"

    def stop(self) -> None:
        """Start no more messages, and wait for those on their way: each ends by its deadline."""
        self._stopping.set()
        deadline = time.monotonic() + self._timeout + 5.0
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        assert not any(thread.is_alive() for thread in self._threads), "a publish hung past its deadline"
        self.raise_errors()

    def raise_errors(self) -> None:
        """Raise what a publishing thread did not expect."""
        if self._errors:
            raise self._errors[0]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, name: str) -> None:
        publisher, queue, checker = self._arguments
        number = 0
        try:
            while not self._stopping.is_set():
                outcome = publish_recorded(publisher, queue, f"{name}-{number}", checker, **self._options)
                number += 1
                with self._changed:
                    self.outcomes.append(outcome)
                    self._changed.notify_all()
        except BaseException as error:
            with self._changed:
                self._errors.append(error)
                self._changed.notify_all()


class Collector:
    """A consumer that records and acknowledges every delivery. A context manager."""

    def __init__(self, pool: ConnectionPool, queue: str | Queue, checker: TotalQueueChecker, **options: Any) -> None:
        self._checker = checker
        self._changed = threading.Condition()
        self._received = 0
        self.consumer = Consumer(pool, queue, self._take, **options)

    @property
    def received(self) -> int:
        """Deliveries so far."""
        return self._received

    def wait_for(self, count: int, timeout: float = 20.0) -> None:
        """Wait until `count` more deliveries than now came."""
        with self._changed:
            wanted = self._received + count
            reached = self._changed.wait_for(lambda: self._received >= wanted, timeout)
        assert reached, f"{self._received} deliveries after {timeout:g} s, not {wanted}: {self.consumer!r}"

    def _take(self, delivery: Delivery) -> None:
        self._checker.record_delivery(delivery.message_id or "", delivery.redelivered)
        delivery.ack()
        with self._changed:
            self._received += 1
            self._changed.notify_all()

    def __enter__(self) -> Collector:
        self.consumer.wait_ready(20.0)
        return self

    def __exit__(self, *_: object) -> None:
        self.consumer.close()


class Waiter:
    """Runs a call on a thread of its own, and tells how long it took and how it ended."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.seconds = 0.0
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self, timeout: float) -> Waiter:
        """Wait for the end; AssertionError if it hangs for longer than `timeout` seconds."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"still waiting after {timeout:g} s"
        return self

    def _run(self) -> None:
        began = time.monotonic()
        try:
            self.result = self._call()
        except RmqpoolError as error:
            self.error = error
        finally:
            self.seconds = time.monotonic() - began


def keep_queues(node: RabbitMQNode) -> None:
    """Have the node write its register of quorum queues to disk, so that a queue of this moment survives kill -9.

    RabbitMQ saves it seconds later by itself (Ra's dets tables); killed before, the queue is there and never answers.
    """
    node.command("lists:foreach(fun dets:sync/1, dets:all())")


def drain(url: str, queue: str, checker: TotalQueueChecker, timeout: float = 20.0) -> None:
    """Take everything out of a queue and record it: until it is empty, nothing is unacknowledged, nothing missing."""
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        channel = connection.channel()

        def is_empty() -> bool:
            while True:
                method, properties, _ = channel.basic_get(queue, auto_ack=True)
                if method is None:
                    return checker.missing() == 0
                checker.record_delivery(properties.message_id, method.redelivered)

        # A message that is still on its way back from a consumer's channel shows up as a missing one.
        deadline = time.monotonic() + timeout
        while not is_empty() and time.monotonic() < deadline:
            connection.process_data_events(0.05)


def judge(checker: TotalQueueChecker) -> Verdict:
    """The verdict, which must be: nothing lost, nothing phantom, nothing hung."""
    verdict = checker.verdict()
    verdict.raise_if_wrong()
    figures("%s", verdict)
    return verdict


def figures(text: str, *arguments: object) -> None:
    """Tell what was measured: `pytest --log-cli-level=INFO` shows it."""
    _LOGGER.info(text, *arguments)


def until(condition: Callable[[], Any], what: str, timeout: float = 10.0) -> Any:
    """`wait_until` with the harness's usual deadline."""
    return wait_until(condition, what, timeout=timeout)
