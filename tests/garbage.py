"""Garbage collected for sure: while another thread collects, ``gc.collect()`` returns at once and has done nothing."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

from rmqpool.testing.waiting import wait_until

__all__ = ["collect", "collect_until"]


def collect(*references: weakref.ref[Any]) -> None:
    """Collect until what they refer to is gone; nobody may hold it any more. ServicesError after a minute."""
    collect_until(lambda: all(one() is None for one in references), "the end of what nobody holds")


def collect_until(condition: Callable[[], object], what: str) -> None:
    """Collect again and again until ``condition`` is true; ServicesError after a minute."""

    def holds() -> object:
        gc.collect()
        return condition()

    wait_until(holds, what, timeout=60)
