"""Who borrowed something from a pool, where, and what they do now: for the reports of leaks, of any pool.

A borrower is a thread, or a task of an event loop.
"""

from __future__ import annotations

import itertools
import linecache
import os
import sys
import threading
import traceback
import weakref
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

__all__ = ["Borrower", "Calls", "all_are_remembered", "remember_all", "told"]

Calls = tuple[tuple[CodeType, int], ...]
"""A stack: code and the offset of the instruction, the newest call first."""

_NUMBERS = itertools.count(1)
_CALLS = 8  # of a stack that are told
_OURS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


class Borrower:
    """One acquire: who asked, and where. Compared by identity.

    ``number`` grows with each of this process; ``overdue``: it was reported as held for too long. To be made on the
    borrower's own thread; ``task`` is the one that it runs in, for pools of an event loop.
    """

    __slots__ = ("__weakref__", "_task", "calls", "name", "number", "overdue", "owner")

    def __init__(self, task: asyncio.Task[Any] | None = None) -> None:
        self.number = next(_NUMBERS)
        self.overdue = False
        self.owner = threading.current_thread()
        self._task = None if task is None else weakref.ref(task)
        self.name = f"thread {self.owner.name}" if task is None else f"task {task.get_name()}"
        self.calls = _calls()

    @property
    def thread(self) -> str:
        """The name of the borrower's thread."""
        return self.owner.name

    def borrowed_at(self) -> str:
        """The borrower's stack at acquire, newest call last."""
        return told(self.calls)

    def now_at(self) -> str:
        """What the borrower does at this moment, newest call last; empty if it has ended."""
        if self._task is not None:
            task = self._task()
            return "" if task is None or task.done() else _stack_of(task)
        frame = sys._current_frames().get(self.owner.ident or 0) if self.owner.is_alive() else None
        return "".join(traceback.format_stack(frame, limit=_CALLS)) if frame is not None else ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} of {self.name}>"


_EVERYBODY = threading.Event()


def remember_all() -> None:
    """From now on every pool of this process remembers who borrows: for tests, which tell of what they left."""
    _EVERYBODY.set()


def all_are_remembered() -> bool:
    """Whether :func:`remember_all` was called."""
    return _EVERYBODY.is_set()


def told(calls: Calls) -> str:
    """A stack with its source lines, the newest call last."""
    for name in {code.co_filename for code, _ in calls}:
        linecache.checkcache(name)
    summary = [traceback.FrameSummary(code.co_filename, _line(code, at), code.co_name) for code, at in reversed(calls)]
    return "".join(traceback.format_list(summary))


def _calls() -> Calls:
    """The borrower's, without those of ours. Every lease pays for this, few are ever told: lines are looked up then."""
    newest: FrameType | None = sys._getframe(2)
    while newest is not None and newest.f_code.co_filename.startswith(_OURS):
        newest = newest.f_back
    frame: FrameType | None = newest or sys._getframe(2)
    calls: list[tuple[CodeType, int]] = []
    while frame is not None and len(calls) < _CALLS:
        calls.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return tuple(calls)


def _line(code: CodeType, at: int) -> int:
    return next((line for begin, end, line in code.co_lines() if begin <= at < end and line), code.co_firstlineno)


def _stack_of(task: asyncio.Task[Any]) -> str:
    """Where a task waits: ``Task.get_stack`` tells the outermost coroutine only."""
    stack = traceback.StackSummary()
    waits: Any = task.get_coro()
    while waits is not None:
        frame = getattr(waits, "cr_frame", None) or getattr(waits, "gi_frame", None) or getattr(waits, "ag_frame", None)
        if frame is not None:
            stack.append(traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        waits = (
            getattr(waits, "cr_await", None) or getattr(waits, "gi_yieldfrom", None) or getattr(waits, "ag_await", None)
        )
    return "".join(traceback.format_list(stack[-_CALLS:]))
