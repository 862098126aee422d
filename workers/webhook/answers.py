"""What an endpoint's answer means for the message: delivered, to be tried again (and when), or refused for good. Pure."""

from __future__ import annotations

import enum
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["Answer", "meaning_of", "retry_after"]

_AGAIN = frozenset({408, 425, 429})  # RFC 9110, RFC 8470, RFC 6585: later it may be taken


class Answer(enum.Enum):
    """What becomes of the message."""

    DELIVERED = "delivered"
    AGAIN = "again"
    REFUSED = "refused"


def meaning_of(status: int) -> Answer:
    """By the status code. Redirects are not followed, so they are refusals: the address is wrong."""
    if 200 <= status < 300:
        return Answer.DELIVERED
    return Answer.AGAIN if status in _AGAIN or status >= 500 else Answer.REFUSED


def retry_after(header: str | None, now: datetime, longest: float) -> float | None:
    """The seconds that a Retry-After header asks for (a number, or a date), at most ``longest``; None if there is none.

    ``now`` has a time zone. Source: RFC 9110, 10.2.3.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(longest, float(text[:12]))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # the latter for a year, or a zone, of twenty digits
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(longest, max(0.0, (moment - now).total_seconds()))
