"""What the threads of a resource pool promise: calls at their time and in its order, errors that stop nothing, an end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from rmqpool.resources.workers import Task, Workers
from rmqpool.testing.waiting import wait_until

PATIENCE = 60.0  # seconds that a busy machine may take


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers("scheduled", limit=2, most_stuck=2)
    yield workers
    workers.stop()
    assert workers.join(time.monotonic() + PATIENCE)


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("scheduled-")}


def test_nothing_runs_before_it_is_asked_for(workers: Workers) -> None:
    """Neither a worker nor the one that keeps the time."""
    assert names() == set()
    assert not workers.has_threads


def test_sched(workers: Workers) -> None:
    """Calls come at their moment, never before it, in the order of their moments, whatever the order of asking."""
    began, called = time.monotonic(), list[tuple[int, float]]()

    def call(number: int) -> Callable[[], None]:
        return lambda: called.append((number, time.monotonic() - began))

    for number in (3, 1, 4, 2):
        workers.call_at(began + number * 0.05, call(number))
    wait_until(lambda: len(called) == 4, "all calls", timeout=PATIENCE)
    assert [number for number, _ in called] == [1, 2, 3, 4]
    assert all(seconds >= number * 0.05 for number, seconds in called)


def test_sched_thread(workers: Workers) -> None:
    """One thread keeps the time for all."""
    called: list[str] = []
    for _ in range(5):
        workers.call_at(time.monotonic(), lambda: called.append(threading.current_thread().name))
    wait_until(lambda: len(called) == 5, "all calls", timeout=PATIENCE)
    assert set(called) == names() == {"scheduled-time"}


def test_sched_error(workers: Workers, caplog: pytest.LogCaptureFixture) -> None:
    """A call that fails is logged, and those after it come."""
    called = threading.Event()
    now = time.monotonic()
    with caplog.at_level(logging.ERROR, "rmqpool"):
        workers.call_at(now + 0.01, lambda: 1 / 0)
        workers.call_at(now + 0.02, called.set)
        assert called.wait(PATIENCE)
    assert "ZeroDivisionError" in caplog.text


def test_first_task_rescheduling(workers: Workers) -> None:
    """What is to come sooner than all that was asked for is not late because of it."""
    called: list[str] = []
    workers.call_at(time.monotonic() + 3600, lambda: called.append("later"))
    wait_until(lambda: "scheduled-time" in names(), "the one that keeps the time", timeout=PATIENCE)
    workers.call_at(time.monotonic() + 0.01, lambda: called.append("soon"))
    wait_until(lambda: called == ["soon"], "the sooner one", timeout=PATIENCE)


def test_empty_queue_timeout() -> None:
    """Who has nothing to do ends at once when told to, and does not wait for what was to come."""
    workers, done = Workers("scheduled", limit=2, most_stuck=2), threading.Event()
    workers.call_at(time.monotonic() + 3600, lambda: None)
    workers.submit(Task(done.set, lambda value, error: None))
    assert done.wait(PATIENCE)
    workers.stop()
    assert workers.join(time.monotonic() + PATIENCE)
    assert not workers.has_threads
    assert names() == set()


def test_a_call_that_takes_too_long_is_given_up_once(workers: Workers) -> None:
    """Its caller is told in time; what it brings late goes where late things go, and its thread serves again or ends."""
    go_on, told, late = threading.Event(), list[object](), list[object]()
    workers.submit(Task(lambda: go_on.wait(PATIENCE), lambda value, error: told.append(error), 0.05, late.append))
    wait_until(lambda: told, "the time to be over", timeout=PATIENCE)
    assert isinstance(told[0], TimeoutError)
    go_on.set()
    wait_until(lambda: late == [True], "what comes late", timeout=PATIENCE)
    assert len(told) == 1


def test_as_many_threads_as_work_is_there_for_and_no_more(workers: Workers) -> None:
    """Two calls at a time, with a limit of two; the third waits for one of their threads."""
    go_on, running, most, lock = threading.Event(), 0, 0, threading.Lock()
    ended: list[object] = []

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go_on.wait(PATIENCE)
        with lock:
            running -= 1

    for _ in range(5):
        workers.submit(Task(work, lambda value, error: ended.append(error)))
    wait_until(lambda: running == 2, "two at a time", timeout=PATIENCE)
    go_on.set()
    wait_until(lambda: ended == [None] * 5, "all of them", timeout=PATIENCE)
    assert most == 2
