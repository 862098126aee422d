"""The values that a ledger hands out: decisions, refusals, figures. Plain data, no rule is in here.

Import them from ``rmqpool.core.ledger``, which decides what they say.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, NamedTuple, TypeVar

__all__ = ["AbandonOutcome", "Abandoned", "Decision", "Grant", "Lease", "Refusal", "Snapshot", "Totals"]

R = TypeVar("R", bound=Hashable)
W = TypeVar("W", bound=Hashable)


class Refusal(Enum):
    """Why a waiter will never be granted anything."""

    CLOSED = "closed"
    TOO_MANY_WAITING = "too many waiting"
    OPEN_FAILED = "open failed"


class AbandonOutcome(Enum):
    """What ``Ledger.abandon`` found."""

    WITHDRAWN = "withdrawn"
    """It still waited; it will not be granted anything."""
    GIVEN_BACK = "given back"
    """It had been granted a resource in the same moment; the resource went back, or on to the next."""
    GONE = "gone"
    """It had ended already: refused, released, or its resource was lost."""


class Grant(NamedTuple, Generic[R, W]):
    """``waiter`` holds ``resource`` from now on; it was unused for ``idle_seconds`` (0.0 when handed over directly)."""

    waiter: W
    resource: R
    idle_seconds: float = 0.0


class Decision(NamedTuple, Generic[R, W]):
    """What the caller has to do, in this order.

    ``grants``: give each waiter its resource. ``refuse``: fail each waiter, with the reason. ``discard``: close each
    resource; the ledger has forgotten it. ``open``: start that many opens, and report each of them exactly once, with
    ``opened``, ``open_failed`` or ``open_withdrawn``. They hold their room from now on, so they may be delayed.
    ``check``: check each resource, and report it with ``tended``; only where the ledger was made with ``check_after``.
    """

    grants: tuple[Grant[R, W], ...] = ()
    refuse: tuple[tuple[W, Refusal], ...] = ()
    discard: tuple[R, ...] = ()
    open: int = 0
    check: tuple[R, ...] = ()


@dataclass(frozen=True, slots=True)
class Abandoned(Generic[R, W]):
    """The answer to ``Ledger.abandon``: what was found, and what to do."""

    outcome: AbandonOutcome
    decision: Decision[R, W]


class Lease(NamedTuple, Generic[R, W]):
    """``waiter`` holds ``resource`` for ``seconds`` already."""

    waiter: W
    resource: R
    seconds: float


@dataclass(slots=True)
class Totals:
    """Counts since the ledger was made. ``lost`` resources died by themselves and are not in ``discarded``.

    ``taken``: those of ``granted`` that were lent at once, by ``take``. ``failed_checks``: a check or a reset ended badly.
    ``used_seconds``: held until release, all leases together. ``away``: of those that timed out or were refused, how many
    while opening failed.
    """

    granted: int = 0
    taken: int = 0
    given_back: int = 0
    timed_out: int = 0
    cancelled: int = 0
    refused: int = 0
    away: int = 0
    opened: int = 0
    open_failures: int = 0
    discarded: int = 0
    lost: int = 0
    failed_checks: int = 0
    used_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The figures of one moment. Ages are in seconds, 0.0 when there is none; ``totals`` is a copy."""

    capacity: int
    minimum: int
    max_waiting: int
    leased: int
    idle: int
    tended: int
    opening: int
    waiting: int
    generation: int
    closed: bool
    oldest_lease: float
    oldest_waiter: float
    failures_in_a_row: int
    last_open_error: BaseException | None = field(repr=False)
    totals: Totals
