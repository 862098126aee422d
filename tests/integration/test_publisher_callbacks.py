"""What callbacks, flushing and closing promise: nobody hangs, nothing is left behind, and what was taken has its outcome."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rmqpool import ConfigurationError, Confirmation, ConnectionPool, NotSentError, PoolClosedError, Publisher, Queue
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.waiting import wait_until

MakePool = Callable[..., ConnectionPool]


def classic(name: str, **options: Any) -> Queue:
    return Queue(name, type="classic", dead_letter=False, **options)


def test_a_callback_runs_once_and_may_publish_again(publisher: Publisher, queue_name: str) -> None:
    """submit() in a callback does not wait for itself."""
    chained, done = list[Any](), threading.Event()

    def again(future: Any) -> None:
        chained.append(publisher.submit(queue_name, b"second"))
        done.set()

    publisher.submit(queue_name, b"first").add_done_callback(again)
    assert done.wait(5)
    assert isinstance(chained[0].result(timeout=5), Confirmation)
    assert len(chained) == 1


def test_a_callback_that_fails_does_not_disturb_the_connection(
    publisher: Publisher, pool: ConnectionPool, queue_name: str
) -> None:
    """Its error is logged and goes no further."""
    called = threading.Event()

    def fail(future: Any) -> None:
        called.set()
        raise RuntimeError("oops")

    publisher.submit(queue_name, b"x").add_done_callback(fail)
    assert called.wait(5)
    publisher.publish(queue_name, b"y")
    assert pool.stats().publish[0].epoch == 1


def test_flush_waits_for_every_outcome(publisher: Publisher, pool: ConnectionPool, queue_name: str) -> None:
    """Afterwards nothing is on its way."""
    futures = [publisher.submit(queue_name, b"x") for _ in range(300)]
    assert publisher.flush(timeout=10)
    assert all(future.done() for future in futures)
    assert pool.stats().unsettled == pool.stats().unconfirmed == 0


def test_closing_waits_for_messages_on_their_way(make_pool: MakePool, queue_name: str) -> None:
    """Each has its outcome, and none is lost."""
    pool = make_pool()
    publisher = Publisher(pool, declare=[classic(queue_name)])
    futures = [publisher.submit(queue_name, b"x") for _ in range(500)]
    assert pool.close(timeout=10)
    assert all(isinstance(future.outcome(0), Confirmation) for future in futures)


def test_a_closed_publisher_takes_nothing(publisher: Publisher, pool: ConnectionPool, queue_name: str) -> None:
    """The shared pool stays open."""
    publisher.publish(queue_name, b"x")
    assert publisher.close()
    assert publisher.close()
    with pytest.raises(PoolClosedError):
        publisher.publish(queue_name, b"y")
    assert not pool.closed
    assert "closed" in repr(publisher)


def test_a_publisher_on_a_closed_pool_takes_nothing(
    publisher: Publisher, pool: ConnectionPool, queue_name: str
) -> None:
    """Also in the thread that published before."""
    publisher.publish(queue_name, b"x")
    pool.close()
    with pytest.raises(PoolClosedError):
        publisher.publish(queue_name, b"y")
    with pytest.raises(PoolClosedError):
        publisher.publish_many(queue_name, [b"y"])


def test_a_publisher_with_a_url_owns_its_pool(vhost_url: str, queue_name: str) -> None:
    """Its connections and threads end with it."""
    before = set(threading.enumerate())
    with Publisher(vhost_url, declare=[classic(queue_name)]) as publisher:
        publisher.publish(queue_name, b"x")
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) == before
    assert publisher.pool.closed


def test_a_pool_that_is_closing_takes_nothing(make_pool: MakePool) -> None:
    """While it waits for what is on its way, also from a thread that published before."""
    port = ReservedPort()
    pool = make_pool(f"amqp://127.0.0.1:{port.number}/")
    publisher = Publisher(pool)
    future = publisher.submit("orders", b"x", timeout=20)
    thread = threading.Thread(target=pool.close, args=(4,))
    thread.start()
    wait_until(lambda: pool.closed, "the beginning of the close", timeout=5)
    with pytest.raises(PoolClosedError):
        publisher.submit("orders", b"y")
    assert future.cancel()
    thread.join(5)
    port.release()


def test_closing_under_many_publishers_leaves_nobody_behind(make_pool: MakePool, queue_name: str) -> None:
    """Each publish ends in an outcome or PoolClosedError, and every thread returns."""
    pool = make_pool(window=20)
    publisher = Publisher(pool, declare=[classic(queue_name)])
    publisher.publish(queue_name, b"x")
    ended: list[str] = []

    def publish() -> None:
        try:
            while True:
                publisher.publish(queue_name, b"x", timeout=10)
        except (PoolClosedError, NotSentError) as error:
            ended.append(type(error).__name__)

    threads = [threading.Thread(target=publish) for _ in range(16)]
    for thread in threads:
        thread.start()
    wait_until(lambda: pool.stats().unsettled > 0, "messages on their way", timeout=5)
    began = time.monotonic()
    pool.close(timeout=5)
    for thread in threads:
        thread.join(5)
    assert time.monotonic() - began < 6
    assert len(ended) == 16


def test_exit_inside_a_callback_does_not_end_the_io_thread(vhost_url: str, queue_name: str) -> None:
    """sys.exit() in a done callback is contained like any error: the next publish is confirmed."""

    def leave(_future: object) -> None:
        raise SystemExit(3)

    with Publisher(vhost_url, declare=[classic(queue_name)]) as publisher:
        future = publisher.submit(queue_name, b"1")
        future.add_done_callback(leave)
        assert isinstance(future.result(5), Confirmation)
        assert isinstance(publisher.publish(queue_name, b"2", timeout=5), Confirmation)


def test_closed_publisher_takes_its_topology_along(vhost_url: str, queue_name: str) -> None:
    """A pool that outlives many publishers does not declare for the dead ones; what two asked for stays for the other."""
    mine, shared = classic(f"{queue_name}.mine"), classic(f"{queue_name}.shared")
    with ConnectionPool(vhost_url) as pool:
        first, second = Publisher(pool, declare=[mine, shared]), Publisher(pool, declare=[shared])
        first.publish(mine.name, b"1")
        second.publish(shared.name, b"1")
        assert set(pool._declared) == {mine, shared}
        first.close()
        assert set(pool._declared) == {shared}
        second.close()
        assert not pool._declared


def test_callbacks_submit_the_next_message_through_a_full_window(vhost_url: str, queue_name: str) -> None:
    """A chain of submits in done callbacks: the place in the window is free before the callback runs."""
    ended = threading.Event()
    with ConnectionPool(vhost_url, window=1) as pool:
        publisher = Publisher(pool, declare=[classic(queue_name)])
        left = 20

        def follow(future: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0 or not isinstance(future.outcome(0), Confirmation):
                ended.set()
            else:
                publisher.submit(queue_name, b"x").add_done_callback(follow)

        publisher.submit(queue_name, b"x").add_done_callback(follow)
        assert ended.wait(10)
    assert left == 0


@pytest.mark.parametrize("what", ["publish", "flush", "close"])
def test_waiting_inside_a_callback_is_refused(vhost_url: str, queue_name: str, what: str) -> None:
    """It would wait for the thread that runs the callback; nothing is sent, and the pool goes on."""
    errors: list[BaseException] = []
    with Publisher(vhost_url, declare=[classic(queue_name)]) as publisher:
        calls: dict[str, Callable[[], object]] = {
            "publish": lambda: publisher.publish(queue_name, b"inside"),
            "flush": lambda: publisher.pool.flush(5),
            "close": lambda: publisher.pool.close(5),
        }

        def wait_here(_future: object) -> None:
            try:
                calls[what]()
            except ConfigurationError as error:
                errors.append(error)

        future = publisher.submit(queue_name, b"1")
        future.add_done_callback(lambda _: publisher.submit(queue_name, b"2").add_done_callback(wait_here))
        future.result(5)
        wait_until(lambda: errors, "the callback", timeout=5)
        assert "inside a callback" in str(errors[0])
        assert isinstance(publisher.publish(queue_name, b"3", timeout=5), Confirmation)
        with publisher.pool.channel() as channel:
            got = [channel.basic_get(queue_name, auto_ack=True) for _ in range(4)]
    assert [delivery.body for delivery in got if delivery] == [b"1", b"2", b"3"]
