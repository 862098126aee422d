"""What publishing promises: confirmed in order, from any number of threads, prepared before anything is written."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pika import frame, spec

from rmqpool import (
    Binding,
    ConfigurationError,
    Confirmation,
    ConnectionPool,
    Exchange,
    MessageError,
    MessageTooLargeError,
    Outcome,
    Publisher,
    Queue,
    TopologyMismatchError,
    UnroutableError,
)
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until

MakePool = Callable[..., ConnectionPool]
Connections = Callable[..., list[dict[str, Any]]]


def classic(name: str, **options: Any) -> Queue:
    return Queue(name, type="classic", dead_letter=False, **options)


def read_all(pool: ConnectionPool, queue: str) -> list[bytes]:
    """Every body in the queue, in order."""
    bodies: list[bytes] = []
    with pool.channel() as channel:
        while (delivery := channel.basic_get(queue, auto_ack=True)) is not None:
            bodies.append(delivery.body)
    return bodies


def test_a_publish_is_confirmed_and_stored(publisher: Publisher, pool: ConnectionPool, queue_name: str) -> None:
    """With an id, persistent, and the body as it was given."""
    confirmation = publisher.publish(queue_name, b"hello", headers={"a": 1}, priority=3, correlation_id="c")
    assert (confirmation.exchange, confirmation.routing_key, confirmation.attempts) == ("", queue_name, 1)
    with pool.channel() as channel:
        delivery = channel.basic_get(queue_name, auto_ack=True)
    assert delivery is not None
    assert (delivery.body, delivery.headers, delivery.priority) == (b"hello", {"a": 1}, 3)
    assert (delivery.message_id, delivery.delivery_mode, delivery.correlation_id) == (confirmation.message_id, 2, "c")


def test_objects_become_json(publisher: Publisher, pool: ConnectionPool, queue_name: str) -> None:
    """The default codec, with its content type."""
    publisher.publish(queue_name, {"id": 7})
    with pool.channel() as channel:
        delivery = channel.basic_get(queue_name, auto_ack=True)
    assert delivery is not None
    assert (delivery.body.replace(b" ", b""), delivery.content_type) == (b'{"id":7}', "application/json")


@pytest.mark.parametrize("size", [0, 1, 131064, 131065, 400_000])
def test_bodies_of_any_size_arrive_byte_for_byte(
    publisher: Publisher, pool: ConnectionPool, queue_name: str, size: int
) -> None:
    """Empty, and around the frame size (131072 - 8)."""
    body = bytes(index % 251 for index in range(size))
    publisher.publish(queue_name, body)
    assert read_all(pool, queue_name) == [body]


def test_without_the_fast_path_everything_is_the_same(
    publisher: Publisher, pool: ConnectionPool, queue_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another pika may lack the private names: its own publish serves then."""
    monkeypatch.setenv("RMQPOOL_WIRE", "pika")
    assert publisher.publish_many(queue_name, [b"a", b"b" * 200_000]).confirmed == 2
    assert read_all(pool, queue_name) == [b"a", b"b" * 200_000]


def test_messages_of_one_thread_keep_their_order(publisher: Publisher, pool: ConnectionPool, queue_name: str) -> None:
    """Whichever way they are handed over."""
    futures = [publisher.submit(queue_name, b"%d" % number) for number in range(300)]
    publisher.publish_many(queue_name, [b"%d" % number for number in range(300, 600)])
    publisher.publish(queue_name, b"600")
    assert all(isinstance(future.result(), Confirmation) for future in futures)
    assert read_all(pool, queue_name) == [b"%d" % number for number in range(601)]


