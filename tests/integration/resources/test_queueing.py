"""What every pool promises to those who borrow and wait: of threads, of asyncio, of channels, and the null pool."""

from __future__ import annotations

import threading
import time
from concurrent.futures import as_completed, wait

import pytest

from rmqpool import PoolClosedError, PoolTimeoutError, TooManyWaitingError
from tests.integration.resources.conftest import Make
from tests.integration.resources.world import PATIENCE, elapsed, wait_for


def test_concurrent_use_never_exceeds_max_size(make_any: Make) -> None:
    """Twelve callers share three, and all are served."""
    pool = make_any(max_size=3)
    lock, held, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal held, most
        for _ in range(5):
            one = pool.acquire()
            with lock:
                held += 1
                most = max(most, held)
            with lock:
                held -= 1
            pool.release(one)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    stats = pool.stats()
    assert most <= 3
    assert (stats.leased, stats.waiting) == (0, 0)
    assert stats.idle <= 3


def test_queue(make_any: Make) -> None:
    """Who waits is served first in, first out, by direct hand-off."""
    pool = make_any(max_size=1)
    held = pool.acquire()
    first = pool.identity(held)
    waiting = []
    for number in range(1, 5):
        waiting.append(pool.start())
        wait_for(lambda number=number: pool.stats().waiting == number, "the next in line")
    pool.release(held)
    for place, future in enumerate(waiting):
        served = future.result(PATIENCE)
        assert pool.identity(served) == first
        assert [other.done() for other in waiting[place + 1 :]] == [False] * (len(waiting) - place - 1)
        pool.release(served)
    assert pool.stats().leased == 0


def test_queue_timeout(make_any: Make) -> None:
    """Who waits too long is told with the numbers, and leaves the queue."""
    pool = make_any(max_size=1)
    held = pool.acquire()
    with pytest.raises(PoolTimeoutError, match="1 of 1"):
        pool.acquire(timeout=0.1)
    assert pool.stats().waiting == 0
    pool.release(held)
    pool.release(pool.acquire())


def test_queue_timeout_override(make_any: Make) -> None:
    """The pool's timeout is a default: a call's own counts."""
    pool = make_any(max_size=1, timeout=0.1)
    held = pool.acquire()
    with pytest.raises(PoolTimeoutError, match=r"within 0\.1 s"):
        pool.use(timeout=None)
    patient = pool.start(timeout=PATIENCE)
    time.sleep(0.3)  # longer than the default
    assert not patient.done()
    pool.release(held)
    pool.release(patient.result(PATIENCE))


def test_dead_client(make_any: Make) -> None:
    """A caller that gave up is skipped: the resource goes to the next, and none is lost."""
    pool = make_any(max_size=1)
    held = pool.acquire()
    impatient = pool.start(timeout=0.2)
    wait_for(lambda: pool.stats().waiting == 1 or impatient.done(), "the impatient one")
    patient = pool.start()
    wait_for(lambda: impatient.done() and pool.stats().waiting == 1, "its timeout")
    pool.release(held)
    pool.release(patient.result(PATIENCE))
    with pytest.raises(PoolTimeoutError):
        impatient.result(0)
    stats = pool.stats()
    assert (stats.leased, stats.idle, stats.waiting) == (0, int(pool.keeps_idle), 0)


def test_max_waiting(make_any: Make) -> None:
    """One caller too many is refused at once, and nobody else is disturbed."""
    pool = make_any(max_size=1, max_waiting=2)
    held = pool.acquire()
    waiting = [pool.start(), pool.start()]
    wait_for(lambda: pool.stats().waiting == 2, "those who may wait")
    with pytest.raises(TooManyWaitingError, match="max_waiting=2"):
        pool.acquire()
    pool.release(held)
    for future in as_completed(waiting, PATIENCE):
        pool.release(future.result())


def test_queue_size(make_any: Make) -> None:
    """Who was refused is counted, and the bound leaves those alone who need not wait."""
    pool = make_any(max_size=1, max_waiting=1)
    held = pool.acquire()
    waiting = pool.start()
    wait_for(lambda: pool.stats().waiting == 1, "the one who may wait")
    with pytest.raises(TooManyWaitingError):
        pool.acquire()
    assert pool.figures()["refused"] == 1
    pool.release(held)
    pool.release(waiting.result(PATIENCE))
    pool.release(pool.acquire())


def test_no_queue_timeout(make_any: Make) -> None:
    """The caller's deadline counts as well when it waits for nobody but a server that does not answer."""
    pool = make_any(max_size=1)
    pool.deafen_server()
    with pytest.raises(PoolTimeoutError):
        pool.acquire(timeout=0.1)
    assert pool.stats().waiting == 0
    pool.mend_server()
    pool.release(pool.acquire())


def test_closed_getconn(make_any: Make) -> None:
    """A closed pool says so at once."""
    pool = make_any(max_size=1)
    pool.release(pool.acquire())
    assert pool.close()
    with pytest.raises(PoolClosedError):
        pool.acquire()
    assert pool.close()


def test_closed_queue(make_any: Make) -> None:
    """Whoever waits when the pool closes is told at once."""
    pool = make_any(max_size=1)
    held = pool.acquire()
    waiting = pool.start()
    wait_for(lambda: pool.stats().waiting == 1, "the one who waits")
    assert elapsed(pool.close) < PATIENCE
    with pytest.raises(PoolClosedError):
        waiting.result(PATIENCE)
    pool.release(held)


def test_spike(make_any: Make) -> None:
    """Fifty callers at once: all are served, no more than max_size are opened."""
    pool = make_any(max_size=5)
    futures = [pool.start() for _ in range(50)]
    served = 0
    while futures:
        done, _ = wait(futures, timeout=PATIENCE, return_when="FIRST_COMPLETED")
        assert done, "nobody was served"
        for future in done:
            pool.release(future.result(0))
            futures.remove(future)
            served += 1
    stats = pool.stats()
    assert served == 50
    assert (stats.leased, stats.waiting) == (0, 0)
    assert stats.idle <= 5
