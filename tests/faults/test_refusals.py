"""Rows 9, 14, 15 and 19 of the fault matrix: what the broker, or we before it, refuse to take."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from faults.harness import open_pool, until
from faults.tally import Tally
from rmqpool import (
    Binding,
    ConfigurationError,
    Confirmation,
    ConnectionPool,
    Exchange,
    ExchangeNotFoundError,
    MessageTooLargeError,
    NackedError,
    NotSentError,
    Publisher,
    Queue,
    RemoteError,
    UnroutableError,
    Worker,
    parse_url,
)
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.services import private_rabbitmq
from rmqpool.topology import Topology


@pytest.fixture
def pool(vhost_url: str) -> Iterator[ConnectionPool]:
    """A pool on the test's own vhost."""
    with open_pool(vhost_url, timeout=10) as opened:
        yield opened


@pytest.fixture(scope="module")
def narrow_broker() -> Iterator[RabbitMQNode]:
    """A broker that takes small frames and small messages only."""
    with private_rabbitmq({"frame_max": "8192", "max_message_size": "65536"}) as node:
        yield node


# Row 9: publish to a missing exchange


def test_missing_exchange_fails_its_messages_only(pool: ConnectionPool, vhost_url: str, queue_name: str) -> None:
    """Messages to a missing exchange fail by name; those in flight with them are all stored, through a new channel."""
    tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
    for number in range(300):
        tally.submit(queue_name)
        if number in (50, 150, 151):
            tally.submit("anything", exchange="no-such-exchange")

    refused = [outcome for outcome in tally.outcomes() if not isinstance(outcome, Confirmation)]

    assert [type(error) for error in refused] == [ExchangeNotFoundError] * 3
    assert all("no-such-exchange" in str(error) and "declare the exchange first" in str(error) for error in refused)
    verdict = tally.verdict(vhost_url, queue_name)
    assert (verdict.confirmed, verdict.nacked, verdict.received) == (300, 3, 300)
    assert pool.stats().publish[0].epoch == 1, "only the channel was replaced, not the connection"


def test_missing_exchange_again_and_again_blocks_nobody(pool: ConnectionPool, vhost_url: str, queue_name: str) -> None:
    """A client that goes on publishing to a missing exchange makes the others slower, and no more than that."""
    tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
    for _ in range(20):
        tally.submit("anything", exchange="no-such-exchange")
        tally.submit(queue_name)

    outcomes = tally.outcomes()

    assert [type(outcome) for outcome in outcomes] == [ExchangeNotFoundError, Confirmation] * 20
    assert tally.verdict(vhost_url, queue_name).received == 20


def test_missing_exchange_is_not_retried(broker: RabbitMQNode, vhost: str) -> None:
    """The culprit is written once when it is alone, and ends long before its deadline."""
    with (
        FaultProxy((broker.host, broker.port)) as proxy,
        open_pool(broker.amqp_url(vhost=vhost, port=proxy.port)) as pool,
    ):
        publisher = Publisher(pool)
        started = time.monotonic()

        with pytest.raises(ExchangeNotFoundError) as caught:
            publisher.publish_to("no-such-exchange", "anything", b"")

        assert time.monotonic() - started < 5.0
        assert caught.value.code == 404
        assert caught.value.attempts == proxy.frames("basic.publish") == 1


# Row 14: unroutable


def test_missing_queue_is_named_with_a_hint(pool: ConnectionPool, queue_name: str) -> None:
    """A message to a queue that does not exist comes back with the broker's words, the target and a hint."""
    with pytest.raises(UnroutableError) as caught:
        Publisher(pool).publish(queue_name, b"")

    assert (caught.value.reply_code, caught.value.reply_text) == (312, "NO_ROUTE")
    assert caught.value.routing_key == queue_name
    assert f"the queue '{queue_name}' may not exist" in str(caught.value)


