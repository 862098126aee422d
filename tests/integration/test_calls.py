"""Calls: every one ends by its timeout, with its own reply or with an error that says what may have happened."""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from rmqpool import (
    AsyncPublisher,
    ConfigurationError,
    ConnectionPool,
    Consumer,
    DecodeError,
    Delivery,
    Message,
    MessageError,
    NotSentError,
    PoolClosedError,
    Publisher,
    Queue,
    RemoteError,
    ReplyLostError,
    ReplyTimeoutError,
    UnroutableError,
    headers,
)
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until

MakePool = Callable[..., ConnectionPool]
Answer = Callable[..., None]


@dataclass
class Price:
    """What a reply is read as."""

    sku: int
    cents: int


class Server:
    """Takes requests off a queue, and answers when the test says so."""

    def __init__(self, pool: ConnectionPool, queue: Queue) -> None:
        self.requests: list[Delivery] = []
        self.publisher = Publisher(pool)
        self.echoes = False
        self._consumer = Consumer(pool, queue, self._take, prefetch=5000)
        self._consumer.wait_ready()

    def _take(self, delivery: Delivery) -> None:
        delivery.ack()
        if self.echoes:
            self.answer(delivery)
        else:
            self.requests.append(delivery)

    def wait_for(self, count: int) -> list[Delivery]:
        """Wait until so many requests are there."""
        wait_until(lambda: len(self.requests) == count, f"{count} requests", timeout=10)
        return list(self.requests)

    def answer(self, request: Delivery, body: object = None, **options: Any) -> None:
        """Send a reply; the request's own body if none is given."""
        options = {"content_type": request.content_type, **options}
        reply = request.body if body is None else body
        self.publisher.submit(
            str(request.reply_to), reply, correlation_id=request.correlation_id, mandatory=False, **options
        )

    def close(self) -> None:
        """Take no more."""
        self._consumer.close()


@pytest.fixture
def server(make_pool: MakePool, queue: Queue) -> Iterator[Server]:
    """On a pool of its own."""
    made = Server(make_pool(), queue)
    yield made
    made.close()


class Thread(threading.Thread):
    """Keeps what the function returned, or raised."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self.result: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._function()
        except Exception as error:
            self.result = error

    def outcome(self) -> Any:
        """What it was; within 10 seconds."""
        self.join(10)
        assert not self.is_alive(), "the call hangs"
        return self.result


def test_a_call_returns_the_reply_with_its_body_decoded(pool: ConnectionPool, server: Server, queue: Queue) -> None:
    """By the reply's own content type; the delivery is there too."""
    server.echoes = True
    publisher = Publisher(pool)
    reply = publisher.call(queue.name, {"sku": 7, "cents": 250}, timeout=5, headers={"tenant": "a"})
    assert reply.body == {"sku": 7, "cents": 250}
    assert reply.delivery.content_type == "application/json"
    assert publisher.call(queue.name, b"\x00\x01", timeout=5).body == b"\x00\x01"
    assert publisher.call(queue.name, "text", timeout=5).body == "text"


def test_a_reply_is_read_as_the_type_asked_for(pool: ConnectionPool, server: Server, queue: Queue) -> None:
    """As a handler's body would be; one that does not fit is a DecodeError."""
    server.echoes = True
    publisher = Publisher(pool)
    reply = publisher.call(queue.name, {"sku": 7, "cents": 250}, timeout=5, reply_type=Price)
    assert reply.body == Price(7, 250)
    assert json.loads(publisher.call(queue.name, {"sku": 7}, timeout=5, reply_type=bytes).body) == {"sku": 7}
    with pytest.raises(DecodeError, match="cents"):
        publisher.call(queue.name, {"sku": 7}, timeout=5, reply_type=Price)


