"""The broker's side of an AMQP handshake, and its words on a connection: what an agent says to its clients itself.

Pure functions from values to frames and back, with pika's codec.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pika import frame, spec
from pika.data import decode_table

__all__ = [
    "HEARTBEAT",
    "WRONG_VERSION",
    "blocked",
    "channel_close",
    "channel_close_ok",
    "connection_close",
    "connection_close_ok",
    "open_ok",
    "parse_open",
    "parse_start_ok",
    "parse_table",
    "parse_tune_ok",
    "start",
    "tune",
    "unblocked",
]

WRONG_VERSION = b"AMQP\x00\x00\x09\x01"  # what a server answers to a header that it does not speak
HEARTBEAT = bytes(frame.Heartbeat().marshal())
_LONGEST_TEXT = 255  # bytes of a short string


def start(properties: Mapping[str, Any]) -> bytes:
    """connection.start with the broker's own properties."""
    return _frame(0, spec.Connection.Start(0, 9, dict(properties), "PLAIN EXTERNAL", "en_US"))


def tune(channel_max: int, frame_max: int, heartbeat: int) -> bytes:
    """connection.tune; ``heartbeat`` is seconds, ``frame_max`` bytes."""
    return _frame(0, spec.Connection.Tune(channel_max, frame_max, heartbeat))


def open_ok() -> bytes:
    """connection.open-ok."""
    return _frame(0, spec.Connection.OpenOk())


def connection_close(code: int, text: str) -> bytes:
    """connection.close; a long text is cut."""
    return _frame(0, spec.Connection.Close(code, _short(text), 0, 0))


def connection_close_ok() -> bytes:
    """connection.close-ok."""
    return _frame(0, spec.Connection.CloseOk())


def blocked(reason: str) -> bytes:
    """connection.blocked."""
    return _frame(0, spec.Connection.Blocked(_short(reason)))


def unblocked() -> bytes:
    """connection.unblocked."""
    return _frame(0, spec.Connection.Unblocked())


def channel_close(number: int, code: int, text: str) -> bytes:
    """channel.close; a long text is cut."""
    return _frame(number, spec.Channel.Close(code, _short(text), 0, 0))


def channel_close_ok(number: int) -> bytes:
    """channel.close-ok."""
    return _frame(number, spec.Channel.CloseOk())


def parse_start_ok(arguments: bytes) -> dict[str, Any]:
    """The client's properties of a connection.start-ok. Raises ValueError."""
    return dict(_decoded(spec.Connection.StartOk(), arguments).client_properties or {})


def parse_tune_ok(arguments: bytes) -> tuple[int, int, int]:
    """Of a connection.tune-ok: channel_max, frame_max, heartbeat. Raises ValueError."""
    method = _decoded(spec.Connection.TuneOk(), arguments)
    return method.channel_max, method.frame_max, method.heartbeat


def parse_open(arguments: bytes) -> str:
    """The virtual host of a connection.open. Raises ValueError."""
    return str(_decoded(spec.Connection.Open(), arguments).virtual_host)


def parse_table(table: bytes) -> dict[str, Any]:
    """A well-formed table. Raises ValueError if a value cannot be read."""
    try:
        return dict(decode_table(table, 0)[0])
    except Exception as error:
        raise ValueError("a table cannot be decoded") from error


def _frame(number: int, method: Any) -> bytes:
    return bytes(frame.Method(number, method).marshal())


def _short(text: str) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= _LONGEST_TEXT:
        return text
    return encoded[: _LONGEST_TEXT - 3].decode("utf-8", "ignore") + "…"


def _decoded(method: Any, arguments: bytes) -> Any:
    try:
        method.decode(arguments)
    except Exception as error:
        raise ValueError(f"{type(method).__name__} cannot be decoded") from error
    return method
