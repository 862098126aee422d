"""Every publish ends by its deadline in one of five outcomes, and what one message did wrong hits no other."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rmqpool import (
    Confirmation,
    ConnectionLostError,
    ConnectionPool,
    Exchange,
    ExchangeNotFoundError,
    NackedError,
    NotSentError,
    Outcome,
    PublishAccessRefusedError,
    Publisher,
    PublishPreconditionError,
    Queue,
    UnknownOutcomeError,
    UnroutableError,
)
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until

MakePool = Callable[..., ConnectionPool]


def classic(name: str, **options: Any) -> Queue:
    return Queue(name, type="classic", dead_letter=False, **options)


def read_all(pool: ConnectionPool, queue: str) -> list[bytes]:
    """Every body in the queue, in order."""
    bodies: list[bytes] = []
    with pool.channel() as channel:
        while (delivery := channel.basic_get(queue, auto_ack=True)) is not None:
            bodies.append(delivery.body)
    return bodies


# Confirmed and returned


def test_confirmed(publisher: Publisher, queue_name: str) -> None:
    """The broker took responsibility."""
    assert publisher.publish(queue_name, b"x").outcome is Outcome.CONFIRMED


def test_a_queue_that_is_missing_returns_the_message(pool: ConnectionPool) -> None:
    """With the broker's words, and the hint that the queue may not exist."""
    with pytest.raises(UnroutableError, match="the queue 'nowhere' may not exist") as caught:
        Publisher(pool).publish("nowhere", b"x", message_id="id-1")
    error = caught.value
    assert (error.reply_code, error.reply_text) == (312, "NO_ROUTE")
    assert (error.message_id, error.exchange, error.routing_key, error.attempts) == ("id-1", "", "nowhere", 1)


def test_an_exchange_without_a_binding_returns_the_message(pool: ConnectionPool) -> None:
    """The hint names the exchange and the routing key."""
    publisher = Publisher(pool, declare=[Exchange("events", type="topic")])
    with pytest.raises(UnroutableError, match=r"no queue is bound to exchange 'events' for routing key 'a\.b'"):
        publisher.publish_to("events", "a.b", b"x")


def test_an_event_without_a_subscriber_is_confirmed_when_that_is_fine(pool: ConnectionPool) -> None:
    """mandatory=False."""
    publisher = Publisher(pool, declare=[Exchange("events", type="topic")])
    assert isinstance(publisher.publish_to("events", "a.b", b"x", mandatory=False), Confirmation)


def test_the_same_message_id_twice_is_told_apart_by_its_route(publisher: Publisher, queue_name: str) -> None:
    """One is confirmed and one returned, though both have the id."""
    good = publisher.submit(queue_name, b"x", message_id="same")
    lost = publisher.submit("nowhere", b"x", message_id="same")
    again = publisher.submit(queue_name, b"x", message_id="same")
    assert [type(future.outcome()) for future in (good, lost, again)] == [Confirmation, UnroutableError, Confirmation]


# Nacked


def test_a_full_queue_nacks_after_a_few_tries(pool: ConnectionPool, queue_name: str) -> None:
    """And what is in the queue stays as it is."""
    queue = classic(queue_name, max_length=1, overflow="reject-publish")
    publisher = Publisher(pool, declare=[queue])
    publisher.publish(queue_name, b"fits")
    began = time.monotonic()
    with pytest.raises(NackedError, match="the queue is full and rejects publishes") as caught:
        publisher.publish(queue_name, b"too much", timeout=20)
    assert time.monotonic() - began < 5
    assert type(caught.value) is NackedError
    assert caught.value.attempts == 3
    assert read_all(pool, queue_name) == [b"fits"]


def test_a_full_queue_nacks_at_once_without_retry(pool: ConnectionPool, queue_name: str) -> None:
    """retry=False writes it once only."""
    publisher = Publisher(pool, declare=[classic(queue_name, max_length=1, overflow="reject-publish")])
    publisher.publish(queue_name, b"fits")
    with pytest.raises(NackedError) as caught:
        publisher.publish(queue_name, b"too much", retry=False)
    assert caught.value.attempts == 1


