"""benchmarks/clients/clock.py: the measured window of a client."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.clients.clock import Clock, Tally, peak_memory


def test_a_clock_that_was_not_stopped_has_no_result() -> None:
    """A client that forgot its clock fails; it does not look fast."""
    clock = Clock()
    clock.start()
    with pytest.raises(RuntimeError, match="did not start and stop"):
        _ = clock.seconds


def test_a_clock_measures_wall_and_cpu_time_of_its_block() -> None:
    """Work inside the block appears in both figures, and CPU time is not longer than the block on one thread."""
    with Clock() as clock:
        sum(range(2_000_000))
    assert 0 < clock.cpu_seconds <= clock.seconds + 0.05


@given(st.integers(min_value=1, max_value=200))
def test_the_last_delivery_and_only_that_ends_the_tally(expected: int) -> None:
    """count_one is true for the expected number, not before, and the clock is stopped then."""
    clock = Clock()
    tally = Tally(clock, expected)
    assert [tally.count_one() for _ in range(expected)] == [False] * (expected - 1) + [True]
    assert tally.done.is_set()
    assert clock.seconds >= 0


def test_deliveries_that_come_again_do_not_end_the_tally_twice() -> None:
    """A redelivery behind the last message leaves the result as it is."""
    clock = Clock()
    tally = Tally(clock, 1)
    tally.count_one()
    first = clock.seconds
    assert not tally.count_one()
    assert clock.seconds == first


def test_a_tally_counts_from_many_threads() -> None:
    """Eight threads together reach the number exactly once."""
    tally = Tally(Clock(), 8000)
    last: list[bool] = []

    def work() -> None:
        last.extend(tally.count_one() for _ in range(1000))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert last.count(True) == 1
    assert len(last) == 8000


def test_peak_memory_grows_with_what_is_held() -> None:
    """The figure is in bytes: holding 50 MB more raises it by about that."""
    before = peak_memory()
    held = bytearray(b"x") * (before + 50_000_000)
    assert peak_memory() >= before + 40_000_000
    assert held[-1] == ord("x")
