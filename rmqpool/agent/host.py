"""What a session asks of whoever runs it: the socket of its client, and the connection to the broker."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Protocol

from rmqpool.agent.channel import Channel
from rmqpool.agent.violation import Violation

__all__ = ["Host"]


class Host(Protocol):
    """Sizes are bytes, ``heartbeat`` seconds. Nothing here raises, if it does not say so."""

    @property
    def channel_max(self) -> int: ...
    @property
    def frame_max(self) -> int: ...
    @property
    def heartbeat(self) -> int: ...
    @property
    def largest_message(self) -> int: ...
    @property
    def vhost(self) -> str: ...
    @property
    def exchange_types(self) -> Set[bytes]: ...

    def greeted(self) -> None:
        """The client speaks AMQP: answer with Session.start, or close."""
        ...

    def refusal(self) -> Violation | None:
        """Why this client is not let in."""
        ...

    def wants_in(self) -> None:
        """The client asks for connection.open-ok: answer with Session.opened, or close."""
        ...

    def new_channel(self, number: int) -> Channel | None:
        """A channel of the broker's; None: there is none left. Raises Violation if the broker is not there."""
        ...

    def check_lessons(self, method: int, arguments: list[Any], is_global: bool) -> None:
        """Whether such a method has ended a connection before (Lessons.check). Raises Violation."""
        ...

    def to_upstream(self, data: bytes | bytearray) -> None:
        """Whole frames for the broker."""
        ...

    def to_client(self, data: bytes) -> None:
        """Whole frames for the client."""
        ...

    def misbehaved(self, violation: Violation) -> None:
        """What the client did is refused: for the log."""
        ...

    def ended(self) -> None:
        """Nothing more is said: close the socket when all is written."""
        ...
