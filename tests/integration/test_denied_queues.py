"""RabbitMQ 4 may deny queues that are neither durable nor exclusive, and 4.3 does: it ends the connection over each."""

from collections.abc import Callable

import pytest

from rmqpool import ChannelClosedError, ConnectionPool, Consumer, ConsumerEvent, Queue, Worker
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until

BrokerFactory = Callable[..., RabbitMQNode]
MakePool = Callable[..., ConnectionPool]

DENIAL = {"deprecated_features.permit.transient_nonexcl_queues": "false"}
TOLD = "permits no queue that is neither durable nor exclusive"


@pytest.fixture
def queue(queue_name: str) -> Queue:
    """A transient queue, which anybody may use."""
    return Queue(queue_name, type="classic", durable=False, dead_letter=None)


@pytest.fixture
def denying(broker: RabbitMQNode, broker_factory: BrokerFactory) -> RabbitMQNode:
    """A node that denies such queues; brokers before RabbitMQ 4 cannot."""
    return broker_factory(DENIAL) if broker.version() >= (4,) else broker


def declare_leased(pool: ConnectionPool, queue: Queue) -> None:
    with pool.channel() as channel:
        channel.queue_declare(queue)


def test_a_denied_queue_ends_what_needs_it_with_the_reason_and_nothing_goes_round(
    broker: RabbitMQNode, denying: RabbitMQNode, make_pool: MakePool, queue: Queue
) -> None:
    """Waiting or reconnecting changes nothing: pool and worker say so at once, a consumer declares it once and goes on."""
    pool = make_pool(denying.amqp_url(), timeout=60)
    worker = Worker("tested", pool)
    worker.consumer(queue)(lambda body: None)
    if broker.version() < (4,):
        pool.declare([queue])
        worker.start(timeout=60)
        assert worker.stop()
        return

    for declare in (
        lambda: declare_leased(pool, queue),
        lambda: pool.declare([queue], timeout=60),
        lambda: worker.start(timeout=60),
    ):
        with pytest.raises(ChannelClosedError, match=TOLD) as caught:
            declare()
        assert caught.value.code == 541

    events: list[tuple[ConsumerEvent, str]] = []
    consumer = Consumer(
        pool, queue.name, lambda delivery: None, declare=[queue], on_event=lambda *one: events.append(one)
    )
    with consumer:
        not_there = wait_until(
            lambda: [sentence for event, sentence in events if event is ConsumerEvent.CHANNEL_CLOSED],
            "the consumer to look for the queue",
            timeout=60,
        )
    assert "404" in not_there[0]
    assert TOLD in next(sentence for event, sentence in events if event is ConsumerEvent.DECLARE_FAILED)
    assert [event for event, _ in events].count(ConsumerEvent.CONNECTION_LOST) == 1
