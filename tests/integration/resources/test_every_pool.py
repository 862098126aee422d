"""What every pool promises, of threads, of asyncio, of channels: one text for all. The names are psycopg_pool's."""

from __future__ import annotations

import threading
import time
from concurrent.futures import as_completed, wait

import pytest

from rmqpool import LeaseReleasedError, PoolClosedError, PoolTimeoutError, TooManyWaitingError
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


def test_context(make_any: Make) -> None:
    """The block gives the resource back, and the next caller gets the same one."""
    pool = make_any(max_size=2)
    first = pool.use()
    assert pool.stats().leased == 0
    assert pool.use() == first


def test_error_in_block_returns(make_any: Make) -> None:
    """An exception in the block is not swallowed, and no slot is lost by it."""
    pool = make_any(max_size=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            pool.use(fail=True)
    pool.use()
    assert pool.stats().leased == 0


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
        pool.use(timeout=0.1)
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
    wait_for(lambda: pool.stats().waiting == 1, "the impatient one")
    patient = pool.start()
    wait_for(impatient.done, "its timeout")
    pool.release(held)
    pool.release(patient.result(PATIENCE))
    with pytest.raises(PoolTimeoutError):
        impatient.result(0)
    stats = pool.stats()
    assert (stats.leased, stats.idle, stats.waiting) == (0, 1, 0)


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


def test_putconn_twice(make_any: Make) -> None:
    """Nothing that was given back can be given back at the cost of its next holder."""
    pool = make_any(max_size=1)
    held = pool.acquire()
    pool.release(held)
    if hasattr(held, "basic_publish"):  # a channel's second release does nothing
        held.release()
    else:
        with pytest.raises(LeaseReleasedError, match="released already"):
            pool.release(held)
    other = pool.acquire()
    assert pool.stats().leased == 1
    pool.release(other)


def test_broken_is_replaced(make_any: Make) -> None:
    """What its user calls broken is closed, its place is free at once, and the next caller gets a new one."""
    pool = make_any(max_size=1)
    held = pool.acquire()
    first = pool.identity(held)
    waiting = pool.start()
    wait_for(lambda: pool.stats().waiting == 1, "the next in line")
    pool.release(held, reusable=False)
    served = waiting.result(PATIENCE)
    assert pool.identity(served) != first
    pool.release(served)


def test_grow(make_any: Make) -> None:
    """As many as are wanted at a time are opened, and no more."""
    pool = make_any(max_size=4)
    held = [pool.acquire() for _ in range(3)]
    assert len({pool.identity(one) for one in held}) == 3
    for one in held:
        pool.release(one)
    stats = pool.stats()
    assert (stats.leased, stats.idle) == (0, 3)


def test_shrink(make_any: Make) -> None:
    """What is unused for max_idle is closed."""
    pool = make_any(max_size=3, max_idle=0.2)
    for one in [pool.acquire() for _ in range(3)]:
        pool.release(one)
    wait_for(lambda: pool.stats().idle == 0, "the end of what is unused")
    pool.release(pool.acquire())


def test_resize(make_any: Make) -> None:
    """Up at once, for those who wait; down as they come back."""
    pool = make_any(max_size=1)
    held = [pool.acquire()]
    waiting = [pool.start(), pool.start()]
    wait_for(lambda: pool.stats().waiting == 2, "those who wait")
    pool.resize(max_size=3)
    held += [future.result(PATIENCE) for future in waiting]
    assert pool.stats().leased == 3
    pool.resize(max_size=1)
    for one in held:
        pool.release(one)
    stats = pool.stats()
    assert (stats.leased, stats.idle) == (0, 1)


def test_drain(make_any: Make) -> None:
    """Idle ones are replaced now, leased ones when they come back."""
    pool = make_any(max_size=2)
    held, idle = pool.acquire(), pool.acquire()
    old = {pool.identity(held), pool.identity(idle)}
    pool.release(idle)
    pool.drain()
    pool.release(held)
    new = [pool.acquire(), pool.acquire()]
    assert not old & {pool.identity(one) for one in new}
    for one in new:
        pool.release(one)


def test_max_lifetime(make_any: Make) -> None:
    """A resource ends with its time, also one that is always in use."""
    pool = make_any(max_size=1, max_lifetime=0.3)
    seen = set()

    def replaced() -> bool:
        held = pool.acquire()
        seen.add(pool.identity(held))
        pool.release(held)
        return len(seen) > 1

    wait_for(replaced, "a new one")


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


def test_repr(make_any: Make) -> None:
    """It tells the state."""
    pool = make_any(max_size=3)
    held = pool.acquire()
    assert "1 of 3" in repr(pool.pool)
    pool.release(held)
    pool.close()
    assert "closed" in repr(pool.pool)
