"""What becomes of a delivery that was not handled well. Pure: the worker asks here, and does what it is told.

Two laws. Such a delivery is never acknowledged before its copy is safe in the dead-letter queue. Whatever goes back to its
queue waits first, longer with each attempt, so that nothing goes round in a hot loop.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

from rmqpool.core.backoff import Backoff
from rmqpool.core.retry import LONGEST_HELD

__all__ = ["Action", "Disposition", "Ended", "after_failed_parking", "decide", "requeue_pause"]

OnError = Literal["park", "requeue"]

_PAUSES = Backoff(0.1, 5.0)
_PARKING_PAUSES = Backoff(1.0, 30.0)


class Ended(enum.StrEnum):
    """How a handling ended whose handler did not return."""

    FAILED = "failed"  # the handler raised
    UNDECODABLE = "undecodable"  # the handler was never called
    RETRY = "retry"
    REJECTED = "rejected"
    POISONED = "poisoned"  # it killed as many processes as one message may
    CANCELLED = "cancelled"  # the worker stopped it: it did not fail


class Action(enum.StrEnum):
    """What to do with the delivery."""

    LEAVE = "leave"  # the handler settled it itself
    PARK = "park"
    RETRY = "retry"  # by the consumer's policy
    REQUEUE = "requeue"  # it failed: reject, which every broker version counts
    AGAIN = "again"  # hold it, and try to move it once more
    GIVE_BACK = "give_back"  # it did not fail: nack, which RabbitMQ does not count from 4.3 on
    DEAD_LETTER = "dead_letter"  # reject it: the broker itself moves it


@dataclass(frozen=True, slots=True)
class Disposition:
    """An action; ``delay`` seconds are waited before a REQUEUE, or before the next attempt of a RETRY."""

    action: Action
    delay: float = 0.0


def decide(
    ended: Ended,
    *,
    on_error: OnError,
    settled: bool,
    attempt: int,
    delay: float | None = None,
    has_policy: bool = False,
) -> Disposition:
    """The disposition of one handling. ``settled``: the handler settled it itself. ``delay`` is what RETRY asked for.

    ``has_policy``: the consumer has a retry policy, and ``delay`` is what that decided after a failure or RETRY; None
    gives up. Without one, a RETRY of more than LONGEST_HELD seconds is parked: nobody could hold it back for so long.

    A body that cannot be decoded is always parked: it would be the same at the next attempt.
    """
    if settled:
        return Disposition(Action.LEAVE)
    if ended is Ended.CANCELLED:
        return Disposition(Action.GIVE_BACK)
    if has_policy and ended in (Ended.FAILED, Ended.RETRY):
        return Disposition(Action.PARK) if delay is None else Disposition(Action.RETRY, delay)
    if ended is Ended.RETRY and delay is not None and delay > LONGEST_HELD:
        return Disposition(Action.PARK)
    if ended is Ended.RETRY:
        return Disposition(Action.REQUEUE, requeue_pause(attempt) if delay is None else delay)
    if ended is Ended.FAILED and on_error == "requeue":
        return Disposition(Action.REQUEUE, requeue_pause(attempt))
    return Disposition(Action.PARK)


def requeue_pause(attempt: int) -> float:
    """Seconds before a failed delivery goes back: 0.1 after the first attempt, doubled with each, at most 5."""
    return _PAUSES.ceiling(max(1, min(attempt, 64)))


def after_failed_parking(
    *, may_be_written: bool, broker_dead_letters: bool, failures: int, hold: bool = False
) -> Disposition:
    """What to do when the copy could not be made safe. Never an ack.

    ``may_be_written``: the broker did not answer (not sent, unknown), so its dead-letter queue is not known to be
    missing or full; ``broker_dead_letters``: the queue's dead-letter target was declared. With both, the broker's own
    dead-lettering is the way out; otherwise the message stays, and goes back after a pause. ``failures`` counts them.
    ``hold``: its queue may drop what comes back to it too often (20 times where RabbitMQ 4 is told nothing), so it is not
    given back, and the copy is tried again.
    """
    if may_be_written and broker_dead_letters:
        return Disposition(Action.DEAD_LETTER)
    return Disposition(Action.AGAIN if hold else Action.REQUEUE, _PARKING_PAUSES.ceiling(max(1, min(failures, 64))))
