"""The log of failing rows: nobody has to read a line for each of a million rows, and nothing is left out."""

from __future__ import annotations

import logging
import math

import pytest

from rmqpool.outbox.failure_log import FailureLog
from rmqpool.outbox.outflow import Failure
from rmqpool.outbox.rows import Row


def make_failure(row_id: int, queue: str, reason: str = "returned", exchange: str = "") -> Failure:
    return Failure(Row(row_id, 7, None, exchange, queue, f"id-{row_id}", None, None, b"{}"), reason, "NO_ROUTE")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    caplog.clear()
    return found


@pytest.fixture(autouse=True)
def _everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "rmqpool.outbox.relay")


def test_the_first_of_a_queue_and_reason_is_told_and_the_rest_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A minute later one line says how many there were; each row by itself is at DEBUG."""
    log = FailureLog()
    for row_id in range(1000):
        log.failed(make_failure(row_id, "orders"), 0.0, 0.5)
    assert len(caplog.records) == 1000
    (first,) = warnings(caplog)
    assert first == "row:0 stalls: message id-0 to orders was returned (NO_ROUTE); next attempt in 0.5 s"
    log.tell_over(59.0)
    assert warnings(caplog) == []
    log.tell_over(60.0)
    assert warnings(caplog) == ["999 more messages to orders were returned in the last minute"]
    log.failed(make_failure(1001, "orders"), 61.0, 0.5)
    assert len(warnings(caplog)) == 1


def test_other_queues_reasons_and_rows_that_are_given_up_are_told_for_themselves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each is news."""
    log = FailureLog()
    for _ in range(2):
        log.failed(make_failure(1, "orders"), 0.0, 0.5)
        log.failed(make_failure(2, "mails"), 0.0, 0.5)
        log.failed(make_failure(3, "orders", "nacked"), 0.0, 0.5)
        log.failed(make_failure(4, "orders"), 0.0, None)
        log.failed(make_failure(5, "orders", exchange="events"), 0.0, 0.5)
    told = warnings(caplog)
    assert len(told) == 5
    assert "it is given up, and lies in the dead table" in told[3]
    log.tell_over(math.inf)
    assert sorted(warnings(caplog)) == [
        "1 more messages to mails were returned in the last minute",
        "1 more messages to orders of exchange events were returned in the last minute",
        "1 more messages to orders were nacked in the last minute",
        "1 more messages to orders were returned in the last minute",
        "1 more messages to orders were returned in the last minute, and are given up",
    ]


def test_places_without_end_are_told_together(caplog: pytest.LogCaptureFixture) -> None:
    """Routing keys may be as many as there are messages."""
    log = FailureLog()
    for row_id in range(10_000):
        log.failed(make_failure(row_id, f"order.{row_id}"), 0.0, 0.5)
    assert len(warnings(caplog)) == 200
    log.tell_over(60.0)
    assert warnings(caplog) == ["9800 more messages to other places failed in the last minute"]
