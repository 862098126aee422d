"""What a leased channel promises: pika's own method names as blocking calls that answer, raise, and never hang."""

import signal
import threading
from collections.abc import Callable

import pika
import pytest

from rmqpool import (
    AccessRefusedError,
    ConfigurationError,
    ConnectionPool,
    LeasedChannel,
    MessageError,
    MessageTooLargeError,
    NackedError,
    NotFoundError,
    PreconditionFailedError,
    Queue,
    ResourceLockedError,
    TopologyMismatchError,
    UnroutableError,
)
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until
from tests.integration.leased_channel.conftest import fill

MakePool = Callable[..., ConnectionPool]


# Topology


def test_queue_declare_answers_with_name_and_counts(channel: LeasedChannel, queue: str) -> None:
    """Also when it only looks."""
    fill(channel, queue, b"a", b"b")
    # A queue answers this before it looks at messages that came earlier (its calls have priorities).
    wait_until(lambda: channel.queue_declare(queue, passive=True) == (queue, 2, 0), "both messages", timeout=5)


def test_the_broker_names_a_queue_without_a_name(channel: LeasedChannel) -> None:
    """The answer has its name."""
    assert channel.queue_declare("", exclusive=True).queue.startswith("amq.gen-")


def test_a_queue_value_is_declared_as_it_is(channel: LeasedChannel, broker: RabbitMQNode, vhost: str) -> None:
    """With its type and arguments."""
    channel.queue_declare(Queue("orders", max_length=5))
    (row,) = [row for row in broker.list_queues(vhost) if row["name"] == "orders"]
    assert row["type"] == "quorum"
    assert row["arguments"]["x-max-length"] == 5


def test_a_queue_that_is_different_tells_the_differences(channel: LeasedChannel, queue: str) -> None:
    """A TopologyMismatchError, and no cycle of causes."""
    with pytest.raises(TopologyMismatchError) as caught:
        channel.queue_declare(queue, arguments={"x-max-length": 9})
    assert caught.value.differences == {"x-max-length": ("none", "9")} or "x-max-length" in caught.value.differences
    assert caught.value.__cause__ is not caught.value


def test_bind_purge_unbind_and_delete(channel: LeasedChannel, queue: str) -> None:
    """Each does what it says, and counts come back."""
    channel.exchange_declare("events", "topic")
    channel.queue_bind(queue, "events", "order.*")
    channel.basic_publish("events", "order.created", b"x")
    assert channel.queue_purge(queue) == 1
    channel.queue_unbind(queue, "events", "order.*")
    channel.basic_publish("events", "order.created", b"x")
    fill(channel, queue, b"y")
    assert channel.queue_delete(queue) == 1
    channel.exchange_delete("events")
    with pytest.raises(NotFoundError):
        channel.exchange_declare("events", passive=True)


def test_exchanges_are_bound_to_exchanges(channel: LeasedChannel, queue: str) -> None:
    """And unbound."""
    channel.exchange_declare("all", "fanout")
    channel.exchange_declare("some", "fanout")
    channel.queue_bind(queue, "some")
    channel.exchange_bind("some", "all")
    channel.basic_publish("all", "", b"one")
    channel.exchange_unbind("some", "all")
    channel.basic_publish("all", "", b"two")
    delivery = channel.basic_get(queue, auto_ack=True)
    assert delivery is not None
    assert delivery.body == b"one"
    assert channel.basic_get(queue) is None


@pytest.mark.parametrize("text", ["x" * 256, 7])
def test_what_amqp_cannot_carry_is_refused(channel: LeasedChannel, text: str) -> None:
    """With the call's name, and the connection lives."""
    with pytest.raises(ConfigurationError, match="queue_declare"):
        channel.queue_declare(text)
    assert channel.queue_declare("", exclusive=True).queue


# Errors


def test_errors_have_the_class_of_their_code(pool: ConnectionPool, queue_name: str) -> None:
    """404, 405, 406; the channel is closed afterwards, and every further call raises the same error."""
    with pool.channel() as channel:
        with pytest.raises(NotFoundError, match=r"queue_declare\('missing'\)") as caught:
            channel.queue_declare("missing", passive=True)
        with pytest.raises(NotFoundError) as again:
            channel.basic_get(queue_name)
        assert again.value is caught.value
        assert not channel.is_open
        assert "closed" in repr(channel)
    with pool.channel() as channel:
        channel.queue_declare(queue_name)
        with pytest.raises(PreconditionFailedError):
            channel.queue_declare(queue_name, durable=False)


def test_a_queue_of_another_connection_is_locked(pool: ConnectionPool, make_pool: MakePool, queue_name: str) -> None:
    """405: exclusive."""
    with pool.channel() as owner, make_pool().channel() as other:
        owner.queue_declare(queue_name, exclusive=True)
        with pytest.raises(ResourceLockedError):
            other.queue_declare(queue_name, exclusive=True)


def test_a_user_without_the_right_is_refused(broker: RabbitMQNode, vhost: str, make_pool: MakePool) -> None:
    """403."""
    broker.add_user("looker", "pw", vhosts=(vhost,), permissions=("", "", ".*"))
    pool = make_pool(broker.amqp_url(user="looker", password="pw", vhost=vhost))
    with pool.channel() as channel, pytest.raises(AccessRefusedError, match="set_permissions"):
        channel.queue_declare("orders")
    pool.close()
    broker.delete_user("looker")


# Publishing


