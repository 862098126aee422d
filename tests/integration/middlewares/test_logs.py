"""One record for each message, with fields; never a body or header that was not asked for; nothing while nobody listens."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from rmqpool import ConfigurationError, Publisher, Queue, Reject, UnroutableError
from rmqpool.middlewares import Logging
from rmqpool.middlewares.logs import LOGGER
from tests.integration.worker.conftest import Bench

SECRET = "s3cret-in-a-body"


def records(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of what was logged for messages."""
    return [vars(record) for record in caplog.records if record.name == LOGGER]


def test_each_handled_message_is_one_record_with_fields(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Failures at a level of their own, by the class of the exception; no body, no header, no text of an exception."""
    worker = bench.worker(middleware=[Logging("info", failure_level="warning")])

    @worker.consumer("orders", concurrency=1)
    def handle(body: str) -> None:
        if body.startswith("bad"):
            raise ValueError(f"cannot read {body}")
        if body.startswith("no"):
            raise Reject("never")

    with caplog.at_level(logging.INFO, LOGGER):
        worker.start()
        for body in (SECRET, f"bad {SECRET}", f"no {SECRET}"):
            bench.publisher.publish("orders", body, headers={"token": SECRET}, message_id=body.split()[0][:3])
        bench.wait(lambda: len(records(caplog)) == 3)
    first, bad, no = records(caplog)
    assert (first["outcome"], first["levelname"], first["queue"]) == ("handled", "INFO", "orders")
    assert (first["message_id"], first["attempt"], first["bytes"]) == ("s3c", 1, len(SECRET))
    assert 0 <= first["seconds"] < 10
    assert (bad["outcome"], bad["levelname"], bad["error"]) == ("failed", "WARNING", "ValueError")
    assert (no["outcome"], no["levelname"]) == ("rejected", "WARNING")
    assert SECRET not in str([first, bad, no])
    assert "handled message s3c of queue orders in " in caplog.text


def test_each_published_message_is_one_record(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """By its outcome; what was asked for of body and headers is there."""
    publisher = Publisher(
        bench.pool, declare=[Queue("orders")], middleware=[Logging(body=4, headers=["kind"], failure_level="error")]
    )
    with caplog.at_level(logging.INFO, LOGGER):
        publisher.publish("orders", "abcdef", headers={"kind": "new", "token": SECRET})
        with pytest.raises(UnroutableError):
            publisher.publish("nowhere", b"\xff\xfe")
        bench.wait(lambda: len(records(caplog)) == 2)
    sent, lost = records(caplog)
    assert (sent["outcome"], sent["event"], sent["routing_key"]) == ("confirmed", "published", "orders")
    assert (sent["body"], sent["headers"]) == ("abcd", {"kind": "new"})
    assert (lost["outcome"], lost["levelname"], lost["error"]) == (
        "returned",
        "ERROR",
        "rmqpool.errors.UnroutableError",
    )
    assert SECRET not in str([sent, lost])
    publisher.close()


def test_a_message_whose_body_cannot_be_decoded_is_logged_too(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """It is parked as ever."""
    worker = bench.worker(middleware=[Logging()])

    @worker.consumer("orders")
    def handle(body: dict) -> None: ...

    with caplog.at_level(logging.INFO, LOGGER):
        worker.start()
        bench.publisher.publish("orders", b"{", content_type="application/json")
        bench.wait(lambda: len(records(caplog)) == 1)
    assert records(caplog)[0]["outcome"] == "undecodable"
    bench.take("orders.dead")


def test_by_default_messages_are_logged_only_where_somebody_listens_to_debug(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """As with --log-level debug; and once, also where the worker has a Logging of its own."""

    def run(middleware: list[Logging]) -> int:
        worker = bench.worker(middleware=middleware)

        @worker.consumer("orders")
        def handle(body: int) -> None: ...

        caplog.clear()
        worker.start()
        bench.publisher.publish("orders", 1)
        bench.wait(lambda: worker.stats().handled == 1)
        worker.stop()
        return len(records(caplog))

    with caplog.at_level(logging.INFO, LOGGER):
        assert run([]) == 0
    with caplog.at_level(logging.DEBUG, LOGGER):
        assert run([]) == 1
        assert run([Logging()]) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [({"level": "loud"}, "level"), ({"body": -1}, "body"), ({"body": True}, "body"), ({"headers": "kind"}, "headers")],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], words: str) -> None:
    """With what to give instead."""
    with pytest.raises(ConfigurationError, match=words):
        Logging(**options)
