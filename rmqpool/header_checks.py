"""Headers are an AMQP table (AMQP 0-9-1, 4.2.5.5): what it cannot hold is refused with its path.

A float is refused, although RabbitMQ has a field for it: pika neither writes it nor reads it (it reads whole numbers).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from rmqpool.errors import MessageError

__all__ = ["check_headers"]

_DEEPEST = 32
_END_OF_9999 = 253_402_300_800
_SENDER_SELECTED = ("CC", "BCC")  # rabbitmq.com/docs/sender-selected


def check_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the headers, if every key and value can be sent. Raises MessageError; its ``field`` is the path.

    Values: None, bool, int within 64 bits, str, bytes, Decimal within 32 bits, aware datetime (whole seconds are sent),
    list and dict of such. ``CC`` and ``BCC`` must be lists of texts. How large all are together is not checked here.
    """
    if not isinstance(headers, Mapping):
        raise MessageError(f"headers must be a mapping, not {type(headers).__name__}", field="headers")
    copy = dict(headers)
    _check_table(copy, "headers", 0)
    for name in _SENDER_SELECTED:
        if name in copy:
            _check_routing_keys(copy[name], f"headers[{name!r}]")
    return copy


def _check_table(table: dict[Any, Any], path: str, depth: int) -> None:
    for key, value in table.items():
        if not isinstance(key, str):
            raise MessageError(f"{path} has a key of type {type(key).__name__}; it must be a text", field=path)
        inner = f"{path}[{key[:80]!r}]"
        if len(_utf8(key, inner)) > 255:
            raise MessageError(f"the name of {inner}… has more than 255 bytes of UTF-8", field=inner)
        if type(value) is not str or not value.isascii():
            _check_value(value, inner, depth)


def _check_value(value: Any, path: str, depth: int) -> None:
    if value is None or isinstance(value, bool | bytes):
        return
    if isinstance(value, str):
        _utf8(value, path)
    elif isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise MessageError(f"{path} is a number of more than 64 bits: send it as text", field=path)
    elif isinstance(value, datetime):
        _check_datetime(value, path)
    elif isinstance(value, Decimal):
        _check_decimal(value, path)
    elif isinstance(value, list | dict):
        _check_nested(value, path, depth)
    else:
        raise _unsupported(value, path)


def _check_nested(value: list[Any] | dict[Any, Any], path: str, depth: int) -> None:
    if depth >= _DEEPEST:
        raise MessageError(f"headers are nested more than {_DEEPEST} deep, or contain themselves", field="headers")
    if isinstance(value, dict):
        _check_table(value, path, depth + 1)
        return
    for position, item in enumerate(value):
        _check_value(item, f"{path}[{position}]", depth + 1)


def _utf8(text: str, path: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise MessageError(f"{path} holds half a surrogate pair, which UTF-8 cannot hold", field=path) from None


def _check_datetime(value: datetime, path: str) -> None:
    if value.utcoffset() is None:
        raise MessageError(f"{path} is a datetime without a time zone: use datetime.now(timezone.utc)", field=path)
    if not 0 <= value.timestamp() < _END_OF_9999:
        raise MessageError(
            f"{path} is not between 1970 and 9999 in UTC, as AMQP's times are: send it as text", field=path
        )


def _check_decimal(value: Decimal, path: str) -> None:
    """An AMQP decimal is a signed 32-bit number and a count of decimals up to 255."""
    fits = value.is_finite()
    if fits and value:
        sign, digits, exponent = value.as_tuple()
        assert isinstance(exponent, int)  # finite
        while digits[-1] == 0:  # without the zeros at its end, as it is written
            digits, exponent = digits[:-1], exponent + 1
        fits = -255 <= exponent <= 9 and len(digits) + max(exponent, 0) <= 10
        if fits:
            number = int("".join(map(str, digits))) * 10 ** max(exponent, 0)
            fits = -(2**31) <= (-number if sign else number) < 2**31
    if not fits:
        raise MessageError(f"{path} is a Decimal that does not fit into 32 bits: send it as text", field=path)


def _check_routing_keys(value: Any, path: str) -> None:
    if not isinstance(value, list) or not all(isinstance(key, str) for key in value):
        raise MessageError(f"{path} must be a list of routing keys (texts); the broker refuses others", field=path)
    for position, key in enumerate(value):
        if len(key.encode()) > 255:
            raise MessageError(f"{path}[{position}] has more than 255 bytes of UTF-8", field=path)


def _unsupported(value: Any, path: str) -> MessageError:
    hints = {float: "send it as text or as a Decimal", tuple: "use a list", bytearray: "use bytes", set: "use a list"}
    hint = next((hint for kind, hint in hints.items() if isinstance(value, kind)), "send it as text")
    return MessageError(f"{path} is a {type(value).__qualname__}, which headers cannot hold: {hint}", field=path)
