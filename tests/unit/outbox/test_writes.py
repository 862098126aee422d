"""Writes: what is one statement, when it is due, and what ``inject`` adds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rmqpool.errors import MessageError
from rmqpool.outbox.tables import Tables
from rmqpool.outbox.writes import Writes


def writes(inject: Any = None) -> Writes:
    """Writes with the defaults."""
    return Writes(Tables(), inject, 1 << 20, True)


def test_rows_without_a_key_go_round_the_lanes() -> None:
    """64 rows without a key are in 64 lanes, whatever the writer starts with."""
    write = writes().many("", "q", range(64), None, None, None, {})
    assert sorted(write.columns.lanes) == list(range(64))


def test_one_key_or_a_key_of_each_body() -> None:
    """``key`` is one for all, or a function that is asked for each."""
    assert writes().many("", "q", [1, 2], "k", None, None, {}).columns.keys == ["k", "k"]
    assert writes().many("", "q", [1, 2], lambda body: f"k{body}", None, None, {}).columns.keys == ["k1", "k2"]
    assert writes().many("", "q", iter(()), None, None, None, {}).message_ids == []


@pytest.mark.parametrize("bodies", ["text", b"bytes", bytearray(b"x"), memoryview(b"x"), {"a": 1}])
def test_one_body_is_no_list_of_bodies(bodies: Any) -> None:
    """A text, bytes or a mapping would become a message for each of its parts."""
    with pytest.raises(MessageError, match="takes a list of bodies"):
        writes().many("", "q", bodies, None, None, None, {})


def test_many_messages_have_no_one_id() -> None:
    """One id for many would make duplicates of all but one."""
    with pytest.raises(MessageError, match="leave message_id out"):
        writes().many("", "q", [1], None, None, None, {"message_id": "x"})


AT = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "delay", "due"),
    [
        (None, None, None),
        (AT, None, (AT, 0.0)),
        (None, 0, (None, 0.0)),
        (None, 1.5, (None, 1.5)),
        (None, timedelta(minutes=1), (None, 60.0)),
    ],
)
def test_when_a_row_is_due(at: Any, delay: Any, due: Any) -> None:
    """A time, or seconds from the database's clock, or now; the statement and its parameters go with it."""
    write = writes().one("", "q", 1, None, at, delay, {})
    assert write.due == due
    assert ("rmqpool_scheduled" in write.sql("dollar")) == (due is not None)
    assert len(write.parameters) == (8 if due is None else 10)


@pytest.mark.parametrize(
    ("at", "delay", "field"),
    [
        (AT, 1, "delay"),
        (datetime(2030, 1, 1), None, "at"),
        ("2030-01-01", None, "at"),
        (None, -1, "delay"),
        (None, True, "delay"),
        (None, "5", "delay"),
        (None, float("nan"), "delay"),
        (None, float("inf"), "delay"),
        (None, timedelta(days=4000), "delay"),
    ],
)
def test_a_time_that_is_none_is_refused(at: Any, delay: Any, field: str) -> None:
    """Both, no zone, no time, negative, no number, too far: the error names which of the two."""
    with pytest.raises(MessageError) as refused:
        writes().one("", "q", 1, None, at, delay, {})
    assert refused.value.field == field


def test_injected_headers_yield_to_the_callers() -> None:
    """``inject`` adds to each message of many, keeps out of the caller's dict, and overwrites nothing."""
    seen: list[dict[str, Any]] = []

    def inject(headers: dict[str, Any]) -> None:
        headers.update(traceparent=f"trace {len(seen)}", mine="injected")
        seen.append(headers)

    given = {"mine": "given"}
    write = writes(inject).many("", "q", [1, 2], None, None, None, {"headers": given})
    assert write.columns.headers == [
        '{"traceparent":"trace 0","mine":"given"}',
        '{"traceparent":"trace 1","mine":"given"}',
    ]
    assert given == {"mine": "given"}


def test_what_is_wrong_with_one_body_writes_none() -> None:
    """All bodies are checked before there is a statement."""
    with pytest.raises(MessageError):
        writes().many("", "q", [1, object()], None, None, None, {})
