"""Ctrl-C at any moment of a publish: the pool goes on, nothing keeps a place in the window, closing is clean."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import rmqpool
from rmqpool import ConnectionPool, Publisher, Queue
from rmqpool.testing.waiting import wait_until

PACKAGE = str(Path(rmqpool.__file__).parent)


@pytest.fixture
def publisher(vhost_url: str, queue_name: str) -> Iterator[Publisher]:
    with ConnectionPool(vhost_url) as pool:
        one = Publisher(pool, declare=[Queue(queue_name, type="classic", dead_letter=False)])
        one.publish(queue_name, b"works")
        yield one


def interrupted_at(entry: int, call: Callable[[], object]) -> str:
    """Call it, and raise KeyboardInterrupt as the ``entry``-th function of ours begins, where CPython looks for signals.

    Returns that function; empty if so many are not called.
    """
    seen = -1
    where = ""
    before = sys.gettrace()

    def trace(frame: FrameType, event: str, _: Any) -> None:
        nonlocal seen, where
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            seen += 1
            if seen == entry:
                where = f"{frame.f_code.co_filename}:{frame.f_code.co_name}"
                raise KeyboardInterrupt

    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return where
    finally:
        sys.settrace(before)
    return ""


@pytest.mark.parametrize("name", ["publish", "submit", "publish_many"])
def test_an_interrupt_at_any_function_leaves_the_pool_as_it_was(
    publisher: Publisher, queue_name: str, name: str
) -> None:
    """The next publish is confirmed at once, and the window is empty afterwards."""
    calls: dict[str, Callable[[], object]] = {
        "publish": lambda: publisher.publish(queue_name, b"interrupted", timeout=2),
        "submit": lambda: publisher.submit(queue_name, b"interrupted", timeout=2),
        "publish_many": lambda: publisher.publish_many(queue_name, [b"interrupted"] * 2, timeout=2),
    }
    entry = 0
    while where := interrupted_at(entry, calls[name]):
        started = time.monotonic()
        publisher.publish(queue_name, b"next", timeout=10)
        assert time.monotonic() - started < 5, f"interrupted at {where}, it took its whole time"
        wait_until(
            lambda: publisher.pool.stats().unsettled == 0,
            f"the window to be empty after an interrupt at {where}",
            timeout=5,
        )
        entry += 1
    assert entry > 20
    assert publisher.pool.close(5)
