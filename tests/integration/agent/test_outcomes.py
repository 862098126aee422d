"""Through an agent everything ends as it does without one: the outcomes are the broker's own."""

import asyncio
import os

import pytest
from agent_process import LocalAgent

from rmqpool import (
    AsyncPublisher,
    ConnectionPool,
    NackedError,
    Publisher,
    Queue,
    UnroutableError,
    Worker,
)
from rmqpool.errors import ExchangeNotFoundError, TopologyMismatchError
from rmqpool.testing.waiting import wait_until

PATIENCE = 60.0


def body_of(url: str, queue: str) -> bytes | None:
    """The first message of a queue, read without an agent."""
    with ConnectionPool(url) as pool, pool.channel() as channel:
        message = channel.basic_get(queue, auto_ack=True)
        return None if message is None else message.body


def test_a_publish_is_confirmed_and_arrives(shared_agent: LocalAgent, broker_url: str, queue_name: str) -> None:
    """With the queue declared through it."""
    with Publisher(shared_agent.url, declare=[Queue(queue_name)]) as publisher:
        assert publisher.publish(queue_name, b"hello", timeout=PATIENCE).attempts == 1
    assert body_of(broker_url, queue_name) == b"hello"


def test_an_unroutable_message_comes_back(shared_agent: LocalAgent, queue_name: str) -> None:
    """basic.return reaches the client that published."""
    with Publisher(shared_agent.url) as publisher, pytest.raises(UnroutableError, match=queue_name):
        publisher.publish(f"{queue_name}-missing", b"x", timeout=PATIENCE)


def test_a_missing_exchange_fails_its_message_only(shared_agent: LocalAgent, queue_name: str) -> None:
    """The broker closes that channel; other clients of the agent notice nothing."""
    with (
        Publisher(shared_agent.url, declare=[Queue(queue_name)]) as one,
        Publisher(shared_agent.url) as other,
    ):
        one.publish(queue_name, b"declares it", timeout=PATIENCE)
        futures = [other.submit(queue_name, b"innocent", timeout=PATIENCE) for _ in range(50)]
        with pytest.raises(ExchangeNotFoundError):
            one.publish_to(f"{queue_name}-missing", "key", b"x", timeout=PATIENCE)
        assert [future.result(PATIENCE).attempts for future in futures] == [1] * 50
        assert one.publish(queue_name, b"after", timeout=PATIENCE)


def test_a_full_queue_nacks(shared_agent: LocalAgent, queue_name: str) -> None:
    """basic.nack reaches the client."""
    full = Queue(queue_name, type="classic", max_length=1, overflow="reject-publish")
    with Publisher(shared_agent.url, declare=[full]) as publisher:
        publisher.publish(queue_name, b"the one that fits", timeout=PATIENCE)
        with pytest.raises(NackedError):
            publisher.publish(queue_name, b"x", timeout=PATIENCE)


def test_a_queue_that_differs_is_shown(shared_agent: LocalAgent, queue_name: str) -> None:
    """The broker's 406, with the difference."""
    with Publisher(shared_agent.url, declare=[Queue(queue_name)]) as publisher:
        publisher.publish(queue_name, b"declares it", timeout=PATIENCE)
    with Publisher(shared_agent.url, declare=[Queue(queue_name, max_length=7)]) as other:
        with pytest.raises(TopologyMismatchError) as caught:
            other.publish(queue_name, b"never written", timeout=PATIENCE)
        assert "x-max-length" in caught.value.differences


def test_large_bodies_go_through_whole(shared_agent: LocalAgent, broker_url: str, queue_name: str) -> None:
    """Many frames, in order, beside small messages of another thread."""
    body = os.urandom(5_000_000)
    with Publisher(shared_agent.url, declare=[Queue(queue_name)]) as publisher:
        future = publisher.submit(queue_name, body, timeout=PATIENCE)
        small = [publisher.submit(queue_name, b"", timeout=PATIENCE) for _ in range(100)]
        assert future.result(PATIENCE)
        assert all(one.result(PATIENCE) for one in small)
    assert body_of(broker_url, queue_name) == body


def test_a_call_is_answered(shared_agent: LocalAgent, queue_name: str) -> None:
    """Direct reply-to, with the caller and the worker behind the same agent."""
    worker = Worker(f"worker of {queue_name}")

    @worker.consumer(queue_name, queue=Queue(queue_name))
    def reverse(body: str) -> str:
        return body[::-1]

    worker.start(pool=shared_agent.url)
    try:
        with Publisher(shared_agent.url) as publisher:
            assert publisher.call(queue_name, "abc", timeout=PATIENCE).body == "cba"
    finally:
        assert worker.stop(PATIENCE)


def test_an_async_publisher_works(shared_agent: LocalAgent, queue_name: str) -> None:
    """The same names, awaited."""

    async def publish() -> int:
        async with AsyncPublisher(shared_agent.url, declare=[Queue(queue_name)]) as publisher:
            done = await asyncio.gather(*(publisher.publish(queue_name, b"x", timeout=PATIENCE) for _ in range(200)))
            return len(done)

    assert asyncio.run(publish()) == 200


def test_a_forked_child_publishes_for_itself(shared_agent: LocalAgent, broker_url: str, queue_name: str) -> None:
    """The parent's publisher works in both."""
    with Publisher(shared_agent.url, declare=[Queue(queue_name)]) as publisher:
        publisher.publish(queue_name, b"parent", timeout=PATIENCE)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                publisher.publish(queue_name, b"child", timeout=PATIENCE)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        publisher.publish(queue_name, b"parent again", timeout=PATIENCE)
        with ConnectionPool(broker_url) as pool, pool.channel() as channel:
            wait_until(
                lambda: channel.queue_declare(queue_name, passive=True).message_count == 3,
                "three messages",
                timeout=PATIENCE,
            )
