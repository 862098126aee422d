"""Taking by a deadline: what comes too late goes back, and threads that wait in vain are bounded."""

from __future__ import annotations

import contextvars
import threading
import time

import pytest

from rmqpool.outbox.adapters.waiting import taken_by
from rmqpool.testing.waiting import wait_until

WHO = contextvars.ContextVar("WHO", default="nobody")


class Slow:
    """A pool that lends when it is told to."""

    def __init__(self) -> None:
        self.lends = threading.Event()
        self.taking = 0
        self.back = 0

    def take(self) -> str:
        self.taking += 1
        assert self.lends.wait(60)
        return WHO.get()

    def undo(self, _: str) -> None:
        self.back += 1


def test_what_comes_too_late_goes_back_and_threads_are_bounded() -> None:
    """Twenty callers in vain are two threads; each of those gives back what it got, and others are served then."""
    slow, permits = Slow(), threading.BoundedSemaphore(2)
    for _ in range(20):
        with pytest.raises(TimeoutError):
            taken_by(time.monotonic() + 0.01, slow.take, slow.undo, permits)
    assert slow.taking == 2
    slow.lends.set()
    wait_until(lambda: slow.back == 2, "what came too late to be back", timeout=60)
    token = WHO.set("me")
    assert taken_by(time.monotonic() + 60, slow.take, slow.undo, permits) == "me"
    WHO.reset(token)
    assert slow.back == 2


def test_what_is_raised_reaches_the_caller() -> None:
    """And leaves a place for the next one."""
    permits = threading.BoundedSemaphore(1)

    def fail() -> str:
        raise ValueError("no")

    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            taken_by(time.monotonic() + 60, fail, lambda _: None, permits)
    assert taken_by(time.monotonic() + 60, lambda: "yes", lambda _: None, permits) == "yes"
