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


def test_it_tells_how_full_it_is_and_how_long_the_first_in_line_waits() -> None:
    """By messages or by bytes, whichever is more."""
    window = Window(4, 100)
    assert (window.fullness, window.oldest_wait(time.monotonic())) == (0, 0)
    assert window.try_enter(10)
    assert window.fullness == 0.25
    assert window.try_enter(80)
    assert window.fullness == 0.9
    place = window.line_up(50, lambda: True)
    assert window.oldest_wait(place.since + 3) == 3
    window.give_up(place)
    assert window.oldest_wait(place.since + 3) == 0


def test_waiting_for_room_ends_at_its_deadline() -> None:
    """False, not a hang."""
    window = Window(1, 100)
    window.try_enter(1)
    assert window.enter(1, time.monotonic() + 0.02) is False
    assert window.waiting == 0


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


class Waiter:
    """One in the line, as an event loop waits: counts its calls, and may be gone when it is called."""

    def __init__(self, window: Window, size: int = 1, *, gone: bool = False) -> None:
        self.calls = 0
        self.gone = gone
        self.place = window.line_up(size, self.wake)

    def wake(self) -> bool:
        self.calls += 1
        return not self.gone


def full_window(messages: int) -> Window:
    """No room for another message; plenty for bytes."""
    window = Window(messages, 100)
    assert all(window.try_enter(1) for _ in range(messages))
    return window


def test_a_waiter_is_called_once_and_has_its_place() -> None:
    """Event loops wait without a thread; nobody takes the place between the call and the entering."""
    window = full_window(1)
    waiter = Waiter(window)
    assert waiter.calls == 0
    window.leave(1, 1)
    assert waiter.calls == 1
    assert not window.try_enter(1)
    assert window.claim(waiter.place)
    assert (window.messages, window.waiting) == (1, 0)


def test_a_waiter_that_finds_room_is_called_at_once() -> None:
    """Somebody left between its look and its lining up."""
    window = Window(1, 100)
    waiter = Waiter(window)
    assert waiter.calls == 1
    assert window.claim(waiter.place)


def test_waiters_that_gave_up_are_forgotten() -> None:
    """A full window does not collect them, and none of them takes a place from one who still waits."""
    window = full_window(2)
    for waiter in [Waiter(window) for _ in range(300)]:
        assert not window.claim(waiter.place)  # its deadline passed
        assert waiter.calls == 0
    assert window.waiting == 0
    alive = Waiter(window)
    window.leave(1, 1)
    assert alive.calls == 1
    assert window.claim(alive.place)


def test_a_waiter_that_was_cancelled_after_its_call_passes_its_place_on() -> None:
    """The next one in the line has it."""
    window = full_window(1)
    first, second = Waiter(window), Waiter(window)
    window.leave(1, 1)
    assert (first.calls, second.calls) == (1, 0)
    window.give_up(first.place)
    assert second.calls == 1
    assert window.claim(second.place)
    assert window.messages == 1


def test_a_waiter_that_is_gone_passes_its_place_on() -> None:
    """Its event loop was closed: the next one is called, and a late claim of the first finds nothing."""
    window = full_window(1)
    first, second = Waiter(window, gone=True), Waiter(window)
    window.leave(1, 1)
    assert (first.calls, second.calls) == (1, 1)
    assert not window.claim(first.place)
    assert window.claim(second.place)
    assert window.messages == 1


def test_a_small_message_does_not_wait_behind_a_large_one() -> None:
    """Who fits into the room there is goes first."""
    window = Window(10, 100)
    window.try_enter(40)
    window.try_enter(60)
    large, small = Waiter(window, 90), Waiter(window, 10)
    window.leave(1, 40)
    assert (large.calls, small.calls) == (0, 1)
    window.leave(1, 60)
    assert large.calls == 1


def test_as_many_small_messages_are_let_in_as_fit() -> None:
    """One large message that leaves makes room for several."""
    window = Window(10, 100)
    window.try_enter(100)
    waiters = [Waiter(window, 30) for _ in range(4)]
    window.leave(1, 100)
    assert [waiter.calls for waiter in waiters] == [1, 1, 1, 0]


def test_closing_calls_every_waiter() -> None:
    """An event loop's waiter ends too, and is not let in; nor is one who comes later."""
    window = full_window(1)
    waiters = [Waiter(window) for _ in range(3)]
    window.close()
    waiters.append(Waiter(window))
    assert [waiter.calls for waiter in waiters] == [1, 1, 1, 1]
    assert not any(window.claim(waiter.place) for waiter in waiters)
    assert window.waiting == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["wait", "leave", "claim", "give up"]), st.integers(1, 120), st.integers(0, 1000)),
        max_size=60,
    )
)
def test_no_room_is_lost_whoever_waits_or_gives_up(steps: list[tuple[str, int, int]]) -> None:
    """Whatever waits does not fit, and when all have left the count is exact."""
    window, inside, waiters = Window(4, 100), list[int](), list[Waiter]()
    for step, size, choice in steps:
        if step == "wait":
            waiters.append(Waiter(window, size))
        elif step == "leave" and inside:
            window.leave(1, inside.pop(choice % len(inside)))
        elif waiters and step in ("claim", "give up"):
            waiter = waiters.pop(choice % len(waiters))
            if step == "give up":
                window.give_up(waiter.place)
            elif window.claim(waiter.place):
                inside.append(waiter.place.size)
        called = [waiter.place.size for waiter in waiters if waiter.calls]
        held = inside + called
        assert window.messages == len(held)
        assert window.waiting == len(waiters) - len(called)
        for waiter in waiters:
            fits = not held or (len(held) < 4 and sum(held) + waiter.place.size <= 100)
            assert waiter.calls or not fits


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


def test_one_that_is_too_large_gets_in_although_others_never_stop() -> None:
    """It is passed by as many as do not harm; then everybody waits for it."""
    window = Window(10_000, 1000)
    assert window.try_enter(10)
    called: list[str] = []
    large = window.line_up(2000, lambda: called.append("large") or True)
    passed = 0
    while window.try_enter(10):
        window.leave(1, 10)
        passed += 1
        assert passed < 5000, "it never got in"
    small = window.line_up(10, lambda: called.append("small") or True)
    window.leave(1, 10)  # the last one that was on its way
    assert called == ["large"]
    assert window.claim(large)
    window.leave(1, 2000)
    assert called == ["large", "small"]
    assert window.claim(small)


def test_who_waited_for_a_large_one_that_gives_up_is_let_in() -> None:
    """Nobody is left in the line without a reason."""
    window = Window(10_000, 1000)
    assert window.try_enter(10)
    large = window.line_up(2000, lambda: True)
    while window.try_enter(10):
        window.leave(1, 10)
    called: list[str] = []
    small = window.line_up(10, lambda: called.append("small") or True)
    window.give_up(large)
    assert called == ["small"]
    assert window.claim(small)
    assert window.messages == 2
