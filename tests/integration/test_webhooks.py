"""Real webhook deliveries pass through publisher and worker unchanged, and so do made-up ones of the same shapes."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from rmqpool import Delivery, Publisher, Queue, Worker

RECORDED = Path(__file__).parents[2].parent / "shared" / "data" / "github-webhooks.jsonl"
TIMEOUT = 60.0  # seconds; it takes about one


def made_up() -> list[bytes]:
    """Documents with what real ones have: other scripts, nulls, nesting, large numbers, and more than one spelling of each."""
    deep: Any = {"id": 9_007_199_254_740_993, "parent": None}
    for level in range(30):
        deep = {"level": level, "child": deep, "labels": [], "empty": {}}
    documents: list[Any] = [
        {"action": "opened", "number": number, "title": f"Größe № {number} 漢字 🐇", "user": None, "tree": deep,
         "ids": [2**53 + number, -(2**62), 0], "ok": True, "rate": number / 7, "text": "x" * (number * 100)}
        for number in range(135)
    ]  # fmt: skip
    return [
        json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
        for document in documents
        for ascii_only, indent in ((True, None), (False, 1))
    ]


def recorded() -> list[bytes]:
    """The payload of each line, as it stands there: the bytes are not parsed and written again."""
    mark = b'"payload":'
    lines = RECORDED.read_bytes().splitlines()
    return [line[line.index(mark) + len(mark) : line.rindex(b"}")] for line in lines]


@pytest.fixture(scope="module", params=["made-up", *(["recorded"] if RECORDED.exists() else [])])
def payloads(request: pytest.FixtureRequest) -> list[bytes]:
    """270 JSON documents: made up here, and the recorded ones where they are there."""
    documents = recorded() if request.param == "recorded" else made_up()
    assert len(documents) == 270
    assert all(isinstance(json.loads(document), dict) for document in documents)
    return documents


class Received:
    """What a handler got, by message id."""

    def __init__(self, count: int) -> None:
        self.bodies: dict[str, Any] = {}
        self.content_types: set[str | None] = set()
        self._count = count
        self._lock = threading.Lock()
        self._complete = threading.Event()

    def take(self, body: Any, delivery: Delivery) -> None:
        """One message."""
        with self._lock:
            self.bodies[delivery.message_id or ""] = body
            self.content_types.add(delivery.content_type)
            if len(self.bodies) == self._count:
                self._complete.set()

    def wait(self) -> None:
        """Wait for all of them."""
        assert self._complete.wait(TIMEOUT), f"{len(self.bodies)} of {self._count} messages"


def test_deliveries_pass_through_unchanged_byte_for_byte(
    vhost_url: str, queue_name: str, payloads: list[bytes]
) -> None:
    """Published as bytes, with their content type; the handler asks for bytes, and gets exactly those."""
    received, worker = Received(len(payloads)), Worker("webhooks", vhost_url)

    @worker.consumer(queue_name)
    def handle(body: bytes, delivery: Delivery) -> None:
        received.take(body, delivery)

    with worker, Publisher(vhost_url, declare=[Queue(queue_name)]) as publisher:
        futures = [publisher.submit(queue_name, payload, content_type="application/json") for payload in payloads]
        sent = {future.result().message_id: payload for future, payload in zip(futures, payloads, strict=True)}
        received.wait()
        assert worker.stats().parked == 0
    assert received.bodies == sent
    assert received.content_types == {"application/json"}


def test_deliveries_pass_through_as_objects(vhost_url: str, queue_name: str, payloads: list[bytes]) -> None:
    """Published as objects and asked for as objects: equal, large numbers and nulls too."""
    documents = [json.loads(payload) for payload in payloads]
    received, worker = Received(len(documents)), Worker("webhooks", vhost_url)

    @worker.consumer(queue_name)
    async def handle(body: dict[str, Any], delivery: Delivery) -> None:
        received.take(body, delivery)

    with worker, Publisher(vhost_url, declare=[Queue(queue_name)]) as publisher:
        report = publisher.publish_many(queue_name, documents)
        report.raise_for_failures()
        received.wait()
        assert worker.stats().parked == 0
    ids = [outcome.message_id for outcome in report.outcomes]
    assert [received.bodies[message_id] for message_id in ids] == documents
