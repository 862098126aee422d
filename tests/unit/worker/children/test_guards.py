"""The alarm and the memory cap, in this process."""

from __future__ import annotations

import resource
import signal
import threading
import time

import pytest

from rmqpool.errors import TimeLimitExceededError
from rmqpool.worker.children.guards import Alarm, MemoryCap, memory_in_use


@pytest.fixture
def alarm():
    """One that rings after 50 ms; the test's own handler of the signal comes back afterwards."""
    before, left = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    yield Alarm(0.05)
    signal.signal(signal.SIGALRM, before)
    signal.setitimer(signal.ITIMER_REAL, *left)  # pytest-timeout's


def spin(seconds: float) -> None:
    """Compute for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def test_the_alarm_rings_while_python_computes(alarm):
    """After its time, and not again."""
    start = time.monotonic()
    with pytest.raises(TimeLimitExceededError, match=r"0\.05 s"), alarm:
        spin(5)
    assert time.monotonic() - start < 2
    spin(0.1)


def test_the_alarm_is_quiet_for_whoever_is_in_time(alarm):
    """Again and again, also long after."""
    for _ in range(20):
        with alarm:
            pass
    spin(0.1)


def test_an_alarm_that_is_postponed_rings_afterwards(alarm):
    """What must not be interrupted is whole."""
    whole = []

    def hold() -> None:
        with alarm.postponed():
            spin(0.1)
            whole.append(True)
        whole.append(False)

    with pytest.raises(TimeLimitExceededError), alarm:
        hold()
    assert whole == [True]


def test_other_threads_have_nothing_to_postpone(alarm):
    """The alarm is the main thread's."""

    def hold() -> None:
        with alarm.postponed():
            held.set()
            enough.wait(5)

    held, enough = threading.Event(), threading.Event()
    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)
    try:
        with pytest.raises(TimeLimitExceededError), alarm:
            spin(5)
    finally:
        enough.set()
        thread.join()


def test_the_cap_on_memory_holds_inside_only():
    """What is told of it afterwards needs memory too."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(MemoryError), MemoryCap(memory_in_use() + (64 << 20)):
        bytearray(1 << 30)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert len(bytearray(256 << 20)) == 256 << 20


def test_memory_in_use_grows_with_what_is_held():
    """It is what the cap counts."""
    before = memory_in_use()
    held = bytearray(64 << 20)
    assert memory_in_use() - before > 60 << 20
    del held