def test_64_threads_share_two_connections(make_pool: MakePool, connections: Connections, queue_name: str) -> None:
    """All confirmed, nothing doubled, each thread's own order kept, and the broker sees two publish connections."""
    pool = make_pool(publish_connections=2)
    publisher = Publisher(pool, declare=[classic(queue_name)])
    confirmed: Counter[int] = Counter()

    def publish(thread: int) -> None:
        for number in range(10):
            confirmed[thread] += isinstance(publisher.publish(queue_name, b"%d %d" % (thread, number)), Confirmation)

    threads = [threading.Thread(target=publish, args=(thread,)) for thread in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert confirmed == dict.fromkeys(range(64), 10)
    bodies = [tuple(map(int, body.split())) for body in read_all(pool, queue_name)]
    assert len(bodies) == 64 * 10
    for thread in range(64):
        assert [number for own, number in bodies if own == thread] == list(range(10))
    assert len(connections("publish")) == 2


def test_publish_many_reports_in_order(publisher: Publisher, queue_name: str) -> None:
    """One outcome for each body, and the counts of all five outcomes."""
    report = publisher.publish_many(queue_name, (b"%d" % number for number in range(300)))
    assert len(report) == report.confirmed == 300
    assert report.counts() == {**dict.fromkeys(Outcome, 0), Outcome.CONFIRMED: 300}
    assert len({outcome.message_id for outcome in report}) == 300
    report.raise_for_failures()


def test_publish_many_tells_what_came_back(publisher: Publisher, queue_name: str) -> None:
    """Nothing is raised; every message's outcome is in the report."""
    report = publisher.publish_many(f"{queue_name}-missing", [b"a", b"b"])
    assert [type(outcome) for outcome in report] == [UnroutableError, UnroutableError]
    with pytest.raises(ExceptionGroup, match="2 of 2 messages were not confirmed"):
        report.raise_for_failures()


def test_thousands_of_unroutable_messages_have_thousands_of_outcomes(pool: ConnectionPool, queue_name: str) -> None:
    """Returns are told apart by message id, whatever the broker's order of returns and acks."""
    report = Publisher(pool).publish_many(queue_name, [b"x"] * 3000)
    assert report.counts()[Outcome.RETURNED] == 3000


def test_interleaved_returns_hit_the_right_messages(publisher: Publisher, queue_name: str) -> None:
    """Routable and unroutable ones on one channel, pipelined."""
    futures = [
        (number % 3 == 0, publisher.submit(f"{queue_name}-missing" if number % 3 == 0 else queue_name, b"x"))
        for number in range(600)
    ]
    for lost, future in futures:
        assert isinstance(future.outcome(), UnroutableError) is lost


def test_a_body_that_looks_like_acks_confirms_nothing(pool: ConnectionPool) -> None:
    """Returned bodies come in pieces of any size, and a piece may begin with such bytes: they are no frames."""
    everything = bytes(frame.Method(1, spec.Basic.Ack(0, multiple=True)).marshal())
    report = Publisher(pool).publish_many("nowhere", [everything * 5000] * 60)
    assert report.counts()[Outcome.RETURNED] == 60


def test_publish_many_checks_every_body_first(publisher: Publisher, pool: ConnectionPool, queue_name: str) -> None:
    """One that cannot be sent means that none is."""
    publisher.publish(queue_name, b"first")
    with pytest.raises(MessageError):
        publisher.publish_many(queue_name, [b"a", object(), b"b"])
    assert read_all(pool, queue_name) == [b"first"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"expiration": "abc"}, "expiration"),
        ({"expiration": "-1"}, "expiration"),
        ({"headers": {"CC": "queue"}}, "headers"),
        ({"headers": {"x": object()}}, "headers"),
        ({"headers": {"x": "y" * 140_000}}, "headers"),
        ({"user_id": "somebody-else"}, "user_id"),
        ({"priority": "high"}, "priority"),
        ({"no_such_option": 1}, "no_such_option"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_a_connection_is_opened(
    pool: ConnectionPool, options: dict[str, Any], field: str
) -> None:
    """With the name of the field."""
    with pytest.raises(MessageError) as caught:
        Publisher(pool).publish("orders", b"x", **options)
    assert field in caught.value.field or caught.value.field in ("CC", "headers")
    assert pool.stats().connections == ()


def test_a_body_over_the_limit_is_refused_before_a_connection_is_opened(pool: ConnectionPool) -> None:
    """With its size and the limit."""
    with pytest.raises(MessageTooLargeError, match=r"11 bytes.*takes 10"):
        Publisher(pool, max_message_size=10).publish("orders", b"x" * 11)
    assert pool.stats().connections == ()


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_deadline_that_makes_no_sense_is_an_error(pool: ConnectionPool, timeout: Any) -> None:
    """Seconds above 0."""
    with pytest.raises(ConfigurationError, match="seconds above 0"):
        Publisher(pool).publish("orders", b"x", timeout=timeout)


def test_it_declares_at_its_first_publish(pool: ConnectionPool, broker: RabbitMQNode, vhost: str) -> None:
    """Queues with their dead-letter queues, exchanges and bindings: a newcomer's first publish works."""
    publisher = Publisher(
        pool, declare=[Queue("orders"), Exchange("events", type="topic"), Binding("events", "orders", "order.*")]
    )
    assert broker.list_queues(vhost) == []
    publisher.publish("orders", b"1")
    publisher.publish_to("events", "order.created", b"2")
    assert {row["name"] for row in broker.list_queues(vhost)} == {"orders", "orders.dead"}
    assert read_all(pool, "orders") == [b"1", b"2"]


def test_it_declares_again_on_the_next_connection(
    publisher: Publisher, pool: ConnectionPool, broker: RabbitMQNode, vhost: str, queue_name: str
) -> None:
    """A broker that lost its queues gets them back."""
    publisher.publish(queue_name, b"before")
    broker.delete_queue(queue_name, vhost)
    broker.close_connection(pool.stats().publish[0].name)
    wait_until(lambda: pool.stats().publish[0].epoch == 2, "the next connection", timeout=5)
    assert publisher.publish(queue_name, b"after", timeout=5).outcome is Outcome.CONFIRMED


def test_a_queue_that_differs_is_named_with_the_differences(pool: ConnectionPool, queue_name: str) -> None:
    """Nothing is changed, and nothing is published."""
    with pool.channel() as channel:
        channel.queue_declare(classic(queue_name))
    publisher = Publisher(pool, declare=[classic(queue_name, max_length=5)])
    with pytest.raises(TopologyMismatchError) as caught:
        publisher.publish(queue_name, b"x")
    assert "x-max-length" in caught.value.differences
    assert read_all(pool, queue_name) == []


def test_submit_waits_while_the_window_is_full(make_pool: MakePool, queue_name: str) -> None:
    """It is bounded, and everything gets through."""
    pool = make_pool(window=10)
    publisher = Publisher(pool, declare=[classic(queue_name)])
    futures = []
    for number in range(500):
        futures.append(publisher.submit(queue_name, b"%d" % number))
        assert pool.stats().unsettled <= 10
    assert all(future.result() for future in futures)


@pytest.mark.parametrize("bodies", ["abc", b"abc", {"id": 7}], ids=["text", "bytes", "dict"])
def test_publish_many_refuses_one_body_instead_of_a_list(bodies: object) -> None:
    """Three letters are not three messages; nothing is opened for the mistake."""
    publisher = Publisher(ConnectionPool("amqp://guest:guest@127.0.0.1:1/"))
    with pytest.raises(MessageError, match="takes a list of bodies") as refused:
        publisher.publish_many("orders", bodies)  # type: ignore[arg-type]
    assert refused.value.field == "bodies"
    assert publisher.pool.stats().connections == ()


def test_wrong_arguments_are_told_in_the_callers_words() -> None:
    """A queue that is no text, a lone Queue in declare, a pool that is none."""
    publisher = Publisher(ConnectionPool("amqp://guest:guest@127.0.0.1:1/"))
    with pytest.raises(MessageError, match="queue must be a text"):
        publisher.publish(Queue("orders"), 1)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"declare=\[Queue"):
        Publisher("amqp://guest:guest@127.0.0.1:1/", declare=Queue("orders"))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="needs a URL"):
        Publisher(None)  # type: ignore[arg-type]