def test_confirm_mode_waits_for_the_confirm(channel: LeasedChannel, queue: str) -> None:
    """The message is there when the call returns."""
    channel.confirm_delivery()
    channel.confirm_delivery()
    channel.basic_publish("", queue, b"x", {"content_type": "text/plain"}, mandatory=True)
    delivery = channel.basic_get(queue, auto_ack=True)
    assert delivery is not None
    assert delivery.content_type == "text/plain"


def test_confirm_mode_tells_what_came_back(channel: LeasedChannel, queue_name: str) -> None:
    """UnroutableError for a mandatory message, NackedError for a full queue."""
    channel.confirm_delivery()
    with pytest.raises(UnroutableError, match="NO_ROUTE"):
        channel.basic_publish("", "nowhere", b"x", mandatory=True)
    channel.queue_declare(queue_name, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.basic_publish("", queue_name, b"x")
    with pytest.raises(NackedError):
        channel.basic_publish("", queue_name, b"x")


def test_properties_of_the_caller_stay_as_they_are(channel: LeasedChannel, queue: str) -> None:
    """They may be used for the next message too."""
    channel.confirm_delivery()
    properties = pika.BasicProperties(content_type="text/plain")
    channel.basic_publish("", queue, b"x", properties)
    channel.basic_publish("", queue, b"y", properties)
    assert properties.message_id is None
    first, second = channel.basic_get(queue, auto_ack=True), channel.basic_get(queue, auto_ack=True)
    assert first is not None
    assert second is not None
    assert first.message_id != second.message_id


def test_properties_that_cannot_be_sent_are_refused(channel: LeasedChannel, queue: str) -> None:
    """Before anything is written; the channel lives."""
    with pytest.raises(MessageError, match="unknown message property"):
        channel.basic_publish("", queue, b"x", {"colour": "red"})
    with pytest.raises(MessageTooLargeError, match="one frame holds"):
        channel.basic_publish("", queue, b"x", {"headers": {"big": "x" * 140_000}})
    fill(channel, queue, b"y")
    assert channel.queue_purge(queue) == 1


def test_a_transaction_commits_or_rolls_back(
    pool: ConnectionPool, channel: LeasedChannel, queue: str, holds_nothing: Callable[[str], None]
) -> None:
    """Nothing is in the queue before the commit."""
    with pool.channel() as publishing:
        publishing.tx_select()
        fill(publishing, queue, b"dropped")
        publishing.tx_rollback()
        fill(publishing, queue, b"kept")
        holds_nothing(queue)
        publishing.tx_commit()
    delivery = channel.basic_get(queue, auto_ack=True)
    assert delivery is not None
    assert delivery.body == b"kept"
    assert channel.basic_get(queue) is None


# Consuming


def test_consuming_iterates_and_ends_when_nothing_comes(channel: LeasedChannel, queue: str) -> None:
    """After inactivity_timeout seconds without a message."""
    fill(channel, queue, b"a", b"b", b"c")
    bodies = []
    for delivery in channel.basic_consume(queue, inactivity_timeout=0.2):
        bodies.append(delivery.body)
        assert delivery.ack()
    assert bodies == [b"a", b"b", b"c"]
    assert channel.queue_declare(queue, passive=True).consumer_count == 0


def test_prefetch_bounds_what_is_delivered(channel: LeasedChannel, pool: ConnectionPool, queue: str) -> None:
    """The rest stays in the queue for others."""
    fill(channel, queue, b"a", b"b", b"c")
    with pool.channel() as consuming:
        consumer = consuming.basic_consume(queue, prefetch=1)
        first = next(consumer)
        wait_until(lambda: channel.queue_declare(queue, passive=True).message_count == 2, "the rest", timeout=5)
        first.ack()
        assert next(consumer).body == b"b"
        consumer.close()
        consumer.close()
        with pytest.raises(StopIteration):
            next(consumer)


def test_a_deleted_queue_ends_the_iteration_with_an_error(
    channel: LeasedChannel, pool: ConnectionPool, queue: str
) -> None:
    """A consumer never stops silently."""
    with pool.channel() as other:
        consumer = channel.basic_consume(queue)
        other.queue_delete(queue)
        with pytest.raises(NotFoundError, match="cancelled the consumer"):
            next(consumer)


def test_closing_the_pool_ends_the_iteration(make_pool: MakePool, queue_name: str) -> None:
    """Whoever waits for the next message is told."""
    pool = make_pool()
    channel = pool.channel()
    channel.queue_declare(queue_name)
    consumer = channel.basic_consume(queue_name)
    caught: list[Exception] = []

    def wait() -> None:
        try:
            next(consumer)
        except Exception as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    pool.close()
    thread.join(5)
    assert "closed" in str(caught[0])
    channel.release()


def test_threads_share_one_channel(channel: LeasedChannel, queue: str) -> None:
    """Every call has its own answer."""
    fill(channel, queue, *(b"%d" % number for number in range(80)))
    bodies: list[bytes] = []

    def get() -> None:
        for _ in range(10):
            delivery = channel.basic_get(queue)
            assert delivery is not None
            channel.queue_declare(queue, passive=True)
            assert delivery.ack()
            bodies.append(delivery.body)

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(bodies, key=int) == [b"%d" % number for number in range(80)]


def test_an_interrupted_call_ends_the_channel(pool: ConnectionPool) -> None:
    """Its answer may still come: it must not be the answer of the next borrower."""
    main = threading.main_thread().ident
    assert main is not None
    with pool.channel() as leased:
        channel = leased._channel

        def interrupt() -> None:
            wait_until(lambda: channel._pending, "the call under way", timeout=5)
            signal.pthread_kill(main, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            channel.call(lambda pika_channel, reply: None, 10, "a call without an answer")
        thread.join(5)
    with pool.channel() as next_one:
        assert next_one._channel.serial != channel.serial
