"""The hooks around publishing: headers, the outcome, and what a hook refuses."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from rmqpool import AsyncPublisher, Confirmation, Message, Middleware, Publisher, UnroutableError
from rmqpool.errors import NotSentError, PublishError
from tests.integration.worker.conftest import Bench
from tests.integration.worker.hooks import Raising


class Sent(Middleware):
    """Adds a header, and writes down how publishes end."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, Any]] = []
        self.ended = threading.Event()

    def before_publish(self, message: Message) -> str:
        message.headers = {**(message.headers or {}), "trace": "t1"}
        return message.message_id

    def after_publish(self, message: Message, state: Any, confirmation: Confirmation) -> None:
        assert state == message.message_id == confirmation.message_id
        self.ends.append(("confirmed", state))
        self.ended.set()

    def on_publish_error(self, message: Message, state: Any, error: PublishError) -> None:
        assert state == message.message_id
        self.ends.append((type(error).__name__, state))
        self.ended.set()


@pytest.mark.parametrize("options", [{}, {"headers": {"mine": 1}}])
def test_publishing_hooks_may_add_headers_and_hear_the_outcome(bench: Bench, options: Any) -> None:
    """Of publish, submit and publish_many; a message without a route, too."""
    sent = Sent()
    with bench.pool.channel() as channel:
        channel.queue_declare("orders", durable=True)
    publisher = Publisher(bench.pool, middleware=[sent])
    publisher.publish("orders", 1, **options)
    publisher.submit("orders", 2, **options).result()
    publisher.publish_many("orders", [3, 4], **options).raise_for_failures()
    with pytest.raises(UnroutableError):
        publisher.publish("nowhere", 5, **options)
    bench.wait(lambda: len(sent.ends) == 5)
    assert [end for end, _ in sent.ends].count("confirmed") == 4
    assert "UnroutableError" in dict(sent.ends)
    assert all(bench.take("orders").headers == {"trace": "t1", **options.get("headers", {})} for _ in range(4))
    publisher.close()


async def test_async_publishing_has_the_same_hooks(bench: Bench) -> None:
    """The same objects, too."""
    sent = Sent()
    with bench.pool.channel() as channel:
        channel.queue_declare("orders", durable=True)
    async with AsyncPublisher(bench.url, middleware=[sent]) as publisher:
        await publisher.publish("orders", 1)
        (await publisher.publish_many("orders", [2, 3])).raise_for_failures()
        with pytest.raises(UnroutableError):
            await publisher.publish("nowhere", 4)
    assert [end for end, _ in sent.ends].count("confirmed") == 3
    assert len(sent.ends) == 4


def test_what_a_hook_refuses_is_not_sent(bench: Bench) -> None:
    """Its error is the caller's; those before it hear that nothing was sent, of every message of the call."""
    sent = Sent()
    with bench.pool.channel() as channel:
        channel.queue_declare("orders", durable=True)
    publisher = Publisher(bench.pool, middleware=[sent, Raising("before_publish", lambda: OSError("no"))])
    with pytest.raises(OSError, match="no"):
        publisher.publish("orders", 1)
    with pytest.raises(OSError, match="no"):
        publisher.publish_many("orders", [1, 2])
    assert [end for end, _ in sent.ends] == [NotSentError.__name__] * 2
    assert bench.count("orders") == 0


def test_a_hook_that_fails_after_the_confirm_changes_nothing(bench: Bench) -> None:
    """The message is there, and the caller is told so."""
    with bench.pool.channel() as channel:
        channel.queue_declare("orders", durable=True)
    publisher = Publisher(bench.pool, middleware=[Raising("after_publish", lambda: OSError("no"))])
    assert publisher.publish("orders", 1).message_id
    assert bench.count("orders") == 1