def test_a_queue_that_has_room_again_takes_the_next_try(pool: ConnectionPool, queue_name: str) -> None:
    """A nack is for now."""
    publisher = Publisher(pool, declare=[classic(queue_name, max_length=1, overflow="reject-publish")])
    publisher.publish(queue_name, b"first")
    future = publisher.submit(queue_name, b"second")
    wait_until(lambda: future.nacks > 0, "the first nack", timeout=5)
    with pool.channel() as channel:
        channel.basic_get(queue_name, auto_ack=True)
    confirmation = future.result(timeout=5)
    assert confirmation.attempts > 1
    assert read_all(pool, queue_name) == [b"second"]


def test_a_missing_exchange_fails_its_message(pool: ConnectionPool) -> None:
    """With the broker's code and what to do; the publisher goes on."""
    publisher = Publisher(pool)
    for _ in range(2):
        with pytest.raises(ExchangeNotFoundError, match="declare the exchange first") as caught:
            publisher.publish_to("gone", "key", b"x", timeout=10)
        assert caught.value.code == 404
        assert "no exchange 'gone'" in caught.value.text


def test_a_missing_exchange_hits_none_of_500_innocents(
    publisher: Publisher, pool: ConnectionPool, queue_name: str
) -> None:
    """Each of those is confirmed, and is in the queue."""
    publisher.publish(queue_name, b"warm-up")
    futures = [publisher.submit(queue_name, b"%d" % number) for number in range(250)]
    culprit = publisher.submit_to("gone", "key", b"x")
    futures += [publisher.submit(queue_name, b"%d" % number) for number in range(250, 500)]
    assert isinstance(culprit.outcome(), ExchangeNotFoundError)
    outcomes = [future.outcome() for future in futures]
    assert all(isinstance(outcome, Confirmation) for outcome in outcomes)
    stored = Counter(read_all(pool, queue_name)[1:])
    assert set(stored) == {b"%d" % number for number in range(500)}
    for number, outcome in enumerate(outcomes):
        assert stored[b"%d" % number] <= outcome.attempts, "stored more often than it was written"
    assert pool.stats().publish[0].epoch == 1


def test_several_messages_for_a_missing_exchange_all_fail(publisher: Publisher, queue_name: str) -> None:
    """One at a time, and innocents between them get through."""
    futures = [
        (number % 4 == 0, publisher.submit_to("gone" if number % 4 == 0 else "", queue_name, b"x"))
        for number in range(40)
    ]
    for bad, future in futures:
        assert isinstance(future.outcome(), ExchangeNotFoundError if bad else Confirmation)


def test_a_message_that_the_broker_alone_knows_to_be_too_large(
    url_with: Callable[..., str], make_pool: MakePool, queue_name: str
) -> None:
    """406 names nobody: the culprit alone fails, the innocents are confirmed, once each in the end."""
    pool = make_pool(url_with(max_message_size=1000))
    publisher = Publisher(pool, declare=[classic(queue_name)], max_message_size=10_000_000)
    publisher.publish(queue_name, b"warm-up")
    futures = [publisher.submit(queue_name, b"%d" % number) for number in range(50)]
    culprit = publisher.submit(queue_name, b"x" * 2000)
    futures += [publisher.submit(queue_name, b"%d" % number) for number in range(50, 100)]
    error = culprit.outcome()
    assert isinstance(error, PublishPreconditionError)
    assert error.code == 406
    assert "larger than" in error.text
    assert all(isinstance(future.outcome(), Confirmation) for future in futures)
    assert set(read_all(pool, queue_name)) == {b"warm-up", *(b"%d" % number for number in range(100))}
    assert publisher.publish(queue_name, b"after").attempts == 1


def test_a_user_that_may_not_write_is_told_so(
    broker: RabbitMQNode, vhost: str, make_pool: MakePool, pool: ConnectionPool
) -> None:
    """403 for that message, with the permission that is missing."""
    with pool.channel() as channel:
        channel.exchange_declare("events")
    broker.add_user("reader", "pw", vhosts=(vhost,), permissions=("", "", ".*"))
    try:
        reader = make_pool(broker.amqp_url(user="reader", password="pw", vhost=vhost))
        with pytest.raises(PublishAccessRefusedError, match="write permission") as caught:
            Publisher(reader).publish_to("events", "key", b"x", timeout=10)
        assert caught.value.code == 403
        reader.close()
    finally:
        broker.delete_user("reader")


# Not sent


