"""Answering a request (a message with ``reply_to``): with what its handler returned, or with why it was not handled well.

A result is confirmed before the request is acknowledged: after a crash in between the request comes again, and is answered
again. A failure is told when the request is parked, and not waited for: the parked copy is what must not be lost.
"""

from __future__ import annotations

import logging
from typing import Any, Final, Literal

from rmqpool import headers as names
from rmqpool.codecs import EncodedBody
from rmqpool.core.header_room import Entry, fit
from rmqpool.errors import PublishError, RmqpoolError
from rmqpool.future import PublishFuture
from rmqpool.identifiers import new_message_id
from rmqpool.message import Delivery, Message
from rmqpool.pool import ConnectionPool
from rmqpool.publisher import Publisher
from rmqpool.sealing import MessageOptions
from rmqpool.worker.failure import ChildError, Failure
from rmqpool.worker.later import Later

__all__ = ["REPLY_MODES", "Answering", "ReplyMode"]

ReplyMode = Literal["always", "failure", "never"]
"""What a consumer answers: how each request ended, only that it was parked, or nothing."""

REPLY_MODES: Final = ("always", "failure", "never")

_LOGGER = logging.getLogger("rmqpool")
_TIMEOUT = 15.0  # seconds for a confirm
_ROOM = 4096  # bytes for what a reply tells of a failure


class Answering:
    """The answers of one worker. Thread-safe."""

    def __init__(self, pool: ConnectionPool, later: Later) -> None:
        self._publisher = Publisher(pool, timeout=_TIMEOUT)
        self._later = later

    def reply(self, request: Delivery, result: object) -> Message:
        """The reply that holds ``result``, encoded as the body of any message, unless a child process has done that already.

        Raises MessageError if it cannot be encoded, or the ChildError of the process that could not.
        """
        options: MessageOptions = {
            "correlation_id": _text(request.correlation_id) or None,
            "persistent": request.delivery_mode == 2,
            "mandatory": False,  # whoever asked may be gone: that is no failure of the handler's
        }
        if isinstance(result, ChildError):
            raise result
        if isinstance(result, EncodedBody):
            result, options["content_type"], encoding = result
            if encoding is not None:
                options["content_encoding"] = encoding
        message, _ = self._publisher.prepare("", _text(request.reply_to), result, options)
        return message

    def send(self, reply: Message) -> None:
        """Publish it; returns at once. Its outcome is only logged."""
        self._later.call(lambda: self._submit(reply))

    def fail(self, request: Delivery, failure: Failure) -> None:
        """Tell whoever asked that the request was not handled well, and will not be tried again; returns at once."""
        entries = [
            Entry(names.REPLY_ERROR, failure.reason),
            Entry(names.EXCEPTION_TYPE, failure.type),
            Entry(names.EXCEPTION_MESSAGE, failure.message, most=2048, least=20),
        ]
        told: dict[str, Any] = dict(fit([entry for entry in entries if entry.text], _ROOM))
        self.send(
            Message(
                "",
                _text(request.reply_to),
                b"",
                new_message_id(),
                mandatory=False,
                headers=told,
                delivery_mode=2 if request.delivery_mode == 2 else 1,
                correlation_id=_text(request.correlation_id) or None,
            )
        )

    # On the background thread

    def _submit(self, reply: Message) -> None:
        try:
            self._publisher.submit_message(reply).add_done_callback(_log_outcome)
        except RmqpoolError as error:
            _not_sent(reply, error)


def _log_outcome(future: PublishFuture) -> None:
    outcome = future.outcome(0)
    if isinstance(outcome, PublishError):
        _not_sent(future.message, outcome)


def _not_sent(reply: Message, error: RmqpoolError) -> None:
    _LOGGER.warning("the reply to %s could not be sent, and its caller waits in vain: %s", reply.routing_key, error)


def _text(value: object) -> str:
    """A property as text: pika hands over bytes where a foreign client wrote no UTF-8."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value or "")
