"""Counters only grow, and a worker's figures are the sums of its consumers'."""

import threading

import pytest

from rmqpool.worker import ConsumerStats, WorkerStats
from rmqpool.worker.stats import Counters


def test_counters_lose_nothing_between_threads():
    """Four threads, ten thousand each."""
    counters = Counters()
    threads = [threading.Thread(target=lambda: [counters.add("handled") for _ in range(10_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.values()["handled"] == 40_000


def test_counters_of_threads_that_have_ended_stay():
    """One after the other: a new thread may get the ident of an old one."""
    counters = Counters()
    for _ in range(20):
        thread = threading.Thread(target=counters.add, args=("parked", 2))
        thread.start()
        thread.join()
    assert counters.values()["parked"] == 40


def test_a_counter_that_is_not_known_is_a_mistake():
    """A typing error must not count into nothing."""
    with pytest.raises(KeyError):
        Counters().add("handeld")


def test_a_worker_is_the_sum_of_its_consumers():
    """Ready only when all of them are, and it runs."""
    one = ConsumerStats(handled=2, parked=1, queue="a", ready=True, in_progress=1)
    two = ConsumerStats(handled=3, queue="b", ready=True, in_progress=2)
    stats = WorkerStats.of("w", "running", (one, two))
    assert (stats.handled, stats.parked, stats.in_progress, stats.ready) == (5, 1, 3, True)
    assert not WorkerStats.of("w", "stopping", (one, two)).ready
    assert not WorkerStats.of("w", "running", (one, ConsumerStats(queue="b"))).ready
