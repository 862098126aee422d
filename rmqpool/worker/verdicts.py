"""What a handler raises to say what becomes of its message. They are verdicts, not errors.

They stand outside the tree of ``rmqpool.errors`` on purpose: ``except RmqpoolError`` around a publish inside a handler
must not swallow a verdict.
"""

from __future__ import annotations

import math

from rmqpool.core.retry import LONGEST_DELAY, LONGEST_HELD
from rmqpool.errors import ConfigurationError

__all__ = ["Postpone", "Reject", "Retry", "Skip"]

_SHORTEST = 0.01  # seconds: nothing goes round in a hot loop


class Retry(Exception):  # noqa: N818 - a verdict
    """Try this message again, after ``delay`` seconds (at most seven days).

    With a :class:`RetryPolicy` it counts as one of the policy's attempts, and None is the policy's own delay; after the
    last attempt the message is parked. Without one it goes back to its queue, and the broker counts the attempt towards
    its delivery limit: ``delay`` is at most 60 then, and the worker holds the message back, unacknowledged, and one
    place of the prefetch with it (a worker that stops gives it back at once); None is a short pause that grows with
    the attempts (0.1 to 5 s); a longer one parks the message, with a reason that says so.

    Raises ConfigurationError for another delay, and for a number as the reason, which was meant as the delay; uncaught,
    that parks the message as any exception does.
    """

    def __init__(self, reason: str = "", *, delay: float | None = None) -> None:
        super().__init__(reason)
        if isinstance(reason, int | float):
            raise ConfigurationError(
                f"Retry({reason!r}): the first value is the reason, a text; write Retry(delay={reason!r})"
            )
        self.reason = str(reason)
        self.delay = delay
        number = isinstance(delay, int | float) and not isinstance(delay, bool)
        if delay is not None and not (number and math.isfinite(delay) and 0 <= delay <= LONGEST_DELAY):
            raise ConfigurationError(f"Retry(delay={delay!r}): give seconds from 0 to {LONGEST_DELAY:g}")


class Reject(Exception):  # noqa: N818 - a verdict
    """This message can never be handled: park it, with ``reason`` in its headers as ``rejected:<reason>``."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = str(reason)


class Skip(Exception):  # noqa: N818 - a verdict
    """Nothing has to be done for this message: acknowledge it, and count it as ``skipped``."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = str(reason)


class Postpone(Exception):  # noqa: N818 - a verdict
    """Not now, and the message is not to blame: the worker keeps it, unacknowledged, and handles it again after ``delay``
    seconds (at most 60). No attempt is counted; it takes a place of the prefetch meanwhile. A worker that stops gives it back.

    ``keep=False`` puts it back into its queue at once, for other workers: brokers before RabbitMQ 4.3 count that towards
    the delivery limit of a quorum queue. For middleware, mostly: nothing limits how often it is raised for one message.

    Raises ConfigurationError for another delay.
    """

    def __init__(self, reason: str = "", *, delay: float = 1.0, keep: bool = True) -> None:
        super().__init__(reason)
        self.reason = str(reason)
        self.keep = keep
        number = isinstance(delay, int | float) and not isinstance(delay, bool)
        if not (number and 0 <= delay <= LONGEST_HELD):
            raise ConfigurationError(f"Postpone(delay={delay!r}): give seconds from 0 to {LONGEST_HELD:g}")
        self.delay = max(_SHORTEST, delay)