def test_unbound_keys_come_back_and_the_others_are_stored(
    pool: ConnectionPool, vhost_url: str, queue_name: str
) -> None:
    """Among messages that are routed, those that no binding takes come back, naming exchange and routing key."""
    topology: list[Topology] = [
        Exchange("events", type="topic"),
        Queue(queue_name),
        Binding("events", queue_name, "order.*"),
    ]
    tally = Tally(Publisher(pool, declare=topology))
    for number in range(100):
        tally.submit("invoice.created" if number % 10 == 0 else "order.created", exchange="events")

    returned = [outcome for outcome in tally.outcomes() if not isinstance(outcome, Confirmation)]

    assert [type(error) for error in returned] == [UnroutableError] * 10
    assert all("no queue is bound to exchange 'events'" in str(error) for error in returned)
    assert all("'invoice.created'" in str(error) for error in returned)
    verdict = tally.verdict(vhost_url, queue_name)
    assert (verdict.confirmed, verdict.returned, verdict.received) == (90, 10, 90)


def test_events_without_a_subscriber_are_confirmed_when_asked_for(pool: ConnectionPool) -> None:
    """mandatory=False says that nobody needs to listen: then nothing comes back."""
    publisher = Publisher(pool, declare=[Exchange("events", type="topic")])

    assert publisher.publish_to("events", "invoice.created", b"", mandatory=False).attempts == 1


# Row 15: a full queue that rejects


def test_full_queue_is_tried_a_few_times_then_nacked(pool: ConnectionPool, vhost_url: str, queue_name: str) -> None:
    """A full queue with reject-publish ends in NackedError after bounded tries, well before the deadline."""
    queue = Queue(queue_name, type="classic", max_length=5, overflow="reject-publish")
    tally = Tally(Publisher(pool, declare=[queue], timeout=20))
    for _ in range(5):
        tally.submit(queue_name)
    assert all(isinstance(outcome, Confirmation) for outcome in tally.outcomes())
    started = time.monotonic()
    for _ in range(3):
        tally.submit(queue_name)

    outcomes = tally.outcomes()

    assert time.monotonic() - started < 5.0
    assert [type(outcome) for outcome in outcomes] == [NackedError] * 3
    assert {outcome.attempts for outcome in outcomes} == {3}
    assert all(f"queue '{queue_name}'" in str(outcome) and "the queue is full" in str(outcome) for outcome in outcomes)
    verdict = tally.verdict(vhost_url, queue_name)
    assert (verdict.confirmed, verdict.nacked, verdict.received) == (5, 3, 5)


def test_full_queue_that_gets_room_takes_the_retry(pool: ConnectionPool, vhost_url: str, queue_name: str) -> None:
    """A nacked message is written again with the same id, and confirmed once somebody made room."""
    queue = Queue(queue_name, type="classic", max_length=1, overflow="reject-publish")
    tally = Tally(Publisher(pool, declare=[queue], timeout=20))
    with pool.channel() as channel:
        assert isinstance(tally.publish(queue_name), Confirmation)
        future = tally.submit(queue_name)
        until(lambda: future.nacks, "the first nack")
        taken = channel.basic_get(queue_name, auto_ack=True)
    assert taken is not None
    tally.checker.record_delivery(taken.message_id or "", taken.redelivered)

    assert future.result().attempts in (2, 3)
    verdict = tally.verdict(vhost_url, queue_name)
    assert (verdict.confirmed, verdict.received, verdict.duplicates) == (2, 2, 0)


def test_full_queue_without_retry_is_nacked_at_once(pool: ConnectionPool, queue_name: str) -> None:
    """retry=False: one nack is the outcome."""
    queue = Queue(queue_name, type="classic", max_length=1, overflow="reject-publish")
    publisher = Publisher(pool, declare=[queue], retry=False)
    publisher.publish(queue_name, b"fills it")

    with pytest.raises(NackedError) as caught:
        publisher.publish(queue_name, b"too many")

    assert caught.value.attempts == 1


# Row 19: too large


