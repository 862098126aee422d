"""The publisher for asyncio: the same outcomes, awaited; the event loop is never blocked."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator

import pytest

from rmqpool import (
    AsyncPublisher,
    Confirmation,
    ConnectionPool,
    MessageError,
    NotSentError,
    Outcome,
    PoolClosedError,
    Publisher,
    Queue,
    UnroutableError,
)
from rmqpool.testing.rabbitmq import RabbitMQNode


async def ticking(seconds: float = 0.02) -> AsyncIterator[float]:
    """The gaps between turns of the event loop: a long one means that something blocked it."""
    before = time.monotonic()
    while True:
        await asyncio.sleep(seconds)
        now = time.monotonic()
        yield now - before - seconds
        before = now


async def test_publish_is_confirmed(vhost_url: str, queue_name: str) -> None:
    """The first publish declares, and awaits the confirm."""
    async with AsyncPublisher(vhost_url, declare=[Queue(queue_name)]) as publisher:
        confirmation = await publisher.publish(queue_name, {"id": 7})
    assert isinstance(confirmation, Confirmation)
    assert confirmation.routing_key == queue_name


async def test_unroutable_message_raises(vhost_url: str) -> None:
    """The broker's return is raised where the publish is awaited."""
    async with AsyncPublisher(vhost_url) as publisher:
        with pytest.raises(UnroutableError, match="may not exist"):
            await publisher.publish("nowhere", b"")


async def test_event_without_a_subscriber_is_confirmed(vhost_url: str) -> None:
    """mandatory=False: no queue has to take it."""
    async with AsyncPublisher(vhost_url) as publisher:
        confirmation = await publisher.publish_to("amq.topic", "order.created", b"", mandatory=False)
    assert confirmation.exchange == "amq.topic"


async def test_thousands_at_once_are_all_confirmed_through_a_small_window(vhost_url: str, queue_name: str) -> None:
    """More tasks than the window has room for: they wait their turn, and the loop goes on."""
    pool = ConnectionPool(vhost_url, window=50)
    async with AsyncPublisher(pool, declare=[Queue(queue_name)]) as publisher:
        confirmations = await asyncio.gather(*(publisher.publish(queue_name, b"x") for _ in range(3000)))
    assert len({confirmation.message_id for confirmation in confirmations}) == 3000
    assert pool.stats().unsettled == 0
    await asyncio.to_thread(pool.close)


async def test_publish_many_reports_in_order(vhost_url: str, queue_name: str) -> None:
    """One outcome for each body, and none is raised."""
    async with AsyncPublisher(vhost_url, declare=[Queue(queue_name)]) as publisher:
        report = await publisher.publish_many(queue_name, [b"1", {"two": 2}, "three"])
        lost = await publisher.publish_many("nowhere", [b"1", b"2"])
    assert report.confirmed == 3
    assert lost.counts()[Outcome.RETURNED] == 2


async def test_submit_is_pipelined(vhost_url: str, queue_name: str) -> None:
    """The futures are awaited later, in any order."""
    async with AsyncPublisher(vhost_url, declare=[Queue(queue_name)]) as publisher:
        futures = [await publisher.submit(queue_name, b"x") for _ in range(100)]
        assert [await future for future in reversed(futures)]
        assert await publisher.flush(5)


async def test_bad_body_is_refused_before_anything_is_opened(vhost_url: str) -> None:
    """No connection is made for a message that cannot be sent."""
    pool = ConnectionPool(vhost_url)
    publisher = AsyncPublisher(pool)
    with pytest.raises(MessageError):
        await publisher.publish("q", {"when": object()})
    assert pool.stats().connections == ()


async def test_blocked_broker_never_blocks_the_loop(private_broker: RabbitMQNode, queue_name: str) -> None:
    """A publish that waits for its deadline during an alarm leaves the loop free."""
    async with AsyncPublisher(private_broker.amqp_url(), declare=[Queue(queue_name)], timeout=1.0) as publisher:
        await publisher.publish(queue_name, b"before")
        private_broker.raise_memory_alarm()
        try:
            outcomes = asyncio.gather(*(publisher.publish(queue_name, b"x") for _ in range(20)), return_exceptions=True)
            async for gap in ticking():
                assert gap < 0.5, "the event loop was blocked"
                if outcomes.done():
                    break
            ended = {type(outcome).__name__ for outcome in await outcomes}
            assert ended <= {"NotSentError", "UnknownOutcomeError"}
            with pytest.raises(NotSentError, match="blocks publishing"):
                await publisher.publish(queue_name, b"while it is known")
        finally:
            private_broker.clear_memory_alarm()
        assert isinstance(await publisher.publish(queue_name, b"after", timeout=10), Confirmation)