def test_a_reply_without_a_content_type_is_json_if_a_type_asks_for_it(
    pool: ConnectionPool, server: Server, queue: Queue
) -> None:
    """Other clients write none; without a type asked for the bytes come back."""
    publisher = Publisher(pool)
    for asked, expected in ((Price, Price(1, 2)), (Any, b'{"sku": 1, "cents": 2}')):
        call = Thread(lambda asked=asked: publisher.call(queue.name, b"", timeout=5, reply_type=asked))  # type: ignore[misc]
        wait_until(lambda: server.requests, "the request", timeout=10)
        request = server.requests.pop()
        foreign = Message("", str(request.reply_to), b'{"sku": 1, "cents": 2}', "", False)
        foreign.correlation_id = request.correlation_id
        server.publisher.submit_message(foreign)
        assert call.outcome().body == expected


async def test_a_thousand_calls_in_flight_each_get_their_own_reply(
    make_pool: MakePool, server: Server, queue: Queue
) -> None:
    """Answered in a random order."""
    publisher = AsyncPublisher(make_pool())
    calls = [asyncio.create_task(publisher.call(queue.name, number, timeout=20)) for number in range(1000)]
    requests = await asyncio.to_thread(server.wait_for, 1000)
    random.Random(7).shuffle(requests)
    for request in requests:
        server.answer(request)
    replies = await asyncio.gather(*calls)
    assert [reply.body for reply in replies] == list(range(1000))
    assert publisher.pool.stats().late_replies == 0


def test_calls_of_many_threads_each_get_their_own_reply(make_pool: MakePool, server: Server, queue: Queue) -> None:
    """Over two connections, each with a reply channel of its own."""
    server.echoes = True
    publisher = Publisher(make_pool(publish_connections=2))

    def work(first: int) -> list[int]:
        return [publisher.call(queue.name, first + number, timeout=10).body for number in range(40)]

    threads = [Thread(lambda first=first: work(first)) for first in range(0, 1000, 40)]  # type: ignore[misc]
    assert [thread.outcome() for thread in threads] == [list(range(first, first + 40)) for first in range(0, 1000, 40)]


def test_a_small_window_lets_many_calls_through(make_pool: MakePool, server: Server, queue: Queue) -> None:
    """A call leaves the window with its confirm, not with its reply."""
    publisher = Publisher(make_pool(window=2))
    threads = [Thread(lambda number=number: publisher.call(queue.name, number, timeout=10)) for number in range(20)]  # type: ignore[misc]
    for request in server.wait_for(20):
        server.answer(request)
    assert sorted(thread.outcome().body for thread in threads) == list(range(20))


def test_an_unroutable_request_is_said_at_once(pool: ConnectionPool, queue_name: str) -> None:
    """It does not wait for its timeout."""
    begun = time.monotonic()
    with pytest.raises(UnroutableError, match=queue_name):
        Publisher(pool).call(queue_name, 1, timeout=20)
    assert time.monotonic() - begun < 5


async def test_an_unroutable_request_is_said_at_once_to_asyncio(pool: ConnectionPool, queue_name: str) -> None:
    """The same, awaited."""
    with pytest.raises(UnroutableError, match=queue_name):
        await asyncio.wait_for(AsyncPublisher(pool).call(queue_name, 1, timeout=20), 5)


def test_a_call_without_a_reply_ends_by_its_timeout_and_a_late_reply_is_counted(
    pool: ConnectionPool, server: Server, queue: Queue
) -> None:
    """The late reply goes to nobody, and the next call gets its own."""
    publisher = Publisher(pool)
    begun = time.monotonic()
    with pytest.raises(ReplyTimeoutError, match=r"within 0\.3 s.* may have been handled") as caught:
        publisher.call(queue.name, "slow", timeout=0.3)
    assert 0.3 <= time.monotonic() - begun < 2
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.queue == queue.name
    server.answer(server.wait_for(1)[0])
    wait_until(lambda: pool.stats().late_replies == 1, "the late reply", timeout=10)
    server.echoes = True
    assert publisher.call(queue.name, "next", timeout=5).body == "next"


