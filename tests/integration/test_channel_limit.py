"""What happens when a connection has all its channels open: whoever asks for one more hears it, and nobody else notices.

The limit is the broker's: what a URL says is checked before a pool opens anything.
"""

import queue as queues
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rmqpool import ChannelLimitError, ConnectionPool, Consumer, Delivery, Queue
from rmqpool.amqp.channel import BlockingChannel, open_channel
from rmqpool.amqp.confirm_channel import ConfirmChannel
from rmqpool.amqp.link import Link
from rmqpool.consumer import ConsumerEvent
from rmqpool.core.confirms import Returned
from rmqpool.errors import RmqpoolError
from rmqpool.testing.waiting import wait_until

MakePool = Callable[..., ConnectionPool]


@pytest.fixture
def pool(make_pool: MakePool, url_with: Callable[..., str]) -> ConnectionPool:
    """On a broker that takes two channels on each connection."""
    return make_pool(url_with(channel_max=2))


def classic(name: str) -> Queue:
    return Queue(name, type="classic", dead_letter=False)


def lease_epoch(pool: ConnectionPool) -> int:
    status = pool.stats().lease
    assert status is not None
    return status.epoch


def open_now(link: Link) -> BlockingChannel | RmqpoolError:
    answers: queues.SimpleQueue[BlockingChannel | RmqpoolError] = queues.SimpleQueue()
    open_channel(link, answers.put)
    return answers.get(timeout=5)


def test_a_lease_says_so_by_its_deadline(pool: ConnectionPool) -> None:
    """Those that are held go on."""
    with pool.channel() as first, pool.channel() as second:
        with pytest.raises(TimeoutError):
            pool.channel(timeout=0.3)
        refusal = open_now(pool._lease_side().link)
        assert isinstance(refusal, ChannelLimitError)
        assert "all of its 2 channels open (channel_max)" in str(refusal)
        assert first.queue_declare("", exclusive=True).queue
        assert second.queue_declare("", exclusive=True).queue
    assert lease_epoch(pool) == 1


def test_a_declaration_says_so_at_once(pool: ConnectionPool, queue_name: str) -> None:
    """And leaves the leased channels alone."""
    with pool.channel() as first, pool.channel() as second:
        with pytest.raises(ChannelLimitError, match="channel_max"):
            pool.declare_once([classic(queue_name)], timeout=10)
        assert first.queue_declare("", exclusive=True).queue
        assert second.queue_declare("", exclusive=True).queue
    assert lease_epoch(pool) == 1


def test_declarations_one_after_the_other_share_the_last_channel(pool: ConnectionPool, queue_name: str) -> None:
    """The first one's channel is closed before the second begins."""
    with pool.channel():
        for _ in range(20):
            pool.declare_once([classic(queue_name)], timeout=10)
    assert lease_epoch(pool) == 1


def test_consumers_wait_for_a_channel_and_say_why(pool: ConnectionPool, queue_name: str) -> None:
    """Two consume; the third tries again, less and less often, until one of them leaves."""
    deliveries: queues.SimpleQueue[Delivery] = queues.SimpleQueue()
    events: list[ConsumerEvent] = []
    pool.declare_once([classic(queue_name)])
    first = Consumer(pool, queue_name, deliveries.put)
    first.wait_ready()
    with Consumer(pool, queue_name, deliveries.put) as second:
        second.wait_ready()
        declaring = Consumer(pool, classic(queue_name), deliveries.put, on_event=lambda event, _: events.append(event))
        with declaring as third:
            wait_until(lambda: events.count(ConsumerEvent.CHANNEL_CLOSED) >= 2, "a second attempt", timeout=5)
            assert isinstance(third.status().last_error, ChannelLimitError)
            assert first.is_ready
            assert second.is_ready
            first.close()
            third.wait_ready(10)
            assert pool.stats().consume[0].epoch == 1


class Listener:
    """Hears that a confirm channel is ready."""

    def __init__(self) -> None:
        self.ready = threading.Event()

    def channel_ready(self) -> None:
        self.ready.set()

    def channel_closed(self, code: int, text: str) -> bool:
        return False

    def returned(self, message_id: str | None, exchange: str, routing_key: str, returned: Returned) -> None: ...
    def acked(self, acks: list[tuple[int, bool]]) -> None: ...
    def nacked(self, delivery_tag: int, multiple: bool) -> None: ...


def test_a_confirm_channel_opens_once_there_is_room(pool: ConnectionPool, caplog: pytest.LogCaptureFixture) -> None:
    """It tries again, on the same connection."""
    link = pool._new_link("publish")
    link.start()
    try:
        link.wait_ready(threading.TIMEOUT_MAX)
        taken: list[Any] = [open_now(link), open_now(link)]
        listener = Listener()
        confirms = ConfirmChannel(link, listener)
        link.post(lambda: confirms.open(link.connection))  # type: ignore[arg-type]
        wait_until(lambda: "publish channel could not be opened" in caplog.text, "the first attempt", timeout=5)
        assert not listener.ready.is_set()
        taken[0].close()
        assert listener.ready.wait(5)
        assert link.status().epoch == 1
    finally:
        link.close(5)
