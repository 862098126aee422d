"""What the pool for threads promises to a caller whose signal handler raises, at whatever moment: no slot is lost."""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any

import pytest

from rmqpool import LeaseReleasedError, ResourcePool
from tests.integration.resources.world import PATIENCE, Thing, World, wait_for


class Stop(BaseException):
    """What a signal handler raises, as KeyboardInterrupt."""


@functools.cache
def operations(code: CodeType) -> dict[int, str]:
    return {one.offset: one.opname for one in dis.get_instructions(code)}


class Interrupt:
    """Raises :class:`Stop` in the pool's code, the ``number``-th time that CPython looks for signals there: after a call of C."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.where = ""
        self._last: dict[FrameType, str] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if self.where or "/rmqpool/" not in frame.f_code.co_filename or frame.f_code.co_name == "__del__":
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
            self._last[frame] = operations(frame.f_code)[frame.f_lasti]
        return self


def interrupts(work: Callable[[], object]) -> Iterator[str]:
    """Does the work again and again, interrupted at one place after the other; yields each place when it was."""
    for number in range(1, 1000):
        interrupt, before = Interrupt(number), sys.gettrace()
        sys.settrace(interrupt)
        try:
            with suppress(Stop, ZeroDivisionError):
                work()
        finally:
            sys.settrace(before)
        if not interrupt.where:
            return
        yield interrupt.where


@pytest.mark.parametrize(
    "options",
    [{}, {"reset": True}, {"check": True, "check_after_idle": 0}],
    ids=["plain", "reset", "checked"],
)
@pytest.mark.parametrize("way", ["block", "failing block", "acquire", "discard"])
def test_an_interrupt_loses_no_slot(way: str, options: dict[str, Any]) -> None:
    """Wherever it comes in acquire or release, all resources are to be had again, and each that is not was closed."""
    world = World()
    if "check" in options:
        options = {**options, "check": world.check_blocking}
    if "reset" in options:
        options = {**options, "reset": world.reset}
    pool: ResourcePool[Thing] = ResourcePool(world.open_blocking, world.close, max_size=2, timeout=PATIENCE, **options)

    def work() -> None:
        if way == "acquire":
            thing = pool.acquire()
            try:
                pool.release(thing)
            except Stop:
                with suppress(LeaseReleasedError):  # it was not given back, or it was
                    pool.release(thing)
                raise
            return
        lease = pool.lease()
        with lease as thing:
            assert "closed" not in thing.log
            if way == "failing block":
                raise ZeroDivisionError
            if way == "discard":
                lease.discard()

    with pool:
        for where in interrupts(work):
            wait_for(lambda: settled(pool), f"the end of what began before {where}")
        both = [pool.acquire(), pool.acquire()]
        for thing in both:
            pool.release(thing)
        wait_for(
            lambda: settled(pool) and len(world.open) == pool.stats().size, "the closing of what is not in the pool"
        )


def settled(pool: ResourcePool[Thing]) -> bool:
    stats = pool.stats()
    return stats.leased == stats.tended == stats.opening == stats.waiting == 0