async def test_an_awaited_call_without_a_reply_ends_by_its_timeout(
    pool: ConnectionPool, server: Server, queue: Queue
) -> None:
    """A cancelled one is forgotten: its reply is late."""
    publisher = AsyncPublisher(pool)
    with pytest.raises(ReplyTimeoutError):
        await publisher.call(queue.name, "slow", timeout=0.2)
    call = asyncio.create_task(publisher.call(queue.name, "cancelled", timeout=20))
    requests = await asyncio.to_thread(server.wait_for, 2)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    for request in requests:
        server.answer(request)
    await asyncio.to_thread(wait_until, lambda: pool.stats().late_replies == 2, "both late replies", timeout=10)


def test_calls_whose_connection_is_lost_end_at_once_and_say_that_they_may_have_been_handled(
    broker: RabbitMQNode, vhost: str, make_pool: MakePool, server: Server, queue: Queue
) -> None:
    """The next call works, on a new connection; a reply to an old one goes nowhere."""
    publisher = Publisher(make_pool(name="caller"))
    calls = [Thread(lambda: publisher.call(queue.name, "lost", timeout=30)) for _ in range(5)]
    requests = server.wait_for(5)
    close_connections(broker, vhost, "caller")
    for call in calls:
        error = call.outcome()
        assert isinstance(error, ReplyLostError), error
        assert "may have been handled" in str(error)
    for request in requests:
        server.answer(request)
    server.echoes = True
    assert publisher.call(queue.name, "next", timeout=10).body == "next"
    assert len(server.requests) == 5, "a request was written twice"


async def test_awaited_calls_whose_connection_is_lost_end_at_once(
    broker: RabbitMQNode, vhost: str, make_pool: MakePool, server: Server, queue: Queue
) -> None:
    """With the same error."""
    publisher = AsyncPublisher(make_pool(name="caller"))
    calls = [asyncio.create_task(publisher.call(queue.name, "lost", timeout=30)) for _ in range(20)]
    await asyncio.to_thread(server.wait_for, 20)
    await asyncio.to_thread(close_connections, broker, vhost, "caller")
    ended = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
    assert {type(error) for error in ended} == {ReplyLostError}
    server.echoes = True
    assert (await publisher.call(queue.name, "next", timeout=10)).body == "next"


def close_connections(broker: RabbitMQNode, vhost: str, name: str) -> None:
    """Have the broker close what bears this name."""
    for row in broker.list_connections():
        if row["vhost"] == vhost and name in (row["user_provided_name"] or ""):
            broker.close_connection(row["name"])


def test_a_call_of_a_broker_that_is_away_is_not_sent(private_broker: RabbitMQNode) -> None:
    """By its timeout, and it says that nothing was written."""
    with ConnectionPool(private_broker.amqp_url()) as pool:
        publisher = Publisher(pool, declare=[Queue("away", type="classic", dead_letter=False)])
        with pytest.raises(ReplyTimeoutError):
            publisher.call("away", 1, timeout=0.3)
        private_broker.kill()
        wait_until(lambda: pool.stats().publish[0].state != "ready", "the loss", timeout=10)
        begun = time.monotonic()
        with pytest.raises(NotSentError, match="not sent"):
            publisher.call("away", 2, timeout=0.5)
        assert time.monotonic() - begun < 3
    private_broker.heal()


def test_closing_the_pool_ends_the_calls_that_are_out(make_pool: MakePool, server: Server, queue: Queue) -> None:
    """After its timeout; a pool that is closed takes no call."""
    pool = make_pool()
    publisher = Publisher(pool)
    call = Thread(lambda: publisher.call(queue.name, "lost", timeout=30))
    server.wait_for(1)
    assert not pool.close(timeout=0.5)
    assert isinstance(call.outcome(), ReplyLostError)
    with pytest.raises(PoolClosedError):
        publisher.call(queue.name, 1)


