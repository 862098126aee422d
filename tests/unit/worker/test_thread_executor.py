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
        executor.submit_many([numbered(number)])
    executor.finish()
    assert executor.join(time.monotonic() + 5) == 0
    assert seen == list(range(100))


def test_a_message_never_waits_while_a_thread_could_be_added():
    """Each of four blocks until all four run."""
    together = threading.Barrier(4)
    executor = ThreadExecutor("test", 4, lambda delivery: together.wait(5) and None)
    for number in range(4):
        executor.submit_many([numbered(number)])
    executor.finish()
    assert executor.join(time.monotonic() + 5) == 0
    assert not together.broken


def test_a_batch_gets_as_many_threads_as_it_needs():
    """And no more: three messages of eight possible."""
    together = threading.Barrier(3)
    executor = ThreadExecutor("test of batches", 8, lambda delivery: together.wait(5) and None)
    for _ in range(3):
        executor.submit_many([numbered(number) for number in range(3)])
        wait_until(lambda: executor.in_progress == 0 and executor.waiting == 0, "three handlings", timeout=5)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("test of batches")]
    assert 3 <= len(threads) <= 5  # one more where a thread had not said yet that it was free
    executor.finish()
    assert executor.join(time.monotonic() + 5) == 0


def test_a_batch_of_many_is_shared_between_the_threads():
    """A slow message holds one thread, and the others take the rest."""
    go_on, done = threading.Event(), []

    def handle(delivery: Delivery) -> None:
        if delivery.delivery_tag == 0:
            go_on.wait(5)
        done.append(delivery.delivery_tag)

    executor = ThreadExecutor("test", 2, handle)
    executor.submit_many([numbered(number) for number in range(200)])
    wait_until(lambda: done == list(range(1, 200)), "all but the slow one", timeout=5)
    assert (executor.in_progress, executor.waiting) == (1, 0)
    go_on.set()
    executor.finish()
    assert executor.join(time.monotonic() + 5) == 0
    assert done[-1] == 0


def test_stop_returns_what_was_not_begun():
    """And what runs goes on."""
    begun, go_on = threading.Event(), threading.Event()

    def handle(delivery: Delivery) -> None:
        begun.set()
        go_on.wait(5)

    executor = ThreadExecutor("test", 1, handle)
    for number in range(3):
        executor.submit_many([numbered(number)])
    assert begun.wait(5)
    assert [delivery.delivery_tag for delivery in executor.stop()] == [1, 2]
    executor.submit_many([numbered(9)])  # too late: the closing channel gives it back
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
        executor.submit_many([numbered(number)])
    wait_until(lambda: seen == [0, 1, 2], "three handlings", timeout=5)
    executor.stop()
    assert executor.join(time.monotonic() + 5) == 0
    assert caplog.text.count("the worker itself failed") == 3
