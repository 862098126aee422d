"""What a fork promises: the child gets connections of its own, and the parent's are untouched."""

import os
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from rmqpool import ConnectionPool, PoolClosedError, Publisher, Queue, UnknownOutcomeError
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.waiting import wait_until

# Python 3.12 warns of forking with threads: that is what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
MakePool = Callable[..., ConnectionPool]
Connections = Callable[..., list[dict[str, Any]]]


def in_child(function: Callable[[], object]) -> int:
    """Fork, run ``function`` in the child, and end it there: 0 if it returned, 1 if it raised. Returns the child's pid."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        function()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_code(child: int) -> int:
    """The child's exit code; it has 20 seconds."""

    def ended() -> tuple[int, int] | None:
        pid, status = os.waitpid(child, os.WNOHANG)
        return (pid, status) if pid else None

    try:
        return os.waitstatus_to_exitcode(wait_until(ended, "the child's end", timeout=20)[1])
    except Exception:
        os.kill(child, 9)
        os.waitpid(child, 0)
        raise


def count(pool: ConnectionPool, queue: Queue) -> int:
    with pool.channel() as channel:
        return channel.queue_declare(queue.name, passive=True).message_count


def test_parent_and_child_publish_side_by_side(pool: ConnectionPool, queue: Queue) -> None:
    """Every message of both is there: two processes on one socket would lose most of them."""
    publisher = Publisher(pool, declare=[queue])
    publisher.publish(queue.name, b"before")

    def work() -> None:
        assert publisher.publish_many(queue.name, [b"child"] * 300, timeout=10).confirmed == 300
        for _ in range(20):
            publisher.publish(queue.name, b"child", timeout=10)
        assert pool.close()

    child = in_child(work)
    assert publisher.publish_many(queue.name, [b"parent"] * 300, timeout=10).confirmed == 300
    assert exit_code(child) == 0
    publisher.publish(queue.name, b"after")
    assert pool.stats().reconnects == 0
    assert count(pool, queue) == 622


def test_the_child_has_a_connection_with_its_own_pid(
    pool: ConnectionPool, queue: Queue, connections: Connections
) -> None:
    """The broker shows whose it is."""
    publisher = Publisher(pool, declare=[queue])
    publisher.publish(queue.name, b"before")
    reading, writing = os.pipe()

    def work() -> None:
        os.close(writing)
        publisher.publish(queue.name, b"child", timeout=10)
        os.read(reading, 1)  # stay until the parent has looked
        pool.close()

    child = in_child(work)
    os.close(reading)
    wait_until(lambda: len(connections("publish")) == 2, "the child's connection", timeout=10)
    names = {row["user_provided_name"].split(":")[1] for row in connections("publish")}
    assert names == {str(os.getpid()), str(child)}
    os.close(writing)
    assert exit_code(child) == 0
    wait_until(lambda: len(connections("publish")) == 1, "the end of the child's connection", timeout=5)


def test_a_child_leases_and_the_parents_leases_live_on(pool: ConnectionPool, queue: Queue) -> None:
    """The channel that was leased at the fork is dead in the child, at once, and alive in the parent."""
    with pool.channel() as channel:
        channel.queue_declare(queue)

        def work() -> None:
            began = time.monotonic()
            with pytest.raises(PoolClosedError):
                channel.queue_declare(queue)
            assert time.monotonic() - began < 1
            channel.release()
            with pool.channel(timeout=5) as own:
                assert own.queue_declare(queue).queue == queue.name
            assert pool.close()

        assert exit_code(in_child(work)) == 0
        assert channel.queue_declare(queue).queue == queue.name


def test_a_lease_is_released_in_the_child_whatever_the_parent_was_doing(pool: ConnectionPool, queue: Queue) -> None:
    """A lock that another thread held at the fork is never let go there."""
    channel = pool.channel()
    assert pool._leases is not None
    with pool._leases._lock:
        child = in_child(channel.release)
    assert exit_code(child) == 0
    channel.release()


def test_futures_of_the_parent_fail_in_the_child(make_pool: MakePool) -> None:
    """They say whose they are; in the parent they go on."""
    port = ReservedPort()
    pool = make_pool(f"amqp://127.0.0.1:{port.number}/")
    future = Publisher(pool).submit("orders", b"x", timeout=3)

    def work() -> None:
        with pytest.raises(UnknownOutcomeError, match="belongs to the parent"):
            future.result(timeout=1)

    assert exit_code(in_child(work)) == 0
    assert not future.done()
    assert future.cancel()
    port.release()


def test_forking_while_other_threads_publish_hangs_nobody(pool: ConnectionPool, queue: Queue) -> None:
    """Whatever locks they hold at that moment."""
    publisher = Publisher(pool, declare=[queue])
    publisher.publish(queue.name, b"before")
    stop, sent = threading.Event(), list[int]()

    def publish() -> None:
        while not stop.is_set():
            sent.append(publisher.publish(queue.name, b"parent", timeout=10).attempts)

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()

    def work() -> None:
        publisher.publish(queue.name, b"child", timeout=10)
        assert pool.close()

    codes = [exit_code(in_child(work)) for _ in range(8)]
    stop.set()
    for thread in threads:
        thread.join(10)
    assert codes == [0] * 8
    assert set(sent) == {1}
    assert count(pool, queue) == 1 + len(sent) + 8


def test_a_child_that_does_nothing_harms_nothing(pool: ConnectionPool, queue: Queue) -> None:
    """Its end does not end the parent's connections."""
    publisher = Publisher(pool, declare=[queue])
    publisher.publish(queue.name, b"before")
    assert exit_code(in_child(lambda: None)) == 0
    assert publisher.publish(queue.name, b"after").attempts == 1
    assert pool.stats().reconnects == 0