def test_a_broker_that_is_away_means_not_sent(make_pool: MakePool) -> None:
    """At the deadline, with the reason; sending it again is safe."""
    port = ReservedPort()
    publisher = Publisher(make_pool(f"amqp://127.0.0.1:{port.number}/"))
    began = time.monotonic()
    with pytest.raises(NotSentError, match="nothing was written") as caught:
        publisher.publish("orders", b"x", timeout=0.3)
    assert 0.25 < time.monotonic() - began < 2
    assert "is RabbitMQ running" in str(caught.value)
    assert caught.value.attempts == 0
    port.release()


def test_a_declaration_that_cannot_be_made_means_not_sent(make_pool: MakePool) -> None:
    """The deadline covers it."""
    port = ReservedPort()
    publisher = Publisher(make_pool(f"amqp://127.0.0.1:{port.number}/"), declare=[Queue("orders")])
    with pytest.raises(NotSentError, match="topology could not be declared"):
        publisher.publish("orders", b"x", timeout=0.3)
    port.release()


def test_a_full_window_means_not_sent(make_pool: MakePool) -> None:
    """submit() waits for room at most until its deadline."""
    port = ReservedPort()
    publisher = Publisher(make_pool(f"amqp://127.0.0.1:{port.number}/", window=2))
    futures = [publisher.submit("orders", b"x", timeout=3) for _ in range(2)]
    with pytest.raises(NotSentError, match="window of messages without an outcome stayed full"):
        publisher.submit("orders", b"x", timeout=0.2)
    assert all(future.cancel() for future in futures)
    port.release()


def test_publish_many_ends_at_its_deadline(make_pool: MakePool) -> None:
    """One deadline for the whole call, and one outcome for each message."""
    port = ReservedPort()
    publisher = Publisher(make_pool(f"amqp://127.0.0.1:{port.number}/", window=10))
    began = time.monotonic()
    report = publisher.publish_many("orders", [b"x"] * 30, timeout=0.4)
    assert time.monotonic() - began < 2
    assert report.counts()[Outcome.NOT_SENT] == 30
    port.release()


def test_an_unwritten_message_can_be_withdrawn(make_pool: MakePool) -> None:
    """And its place in the window is free at once."""
    port = ReservedPort()
    pool = make_pool(f"amqp://127.0.0.1:{port.number}/", window=1)
    publisher = Publisher(pool)
    for _ in range(5):
        future = publisher.submit("orders", b"x", timeout=0.5)
        assert future.cancel()
    assert pool.stats().unsettled == 0
    port.release()


def test_closing_the_pool_ends_what_was_not_sent(make_pool: MakePool) -> None:
    """As not sent, because nothing was written."""
    port = ReservedPort()
    pool = make_pool(f"amqp://127.0.0.1:{port.number}/")
    future = Publisher(pool).submit("orders", b"x")
    assert not pool.close(timeout=0.5)
    assert isinstance(future.outcome(1), NotSentError)
    port.release()


# Blocked


@pytest.fixture
def blocked(private_broker: RabbitMQNode, make_pool: MakePool, queue_name: str) -> Iterator[ConnectionPool]:
    """A pool whose publish connection the broker blocks, and that knows it."""
    pool = make_pool(private_broker.amqp_url(), blocked_timeout=1.0)
    publisher = Publisher(pool, declare=[classic(queue_name)])
    publisher.publish(queue_name, b"before")
    private_broker.raise_memory_alarm()
    publisher.submit(queue_name, b"the message that makes the broker say it", timeout=30)
    wait_until(lambda: pool.stats().blocked, "connection.blocked", timeout=5)
    yield pool
    private_broker.clear_memory_alarm()
    wait_until(lambda: not pool.stats().blocked and not pool.stats().unsettled, "the end of the block", timeout=10)


def test_a_blocked_broker_means_not_sent(blocked: ConnectionPool, queue_name: str) -> None:
    """At the message's deadline, with the broker's reason; and the pool tells it."""
    began = time.monotonic()
    with pytest.raises(NotSentError, match=r"blocks publishing"):
        Publisher(blocked).publish(queue_name, b"x", timeout=0.2)
    assert time.monotonic() - began < 1
    assert "memory" in str(blocked.stats().blocked)
    assert "blocked" in repr(blocked)


def test_blocked_timeout_ends_the_waiting_early(blocked: ConnectionPool, queue_name: str) -> None:
    """Messages that wait when it passes, and those that come later."""
    began = time.monotonic()
    with pytest.raises(NotSentError, match="blocked_timeout"):
        Publisher(blocked).publish(queue_name, b"x", timeout=20)
    with pytest.raises(NotSentError, match="blocked_timeout"):
        Publisher(blocked).publish(queue_name, b"x", timeout=20)
    assert time.monotonic() - began < 4


