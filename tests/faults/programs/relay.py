"""A relay in a process of its own, that dies with SIGKILL at a named point, or lives until it is told to stop.

Arguments: AMQP URL, database URL, options as JSON, the point (or "never"), and how often the point is passed before.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from faults.programs.common import tell
from rmqpool.outbox import Relay
from rmqpool.outbox.claim import Claim
from rmqpool.outbox.failing import Failing
from rmqpool.outbox.outflow import Outflow
from rmqpool.outbox.relay_work import Delete
from rmqpool.outbox.settling import Settling

# Where it dies: the class, its method, and whether before or after it. Only calls that have something to do count.
POINTS: dict[str, tuple[type, str, bool]] = {
    "after fetch, before send": (Outflow, "send", False),
    "after send, before confirm": (Outflow, "send", True),
    "after confirm, before delete": (Failing, "confirmed", False),
    "delete asked for": (Failing, "confirmed", True),
    "after delete, before it is known": (Settling, "_finished", False),
    "after delete": (Settling, "_finished", True),
    "lanes taken": (Claim, "take_lanes", True),
}


def die_at(point: str, passes: int) -> None:
    """Make the point deadly."""
    kind, name, after = POINTS[point]
    original: Callable[..., Any] = getattr(kind, name)
    passed = itertools.count()

    def deadly(*arguments: Any) -> Any:
        result = original(*arguments) if after else None
        counts = not isinstance(arguments[0], Settling) or isinstance(arguments[1], Delete)
        if counts and next(passed) >= passes:
            os.kill(os.getpid(), signal.SIGKILL)
        return result if after else original(*arguments)

    setattr(kind, name, deadly)


def main() -> None:
    amqp, database, options, point, passes = sys.argv[1:]
    if point != "never":
        die_at(point, int(passes))
    relay = Relay(amqp, database, **json.loads(options))
    signal.signal(signal.SIGTERM, lambda *_: relay.request_stop())
    relay.start()
    tell("started")
    relay.wait()
    tell(
        "stopped", **{name: getattr(relay.stats(), name) for name in ("confirmed", "removed", "sent_again", "in_hand")}
    )


if __name__ == "__main__":
    main()
