"""Which messages are to blame when the broker closes a channel or a connection under them. Pure.

The broker names the exchange for 403 and 404, and nothing at all for 406: whoever may be to blame is published again
alone, so that the next refusal names exactly one message; the innocent ones are simply written again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Blame", "judge_channel_close", "judge_connection_close"]

_EXCHANGE = re.compile(r"exchange '(?P<name>[^']*)'")

# Reply codes with which a broker closes a channel because of one message (AMQP 0-9-1, 1.2.2 and RabbitMQ's 406).
MESSAGE_CODES = frozenset({311, 313, 403, 404, 406})
# Hard errors that one message can cause (a header frame too large is 501); 320 and 541 are never a message's fault.
POISON_CODES = frozenset({501, 502, 503, 505, 540})


@dataclass(frozen=True, slots=True)
class Blame:
    """Indexes into the messages in flight: each index stands in exactly one tuple."""

    culprits: tuple[int, ...] = ()
    suspects: tuple[int, ...] = ()
    innocents: tuple[int, ...] = field(default=())


def judge_channel_close(code: int, text: str, exchanges: Sequence[str], alone: bool) -> Blame:
    """Who is to blame for a channel.close with ``code`` and ``text``, given the exchanges of the messages in flight.

    ``alone``: only one message was in flight, published alone on purpose; then it is the culprit.
    """
    everyone = tuple(range(len(exchanges)))
    if code not in MESSAGE_CODES:
        return Blame(innocents=everyone)
    found = _EXCHANGE.search(text)
    named = found.group("name") if found else None
    suspects = tuple(index for index in everyone if exchanges[index] == named) or everyone
    if len(suspects) == 1 and (alone or named is not None):
        return Blame(culprits=suspects, innocents=tuple(index for index in everyone if index not in suspects))
    return Blame(suspects=suspects, innocents=tuple(index for index in everyone if index not in set(suspects)))


def judge_connection_close(code: int, count: int, alone: bool) -> Blame:
    """Who is to blame for a connection.close with ``code`` while ``count`` messages were in flight (0: no code came)."""
    everyone = tuple(range(count))
    if code not in POISON_CODES:
        return Blame(innocents=everyone)
    if alone and count == 1:
        return Blame(culprits=everyone)
    return Blame(suspects=everyone)
