"""The broker's version, and what was negotiated with it: is it enough for what rmqpool does? Pure."""

from __future__ import annotations

import re

from rmqpool.cli.diagnosis.connecting import Negotiated
from rmqpool.cli.diagnosis.finding import Finding, problem, warning, well
from rmqpool.settings import ConnectionSettings

__all__ = ["check_limits", "check_version", "version_of"]

_OLDEST = (3, 10)  # x-dead-letter-strategy=at-least-once on quorum queues, which the default topology asks for
_SMALL_FRAME = 16 * 1024  # bytes; the headers of a message must fit into one frame
_FEW_CHANNELS = 32  # what a pool leases at most on one connection by default
_LONG_HEARTBEAT = 60  # seconds; a dead peer is noticed within two of them


def version_of(broker: str) -> tuple[int, ...]:
    """``RabbitMQ 3.10.8`` -> (3, 10, 8); empty if there is no number in it."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", broker)
    return tuple(int(part) for part in found.groups() if part) if found else ()


def check_version(broker: str) -> Finding:
    """Too old is a problem; a 3.x broker works, with what it lacks told."""
    version = version_of(broker)
    if "rabbitmq" not in broker.lower():
        return warning(
            "version", f"{broker or 'the broker'} is not RabbitMQ: quorum queues and confirms may be missing"
        )
    if not version:
        return warning("version", f"{broker} does not tell its version")
    if version[:2] < _OLDEST:
        return problem(
            "version",
            f"{broker} is too old: quorum queues cannot dead-letter safely before 3.10",
            "upgrade the broker to 4.x (to 3.13 first)",
        )
    if version[0] < 4:
        return warning(
            "version",
            f"{broker} works; it ignores priorities on quorum queues, and gets no more fixes from its makers",
            "plan the upgrade to 4.x",
        )
    return well("version", f"{broker} has everything that rmqpool uses")


def check_limits(agreed: Negotiated, wanted: ConnectionSettings) -> list[Finding]:
    """Heartbeat, frame_max, channel_max: what the broker lowered, and what is out of the sensible range."""
    return [
        _heartbeat(agreed.heartbeat),
        _frame_max(agreed.frame_max, wanted.frame_max),
        _channel_max(agreed.channel_max),
    ]


def _heartbeat(seconds: int) -> Finding:
    if seconds == 0:
        return problem(
            "heartbeat", "heartbeats are off: a dead connection would not be noticed", "set heartbeat=15 in the URL"
        )
    if seconds < 5:
        return warning(
            "heartbeat", f"{seconds} s: a short pause already costs the connection", "5 to 20 s is the sensible range"
        )
    if seconds > _LONG_HEARTBEAT:
        return warning(
            "heartbeat",
            f"{seconds} s: a dead peer is noticed after up to {2 * seconds} s",
            "5 to 20 s is the sensible range",
        )
    return well("heartbeat", f"{seconds} s: a dead peer is noticed within {2 * seconds} s", seconds=seconds)


def _frame_max(size: int, wanted: int) -> Finding:
    told = f"{size} bytes: headers of one message must fit into that"
    if size < _SMALL_FRAME:
        return warning("frame_max", told, "raise frame_max on the broker (and in the URL)", bytes=size)
    lowered = f" (the broker lowered it from {wanted})" if size < wanted else ""
    return well("frame_max", told + lowered, bytes=size)


def _channel_max(count: int) -> Finding:
    if count < _FEW_CHANNELS:
        return problem(
            "channel_max",
            f"{count} channels a connection: a pool leases up to {_FEW_CHANNELS}",
            f"raise channel_max on the broker (and in the URL), or set channels_per_connection to less than {count}",
            channels=count,
        )
    return well("channel_max", f"{count} channels a connection", channels=count)
