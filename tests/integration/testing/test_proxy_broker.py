"""Promises of proxy and checker together, with a real client and a real broker."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pika
import pika.exceptions
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from rmqpool.testing.checker import TotalQueueChecker
from rmqpool.testing.faults import How
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq_node import RabbitMQNode

TIMEOUT = 5.0


@pytest.fixture
def broker_proxy(broker: RabbitMQNode) -> Iterator[FaultProxy]:
    """A proxy in front of the shared broker."""
    with FaultProxy((broker.host, broker.port)) as proxy:
        yield proxy


@pytest.fixture
def queue(broker: RabbitMQNode, queue_name: str) -> Iterator[str]:
    """A durable queue, deleted afterwards."""
    with closing(pika.BlockingConnection(pika.URLParameters(broker.amqp_url()))) as connection:
        channel = connection.channel()
        channel.queue_declare(queue_name, durable=True)
        yield queue_name
        channel.queue_delete(queue_name)


def connect(broker: RabbitMQNode, proxy: FaultProxy) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(broker.amqp_url(port=proxy.port) + "?heartbeat=60"))


def confirm_channel(connection: pika.BlockingConnection) -> BlockingChannel:
    channel = connection.channel()
    channel.confirm_delivery()
    return channel


def stored(broker: RabbitMQNode, queue: str) -> list[str]:
    """The message ids in the queue, taken out past the proxy."""
    message_ids = []
    with closing(pika.BlockingConnection(pika.URLParameters(broker.amqp_url()))) as connection:
        channel = connection.channel()
        while (message := channel.basic_get(queue, auto_ack=True))[0] is not None:
            message_ids.append(message[1].message_id)
    return message_ids


def publish(channel: BlockingChannel, queue: str, message_id: str) -> None:
    channel.basic_publish("", queue, b"body", pika.BasicProperties(message_id=message_id), mandatory=True)


def heal_after_the_publish(proxy: FaultProxy) -> int:
    """Heal when the broker has the message; return how many confirms had passed by then."""
    try:
        proxy.wait_for_frames("body", 1, TIMEOUT, "to_broker")
        return proxy.frames("basic.ack", "from_broker")
    finally:
        proxy.heal()


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_confirm_cut_off_never_arrives_and_the_message_is_stored(
    broker: RabbitMQNode, broker_proxy: FaultProxy, queue: str, how: How
) -> None:
    """The publisher loses its connection in place of the first confirm; the broker has the message."""
    channel = confirm_channel(connect(broker, broker_proxy))
    cut = broker_proxy.cut("basic.ack", nth=1, when="before", how=how)
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        publish(channel, queue, "m")
    assert cut.wait(TIMEOUT)
    assert broker_proxy.frames("basic.ack", "from_broker") == 0
    assert stored(broker, queue) == ["m"]


def test_the_frames_of_a_real_connection_are_counted(
    broker: RabbitMQNode, broker_proxy: FaultProxy, queue: str
) -> None:
    """Ten confirmed publishes and a returned one, from the protocol header to close-ok, and no byte unexplained."""
    with closing(connect(broker, broker_proxy)) as connection:
        channel = confirm_channel(connection)
        for n in range(10):
            publish(channel, queue, f"m-{n}")
        with pytest.raises(pika.exceptions.UnroutableError):
            publish(channel, f"{queue}-missing", "returned")
    counted = {kind: broker_proxy.frames(kind, "to_broker") for kind in ("protocol-header", "basic.publish", "body")}
    assert counted == {"protocol-header": 1, "basic.publish": 11, "body": 11}
    answered = ("connection.tune", "channel.open-ok", "basic.ack", "basic.return", "connection.close-ok")
    assert [broker_proxy.frames(kind, "from_broker") for kind in answered] == [1, 1, 11, 1, 1]
    assert broker_proxy.frames("bytes") == 0


def test_a_client_works_one_byte_at_a_time(broker: RabbitMQNode, broker_proxy: FaultProxy, queue: str) -> None:
    """The slowest network still carries a whole connection."""
    broker_proxy.slice(1, 0.0)
    with closing(connect(broker, broker_proxy)) as connection:
        publish(confirm_channel(connection), queue, "m")
    assert stored(broker, queue) == ["m"]


def test_a_stalled_confirm_arrives_after_healing(broker: RabbitMQNode, broker_proxy: FaultProxy, queue: str) -> None:
    """The publisher waits as long as the network does, and then has its confirm."""
    with closing(connect(broker, broker_proxy)) as connection:
        channel = confirm_channel(connection)
        broker_proxy.stall("from_broker")
        with ThreadPoolExecutor(1) as executor:
            acks_before_healing = executor.submit(heal_after_the_publish, broker_proxy)
            publish(channel, queue, "m")
        assert acks_before_healing.result(TIMEOUT) == 0
    assert broker_proxy.frames("basic.ack", "from_broker") == 1
    assert stored(broker, queue) == ["m"]


def test_the_checker_accounts_for_a_retry_after_a_lost_confirm(
    broker: RabbitMQNode, broker_proxy: FaultProxy, queue: str
) -> None:
    """Fifty messages, the twentieth confirm lost and its message sent again: one duplicate, nothing lost."""
    checker = TotalQueueChecker()
    cut = broker_proxy.cut("basic.ack", nth=20, how="reset")
    connection = connect(broker, broker_proxy)
    channel = confirm_channel(connection)
    for message_id in [f"m-{n}" for n in range(50)]:
        checker.record_attempt(message_id)
        try:
            publish(channel, queue, message_id)
        except pika.exceptions.AMQPConnectionError:
            checker.record_publish(message_id, "unknown")
            connection = connect(broker, broker_proxy)
            channel = confirm_channel(connection)
            checker.record_attempt(message_id)
            publish(channel, queue, message_id)
        checker.record_publish(message_id, "confirmed")
    connection.close()
    assert cut.fired
    assert checker.missing() == 50
    for message_id in stored(broker, queue):
        checker.record_delivery(message_id)
    verdict = checker.verdict()
    verdict.raise_if_wrong()
    assert (verdict.confirmed, verdict.received, verdict.duplicates) == (50, 50, 1)


def test_the_checker_finds_a_message_that_was_taken_away(
    broker: RabbitMQNode, broker_proxy: FaultProxy, queue: str
) -> None:
    """A confirmed message that somebody else consumed is reported as lost, by its id."""
    checker = TotalQueueChecker()
    with closing(connect(broker, broker_proxy)) as connection:
        channel = confirm_channel(connection)
        for message_id in ("taken", "kept"):
            checker.record_attempt(message_id)
            publish(channel, queue, message_id)
            checker.record_publish(message_id, "confirmed")
        assert channel.basic_get(queue, auto_ack=True)[2] == b"body"
    for message_id in stored(broker, queue):
        checker.record_delivery(message_id)
    with pytest.raises(AssertionError, match=r"1 of 2 confirmed messages were never received \(taken\)"):
        checker.verdict().raise_if_wrong()
