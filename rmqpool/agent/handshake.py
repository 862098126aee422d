"""The connection itself, as the broker's side of it: the handshake, and the words on channel 0. Pure."""

from __future__ import annotations

import abc
import enum
from collections.abc import Mapping
from typing import Any

from rmqpool.agent.host import Host
from rmqpool.agent.violation import Violation
from rmqpool.amqp import server_side
from rmqpool.amqp.purposes import PURPOSE_PROPERTY, Purpose
from rmqpool.amqp.wire import FRAME_OVERHEAD

__all__ = ["Handshake", "SessionState"]

_FIRST_FRAMES = 131072  # bytes, until frame_max is agreed on
_START_OK, _TUNE_OK, _OPEN, _CLOSE, _CLOSE_OK = 0x0A000B, 0x0A001F, 0x0A0028, 0x0A0032, 0x0A0033
_HIGHEST = 65535  # channel number


class SessionState(enum.Enum):
    """Where a client's connection is."""

    NEW = "new"  # the protocol header comes next
    GREETED = "greeted"  # the host says when connection.start may be sent
    STARTED = "started"
    TUNED = "tuned"
    OPENING = "opening"  # connection.open comes next
    WAITING = "waiting"  # the host says when connection.open-ok may be sent
    RUNNING = "running"
    CLOSING = "closing"  # connection.close was sent
    ENDED = "ended"


class Handshake(abc.ABC):
    """``client`` is what the client says of itself; ``heartbeat`` (seconds, 0: none) what it asked for."""

    def __init__(self, host: Host) -> None:
        self.state = SessionState.NEW
        self.heartbeat = 0
        self.frame_max = 0  # bytes, as agreed on
        self.client: Mapping[str, Any] = {}
        self.hears_blocked = False
        self._only_consumes = False
        self._host = host
        self._channel_max = _HIGHEST
        self._largest = _FIRST_FRAMES - FRAME_OVERHEAD  # bytes of a frame's payload

    @property
    def purpose(self) -> str:
        """What the client says that its connection is for; empty if it says nothing."""
        return str(self.client.get(PURPOSE_PROPERTY, ""))

    @property
    def has_ended(self) -> bool:
        """Nothing more is read or said."""
        return self.state is SessionState.ENDED

    @abc.abstractmethod
    def abandon(self, why: str) -> None:
        """Close what is open at the broker's."""

    def start(self, properties: Mapping[str, Any]) -> None:
        """The broker is known: go on with the handshake."""
        if self.state is SessionState.GREETED:
            self.state = SessionState.STARTED
            self._host.to_client(server_side.start(properties))

    def opened(self, blocked: str | None) -> None:
        """The broker can be reached; ``blocked`` is its reason for blocking publishers."""
        if self.state is SessionState.WAITING:
            self.state = SessionState.RUNNING
            self._host.to_client(server_side.open_ok())
            if blocked is not None:
                self.blocked(blocked)

    def blocked(self, reason: str | None) -> None:
        """The broker blocks publishers (None: no longer)."""
        if self.state is SessionState.RUNNING and self.hears_blocked:
            self._host.to_client(server_side.unblocked() if reason is None else server_side.blocked(reason))

    def close(self, code: int, text: str) -> None:
        """Say connection.close, and read nothing more than its answer."""
        if self.state in (SessionState.CLOSING, SessionState.ENDED):
            return
        self.abandon("the client's connection was closed by the agent")
        if self.state in (SessionState.NEW, SessionState.GREETED):
            self._end()
            return
        self.state = SessionState.CLOSING
        self._host.to_client(server_side.connection_close(code, text))

    def _greeting(self, buffer: bytearray) -> int:
        expected = server_side.WRONG_VERSION
        if not expected.startswith(buffer[: len(expected)]):
            self._host.to_client(expected)
            self._end()
            return len(buffer)
        if len(buffer) < len(expected):
            return 0
        self.state = SessionState.GREETED
        self._host.greeted()
        return len(expected)

    def _connection_method(self, method: int, arguments: bytes) -> None:
        state = self.state
        try:
            if method == _CLOSE:
                self.abandon("the client closed its connection")
                self._host.to_client(server_side.connection_close_ok())
                self._end()
            elif state is SessionState.CLOSING:
                if method == _CLOSE_OK:
                    self._end()
            elif method == _START_OK and state is SessionState.STARTED:
                self._started(server_side.parse_start_ok(arguments))
            elif method == _TUNE_OK and state is SessionState.TUNED:
                self._tuned(*server_side.parse_tune_ok(arguments))
            elif method == _OPEN and state is SessionState.OPENING:
                vhost = server_side.parse_open(arguments)
                if vhost not in ("/", self._host.vhost):
                    raise Violation(530, "NOT_ALLOWED - the agent serves another virtual host: name none, or its own")
                self.state = SessionState.WAITING
                self._host.wants_in()
            else:
                raise Violation(503, f"COMMAND_INVALID - method {method >> 16}.{method & 0xFFFF} is out of place")
        except ValueError as error:
            raise Violation(502, f"SYNTAX_ERROR - {error}") from None

    def _started(self, properties: dict[str, Any]) -> None:
        self.client = properties
        capabilities = properties.get("capabilities")
        self._only_consumes = self.purpose == Purpose.CONSUME
        self.hears_blocked = isinstance(capabilities, dict) and capabilities.get("connection.blocked") is True
        refusal = self._host.refusal()
        if refusal is not None:
            raise refusal
        self.state = SessionState.TUNED
        self._host.to_client(server_side.tune(self._host.channel_max, self._host.frame_max, self._host.heartbeat))

    def _tuned(self, channel_max: int, frame_max: int, heartbeat: int) -> None:
        if frame_max and frame_max < self._host.frame_max:
            raise Violation(
                530, f"NOT_ALLOWED - frame_max must be the broker's, {self._host.frame_max}: leave the option away"
            )
        self.frame_max = self._host.frame_max
        self._largest = self.frame_max - FRAME_OVERHEAD
        self._channel_max = min(channel_max or _HIGHEST, self._host.channel_max)
        self.heartbeat = heartbeat
        self.state = SessionState.OPENING

    def _end(self) -> None:
        self.state = SessionState.ENDED
        self.abandon("the client's connection ended")
        self._host.ended()
