"""Arguments that RabbitMQ does not check and that crash a channel's process (541), which ends the whole connection. Pure.

Seen with RabbitMQ 3.10: ``x-max-age`` and ``x-stream-offset`` that are no interval, an ``x-queue-master-locator`` that does not
exist, an ``x-credit`` that is no table (it crashes the queue as well), an ``x-queue-type`` that is no text, or is unknown and
the broker is to name the queue, an address of direct reply-to that was not made by a broker.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from rmqpool.agent.violation import ChannelViolation
from rmqpool.amqp.server_side import parse_table

__all__ = ["REPLY_TO", "check_arguments", "check_reply_address"]

_INTERVAL = re.compile(r"[0-9]+[YMDhms]")
_LOCATORS = frozenset({"min-masters", "client-local", "random"})
_TYPES = frozenset({"classic", "quorum", "stream"})
_OFFSETS = frozenset({"first", "last", "next"})
REPLY_TO = b"amq.rabbitmq.reply-to."
_TERM = 0x83  # Erlang's external term format (erlang.org/doc/apps/erts/erl_ext_dist)
_PROCESS_SIZES = {ord("g"): 9, ord("X"): 12}  # PID_EXT, NEW_PID_EXT: bytes behind the node's name
_NAME_SIZES = {ord("d"): 2, ord("v"): 2, ord("s"): 1, ord("w"): 1}  # ATOM_EXT and its kin: bytes of the length


def _is_interval(value: Any) -> bool:
    return not isinstance(value, str) or _INTERVAL.fullmatch(value) is not None


def _is_offset(value: Any) -> bool:
    if isinstance(value, str):
        return value in _OFFSETS or _INTERVAL.fullmatch(value) is not None
    return isinstance(value, int | datetime) and not isinstance(value, bool)


def _is_locator(value: Any) -> bool:
    return isinstance(value, str) and value in _LOCATORS


def _is_credit(value: Any) -> bool:
    return isinstance(value, dict)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_CHECKS: Mapping[bytes, Callable[[Any], bool]] = {
    b"x-max-age": _is_interval,
    b"x-stream-offset": _is_offset,
    b"x-queue-master-locator": _is_locator,
    b"x-credit": _is_credit,
    b"x-queue-type": _is_text,
}


def check_arguments(table: bytes, *, has_name: bool = True) -> None:
    """The arguments of a queue.declare or basic.consume, a well-formed table; ``has_name``: the client names the queue. Raises
    ChannelViolation.
    """
    if not any(name in table for name in _CHECKS):
        return
    try:
        values = parse_table(table)
    except ValueError:
        raise _refused("a value that cannot be read") from None
    for name, is_right in _CHECKS.items():
        if name.decode() in values and not is_right(values[name.decode()]):
            raise _refused(f"an invalid {name.decode()}")
    if not has_name and values.get("x-queue-type", "classic") not in _TYPES:
        raise _refused("an unknown x-queue-type")


def _refused(what: str) -> ChannelViolation:
    return ChannelViolation(
        406,
        f"PRECONDITION_FAILED - {what} among the arguments, which can end the connection of all: the agent refuses it",
    )


def check_reply_address(routing_key: bytes) -> None:
    """A routing key of the default exchange; an address of direct reply-to is one that a broker can have made. Raises
    ChannelViolation.
    """
    parts = routing_key.removeprefix(REPLY_TO).split(b".")
    if routing_key.startswith(REPLY_TO) and len(parts) == 2 and not _is_process(parts[0]):
        raise ChannelViolation(
            404,
            "NOT_FOUND - this is no address of direct reply-to, and can end the connection of all: the agent refuses it",
        )


def _is_process(encoded: bytes) -> bool:
    try:
        term = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return False
    if len(term) < 3 or term[0] != _TERM or term[1] not in _PROCESS_SIZES or term[2] not in _NAME_SIZES:
        return False
    at = 3 + _NAME_SIZES[term[2]]
    name_size = int.from_bytes(term[3:at], "big")
    return b"@" in term[at : at + name_size] and len(term) == at + name_size + _PROCESS_SIZES[term[1]]
