"""What the log says of rows that fail: one line for each queue and reason in a minute, and then how many more there were."""

from __future__ import annotations

import logging
from typing import Final, NamedTuple

from rmqpool.core.repeats import Repeats
from rmqpool.outbox.outflow import Failure

__all__ = ["FailureLog"]

_LOGGER = logging.getLogger("rmqpool.outbox.relay")
_EVERY: Final = 60.0  # seconds
_KINDS: Final = 200  # told apart at a time


class _Kind(NamedTuple):
    exchange: str
    routing_key: str
    reason: str
    is_given_up: bool


class FailureLog:
    """Every failure is a line of DEBUG; the first of its kind is a WARNING. Belongs to the relay's thread."""

    def __init__(self) -> None:
        self._repeats: Repeats[_Kind] = Repeats(_EVERY, _KINDS)

    def failed(self, failure: Failure, now: float, next_attempt: float | None) -> None:
        """A row failed. ``next_attempt`` is seconds from now, None if it is given up."""
        row = failure.row
        kind = _Kind(row.exchange, row.routing_key, failure.reason, next_attempt is None)
        first = self._repeats.is_first(kind, now)
        _LOGGER.log(
            logging.WARNING if first else logging.DEBUG,
            "%s stalls: message %s to %s was %s (%s); %s",
            row.stall,
            row.message_id,
            _place(kind),
            failure.reason,
            failure.error,
            "it is given up, and lies in the dead table"
            if next_attempt is None
            else f"next attempt in {next_attempt:.1f} s",
        )

    def tell_over(self, now: float) -> None:
        """Say how many more there were of each kind whose minute has passed; ``inf``: of all."""
        for kind, more in self._repeats.over(now):
            if kind is None:
                _LOGGER.warning("%d more messages to other places failed in the last minute", more)
            else:
                fate = ", and are given up" if kind.is_given_up else ""
                _LOGGER.warning(
                    "%d more messages to %s were %s in the last minute%s", more, _place(kind), kind.reason, fate
                )


def _place(kind: _Kind) -> str:
    return f"{kind.routing_key} of exchange {kind.exchange}" if kind.exchange else kind.routing_key
