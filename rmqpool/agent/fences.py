"""What one client's method would do to everybody else on the same connection, and so does not get there. Pure.

Each of these makes RabbitMQ end the whole connection (rabbit_channel.erl: a hard error), or belongs to a connection and not to
a channel. The answer to the client is the broker's own code, and says more.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from rmqpool.agent import methods
from rmqpool.agent.crashing import check_arguments
from rmqpool.agent.violation import ChannelViolation, Violation

__all__ = ["KNOWN_EXCHANGE_TYPES", "check_method", "check_publish"]

KNOWN_EXCHANGE_TYPES = frozenset({b"direct", b"fanout", b"topic", b"headers"})
_IMMEDIATE = 2
_PASSIVE, _EXCLUSIVE = 1, 4
_IF_UNUSED_OR_EMPTY = 3


def check_publish(bits: int) -> None:
    """The bits of a basic.publish. Raises Violation."""
    if bits & _IMMEDIATE:
        raise Violation(540, "NOT_IMPLEMENTED - immediate=true")


def check_method(method: int, arguments: list[Any], tags: Set[bytes], exchange_types: Set[bytes]) -> None:
    """A method with well-formed arguments; ``tags`` are the channel's consumers. Raises Violation, ChannelViolation."""
    if method == methods.QOS and arguments[0]:
        raise Violation(540, f"NOT_IMPLEMENTED - prefetch_size!=0 ({arguments[0]})")
    if method == methods.FLOW and not arguments[0] & 1:
        raise Violation(540, "NOT_IMPLEMENTED - active=false")
    if method in (methods.RECOVER, methods.RECOVER_ASYNC) and not arguments[0] & 1:
        raise Violation(540, "NOT_IMPLEMENTED - requeue=false")
    if method == methods.CONSUME and arguments[2] and arguments[2] in tags:
        raise Violation(530, "NOT_ALLOWED - attempt to reuse a consumer tag")
    if method == methods.EXCHANGE_DECLARE and not arguments[3] & _PASSIVE and arguments[2] not in exchange_types:
        raise ChannelViolation(
            406,
            "PRECONDITION_FAILED - unknown exchange type: the agent lets only known ones through, as a wrong one can end the "
            "connection of all; start it with --exchange-type NAME if a plugin has it",
        )
    if method in (methods.QUEUE_DECLARE, methods.CONSUME):
        check_arguments(arguments[-1], has_name=arguments[1] != b"" or method == methods.CONSUME)
    if method == methods.QUEUE_DECLARE and arguments[2] & _EXCLUSIVE and not arguments[2] & _PASSIVE:
        raise ChannelViolation(
            405,
            "RESOURCE_LOCKED - an exclusive queue belongs to a connection, and the agent shares its connections: let "
            "the queue expire (x-expires) instead, or connect to the broker without the agent",
        )
    if method == methods.QUEUE_DELETE and arguments[2] & _IF_UNUSED_OR_EMPTY:
        raise ChannelViolation(
            540,
            "NOT_IMPLEMENTED - queue.delete with if-unused or if-empty: for a quorum queue or stream it would end the "
            "connection of all; look first, and delete without them, or connect to the broker without the agent",
        )
