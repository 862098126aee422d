"""Messages reach an HTTP endpoint signed and whole; what it cannot take now comes again, what it refuses is parked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import threading
import time
from pathlib import Path

import pytest

from rmqpool import Queue, Worker
from rmqpool.testing.waiting import wait_until
from tests.integration.workers.conftest import Bench, HttpEndpoint, Request
from workers.environment import read_settings
from workers.webhook.app import make_worker
from workers.webhook.settings import PREFIX, WebhookSettings

RECORDED = Path(__file__).parents[3].parent / "shared" / "data" / "github-webhooks.jsonl"
KEY = "0123456789abcdef0123456789abcdef"
QUEUE = "webhooks"
PARKED = "webhooks.dead"


def make(endpoint: HttpEndpoint, **more: str) -> Worker:
    """A worker for the endpoint; delays are short, and waited in the worker."""
    given = {"URL": endpoint.url, "SECRET": KEY, "BACKOFF_FIRST": "0.1", "BACKOFF_MAX": "0.2", **more}
    return make_worker(
        read_settings(WebhookSettings, PREFIX, {f"{PREFIX}{name}": text for name, text in given.items()})
    )


def payloads() -> list[bytes]:
    """Bodies of real webhooks where they are, otherwise of made-up ones: text of many scripts, nulls, large numbers."""
    if RECORDED.exists():
        lines = RECORDED.read_text(encoding="utf-8").splitlines()[::9]
        return [json.dumps(json.loads(line)["payload"], ensure_ascii=False).encode() for line in lines]
    documents = [
        {"action": "opened", "title": f"№ {n} 漢字 🐇", "user": None, "id": 2**53 + n, "text": "x" * 900 * n}
        for n in range(30)
    ]
    return [json.dumps(document, ensure_ascii=False).encode() for document in documents]


def is_signed(request: Request) -> bool:
    """As a receiver verifies it (https://www.standardwebhooks.com)."""
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    digest = hmac.new(KEY.encode(), signed, hashlib.sha256).digest()
    return request.headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_bodies_arrive_byte_for_byte_and_signed(bench: Bench, http_endpoint: HttpEndpoint) -> None:
    """Each with its message_id, type and content type, over connections that are used again."""
    bodies = payloads()
    worker = bench.start(make(http_endpoint, CONCURRENCY="4", HEADERS='{"Authorization": "Bearer abc"}'))
    for number, body in enumerate(bodies):
        bench.publisher.publish(QUEUE, body, message_id=f"m-{number}", type="push", content_type="application/json")
    wait_until(lambda: worker.stats().handled == len(bodies), "all messages", timeout=15)
    assert {request.headers["webhook-id"]: request.body for request in http_endpoint.requests} == {
        f"m-{number}": body for number, body in enumerate(bodies)
    }
    for request in http_endpoint.requests:
        assert is_signed(request)
        assert abs(time.time() - int(request.headers["webhook-timestamp"])) < 60
        assert request.path == "/hooks/token"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["webhook-type"] == "push"
        assert request.headers["webhook-attempt"] == "1"
        assert request.headers["authorization"] == "Bearer abc"
        assert request.headers["user-agent"].startswith("rmqpool-webhook/")
    assert len({request.client for request in http_endpoint.requests}) <= 4
    assert worker.stop(5)
    assert bench.count(QUEUE) == 0


def test_what_may_be_taken_later_is_tried_again(bench: Bench, http_endpoint: HttpEndpoint) -> None:
    """500, a connection that is cut, and no answer in time; with the same id and a signature of its own each time."""
    held = threading.Event()

    def answer(request: Request) -> tuple[int, dict[str, str]]:
        attempt = int(request.headers["webhook-attempt"])
        if attempt == 1:
            return 500, {}
        if attempt == 2:
            raise ConnectionResetError
        if attempt == 3:
            held.wait(60)
        return 200, {}

    http_endpoint.answer = answer
    worker = bench.start(make(http_endpoint, TIMEOUT="1.5"))
    bench.publisher.publish(QUEUE, {"id": 7}, message_id="seven")
    wait_until(lambda: worker.stats().handled == 1, "the message to be taken", timeout=45)
    held.set()
    assert [int(request.headers["webhook-attempt"]) for request in http_endpoint.requests] == [1, 2, 3, 4]
    assert {request.headers["webhook-id"] for request in http_endpoint.requests} == {"seven"}
    assert all(map(is_signed, http_endpoint.requests))
    assert worker.stats().retried == 3


def test_an_endpoint_that_asks_for_time_gets_it(bench: Bench, http_endpoint: HttpEndpoint) -> None:
    """429 with Retry-After: not before; and no longer than RETRY_AFTER_MAX."""
    came: list[float] = []

    def answer(request: Request) -> tuple[int, dict[str, str]]:
        came.append(time.monotonic())
        return (429, {"retry-after": "3600"}) if len(came) == 1 else (200, {})

    http_endpoint.answer = answer
    worker = bench.start(make(http_endpoint, RETRY_AFTER_MAX="0.9"))
    bench.publisher.publish(QUEUE, {"id": 7})
    wait_until(lambda: worker.stats().handled == 1, "the message to be taken", timeout=15)
    assert 0.7 <= came[1] - came[0] < 5  # a wait in the worker is up to 20 % shorter, so that not all come at once


def test_what_is_refused_is_parked_with_the_status(bench: Bench, http_endpoint: HttpEndpoint) -> None:
    """4xx and redirects at once; 503 after the last attempt."""
    http_endpoint.answer = lambda request: (int(request.body), {"location": "http://127.0.0.1:1/"})
    bench.start(make(http_endpoint, MAX_ATTEMPTS="2"))
    for status in (404, 302, 503):
        bench.publisher.publish(QUEUE, str(status).encode(), message_id=str(status))
    found = [bench.take(PARKED) for _ in range(3)]
    assert {letter.message_id: letter.headers["x-rmqpool-reason"] for letter in found} == {
        "404": "rejected:HTTP 404",
        "302": "rejected:HTTP 302",
        "503": "retry:HTTP 503",
    }
    assert len(http_endpoint.requests) == 4


def test_an_endpoint_that_is_not_there_is_told_once_without_its_path(
    bench: Bench, http_endpoint: HttpEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says that it fails, and that it works again: not for each message, and never with the token."""
    caplog.set_level(logging.INFO, "rmqpool")
    works = threading.Event()

    def answer(request: Request) -> tuple[int, dict[str, str]]:
        return (200 if works.is_set() else 503), {}

    http_endpoint.answer = answer
    worker = bench.start(make(http_endpoint))
    for number in range(5):
        bench.publisher.publish(QUEUE, {"id": number})
    wait_until(lambda: worker.stats().retried >= 5, "five failures", timeout=10)
    works.set()
    wait_until(lambda: worker.stats().handled == 5, "all messages", timeout=10)
    told = [record.getMessage() for record in caplog.records if record.name == "rmqpool.workers.webhook"]
    address = f"http://127.0.0.1:{http_endpoint.port}"
    assert told == [f"{address} fails (HTTP 503): its messages are tried again later", f"{address} works again"]
    assert "token" not in caplog.text


def test_a_message_on_its_way_when_the_worker_stops_is_finished(bench: Bench, http_endpoint: HttpEndpoint) -> None:
    """Those that were not begun stay in the queue; none is lost."""
    begun, go_on = threading.Event(), threading.Event()

    def answer(request: Request) -> tuple[int, dict[str, str]]:
        begun.set()
        go_on.wait(10)
        return 200, {}

    http_endpoint.answer = answer
    bench.pool.declare_once([Queue(QUEUE)])
    for number in range(3):
        bench.publisher.publish(QUEUE, {"id": number})
    worker = bench.start(make(http_endpoint, CONCURRENCY="1"))
    assert begun.wait(10)
    stopping = threading.Thread(target=worker.stop, args=(10,))
    stopping.start()
    wait_until(lambda: worker.stats().state == "stopping", "the stop to begin", timeout=5)
    wait_until(lambda: worker.stats().requeued == 2, "the others to go back", timeout=5)
    go_on.set()
    stopping.join(15)
    assert worker.stats().handled == 1
    assert len(http_endpoint.requests) == 1
    wait_until(lambda: bench.count(QUEUE) == 2, "the other two", timeout=5)


def test_an_endpoint_that_is_down_pauses_consuming_until_it_takes_messages_again(
    bench: Bench, http_endpoint: HttpEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    """Connections that are cut open the breaker: the endpoint is left alone, no attempt is spent, and all arrive in the end."""
    caplog.set_level(logging.INFO, "rmqpool")
    works = threading.Event()

    def answer(request: Request) -> tuple[int, dict[str, str]]:
        if not works.is_set():
            raise ConnectionResetError
        return 200, {}

    http_endpoint.answer = answer
    quick = {"BREAKER_FAILURES": "4", "BREAKER_PAUSE_FIRST": "0.2", "BREAKER_PAUSE_MAX": "0.4"}
    worker = bench.start(make(http_endpoint, CONCURRENCY="4", MAX_ATTEMPTS="3", **quick))
    for number in range(40):
        bench.publisher.publish(QUEUE, {"id": number}, message_id=f"m-{number}")
    wait_until(lambda: worker.stats().consumers[0].paused, "the pause", timeout=10)
    assert not worker.is_ready
    before = len(http_endpoint.requests)
    wait_until(lambda: len(http_endpoint.requests) >= before + 4, "some that try it", timeout=15)
    assert len(http_endpoint.requests) < 40, "it is left alone"
    works.set()
    wait_until(lambda: worker.stats().handled == 40, "all messages", timeout=15)
    assert worker.stats().parked == 0
    assert worker.is_ready
    ids = {request.headers["webhook-id"] for request in http_endpoint.requests}
    assert ids == {f"m-{number}" for number in range(40)}
    assert "token" not in caplog.text
    assert worker.stop(5)
    assert (bench.count(QUEUE), bench.count(PARKED)) == (0, 0)


def test_an_endpoint_that_asks_for_time_is_not_down(bench: Bench, http_endpoint: HttpEndpoint) -> None:
    """429 with Retry-After opens no breaker: each message waits for as long as it was told, and others go on."""
    http_endpoint.answer = lambda request: (
        (429, {"retry-after": "1"}) if request.headers["webhook-attempt"] == "1" else (200, {})
    )
    worker = bench.start(make(http_endpoint, BREAKER_FAILURES="2"))
    for number in range(8):
        bench.publisher.publish(QUEUE, {"id": number})
    wait_until(lambda: len(http_endpoint.requests) == 8, "the first attempts", timeout=10)
    assert worker.stats().consumers[0].paused == ""
    wait_until(lambda: worker.stats().handled == 8, "all messages", timeout=15)
    assert len(http_endpoint.requests) == 16
