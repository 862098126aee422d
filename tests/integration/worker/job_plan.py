"""Ten thousand jobs, one in a hundred of each way to fail, and where each must end. Pure: by its number and the policy alone.

A job's script says what its handler does at each call, one letter a call; the last one is repeated. What the worker makes of
that is worked out here once more, by other code than the worker's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

__all__ = ["SCRIPTS", "Ending", "body_of", "ending_of", "script_of"]

SCRIPTS: Final[dict[int, str]] = {  # by the last two digits of the number; all others succeed at once
    3: "r",  # an exception, each time
    13: "rrk",  # an exception twice, then it succeeds
    23: "s",  # over the time limit, each time
    33: "sk",  # over the time limit once
    43: "c",  # a segfault, each time: poison
    53: "ck",  # a segfault once
    63: "u",  # a body that cannot be decoded: the handler is never called
    67: "g",  # an exception that the policy gives up on
    73: "h",  # deaf to the time limit: the hard one, each time
    83: "rcs",  # an exception, then a segfault, then over the time limit
    93: "crk",  # a segfault, then an exception, then it succeeds
}


@dataclass(frozen=True)
class Ending:
    """Where a job ends. ``calls``: the attempt that each call of the handler was told, in order. ``reason``: why it was
    parked, "" if it was handled. ``attempt``: the number that its dead letter says; 0 if it was handled.
    """

    calls: tuple[int, ...]
    reason: str = ""
    attempt: int = 0


def script_of(number: int) -> str:
    """What the handler does at each call; "k" (it succeeds) for most."""
    return SCRIPTS.get(number % 100, "k")


def body_of(number: int, folder: str) -> tuple[bytes, str]:
    """Body and content type of a job's message."""
    if script_of(number) == "u":
        return b'{"number": %d,' % number, "application/json"
    return b'{"number": %d, "folder": "%s"}' % (number, folder.encode()), "application/json"


def ending_of(number: int, *, max_attempts: int, poison_after: int) -> Ending:
    """Where the job must end, by the documentation of RetryPolicy and of processes."""
    script, calls, attempt, deaths = script_of(number), list[int](), 1, 0
    if script == "u":
        return Ending((), "decode:corrupt", 1)
    while True:
        step = script[min(len(calls), len(script) - 1)]
        calls.append(attempt)
        deaths = deaths + 1 if step in "ch" else 0  # a child that tells how it ended has not died
        match step:
            case "k":
                return Ending(tuple(calls))
            case "g":
                return Ending(tuple(calls), "exception", attempt)
            case "c" if deaths < poison_after:
                continue  # at once in a fresh child: no attempt is over
            case "c":
                return Ending(tuple(calls), "poison:signal 11", attempt)
            case "h" if deaths >= poison_after:
                return Ending(tuple(calls), "time-limit:hard", attempt)
        if attempt == max_attempts:
            reasons: dict[Any, str] = {"r": "exception", "s": "time-limit", "h": "time-limit:hard"}
            return Ending(tuple(calls), reasons[step], attempt)
        attempt += 1
