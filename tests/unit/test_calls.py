"""The properties of a request, and waiting for one reply, without a broker."""

from __future__ import annotations

import time
from typing import Any

import pytest

from rmqpool.amqp.calling import Call
from rmqpool.calls import Reply, Waiting, request_options
from rmqpool.errors import (
    ConfigurationError,
    MessageError,
    NotSentError,
    RemoteError,
    ReplyLostError,
    ReplyTimeoutError,
    UnknownOutcomeError,
    UnroutableError,
)
from rmqpool.future import PublishFuture
from rmqpool.headers import EXCEPTION_MESSAGE, EXCEPTION_TYPE, REPLY_ERROR
from rmqpool.message import Delivery, Message


class Engine:
    """Forgets calls, and withdraws if the test says that nothing was written."""

    on_io_thread = False
    is_inherited = False

    def __init__(self, unwritten: bool = False) -> None:
        self.unwritten = unwritten
        self.dropped = 0

    def drop(self, call: Call) -> bool:
        self.dropped += 1
        return True

    def withdraw(self, future: PublishFuture) -> bool:
        return self.unwritten

    def wake(self) -> None:
        """Nothing is on its way."""

    def end_inherited(self, future: PublishFuture) -> None:
        """There is no fork."""


def call_on(engine: Engine) -> Call:
    """A call that was begun, whose request's deadline has passed."""
    message = Message("", "prices", b"{}", "m-1", correlation_id="c-1")
    return Call(PublishFuture(message, b"", time.monotonic() - 60, False, engine), engine)  # type: ignore[arg-type]


def reply(**values: Any) -> Delivery:
    """One that came."""
    return Delivery(values.pop("body", b"7"), "", "", 1, False, content_type="application/json", **values)


def waiting(reply_type: Any = Any, timeout: float = 10.0) -> Waiting[Any]:
    return Waiting(reply_type, timeout)


def test_each_request_has_a_correlation_id_of_its_own() -> None:
    """And the address that the broker makes unique."""
    first, second = request_options({"priority": 3}), request_options({})
    assert first["correlation_id"] != second["correlation_id"]
    assert first["reply_to"] == "amq.rabbitmq.reply-to"
    assert first["priority"] == 3


@pytest.mark.parametrize("name", ["reply_to", "correlation_id", "mandatory", "retry", "timeuot"])
def test_what_a_call_does_not_take_is_named(name: str) -> None:
    """Misspelt, or the call's own."""
    with pytest.raises(MessageError, match=name) as caught:
        request_options({name: 1})  # type: ignore[misc]
    assert caught.value.field == name


def test_a_reply_type_that_nothing_can_read_is_refused_before_the_request() -> None:
    """It is a mistake of the program."""
    with pytest.raises(ConfigurationError, match="cannot be turned into"):
        waiting(type("Unknown", (), {}))


def test_the_reply_is_the_result() -> None:
    """Also when the request's confirm has not come yet."""
    call = call_on(Engine())
    call.reply.set_result(reply())
    got = waiting(int).result(call)
    assert got.body == 7
    assert repr(got) == "<Reply of int, 1 bytes>"
    assert isinstance(got, Reply)


@pytest.mark.parametrize(
    ("error", "left", "expected"),
    [
        (UnroutableError("nowhere"), 10.0, UnroutableError),
        (NotSentError("blocked"), 10.0, NotSentError),
        (UnknownOutcomeError("lost"), 10.0, ReplyLostError),
        (UnknownOutcomeError("no confirm"), -1.0, ReplyTimeoutError),
    ],
)
def test_the_requests_own_end_is_the_calls(error: Exception, left: float, expected: type[Exception]) -> None:
    """Unknown is said in the words of a call: by its deadline a timeout, before it a loss."""
    call = call_on(Engine())
    call.reply.set_exception(error)
    patient = waiting()
    patient.deadline = time.monotonic() + left
    with pytest.raises(expected):
        patient.result(call)


@pytest.mark.parametrize(("unwritten", "expected"), [(True, NotSentError), (False, ReplyTimeoutError)])
def test_a_call_ends_although_the_io_thread_says_nothing(
    unwritten: bool, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up, and the error says whether anything was written."""
    monkeypatch.setattr("rmqpool.calls.GRACE", 0.01)
    engine = Engine(unwritten)
    with pytest.raises(expected):
        waiting(timeout=0.01).result(call_on(engine))
    assert engine.dropped == 1


def test_a_failure_is_raised_without_reading_the_body() -> None:
    """Its body is empty, which no JSON is."""
    call = call_on(Engine())
    told = {REPLY_ERROR: "rejected:sold out", EXCEPTION_TYPE: "", EXCEPTION_MESSAGE: ""}
    call.reply.set_result(reply(body=b"", headers=told))
    with pytest.raises(RemoteError, match=r"queue 'prices' was not handled well \(rejected:sold out\)$") as caught:
        waiting().result(call)
    assert (caught.value.queue, caught.value.message_id, caught.value.reason) == ("prices", "m-1", "rejected:sold out")