def test_draining_the_pool_waits_for_replies(make_pool: MakePool, server: Server, queue: Queue) -> None:
    """The old connection lives until the call has ended; new calls go over the new one."""
    pool = make_pool()
    publisher = Publisher(pool)
    call = Thread(lambda: publisher.call(queue.name, "patient", timeout=20))
    request = server.wait_for(1)[0]
    drain = Thread(lambda: pool.drain(timeout=10))
    server.echoes = True
    wait_until(
        lambda: len(pool.stats().publish) == 1 and publisher.call(queue.name, 1, timeout=5), "the new one", timeout=10
    )
    server.answer(request)
    assert call.outcome().body == "patient"
    drain.outcome()


def test_a_request_that_the_broker_refuses_does_not_take_others_with_it_unsaid(
    broker: RabbitMQNode, pool: ConnectionPool, server: Server, queue: Queue
) -> None:
    """Whatever closes the channel: the calls on it end, and the next ones work."""
    publisher = Publisher(pool)
    call = Thread(lambda: publisher.call(queue.name, "waits", timeout=20))
    server.wait_for(1)
    pool._publish.calling()._link.post(  # a publish to an exchange that is not there: the broker closes the channel
        lambda: pool._publish._current[0]._calling._confirms.channel.basic_publish("no-such", "", b"")  # type: ignore[union-attr]
    )
    assert isinstance(call.outcome(), ReplyLostError)
    server.echoes = True
    assert publisher.call(queue.name, "next", timeout=10).body == "next"


def test_what_belongs_to_the_call_itself_is_refused(pool: ConnectionPool, queue_name: str) -> None:
    """Before anything is written."""
    publisher = Publisher(pool)
    for name in ("correlation_id", "reply_to", "mandatory", "retry"):
        with pytest.raises(MessageError, match=name):
            publisher.call(queue_name, 1, **{name: "x"})  # type: ignore[call-overload]


def test_a_call_inside_a_callback_is_refused(pool: ConnectionPool, server: Server, queue: Queue) -> None:
    """It would wait for the thread that it runs on."""
    publisher = Publisher(pool)
    told: list[BaseException] = []

    def nested(_: object) -> None:
        try:
            publisher.call(queue.name, 1)
        except ConfigurationError as error:
            told.append(error)

    publisher.submit(queue.name, 1).add_done_callback(nested)
    wait_until(lambda: told, "the refusal", timeout=10)


def test_a_remote_failure_is_raised_with_its_type_and_message(
    pool: ConnectionPool, server: Server, queue: Queue
) -> None:
    """As any client may send it."""
    call = Thread(lambda: Publisher(pool).call(queue.name, 1, timeout=5))
    told = {headers.REPLY_ERROR: "exception", headers.EXCEPTION_TYPE: "KeyError", headers.EXCEPTION_MESSAGE: "'sku'"}
    server.answer(server.wait_for(1)[0], b"", headers=told)
    error = call.outcome()
    assert isinstance(error, RemoteError)
    assert (error.reason, error.type, error.message) == ("exception", "KeyError", "'sku'")
    assert "KeyError: 'sku'" in str(error)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_calls_over_connections_of_its_own(pool: ConnectionPool, server: Server, queue: Queue) -> None:
    """And the parent's calls go on."""
    server.echoes = True
    publisher = Publisher(pool)
    assert publisher.call(queue.name, "before", timeout=5).body == "before"
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if publisher.call(queue.name, "child", timeout=10).body == "child" and pool.close() else 2
        finally:
            os._exit(code)
    assert publisher.call(queue.name, "parent", timeout=10).body == "parent"
    ended = wait_until(lambda: os.waitpid(child, os.WNOHANG)[0] and True, "the child's end", timeout=20)
    assert ended
    assert pool.stats().reconnects == 0


def test_calls_work_on_pikas_own_path(make_pool: MakePool, server: Server, queue: Queue, monkeypatch: Any) -> None:
    """Where the frames are not read by rmqpool itself."""
    monkeypatch.setenv("RMQPOOL_WIRE", "pika")
    server.echoes = True
    publisher = Publisher(make_pool())
    assert [publisher.call(queue.name, number, timeout=5).body for number in range(20)] == list(range(20))
    with pytest.raises(UnroutableError):
        publisher.call("nowhere", 1, timeout=5)
