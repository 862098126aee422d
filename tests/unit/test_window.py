"""What the window promises: its bounds hold, every wait ends, and closing lets nobody slip in."""

import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from rmqpool.window import Window


def soon() -> float:
    return time.monotonic() + 5.0


def test_it_takes_as_many_messages_as_it_may() -> None:
    """The bound in messages is exact."""
    window = Window(2, 100)
    assert [window.try_enter(1) for _ in range(3)] == [True, True, False]


def test_it_takes_as_many_bytes_as_it_may() -> None:
    """The bound in bytes is exact."""
    window = Window(10, 100)
    assert [window.try_enter(60), window.try_enter(41), window.try_enter(40)] == [True, False, True]


def test_a_message_larger_than_the_window_goes_alone() -> None:
    """It could never be sent otherwise."""
    window = Window(10, 100)
    assert window.try_enter(1000)
    assert not window.try_enter(1)
    window.leave(1, 1000)
    assert window.try_enter(1)
    assert not window.try_enter(1000)


def test_waiting_for_room_ends_at_its_deadline() -> None:
    """False, not a hang."""
    window = Window(1, 100)
    window.try_enter(1)
    assert window.enter(1, time.monotonic() + 0.02) is False


def test_a_waiter_gets_in_when_somebody_leaves() -> None:
    """No polling: the leaver wakes it."""
    window = Window(1, 100)
    window.try_enter(1)
    entered: list[bool] = []
    thread = threading.Thread(target=lambda: entered.append(window.enter(1, soon())))
    thread.start()
    window.leave(1, 1)
    thread.join(5)
    assert entered == [True]
    assert window.messages == 1


def test_closing_ends_every_wait_for_room() -> None:
    """And nothing is let in from then on."""
    window = Window(1, 100)
    window.try_enter(1)
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(window.enter(1, soon()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    window.close()
    for thread in threads:
        thread.join(5)
    assert answers == [False, False, False]
    window.leave(1, 1)
    assert not window.try_enter(1)
    assert window.closed


def test_wait_empty_tells_whether_all_left_in_time() -> None:
    """True at once if nothing is there, False at the deadline if something stays."""
    window = Window(5, 100)
    assert window.wait_empty(time.monotonic()) is True
    window.try_enter(1)
    assert window.wait_empty(time.monotonic() + 0.02) is False
    threading.Timer(0.02, window.leave, (1, 1)).start()
    assert window.wait_empty(soon()) is True


def test_close_if_empty_leaves_a_busy_window_open() -> None:
    """A connection that retires still takes what came in the same moment."""
    window = Window(5, 100)
    window.try_enter(1)
    assert not window.close_if_empty()
    assert window.try_enter(1)
    window.leave(2, 2)
    assert window.close_if_empty()
    assert not window.try_enter(1)


def test_close_when_empty_closes_at_the_deadline_anyway() -> None:
    """It tells that something was left."""
    window = Window(5, 100)
    window.try_enter(1)
    assert window.close_when_empty(time.monotonic() + 0.02) is False
    assert window.closed


def test_a_listener_is_called_once_when_something_leaves() -> None:
    """Event loops wait without a thread."""
    window = Window(1, 100)
    calls: list[str] = []
    window.call_on_space(lambda: calls.append("at once"))
    assert calls == ["at once"]
    window.try_enter(1)
    window.call_on_space(lambda: calls.append("later"))
    assert calls == ["at once"]
    window.leave(1, 1)
    window.try_enter(1)
    window.leave(1, 1)
    assert calls == ["at once", "later"]


def test_closing_calls_every_listener() -> None:
    """An event loop's waiter ends too."""
    window = Window(1, 100)
    window.try_enter(1)
    calls: list[int] = []
    for number in range(3):
        window.call_on_space(lambda number=number: calls.append(number))
    window.close()
    assert calls == [0, 1, 2]


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 50))))
def test_its_bounds_hold_whatever_comes_and_goes(steps: list[tuple[bool, int]]) -> None:
    """Never more than 4 messages, and never more than 100 bytes."""
    window, inside = Window(4, 100), list[int]()
    for enters, size in steps:
        if enters:
            fits = not inside or (len(inside) < 4 and sum(inside) + size <= 100)
            assert window.try_enter(size) is fits
            if fits:
                inside.append(size)
        elif inside:
            window.leave(1, inside.pop())
        assert window.messages == len(inside)


def test_threads_never_exceed_the_bound_and_all_get_through() -> None:
    """No lost wake-up: eight threads push 400 messages each through a window of three."""
    window = Window(3, 1000)
    highest: list[int] = []
    failures: list[int] = []

    def push() -> None:
        for _ in range(400):
            if not window.enter(1, soon()):
                failures.append(1)
                return
            highest.append(window.messages)
            window.leave(1, 1)

    threads = [threading.Thread(target=push) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not failures
    assert len(highest) == 3200
    assert max(highest) <= 3
    assert window.messages == 0
