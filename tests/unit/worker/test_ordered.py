"""Order by key in front of threads: what is held keeps its place, and the end comes whatever is held."""

import threading
import time

from rmqpool import Delivery
from rmqpool.testing.waiting import wait_until
from rmqpool.worker.ordered import OrderedExecutor
from rmqpool.worker.thread_executor import ThreadExecutor


def numbered(number: int, key: str = "a") -> Delivery:
    """A delivery; its key is its routing key."""
    return Delivery(b"", "", key, number, False)


def ordered(handle, refuse=lambda delivery, error: None, concurrency=4) -> OrderedExecutor:
    """On threads."""

    async def never(delivery):
        raise AssertionError("an event loop was not asked for")

    return OrderedExecutor(
        "test",
        lambda delivery: delivery.routing_key,
        refuse,
        handle,
        never,
        lambda run, run_async: ThreadExecutor("test", concurrency, run),
    )


def test_everything_that_arrived_is_handled_before_the_end():
    """Also what waits behind others of its key."""
    seen = []
    executor = ordered(lambda delivery: seen.append((delivery.routing_key, delivery.delivery_tag)))
    executor.submit_many([numbered(number, "ab"[number % 2]) for number in range(200)])
    executor.finish()
    assert executor.join(time.monotonic() + 10) == 0
    assert [tag for key, tag in seen if key == "a"] == list(range(0, 200, 2))
    assert [tag for key, tag in seen if key == "b"] == list(range(1, 200, 2))
    assert executor.waiting == 0


def test_one_that_is_held_keeps_its_place():
    """The next of its key waits until it was handled again; other keys go on."""
    seen = []

    def handle(delivery: Delivery) -> None:
        seen.append(delivery.delivery_tag)
        if seen.count(1) == 1 and delivery.delivery_tag == 1:
            executor.hold(delivery)

    executor = ordered(handle)
    first = numbered(1)
    executor.submit_many([first, numbered(2), numbered(3), numbered(10, "b")])
    wait_until(lambda: len(seen) == 2 and executor.in_progress == 0, "the first, and the other key", timeout=5)
    assert sorted(seen) == [1, 10]
    executor.submit_again(first)
    wait_until(lambda: len(seen) == 5, "the others", timeout=5)
    assert [tag for tag in seen if tag != 10] == [1, 1, 2, 3]
    executor.stop()
    assert executor.join(time.monotonic() + 5) == 0


def test_one_that_is_released_lets_the_next_of_its_key_go():
    """However often it was held before, and wherever it was in hand; one that was not held changes nothing."""
    seen = []

    def handle(delivery: Delivery) -> None:
        seen.append(delivery.delivery_tag)
        if delivery.delivery_tag in (1, 2):
            executor.hold(delivery)
        if delivery.delivery_tag == 2:
            executor.release(delivery)  # before its handling has ended

    executor = ordered(handle)
    first = numbered(1)
    executor.submit_many([first, numbered(2), numbered(3)])
    wait_until(lambda: seen == [1] and executor.in_progress == 0, "the first to be held", timeout=5)
    executor.hold(first)
    executor.release(numbered(3))
    assert executor.waiting == 2
    executor.release(first)
    wait_until(lambda: seen == [1, 2, 3], "the others", timeout=5)
    executor.finish()
    assert executor.join(time.monotonic() + 5) == 0


def test_one_that_is_held_twice_is_handled_again_once():
    """The second pause of one delivery."""
    seen = []

    def handle(delivery: Delivery) -> None:
        seen.append(delivery.delivery_tag)
        if len(seen) == 1:
            executor.hold(delivery)

    executor = ordered(handle)
    first = numbered(1)
    executor.submit_many([first, numbered(2)])
    wait_until(lambda: seen == [1] and executor.in_progress == 0, "the first to be held", timeout=5)
    executor.hold(first)
    executor.submit_again(first)
    wait_until(lambda: seen == [1, 1, 2], "both", timeout=5)
    executor.finish()
    assert executor.join(time.monotonic() + 5) == 0


def test_one_that_is_handed_over_before_its_handling_ended_runs_after_it():
    """Never two of one key at once, not even of one delivery."""
    seen = []

    def handle(delivery: Delivery) -> None:
        seen.append("begin")
        if len(seen) == 1:
            executor.hold(delivery)
            executor.submit_again(delivery)
        seen.append("end")

    executor = ordered(handle)
    executor.submit_many([numbered(1)])
    wait_until(lambda: len(seen) == 4, "both handlings", timeout=5)
    assert seen == ["begin", "end"] * 2
    executor.finish()
    assert executor.join(time.monotonic() + 5) == 0


def test_one_that_comes_again_after_the_stop_is_dropped():
    """It is not settled, so the channel gives it back; those behind it were returned."""
    executor = ordered(lambda delivery: executor.hold(delivery))
    first, second = numbered(1), numbered(2)
    executor.submit_many([first, second])
    wait_until(lambda: executor.in_progress == 0 and executor.waiting == 1, "the first to be held", timeout=5)
    assert executor.stop() == [second]
    executor.submit_again(first)
    assert executor.join(time.monotonic() + 5) == 0


def test_a_slow_key_function_holds_nobody_up():
    """It runs on a thread of its own: handing over returns at once, and what it has not seen is returned at the stop."""
    entered, go_on, seen = threading.Event(), threading.Event(), []

    def key(delivery: Delivery) -> str:
        entered.set()
        go_on.wait(10)
        return "a"

    async def never(delivery): ...

    executor = OrderedExecutor(
        "test", key, lambda *refused: None, seen.append, never, lambda run, run_async: ThreadExecutor("test", 1, run)
    )
    start = time.monotonic()
    deliveries = [numbered(number) for number in range(3)]
    executor.submit_many(deliveries)
    assert time.monotonic() - start < 1
    assert entered.wait(5)
    assert executor.waiting == 3
    assert executor.stop() == deliveries[1:]
    go_on.set()
    assert executor.join(time.monotonic() + 5) == 0
    assert seen == []
