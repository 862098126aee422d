"""Who borrowed something from a pool, where, and what they do now: for the reports of leaks, of any pool.

A borrower is a thread, or a task of an event loop.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import traceback
import weakref
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

__all__ = ["Borrower", "all_are_remembered", "remember_all"]

_NUMBERS = itertools.count(1)
_CALLS = 8  # of a stack that are told
_OURS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "")


class Borrower:
    """One acquire: who asked, and where. Compared by identity.

    ``number`` grows with each of this process; ``overdue``: it was reported as held for too long. To be made on the
    borrower's own thread; ``task`` is the one that it runs in, for pools of an event loop.
    """

    __slots__ = ("__weakref__", "_task", "borrower", "name", "number", "overdue", "owner")

    def __init__(self, task: asyncio.Task[Any] | None = None) -> None:
        self.number = next(_NUMBERS)
        self.overdue = False
        self.owner = threading.current_thread()
        self._task = None if task is None else weakref.ref(task)
        self.name = f"thread {self.owner.name}" if task is None else f"task {task.get_name()}"
        # Source lines are looked up when somebody reads them: every lease pays for this, few are ever reported.
        self.borrower = traceback.StackSummary.extract(
            traceback.walk_stack(_callers_frame()), limit=_CALLS, lookup_lines=False
        )
        self.borrower.reverse()

    @property
    def thread(self) -> str:
        """The name of the borrower's thread."""
        return self.owner.name

    def borrowed_at(self) -> str:
        """The borrower's stack at acquire, newest call last."""
        return "".join(traceback.format_list(self.borrower))

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


def _callers_frame() -> FrameType | None:
    """The newest frame that is none of ours."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    return frame or sys._getframe(2)


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
