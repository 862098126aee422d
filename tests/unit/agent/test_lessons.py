"""What the agent cannot see coming ends the connection of all once, and not again and again."""

from __future__ import annotations

from typing import Any

import pytest
from pika import spec

from rmqpool.agent.lessons import Lessons
from tests.unit.agent.session_host import Host, method, opened, running

WORDS = {  # RabbitMQ 3.10's
    "get": "NOT_IMPLEMENTED - basic.get not supported by stream queues queue 'grüße' in vhost '/'",
    "purge": "NOT_IMPLEMENTED - queue.purge not supported by stream queues queue 'grüße' in vhost '/'",
    "no_ack": "NOT_IMPLEMENTED - automatic acknowledgement not supported by stream queues queue 'grüße' in vhost '/'",
    "global": "NOT_IMPLEMENTED - queue 'grüße' in vhost '/' does not support global qos",
}
SAID: dict[str, list[Any]] = {
    "get": [spec.Basic.Get(queue="grüße")],
    "purge": [spec.Queue.Purge(queue="grüße")],
    "no_ack": [spec.Basic.Consume(queue="grüße", no_ack=True)],
    "global": [spec.Basic.Qos(prefetch_count=5, global_qos=True), spec.Basic.Consume(queue="grüße")],
}
HARMLESS = [
    spec.Basic.Get(queue="other"),
    spec.Basic.Consume(queue="grüße"),
    spec.Queue.Delete(queue="grüße"),
    spec.Queue.Purge(queue="other"),
]


def closes(host: Host) -> list[tuple[int, int]]:
    return [(number, told.reply_code) for number, told in host.told() if hasattr(told, "reply_code")]


@pytest.mark.parametrize("kind", sorted(WORDS))
def test_what_ended_a_connection_once_ends_its_client_the_next_time(kind: str) -> None:
    """With the broker's own words; it goes on the first time."""
    host = running(Host())
    opened(host, 1)
    opened(host, 2)
    for said in SAID[kind]:
        host.session.feed(method(1, said))
    assert len(host.told("upstream")) == len(SAID[kind])
    assert host.lessons.learn(540, WORDS[kind], now=0.0)
    for said in HARMLESS:
        host.session.feed(method(2, said))
    assert len(host.told("upstream")) == len(HARMLESS)
    assert not closes(host)
    for said in SAID[kind]:
        host.session.feed(method(1, said))
    assert closes(host) == [(0, 540)]
    assert spec.Channel.Close in {type(told) for _, told in host.told("upstream")}


def test_a_lesson_is_forgotten_in_time() -> None:
    """The queue may have been made anew."""
    lessons = Lessons()
    lessons.learn(540, WORDS["get"], now=0.0)
    lessons.check(spec.Basic.Get.INDEX, [0, "grüße".encode(), 0], False, now=1000.0)


@pytest.mark.parametrize(
    "close", [(320, WORDS["get"]), (541, "INTERNAL_ERROR"), (540, "NOT_IMPLEMENTED - immediate=true")]
)
def test_other_ends_teach_nothing(close: tuple[int, str]) -> None:
    """They name no queue, or are nobody's fault."""
    assert not Lessons().learn(*close, now=0.0)


def test_a_consumer_is_cancelled_after_its_consume_ok() -> None:
    """A basic.cancel that comes earlier waits for it, and nothing else waits: RabbitMQ 3.10 can crash between the two (541)."""
    host = running(Host())
    upstream = opened(host, 1)
    consume, cancel = method(1, spec.Basic.Consume(queue="q", consumer_tag="t")), method(1, spec.Basic.Cancel("t"))
    host.session.feed(consume + cancel + method(1, spec.Basic.Ack(1)))
    assert [type(told) for _, told in host.told("upstream")] == [spec.Basic.Consume, spec.Basic.Ack]
    host.broker_says(upstream, spec.Basic.ConsumeOk("t"))
    assert [(number, type(told)) for number, told in host.told("upstream")] == [(upstream, spec.Basic.Cancel)]


def test_a_consumer_tag_is_free_again_with_cancel_ok() -> None:
    """Used again before, it crashes a channel of RabbitMQ 3.10 (541) if the first consume-ok is still to come."""
    host = running(Host())
    upstream = opened(host, 1)
    host.session.feed(method(1, spec.Basic.Consume(queue="q", consumer_tag="t")) + method(1, spec.Basic.Cancel("t")))
    assert [type(told) for _, told in host.told("upstream")] == [spec.Basic.Consume]
    host.broker_says(upstream, spec.Basic.ConsumeOk("t"))
    assert host.told("upstream")[0][0] == upstream
    host.broker_says(upstream, spec.Basic.CancelOk("t"))
    host.told()
    host.session.feed(method(1, spec.Basic.Consume(queue="q", consumer_tag="t")) + method(1, spec.Basic.Cancel("t")))
    assert not closes(host)
    host.session.feed(method(1, spec.Basic.Consume(queue="q", consumer_tag="t")))
    assert closes(host) == [(0, 530)]
