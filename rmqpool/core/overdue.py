"""When a delivery has been out for too long. Pure: its age is passed in.

RabbitMQ closes the channel of a consumer that leaves a message unsettled for longer than its consumer timeout (30
minutes unless configured otherwise), and gives everything back that the channel holds:
https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout.
"""

from __future__ import annotations

import enum
from typing import Final, Literal

__all__ = ["ACT_AT", "BROKER_TIMEOUT", "WARN_AT", "Overdue", "Stage", "may_keep", "pause_between_looks", "stage"]

BROKER_TIMEOUT: Final = 1800.0
"""Seconds: RabbitMQ's own default of ``consumer_timeout``."""

WARN_AT: Final = 0.8  # of the timeout
ACT_AT: Final = 0.95
_LOOKS: Final = 50  # within one timeout: between WARN_AT and ACT_AT fall several, between ACT_AT and the end two
_LONGEST_PAUSE: Final = 10.0
_SHORTEST_PAUSE: Final = 0.05

Overdue = Literal["park", "requeue", "leave"]


class Stage(enum.StrEnum):
    """What is due for a delivery of some age."""

    FINE = "fine"
    WARN = "warn"
    GIVE_BACK = "give_back"  # nobody has begun with it: another worker may
    PARK = "park"
    REQUEUE = "requeue"
    LEAVE = "leave"  # the broker will close the channel


def stage(age: float, timeout: float, *, begun: bool, overdue: Overdue) -> Stage:
    """The stage of a delivery that arrived ``age`` seconds ago. ``begun``: a handler has, or had, it in hand."""
    if age < timeout * WARN_AT:
        return Stage.FINE
    if age < timeout * ACT_AT:
        return Stage.WARN
    return Stage(overdue) if begun else Stage.GIVE_BACK


def may_keep(age: float, seconds: float, timeout: float) -> bool:
    """Whether a delivery of some age may be kept unsettled for so many seconds more, and then begun with: it is not old then."""
    return age + seconds < timeout * WARN_AT


def pause_between_looks(timeout: float) -> float:
    """Seconds after which to look again."""
    return min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, timeout / _LOOKS))
