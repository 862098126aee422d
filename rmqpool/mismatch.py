"""RabbitMQ's words about arguments that differ (406), turned into what differs. Pure; nothing is asked of the broker.

RabbitMQ names the first difference only, and cuts its text at 255 bytes (AMQP's short string).
"""

from __future__ import annotations

import re

from rmqpool.topology import Exchange, Queue

__all__ = ["CUT_OFF", "explain_mismatch"]

CUT_OFF = "unknown (the broker's text is cut off)"

_ARGUMENT = re.compile(r"inequivalent arg '(?P<argument>[^']*)' for ")
_VALUES = re.compile(
    r": received (?P<received>none\b.*?|the value '.*?|'.*?) but current is (?P<current>.+)\Z", re.DOTALL
)
_TYPED = re.compile(r"the value '(?P<value>.*)' of type '[^']*'", re.DOTALL)


def explain_mismatch(text: str, declared: Queue | Exchange | None = None) -> dict[str, tuple[str, str]]:
    """Argument -> (what was declared, what is there), both as text, ``none`` for an absent one.

    ``text`` is the reply text of the 406. ``declared`` fills in what the broker's text does not hold any more because
    it was cut off. Empty if the text speaks of something else.
    """
    found = _ARGUMENT.search(text)
    if found is None:
        return {}
    argument = found["argument"]
    values = _VALUES.search(text, found.end())
    if values is None:
        return {argument: (_declared(declared, argument), CUT_OFF)}
    return {argument: (_plain(values["received"]), _plain(values["current"]))}


def _plain(told: str) -> str:
    typed = _TYPED.fullmatch(told)
    if typed is not None:
        return typed["value"]
    if told.startswith("none"):
        return "none"
    if len(told) >= 2 and told[0] == told[-1] == "'":
        return told[1:-1]
    return CUT_OFF


def _declared(declared: Queue | Exchange | None, argument: str) -> str:
    if declared is None:
        return CUT_OFF
    arguments = declared.declare_arguments()
    value = arguments.get(argument, getattr(declared, argument, None))
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
