"""Row 20 of the fault matrix: bodies that cannot be decoded are parked raw with the reason, not acked silently, not looped."""

from __future__ import annotations

import gzip
import json
import pickle
import threading
import zlib
from dataclasses import dataclass

import pytest

from faults.harness import until
from faults.parked import Foreign, Parked, parked_in, publish_foreign, remaining_in
from rmqpool import Worker
from rmqpool import headers as names

JSON = "application/json"
BOMB_SIZE = 80 * 1024 * 1024  # bytes; the cap is 64 MiB


@dataclass
class Order:
    """What the handler asks for."""

    id: int


@dataclass(frozen=True)
class Bad:
    """A message that no handler may see, and the reason that it is parked with."""

    message: Foreign
    reason: str


BAD = [
    Bad(Foreign("cut-off", b'{"id": ', JSON), "decode:corrupt"),
    Bad(Foreign("empty", b"", JSON), "decode:corrupt"),
    Bad(Foreign("not-utf-8", b'{"id": "\xff\xfe"}', JSON), "decode:charset"),
    Bad(Foreign("nonsense", bytes(range(256)), JSON), "decode:charset"),
    Bad(Foreign("wrong-charset", b'{"id": 1}', "application/json; charset=klingon"), "decode:charset"),
    Bad(Foreign("codec-as-charset", b'{"id": 1}', "application/json; charset=zlib"), "decode:charset"),
    Bad(Foreign("unknown-type", b"<order/>", "application/x-made-up"), "decode:content-type"),
    Bad(Foreign("pickle", pickle.dumps({"id": 1}), "application/x-python-serialize"), "decode:content-type"),
    Bad(Foreign("pickle-in-capitals", pickle.dumps([1]), "APPLICATION/X-PYTHON-SERIALIZE"), "decode:content-type"),
    Bad(Foreign("kombus-data", zlib.compress(b"{}"), "application/data", "zlib"), "decode:validation"),
    Bad(Foreign("unknown-encoding", b"\x00", JSON, "br"), "decode:content-encoding"),
    Bad(Foreign("broken-gzip", gzip.compress(b'{"id": 1}')[:-9], JSON, "gzip"), "decode:corrupt"),
    Bad(Foreign("wrong-type", b'{"id": "not a number"}', JSON), "decode:validation"),
    Bad(Foreign("missing-field", b"{}", JSON), "decode:validation"),
    Bad(Foreign("a-list", b"[1, 2]", JSON), "decode:validation"),
    Bad(Foreign("no-type", b"\x80\x81"), "decode:charset"),
]


@pytest.fixture(scope="module")
def bombs() -> list[Bad]:
    """Eighty kilobytes that become eighty megabytes: by content encoding, by kombu's header, by kombu's own type."""
    spaces = b" " * BOMB_SIZE
    zipped, deflated = gzip.compress(spaces), zlib.compress(spaces)
    assert len(zipped) < BOMB_SIZE / 500
    return [
        Bad(Foreign("bomb-by-encoding", zipped, JSON, "gzip"), "decode:too-large"),
        Bad(
            Foreign("bomb-by-header", deflated, JSON, "utf-8", {"compression": "application/x-gzip"}),
            "decode:too-large",
        ),
        Bad(Foreign("bomb-as-data", deflated, "application/data", "zlib"), "decode:too-large"),
    ]


def check_raw(bad: Bad, parked: Parked, queue: str) -> None:
    """Byte for byte the message that was sent, and why it is here."""
    sent = bad.message
    assert parked.reason == bad.reason, f"{sent.name}: {parked.headers}"
    assert (parked.body, parked.content_type, parked.content_encoding) == (
        sent.body,
        sent.content_type,
        sent.content_encoding,
    )
    assert parked.headers[names.ORIGINAL_QUEUE] == queue
    assert parked.headers[names.EXCEPTION_MESSAGE]
    assert parked.headers.items() >= sent.headers.items()


def test_bad_bodies_are_parked_raw_and_the_worker_goes_on(vhost_url: str, queue_name: str, bombs: list[Bad]) -> None:
    """Every kind of bad body, each followed by a good message: the good ones are handled, the bad ones parked once, raw."""
    bad = [*BAD, *bombs]
    worker = Worker("bad-bodies", vhost_url)
    handled: list[int] = []

    @worker.consumer(queue_name, concurrency=2)
    def handle(order: Order) -> None:
        handled.append(order.id)

    with worker:
        messages = []
        for number, entry in enumerate(bad):
            good = Foreign(f"good-{number}", json.dumps({"id": number}).encode(), JSON)
            messages += [entry.message, good]
        publish_foreign(vhost_url, queue_name, messages)
        until(lambda: len(handled) == len(bad) and worker.stats().parked == len(bad), "every message", timeout=30)
        stats = worker.stats()
    assert sorted(handled) == list(range(len(bad)))
    assert (stats.undecodable, stats.failed, stats.parking_failed, stats.requeued) == (len(bad), 0, 0, 0)
    assert sum(consumer.delivered for consumer in stats.consumers) == 2 * len(bad), "nothing was delivered twice"
    parked = parked_in(vhost_url, f"{queue_name}.dead", len(bad))
    for entry in bad:
        check_raw(entry, parked[entry.message.name], queue_name)
    assert remaining_in(vhost_url, queue_name) == 0


def test_bad_bodies_never_loop_even_when_failures_are_requeued(vhost_url: str, queue_name: str) -> None:
    """on_error="requeue" is for handlers: a body that cannot be decoded would be the same again, so it is parked."""
    worker = Worker("requeuing", vhost_url)
    called = threading.Event()

    @worker.consumer(queue_name, on_error="requeue")
    def handle(order: Order) -> None:
        called.set()

    with worker:
        publish_foreign(vhost_url, queue_name, [entry.message for entry in BAD])
        until(lambda: worker.stats().parked == len(BAD), "every message", timeout=20)
        assert sum(consumer.delivered for consumer in worker.stats().consumers) == len(BAD)
    assert not called.is_set()
    assert len(parked_in(vhost_url, f"{queue_name}.dead", len(BAD))) == len(BAD)


def test_async_handler_parks_them_too(vhost_url: str, queue_name: str) -> None:
    """The same on an event loop."""
    worker = Worker("async", vhost_url)
    handled: list[int] = []

    @worker.consumer(queue_name)
    async def handle(order: Order) -> None:
        handled.append(order.id)

    with worker:
        good = Foreign("good", b'{"id": 7}', JSON)
        publish_foreign(vhost_url, queue_name, [*(entry.message for entry in BAD), good])
        until(lambda: handled and worker.stats().parked == len(BAD), "every message", timeout=20)
    assert handled == [7]
    parked = parked_in(vhost_url, f"{queue_name}.dead", len(BAD))
    for entry in BAD:
        check_raw(entry, parked[entry.message.name], queue_name)
