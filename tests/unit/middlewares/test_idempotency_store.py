"""The store in memory: one handler a key, what was handled is remembered, and it stays within its bounds."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmqpool import ConfigurationError
from rmqpool.middlewares import IdempotencyStore, InMemoryIdempotencyStore, Known


class Clock:
    """Time that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_is_new_once_and_handled_in_the_end() -> None:
    """In between it is running; a failure makes it new again."""
    store = InMemoryIdempotencyStore()
    assert isinstance(store, IdempotencyStore)
    assert [store.begin("a"), store.begin("a")] == [Known.NEW, Known.RUNNING]
    store.forget("a")
    assert store.begin("a") is Known.NEW
    store.finish("a")
    assert store.begin("a") is Known.HANDLED
    assert store.begin("b") is Known.NEW


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 3)), max_size=80), st.integers(1, 8))
def test_it_holds_no_more_than_its_size_and_nothing_for_longer_than_its_time(
    steps: list[tuple[int, float]], size: int
) -> None:
    """The youngest keys stay; against a dictionary of everything that was handled."""
    clock = Clock()
    store = InMemoryIdempotencyStore(size, 10, clock=clock)
    handled: list[tuple[str, float]] = []
    for number, pause in steps:
        clock.now += pause
        key = str(number)
        handled = [(name, at) for name, at in handled[-size:] if clock.now - at < 10]
        known = store.begin(key)
        assert (known is Known.HANDLED) == (key in [name for name, _ in handled])
        if known is Known.NEW:
            store.finish(key)
            handled.append((key, clock.now))
        assert len(store) <= size


def test_a_handler_that_hangs_holds_its_key_for_a_while_only() -> None:
    """After the patience the message may be handled again: better twice than never."""
    clock = Clock()
    store = InMemoryIdempotencyStore(patience=60, clock=clock)
    store.begin("a")
    clock.now = 59
    assert store.begin("a") is Known.RUNNING
    clock.now = 61
    assert store.begin("a") is Known.NEW


def test_of_many_threads_one_begins() -> None:
    """Whoever is told NEW is the only one."""
    store = InMemoryIdempotencyStore()
    told: list[Known] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait(10)
        told.extend(store.begin(str(number)) for number in range(200))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert told.count(Known.NEW) == 200
    assert len(told) == 1600


@pytest.mark.parametrize("options", [{"size": 0}, {"size": True}, {"seconds": 0}, {"patience": -1}])
def test_bounds_that_cannot_be_are_refused(options: dict[str, float]) -> None:
    """With the name of the option."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        InMemoryIdempotencyStore(**options)  # type: ignore[arg-type]
