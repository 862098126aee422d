"""Each end of a message has its word, and destinations are few."""

from __future__ import annotations

import asyncio

import pytest

from rmqpool import Delivery, Message, Postpone, Reject, Retry, Skip
from rmqpool.errors import DecodeError
from rmqpool.middlewares.ends import class_of, destination_of, end_of, id_of


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (Retry(), "retried"),
        (Reject("no"), "rejected"),
        (Skip(), "skipped"),
        (Postpone(), "postponed"),
        (DecodeError("x", reason="json"), "undecodable"),
        (asyncio.CancelledError(), "cancelled"),
        (ValueError(), "failed"),
        (SystemExit(), "failed"),
    ],
)
def test_an_end_has_its_word(error: BaseException, word: str) -> None:
    """Verdicts, bodies that cannot be read, and everything else."""
    assert end_of(error) == word


def test_an_exception_that_lies_about_its_class_is_taken_at_its_type() -> None:
    """isinstance would ask the exception itself, and that may raise."""

    class Nasty(Exception):
        @property
        def __class__(self) -> type:  # type: ignore[override]
            raise RuntimeError

    assert end_of(Nasty()) == "failed"
    assert class_of(Nasty()).endswith("Nasty")


@pytest.mark.parametrize(
    ("exchange", "routing_key", "destination"),
    [
        ("", "orders", "orders"),
        ("events", "order.created.7", "events"),
        ("", "amq.rabbitmq.reply-to.g1h2AA5yZXBseQ==", "amq.*"),
        ("", "amq.gen-JzTY20BRgKO", "amq.*"),
        ("amq.topic", "order.created", "amq.topic"),
    ],
)
def test_destinations_are_few(exchange: str, routing_key: str, destination: str) -> None:
    """A series for each routing key, or for each caller's reply queue, would never end."""
    assert destination_of(Message(exchange, routing_key, b"", "m-1")) == destination


def test_a_delivery_without_an_id_has_none() -> None:
    """Foreign clients need not write one."""
    assert id_of(Delivery(b"", "", "orders", 1, False)) is None
