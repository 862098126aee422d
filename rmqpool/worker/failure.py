"""An exception as texts. Whatever its ``__str__``, its class or its traceback do, this returns."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

from rmqpool.core.disposition import Ended
from rmqpool.errors import DecodeError, MessageError, TimeLimitExceededError

__all__ = ["ChildError", "Failure", "as_raised", "describe", "reason_of", "unanswerable"]

_FRAMES = 60
_MOST = 64 * 1024  # characters kept of a text; far more than fits into a header frame


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a message is parked: ``reason`` as in the header of that name, and the exception's texts (may be empty)."""

    reason: str
    type: str = ""
    message: str = ""
    traceback: str = ""

    def __str__(self) -> str:
        told = ": ".join(text for text in (self.type, self.message) if text)
        return f"{self.reason} ({told[:500]})" if told else self.reason


class ChildError(Exception):
    """How a handling ended in another process, which is where ``failure`` was described. Never shown to users.

    ``kind`` is the class that was raised, or the nearest of its bases that this process has.
    """

    def __init__(self, ended: Ended, failure: Failure, kind: type[BaseException] = Exception) -> None:
        super().__init__(str(failure))
        self.ended = ended
        self.failure = failure
        self.kind = kind

    def stand_in(self) -> BaseException:
        """An exception of that class, with the text only: for a retry policy, which looks at classes, and for middleware."""
        if self.ended is Ended.CANCELLED:
            return asyncio.CancelledError(self.failure.reason)
        if self.ended is Ended.UNDECODABLE:
            return DecodeError(self.failure.message, reason=self.failure.reason.removeprefix("decode:"))
        try:
            return self.kind.__new__(self.kind, self.failure.message)
        except Exception:  # noqa: BLE001 - a class with a will of its own
            return self


def as_raised(error: BaseException) -> BaseException:
    """``error`` for those who look at it: a stand-in for what was raised in a child process."""
    return error.stand_in() if type(error) is ChildError else error


def unanswerable(error: BaseException) -> Failure:
    """Why what a handler returned cannot be the reply."""
    if type(error) is ChildError:
        return error.failure
    told = describe("reply:encode", error, with_traceback=not issubclass(type(error), MessageError))
    return replace(told, message=f"what the handler returned cannot be a reply: {told.message}")


def reason_of(error: BaseException) -> str:
    """The reason that stands in the header of a message whose handler raised ``error``."""
    return "time-limit" if issubclass(type(error), TimeLimitExceededError) else "exception"


def describe(reason: str, error: BaseException, *, with_traceback: bool = True) -> Failure:
    """The texts of ``error``; a part that cannot be had is replaced by a remark. The catcher's own frame is left out."""
    return Failure(
        reason,
        _guarded(lambda: _type_name(type(error)), "(the exception's class has no name)"),
        _guarded(lambda: _text(error), "(the exception cannot be turned into text)"),
        _guarded(lambda: _trace(error), "(the traceback cannot be formatted)") if with_traceback else "",
    )


def _type_name(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text(error: BaseException) -> str:
    return str(error)[:_MOST]


def _trace(error: BaseException) -> str:
    raised_in = error.__traceback__.tb_next if error.__traceback__ is not None else None
    told = traceback.TracebackException(type(error), error, raised_in, limit=-_FRAMES, compact=True)
    text = "".join(told.format())
    return text if len(text) <= _MOST else text[: _MOST // 2] + "\n…\n" + text[-_MOST // 2 :]


def _guarded(produce: Callable[[], str], otherwise: str) -> str:
    try:
        text = produce()
        return text if type(text) is str else str.__str__(text)
    except BaseException:  # noqa: BLE001 - user code runs here: also a __str__ that raises SystemExit is only a bad text
        return otherwise
