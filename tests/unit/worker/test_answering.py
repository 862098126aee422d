"""The replies of a worker: addressed as the request asks, and refused before anything is sent if they cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from rmqpool import ConnectionPool, Delivery, Message, headers
from rmqpool.errors import EncodeError, MessageError
from rmqpool.worker.answering import Answering
from rmqpool.worker.failure import Failure


class Now:
    """A background thread that runs nothing: what it is asked to do is looked at."""

    def __init__(self) -> None:
        self.functions: list[Any] = []

    def call(self, function: Any, delay: float = 0.0) -> None:
        self.functions.append(function)


def answering() -> tuple[Answering, list[Message]]:
    """And the messages that it would send."""
    made = Answering(ConnectionPool("amqp://127.0.0.1:1/"), Now())  # type: ignore[arg-type]
    sent: list[Message] = []
    made.send = sent.append  # type: ignore[method-assign]
    return made, sent


def request(**properties: Any) -> Delivery:
    """One with the properties of a call."""
    given = {
        "reply_to": "amq.rabbitmq.reply-to.g2dkABByYWJiaXQ",
        "correlation_id": "c-1",
        "delivery_mode": 2,
        **properties,
    }
    return Delivery(b"{}", "", "prices", 1, False, queue="prices", **given)


def test_a_result_goes_to_the_address_of_the_request() -> None:
    """By the default exchange, not mandatory, with the request's correlation id; as durable as the request."""
    made, _ = answering()
    reply = made.reply(request(), {"cents": 250})
    assert (reply.exchange, reply.routing_key) == ("", "amq.rabbitmq.reply-to.g2dkABByYWJiaXQ")
    assert (reply.correlation_id, reply.mandatory, reply.delivery_mode) == ("c-1", False, 2)
    assert (reply.body, reply.content_type) == (b'{"cents":250}', "application/json")
    assert made.reply(request(delivery_mode=None), None).delivery_mode == 1


def test_no_result_is_json_null() -> None:
    """A handler that returns nothing has answered."""
    reply = answering()[0].reply(request(correlation_id=None), None)
    assert (reply.body, reply.content_type, reply.correlation_id) == (b"null", "application/json", None)


def test_a_result_that_cannot_be_encoded_is_refused() -> None:
    """Before anything is sent."""
    with pytest.raises(EncodeError):
        answering()[0].reply(request(), object())
    with pytest.raises(MessageError):
        answering()[0].reply(request(reply_to="x" * 300), 1)


def test_a_failure_names_reason_type_and_message() -> None:
    """No traceback; whatever the exception's message, the headers fit into a frame."""
    made, sent = answering()
    made.fail(request(), Failure("exception", "KeyError", "x" * 100_000, "Traceback …"))
    (reply,) = sent
    told = dict(reply.headers or {})
    assert told[headers.REPLY_ERROR] == "exception"
    assert told[headers.EXCEPTION_TYPE] == "KeyError"
    assert 1000 < len(told[headers.EXCEPTION_MESSAGE]) < 4096
    assert set(told) == {headers.REPLY_ERROR, headers.EXCEPTION_TYPE, headers.EXCEPTION_MESSAGE}
    assert (reply.correlation_id, reply.mandatory, reply.body) == ("c-1", False, b"")


def test_properties_that_are_no_text_can_be_answered() -> None:
    """Foreign clients write bytes that are no UTF-8."""
    made, sent = answering()
    made.fail(request(correlation_id=b"\xff"), Failure("skipped"))
    assert sent[0].correlation_id == "\xff"
