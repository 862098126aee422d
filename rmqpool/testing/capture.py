"""What this process publishes while a block runs, with its outcomes: for tests that ask what their code has sent."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rmqpool.amqp.publishing import Publishing
from rmqpool.codecs import decode_body
from rmqpool.future import PublishFuture
from rmqpool.message import Message
from rmqpool.testing.waiting import wait_until

__all__ = ["Published", "Sent"]

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that was handed over. ``message`` is what went, or is to go, onto the wire."""

    message: Message
    future: PublishFuture

    @property
    def body(self) -> Any:
        """The body, decoded by its content type. Raises DecodeError."""
        message = self.message
        return decode_body(message.body, message.content_type, message.content_encoding, message.headers)

    @property
    def outcome(self) -> str:
        """``confirmed``, ``returned``, ``nacked``, ``not_sent``, ``unknown``; empty while it has none."""
        if self.future.cancelled():
            return "not_sent"
        return str(self.future.outcome(0).outcome) if self.future.done() else ""

    def __str__(self) -> str:
        where = f"{self.message.exchange or '(default)'} → {self.message.routing_key}"
        return f"{where}: {self.message.message_id}, {len(self.message.body)} bytes, {self.outcome or 'no outcome yet'}"


class Published:
    """A context manager. Every publisher and worker of this process is seen; requests of ``publisher.call`` are not.

    Thread-safe. Several may be open, one inside the other; each sees what is published meanwhile.
    """

    def __init__(self) -> None:
        self._sent: list[Sent] = []
        self._take = Publishing.take

    @property
    def messages(self) -> tuple[Sent, ...]:
        """All, in the order in which they were handed over."""
        return tuple(self._sent)

    def to(self, queue: str) -> list[Sent]:
        """Those that were published to ``queue`` by name."""
        return self.to_exchange("", queue)

    def to_exchange(self, exchange: str, routing_key: str = "*") -> list[Sent]:
        """Those to ``exchange`` whose routing key matches a pattern as for file names: ``*``, ``order.*``."""
        return [
            sent
            for sent in self._sent
            if sent.message.exchange == exchange and fnmatch.fnmatchcase(sent.message.routing_key, routing_key)
        ]

    def wait_for(self, queue: str, count: int = 1, timeout: float = 5.0) -> list[Sent]:
        """Wait until ``count`` messages to ``queue`` have an outcome. ServicesError after ``timeout`` seconds."""

        def settled() -> list[Sent]:
            return [sent for sent in self.to(queue) if sent.outcome]

        wait_until(lambda: len(settled()) >= count, f"{count} messages published to {queue!r}", timeout=timeout)
        return settled()

    def clear(self) -> None:
        """Forget what was published so far."""
        self._sent.clear()

    def __len__(self) -> int:
        return len(self._sent)

    def __str__(self) -> str:
        lines = [str(sent) for sent in self._sent[:_SHOWN]]
        more = len(self._sent) - len(lines)
        return "\n".join([*lines, *([f"and {more} more"] if more > 0 else [])]) or "nothing"

    def __enter__(self) -> Self:
        take = self._take = Publishing.take

        def seen(engine: Publishing, future: PublishFuture, wake: bool = True) -> None:
            self._sent.append(Sent(future.message, future))
            take(engine, future, wake)

        Publishing.take = seen  # type: ignore[method-assign,assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        Publishing.take = self._take  # type: ignore[method-assign]
