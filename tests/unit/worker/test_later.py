"""The background thread: in order, on time, and gone when closed."""

import threading
import time

from rmqpool.worker.later import Later


def test_functions_run_in_order_on_one_thread():
    """None of them on the caller's."""
    later = Later("background")
    ran: list[tuple[int, str]] = []
    for number in range(5):
        later.call(lambda number=number: ran.append((number, threading.current_thread().name)))
    assert later.drain(5)
    assert ran == [(number, "background") for number in range(5)]
    assert later.close(5)


def test_a_delay_is_waited_for():
    """And does not hold up what is due now."""
    later = Later("background")
    done = threading.Event()
    start = time.monotonic()
    later.call(done.set, 0.2)
    assert later.drain(5)
    assert not done.is_set()
    assert done.wait(5)
    assert time.monotonic() - start >= 0.2
    assert later.close(5)


def test_hurry_runs_everything_now():
    """What waits, and what comes."""
    later = Later("background")
    ran: list[int] = []
    later.call(lambda: ran.append(1), 60)
    later.hurry()
    later.call(lambda: ran.append(2), 60)
    assert later.drain(5)
    assert ran == [1, 2]
    assert later.close(5)


def test_an_exception_does_not_end_the_thread(caplog):
    """It is logged."""
    later = Later("background")
    later.call(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    assert later.drain(5)
    assert "ZeroDivisionError" in caplog.text
    assert later.close(5)


def test_nothing_runs_after_close():
    """What was waiting is forgotten."""
    later = Later("background")
    ran: list[int] = []
    later.call(lambda: ran.append(1), 0.1)
    assert later.close(5)
    later.call(lambda: ran.append(2))
    assert not later.drain(0.2)
    assert ran == []