async def test_cancelled_publish_withdraws_what_was_not_written(private_broker: RabbitMQNode, queue_name: str) -> None:
    """Cancelling while the broker blocks leaves nothing behind in the window."""
    pool = ConnectionPool(private_broker.amqp_url())
    async with AsyncPublisher(pool, declare=[Queue(queue_name)]) as publisher:
        await publisher.publish(queue_name, b"before")
        private_broker.raise_memory_alarm()
        try:
            with pytest.raises((NotSentError, TimeoutError)):  # the block is known after something was written
                await asyncio.wait_for(publisher.publish(queue_name, b"x"), 0.3)
            waiting = asyncio.ensure_future(publisher.publish(queue_name, b"to be withdrawn"))
            await asyncio.sleep(0)
            before = pool.stats().unsettled
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert pool.stats().unsettled == before - 1
        finally:
            private_broker.clear_memory_alarm()
    await asyncio.to_thread(pool.close)


async def test_awaiters_that_gave_up_leave_the_room_to_others(vhost_url: str, queue_name: str) -> None:
    """Hundreds of timed-out and cancelled publishes do not keep a live one out of a window that has room again."""
    pool = ConnectionPool(vhost_url, window=2)
    async with AsyncPublisher(pool, declare=[Queue(queue_name)]) as publisher:
        await publisher.publish(queue_name, b"before")
        window = pool.publishing().window
        assert await publisher.flush(5)
        assert window.try_enter(1)
        assert window.try_enter(1)
        late = await asyncio.gather(
            *(publisher.publish(queue_name, b"x", timeout=0.05) for _ in range(200)), return_exceptions=True
        )
        assert {type(outcome) for outcome in late} == {NotSentError}
        cancelled = [asyncio.ensure_future(publisher.publish(queue_name, b"x")) for _ in range(100)]
        await asyncio.sleep(0)
        assert window.waiting == 100
        alive = asyncio.ensure_future(publisher.publish(queue_name, b"alive", timeout=5))
        await asyncio.sleep(0)
        window.leave(1, 1)  # calls the first one, which is cancelled before it can enter
        for publish in cancelled:
            publish.cancel()
        assert isinstance(await alive, Confirmation)
        assert window.waiting == 0
        window.leave(1, 1)
        assert await publisher.flush(5)
    await asyncio.to_thread(pool.close)


async def test_publish_many_reports_what_a_closing_pool_did_not_take(vhost_url: str, queue_name: str) -> None:
    """Closing in mid-call loses no outcome: what was confirmed is in the report, the rest was not sent."""
    pool = ConnectionPool(vhost_url, window=5)
    async with AsyncPublisher(pool, declare=[Queue(queue_name)]) as publisher:
        call = asyncio.ensure_future(publisher.publish_many(queue_name, [b"x"] * 20_000))
        while not pool.stats().unsettled:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        await asyncio.to_thread(pool.close)
        report = await call
        assert len(report) == 20_000
        assert report.confirmed
        not_sent = [outcome for outcome in report if isinstance(outcome, NotSentError)]
        assert isinstance(not_sent[-1].__cause__, PoolClosedError)
        with pytest.raises(PoolClosedError):
            await publisher.publish_many(queue_name, [b"x"])


async def test_publish_ends_by_its_deadline_while_the_io_thread_is_stuck(vhost_url: str, queue_name: str) -> None:
    """A user's callback blocks the connection's thread: each publish ends without it, as the sync one does."""
    pool = ConnectionPool(vhost_url)
    stuck, released = threading.Event(), threading.Event()

    def block(_: object) -> None:
        stuck.set()
        released.wait(20)

    async with AsyncPublisher(pool, declare=[Queue(queue_name)]) as publisher:
        await publisher.publish(queue_name, b"before")
        Publisher(pool).submit(queue_name, b"blocks").add_done_callback(block)
        try:
            assert await asyncio.to_thread(stuck.wait, 5)
            long = asyncio.ensure_future(publisher.publish(queue_name, b"has time", timeout=30))
            started = time.monotonic()
            with pytest.raises(NotSentError, match="I/O thread did not answer"):
                await publisher.publish(queue_name, b"x", timeout=0.2)
            assert time.monotonic() - started < 4
            assert not long.done()
        finally:
            released.set()
        assert isinstance(await long, Confirmation)
        assert await publisher.flush(5)
    await asyncio.to_thread(pool.close)


async def test_closed_publisher_refuses(vhost_url: str) -> None:
    """Its own pool is closed with it, and no thread is left."""
    before = threading.active_count()
    publisher = AsyncPublisher(vhost_url)
    await publisher.publish_to("amq.topic", "x", b"", mandatory=False)
    assert await publisher.close()
    with pytest.raises(PoolClosedError):
        await publisher.publish("q", b"")
    rmqpool_threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("rmqpool")]
    assert rmqpool_threads == []
    assert threading.active_count() <= before + 1  # asyncio's own helper thread of to_thread


def test_one_publisher_serves_one_loop_after_another(vhost_url: str, queue_name: str) -> None:
    """Each asyncio.run gets its own outcomes."""
    publisher = AsyncPublisher(vhost_url, declare=[Queue(queue_name)])

    async def once() -> Confirmation:
        return await publisher.publish(queue_name, b"x")

    first, second = asyncio.run(once()), asyncio.run(once())
    assert first.message_id != second.message_id
    asyncio.run(publisher.close())  # type: ignore[arg-type]
