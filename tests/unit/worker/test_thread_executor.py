"""Threads that run handlers: as many as needed, in order, and they end."""

import threading
import time

from rmqpool import Delivery
from rmqpool.testing.waiting import wait_until
from rmqpool.worker.thread_executor import ThreadExecutor


def numbered(number: int) -> Delivery:
    """A delivery."""
    return Delivery(b"", "", "orders", number, False)


def test_one_thread_keeps_the_order():
    """Of arrival."""
    seen: list[int] = []
    executor = ThreadExecutor("test", 1, lambda delivery: seen.append(delivery.delivery_tag))
    for number in range(100):
        executor.submit(numbered(number))
    executor.finish()
    assert executor.join(time.monotonic() + 5) == 0
    assert seen == list(range(100))


def test_a_message_never_waits_while_a_thread_could_be_added():
    """Each of four blocks until all four run."""
    together = threading.Barrier(4)
    executor = ThreadExecutor("test", 4, lambda delivery: together.wait(5) and None)
    for number in range(4):
        executor.submit(numbered(number))
    executor.finish()
    assert executor.join(time.monotonic() + 5) == 0
    assert not together.broken


def test_stop_returns_what_was_not_begun():
    """And what runs goes on."""
    begun, go_on = threading.Event(), threading.Event()

    def handle(delivery: Delivery) -> None:
        begun.set()
        go_on.wait(5)

    executor = ThreadExecutor("test", 1, handle)
    for number in range(3):
        executor.submit(numbered(number))
    assert begun.wait(5)
    assert [delivery.delivery_tag for delivery in executor.stop()] == [1, 2]
    executor.submit(numbered(9))  # too late: the closing channel gives it back
    assert executor.waiting == 0
    assert executor.in_progress == 1
    assert executor.join(time.monotonic() + 0.05) == 1
    go_on.set()
    assert executor.join(time.monotonic() + 5) == 0


def test_a_fault_of_ours_does_not_end_the_thread(caplog):
    """Even SystemExit: a thread that ends silently would stop the consumer."""
    seen: list[int] = []

    def handle(delivery: Delivery) -> None:
        seen.append(delivery.delivery_tag)
        raise SystemExit

    executor = ThreadExecutor("test", 1, handle)
    for number in range(3):
        executor.submit(numbered(number))
    wait_until(lambda: seen == [0, 1, 2], "three handlings", timeout=5)
    executor.stop()
    assert executor.join(time.monotonic() + 5) == 0
    assert caplog.text.count("the worker itself failed") == 3
