"""What waking promises: everybody is woken, whoever leaves early keeps nobody asleep, and a wait ends in time."""

import threading
import time

import pytest

from rmqpool.wakeups import Sleeper, wake


def sleeping(sleepers: list[Sleeper], woken: list[bool]) -> list[threading.Thread]:
    """A thread for each, running."""
    threads = [
        threading.Thread(target=lambda sleeper=sleeper: woken.append(sleeper.sleep(20.0))) for sleeper in sleepers
    ]
    for thread in threads:
        thread.start()
    return threads


def test_everybody_is_woken() -> None:
    """Fifty threads, one call."""
    sleepers, woken = [Sleeper() for _ in range(50)], list[bool]()
    threads = sleeping(sleepers, woken)
    wake(sleepers)
    for thread in threads:
        thread.join(20)
    assert woken == [True] * 50


def test_a_wait_ends_in_time() -> None:
    """False, not a hang."""
    began = time.monotonic()
    assert not Sleeper().sleep(0.01)
    assert time.monotonic() - began < 5


def test_who_is_woken_before_it_sleeps_does_not_sleep() -> None:
    """The call may come first."""
    sleeper = Sleeper()
    wake([sleeper])
    assert sleeper.sleep(0.0)


def test_who_left_keeps_nobody_asleep() -> None:
    """One timed out before the call: those behind it are woken all the same."""
    gone, sleepers, woken = Sleeper(), [Sleeper() for _ in range(3)], list[bool]()
    gone.sleep(0.0)
    threads = sleeping(sleepers, woken)
    wake([gone, *sleepers])
    for thread in threads:
        thread.join(20)
    assert woken == [True] * 3


def test_an_exception_in_the_wait_passes_the_call_on() -> None:
    """A KeyboardInterrupt in one thread: the others go on."""

    class Interrupted:
        def acquire(self, timeout: float) -> bool:
            raise KeyboardInterrupt

        def release(self) -> None:
            """Nobody is there."""

    interrupted, after = Sleeper(), Sleeper()
    interrupted._lock = Interrupted()  # type: ignore[assignment]
    wake([interrupted, after])
    with pytest.raises(KeyboardInterrupt):
        interrupted.sleep(1.0)
    assert after.sleep(0.0)
