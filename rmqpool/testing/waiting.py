"""Waiting for a condition that has no event to wait on: polled, and always with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

from rmqpool.testing.errors import ServicesError

__all__ = ["wait_until"]

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, *, timeout: float, interval: float = 0.02) -> T:
    """Calls `condition` every `interval` seconds until its result is true, and returns that result.

    Raises `ServicesError` after `timeout` seconds: "Waited 5 s in vain for WHAT."
    """
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise ServicesError(f"Waited {timeout:g} s in vain for {what}.")
        time.sleep(interval)
