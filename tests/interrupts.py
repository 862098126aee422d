"""A signal handler that raises, at one place of the pools' code after the other."""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any

__all__ = ["Stop", "interrupts"]


class Stop(BaseException):
    """What a signal handler raises, as KeyboardInterrupt."""


@functools.cache
def _operations(code: CodeType) -> dict[int, str]:
    return {one.offset: one.opname for one in dis.get_instructions(code)}


class _Interrupt:
    """Raises :class:`Stop` in the pool's code, the ``number``-th time that CPython looks for signals there: after a call of C."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.where = ""
        self._last: dict[FrameType, str] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        ours = "/rmqpool/" in code.co_filename
        if self.where or not (ours or code.co_qualname == "Condition.__enter__"):  # that one leaves its lock held
            return None
        if event == "call" and _finalizes(frame):  # of what another test has left: Python ignores what is raised there
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "call" and frame.f_back in self._last:
            self._last[frame.f_back] = "a call of Python"
        if event == "opcode":
            if self._last.get(frame, "").startswith("CALL"):
                self.left -= 1
                if not self.left:
                    self.where = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                    self._last.clear()
                    raise Stop
            self._last[frame] = _operations(frame.f_code)[frame.f_lasti]
        return self


def interrupts(work: Callable[[], object]) -> Iterator[str]:
    """Does the work again and again, interrupted at one place after the other; yields each place when it was."""
    for number in range(1, 1000):
        interrupt, before = _Interrupt(number), sys.gettrace()
        sys.settrace(interrupt)
        try:
            with suppress(Stop, ZeroDivisionError):
                work()
        finally:
            sys.settrace(before)
        if not interrupt.where:
            return
        yield interrupt.where


def _finalizes(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False