def test_what_is_too_large_is_refused_before_anything_is_written(
    broker: RabbitMQNode, vhost: str, queue_name: str
) -> None:
    """Headers over one frame, and a body over max_message_size, are refused by name; not a byte of them is sent."""
    with (
        FaultProxy((broker.host, broker.port)) as proxy,
        open_pool(broker.amqp_url(vhost=vhost, port=proxy.port)) as pool,
    ):
        publisher = Publisher(pool, declare=[Queue(queue_name)], max_message_size=100_000)
        publisher.publish(queue_name, b"fits")

        with pytest.raises(MessageTooLargeError, match=r"the headers of message \S+ take 1\d{5} bytes") as headers:
            publisher.publish(queue_name, b"", headers={"trace": "x" * 140_000})
        with pytest.raises(
            MessageTooLargeError, match="the body has 100001 bytes, and the broker takes 100000"
        ) as body:
            publisher.publish(queue_name, b"x" * 100_001)

        assert (headers.value.field, body.value.field) == ("headers", "body")
        publisher.publish(queue_name, b"x" * 100_000, headers={"trace": "x" * 120_000})
        assert proxy.frames("basic.publish") == 2
        assert pool.stats().publish[0].epoch == 1


def test_headers_over_the_frame_that_the_broker_negotiates_are_refused(
    narrow_broker: RabbitMQNode, queue_name: str
) -> None:
    """A broker with a smaller frame_max than ours decides what fits; headers over it never reach its wire."""
    node = narrow_broker
    with FaultProxy((node.host, node.port)) as proxy, open_pool(node.amqp_url(port=proxy.port), timeout=10) as pool:
        pool.open()
        tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
        tally.submit(queue_name, headers={"trace": "x" * 7_000})

        refusal = tally.publish(queue_name, headers={"trace": "x" * 9_000})

        assert isinstance(refusal, NotSentError)
        assert "headers take 9" in str(refusal)
        assert "raise the broker's frame_max" in str(refusal)
        tally.submit(queue_name)
        verdict = tally.verdict(node.amqp_url(), queue_name)
        assert (verdict.confirmed, verdict.not_sent, verdict.received) == (2, 1, 2)
        assert proxy.frames("basic.publish") == 2
        assert pool.stats().publish[0].epoch == 1


def test_body_over_the_brokers_own_limit_harms_nobody_else(narrow_broker: RabbitMQNode, queue_name: str) -> None:
    """A broker that takes less than we know of refuses that message by name (406); everything in flight is stored."""
    node = narrow_broker
    with open_pool(node.amqp_url(), timeout=10) as pool:
        tally = Tally(Publisher(pool, declare=[Queue(queue_name)]))
        for _ in range(20):
            tally.submit(queue_name)
        large = tally.publisher.submit(queue_name, b"x" * 100_000)
        for _ in range(20):
            tally.submit(queue_name)

        refusal = large.exception()

        assert isinstance(refusal, NackedError)
        assert refusal.code == 406
        assert "larger than the broker takes" in str(refusal)
        verdict = tally.verdict(node.amqp_url(), queue_name)
        assert (verdict.confirmed, verdict.received) == (40, 40)


def test_a_reply_larger_than_the_broker_takes_is_parked_and_its_caller_told(
    narrow_broker: RabbitMQNode, queue_name: str
) -> None:
    """The handler is not called again and again for what nobody will ever take."""
    url = narrow_broker.amqp_url()
    worker = Worker("tested", url)
    calls: list[int] = []

    @worker.consumer(Queue(queue_name, type="classic"))
    def handle(number: int) -> bytes:
        calls.append(number)
        return b"x" * 100_000

    with worker, Publisher(url) as publisher:
        with pytest.raises(RemoteError) as caught:
            publisher.call(queue_name, 1, timeout=40)
        assert caught.value.reason == "reply:refused"
    stats = worker.stats()
    assert (calls, stats.parked, stats.answering_failed, stats.requeued) == ([1], 1, 1, 0)


@pytest.mark.parametrize(
    ("option", "value"), [("frame_max", 4095), ("frame_max", 0), ("channel_max", 0), ("heartbeat", 0)]
)
def test_limits_that_cannot_work_are_refused_by_name(option: str, value: int) -> None:
    """A frame_max under AMQP's own minimum, or no channels at all: refused before anything is opened."""
    with pytest.raises(ConfigurationError, match=option):
        parse_url("amqp://guest:guest@127.0.0.1/", **{option: value})
