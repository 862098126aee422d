"""Bytes that are no AMQP, in the middle of a busy stream: said clearly, nothing lost, nothing made up, no hang."""

from __future__ import annotations

import threading
from functools import partial

import pika
import pytest
from pika import frame, spec

from faults.harness import Collector, Events, open_pool, until
from faults.tally import Tally
from rmqpool import Publisher, Queue
from rmqpool.amqp.link import Link, LinkEvent
from rmqpool.testing.rabbitmq import RabbitMQNode

MESSAGES = 400
ACK = bytes(frame.Method(1, spec.Basic.Ack(1, False)).marshal())
DELIVER = bytes(frame.Method(1, spec.Basic.Deliver("c", 1, False, "", "q")).marshal())
HEADER = bytes(frame.Header(1, 4, pika.BasicProperties()).marshal())
NONSENSE = {
    "a wrong end mark": ACK[:-1] + b"\x00",
    "an unknown frame type": b"\x09" + ACK[1:],
    "a frame of 2 GB": b"\x01\x00\x01\x7f\xff\xff\xff" + bytes(50),
    "a header without its method": HEADER,
    "a body that is too long": DELIVER + HEADER + bytes(frame.Body(1, b"bodies").marshal()),
    "an unknown method": b"\x01\x00\x01\x00\x00\x00\x04\x00\x3c\x99\x99\xce",
    "another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
}


def receive(link: Link, data: bytes) -> None:
    """Let the link's connection receive these bytes, between two reads of its own, and wait until it has."""
    done = threading.Event()

    def feed() -> None:
        connection = link.connection
        assert connection is not None
        try:
            connection._on_data_available(data)
        finally:
            done.set()

    assert link.post(feed)
    assert done.wait(10)


@pytest.mark.parametrize("role", ["publish", "consume"])
@pytest.mark.parametrize("what", NONSENSE)
def test_bytes_that_are_no_amqp_replace_the_connection(
    broker: RabbitMQNode, vhost: str, queue_name: str, what: str, role: str
) -> None:
    """Everything confirmed arrives, once more if need be; the log and the events name the reason on the fast path."""
    events = Events()
    with open_pool(broker.amqp_url(vhost=vhost), on_event=events, publish_connections=1) as pool:
        tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
        tally.publish(queue_name)
        with Collector(pool, Queue(queue_name), tally.checker):
            (link,) = pool._publish.links if role == "publish" else pool._consume.links
            assert link.connection is not None
            fast = link.connection.fast
            for number in range(MESSAGES):
                tally.submit(queue_name)
                if number == MESSAGES // 2:
                    receive(link, NONSENSE[what])
            outcomes = tally.outcomes()
            assert {outcome.outcome for outcome in outcomes} == {"confirmed"}
            until(lambda: tally.checker.missing() == 0, "every message", timeout=20)
        if fast:
            lost = partial(events.of, LinkEvent.CONNECTION_LOST, role=role)
            until(lost, "the event")
            assert "is not AMQP" in lost()[0].sentence
        verdict = tally.verdict(broker.amqp_url(vhost=vhost), queue_name)
        assert verdict.received == MESSAGES + 1
