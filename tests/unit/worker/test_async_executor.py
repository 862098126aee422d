"""Coroutines on the worker's loop: within their concurrency, cancelled at the end, and the loop ends."""

import asyncio
import contextvars
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
        executor.submit_many([numbered(number)])
    executor.finish()
    assert executor.join(time.monotonic() + 5) == 0
    assert (sorted(done), most) == (list(range(30)), 3)


def test_each_message_is_a_task_with_a_context_of_its_own(loop):
    """What one handler sets, no other sees."""
    variable, seen = contextvars.ContextVar("variable", default="unset"), []

    async def handle(delivery: Delivery) -> None:
        seen.append((variable.get(), asyncio.current_task()))
        variable.set("set")
        await asyncio.sleep(0)

    executor = AsyncExecutor(loop, 2, handle)
    executor.submit_many([numbered(number) for number in range(10)])
    executor.finish()
    assert executor.join(time.monotonic() + 5) == 0
    assert {value for value, _ in seen} == {"unset"}
    assert len({id(task) for _, task in seen}) == len(seen) == 10


def test_other_coroutines_live_while_a_batch_is_handled(loop):
    """The loop turns between two messages of a handler that never awaits."""
    turns, done = 0, threading.Event()

    async def count_turns() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    async def handle(delivery: Delivery) -> None:
        if delivery.delivery_tag == 99:
            done.set()

    counting = asyncio.run_coroutine_threadsafe(count_turns(), loop)
    executor = AsyncExecutor(loop, 1, handle)
    executor.submit_many([numbered(number) for number in range(100)])
    counting.result(5)
    executor.finish()
    assert executor.join(time.monotonic() + 5) == 0
    assert turns >= 90


def test_a_task_that_is_cancelled_before_it_began_gives_its_place_back(loop):
    """By whoever cancels all tasks of the loop."""
    seen: list[int] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.delivery_tag)

    def submit_and_cancel() -> None:
        executor.submit_many([numbered(1)])
        executor._begin()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        executor.submit_many([numbered(2)])

    executor = AsyncExecutor(loop, 1, handle)
    loop.call_soon_threadsafe(submit_and_cancel)
    wait_until(lambda: seen == [2], "the second message", timeout=5)
    executor.finish()
    assert executor.join(time.monotonic() + 5) == 0


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
    executor.submit_many([numbered(1)])
    assert begun.wait(5)
    executor.submit_many([numbered(2)])
    assert executor.waiting == 1
    assert [delivery.delivery_tag for delivery in executor.stop()] == [2]
    assert executor.in_progress == 1
    assert executor.join(time.monotonic() + 0.05) == 1
    assert cleaned.is_set()
    executor.submit_many([numbered(3)])
    assert executor.waiting == 0


def test_a_fault_of_ours_does_not_stop_the_others(loop, caplog):
    """It is logged."""
    seen: list[int] = []

    async def handle(delivery: Delivery) -> None:
        seen.append(delivery.delivery_tag)
        raise ValueError("ours")

    executor = AsyncExecutor(loop, 1, handle)
    for number in range(3):
        executor.submit_many([numbered(number)])
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
