"""Coroutines on the worker's loop: within their concurrency, cancelled at the end, and the loop ends."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from rmqpool import Delivery
from rmqpool.testing.waiting import wait_until
from rmqpool.worker.async_executor import AsyncExecutor, LoopThread


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A running loop on a thread."""
    thread = LoopThread("test loop")
    yield thread.start()
    assert thread.close(5)
    assert thread.close(5)


def numbered(number: int) -> Delivery:
    """A delivery."""
    return Delivery(b"", "", "orders", number, False)


def test_concurrency_is_used_and_kept(loop):
    """Three at once out of thirty."""
    running, most, done = 0, 0, []

    async def handle(delivery: Delivery) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        done.append(delivery.delivery_tag)

    executor = AsyncExecutor(loop, 3, handle)
    for number in range(30):
        executor.submit(numbered(number))
    executor.finish()
    assert executor.join(time.monotonic() + 5) == 0
    assert (sorted(done), most) == (list(range(30)), 3)


def test_stop_returns_what_was_not_begun_and_join_cancels_the_rest(loop):
    """The cancelled one may clean up."""
    begun, cleaned = threading.Event(), threading.Event()

    async def handle(delivery: Delivery) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            assert executor.cancelling
            cleaned.set()

    executor = AsyncExecutor(loop, 1, handle)
    executor.submit(numbered(1))
    assert begun.wait(5)
    executor.submit(numbered(2))
    assert executor.waiting == 1
    assert [delivery.delivery_tag for delivery in executor.stop()] == [2]
    assert executor.in_progress == 1
    assert executor.join(time.monotonic() + 0.05) == 1
    assert cleaned.is_set()
    executor.submit(numbered(3))
    assert executor.waiting == 0


def test_a_fault_of_ours_does_not_stop_the_others(loop, caplog):
    """It is logged."""
    seen: list[int] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.delivery_tag)
        raise ValueError("ours")

    executor = AsyncExecutor(loop, 1, handle)
    for number in range(3):
        executor.submit(numbered(number))
    wait_until(lambda: seen == [0, 1, 2], "three handlings", timeout=5)
    executor.stop()
    assert executor.join(time.monotonic() + 5) == 0
    assert caplog.text.count("the worker itself failed") == 3


def test_a_loop_that_is_blocked_does_not_block_the_end():
    """By a handler that never awaits."""
    thread = LoopThread("test loop")
    go_on = threading.Event()
    thread.start().call_soon_threadsafe(go_on.wait, 10)
    assert not thread.close(0.1)
    go_on.set()
    assert thread.close(5)