def test_leases_work_while_publishing_is_blocked(blocked: ConnectionPool, queue_name: str) -> None:
    """They have a connection of their own, on which a channel.open gets its answer."""
    with blocked.channel(timeout=5) as channel:
        assert channel.queue_declare(queue_name, passive=True).queue == queue_name
        delivery = channel.basic_get(queue_name)
        assert delivery is not None
        assert delivery.ack()


def test_what_waits_is_sent_when_the_block_ends(
    private_broker: RabbitMQNode, make_pool: MakePool, queue_name: str
) -> None:
    """Within its deadline, each once."""
    pool = make_pool(private_broker.amqp_url())
    publisher = Publisher(pool, declare=[classic(queue_name)])
    publisher.publish(queue_name, b"before")
    private_broker.raise_memory_alarm()
    futures = [publisher.submit(queue_name, b"%d" % number) for number in range(20)]
    wait_until(lambda: pool.stats().blocked, "connection.blocked", timeout=5)
    futures += [publisher.submit(queue_name, b"%d" % number) for number in range(20, 40)]
    private_broker.clear_memory_alarm()
    assert [future.result(timeout=10).attempts for future in futures] == [1] * 40
    assert read_all(pool, queue_name) == [b"before", *(b"%d" % number for number in range(40))]


# Unknown


def test_written_and_not_answered_is_unknown(
    private_broker: RabbitMQNode, make_pool: MakePool, queue_name: str
) -> None:
    """The broker stands still: at the deadline nobody can say what became of the message."""
    pool = make_pool(private_broker.amqp_url())
    publisher = Publisher(pool, declare=[classic(queue_name)])
    publisher.publish(queue_name, b"before")
    private_broker.pause()
    began = time.monotonic()
    with pytest.raises(UnknownOutcomeError, match="only with the same message_id") as caught:
        publisher.publish(queue_name, b"x", timeout=0.5)
    assert 0.4 < time.monotonic() - began < 2
    assert caught.value.attempts == 1
    private_broker.resume()
    assert publisher.publish(queue_name, b"after", timeout=10).attempts == 1
    assert read_all(pool, queue_name) == [b"before", b"x", b"after"]


def cut_publish_connection(pool: ConnectionPool) -> None:
    """End its TCP stream on our side, as a network that breaks does."""
    (link,) = pool._publish.links
    connection = link.connection
    assert connection is not None
    link.post(lambda: connection.abort(ConnectionLostError("cut by the test")))


def test_a_lost_connection_is_unknown_without_retry(
    private_broker: RabbitMQNode, make_pool: MakePool, queue_name: str
) -> None:
    """At once, not at the deadline: it must not be written again."""
    pool = make_pool(private_broker.amqp_url())
    publisher = Publisher(pool, declare=[classic(queue_name)], retry=False)
    publisher.publish(queue_name, b"before")
    private_broker.pause()
    future = publisher.submit(queue_name, b"x", timeout=20)
    wait_until(lambda: pool.stats().unconfirmed, "a message that was written", timeout=5)
    cut_publish_connection(pool)
    error = future.outcome(timeout=5)
    private_broker.resume()
    assert isinstance(error, UnknownOutcomeError)
    assert "was lost before the confirm" in str(error)
    assert isinstance(error.__cause__, ConnectionLostError)


def test_a_lost_connection_is_survived_with_retry(
    private_broker: RabbitMQNode, make_pool: MakePool, queue_name: str
) -> None:
    """The same message is written again on the next connection, with the same id."""
    pool = make_pool(private_broker.amqp_url())
    publisher = Publisher(pool, declare=[classic(queue_name)])
    publisher.publish(queue_name, b"before")
    private_broker.pause()
    future = publisher.submit(queue_name, b"x", timeout=30, message_id="kept")
    wait_until(lambda: pool.stats().unconfirmed, "a message that was written", timeout=5)
    cut_publish_connection(pool)
    private_broker.resume()
    confirmation = future.result()
    assert (confirmation.message_id, confirmation.attempts) == ("kept", 2)
    bodies = read_all(pool, queue_name)
    assert bodies[0] == b"before"
    assert set(bodies[1:]) == {b"x"}
    assert len(bodies) in (2, 3)
