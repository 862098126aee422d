"""What the pool for threads promises of its threads and its process: they end, they survive a fork, they hold nothing up."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from rmqpool import LeaseReleasedError, PoolTimeoutError, ResourcePool
from rmqpool.testing.waiting import wait_until
from tests.integration.resources.conftest import Make
from tests.integration.resources.world import PATIENCE, Thing, World, pool_threads, wait_for


def make(world: World, **options: object) -> ResourcePool[Thing]:
    return ResourcePool(world.open_blocking, world.close, world.check_blocking, name="tested", **options)  # type: ignore[arg-type]


def drop(pools: list[ResourcePool[Thing]]) -> None:
    """Nobody holds them any more; wait until their threads have ended."""
    pools.clear()

    def ended() -> bool:
        gc.collect()
        return pool_threads() == []

    wait_for(ended, "the end of the threads")


def test_close_no_threads() -> None:
    """After close no thread of the pool is left."""
    world = World()
    pool = make(world, min_size=2)
    pool.open(timeout=PATIENCE)
    assert pool_threads()
    assert pool.close(PATIENCE)
    assert pool_threads() == []


def test_release_after_close_closes() -> None:
    """Also when the threads have ended: one is started for it, and ends."""
    world = World()
    pool = make(world)
    thing = pool.acquire()
    assert pool.close(PATIENCE)
    pool.release(thing)
    wait_for(lambda: thing.log == ["closed"], "its end")
    wait_for(lambda: pool_threads() == [], "the end of the thread")


def test_del_stops_threads() -> None:
    """A pool that is dropped without close says so, closes what was idle, and its threads end."""
    world = World()
    pools = [make(world, min_size=2)]
    pools[0].open(timeout=PATIENCE)
    with pytest.warns(ResourceWarning, match="'tested' was dropped without close"):
        drop(pools)
    assert world.open == []


def test_del_while_opening_fails_for_ever() -> None:
    """Attempts that will never succeed do not keep a dropped pool alive."""
    world = World()
    world.failing = True
    pools = [make(world, min_size=1)]
    with pytest.raises(PoolTimeoutError):
        pools[0].open(timeout=0.1)
    assert pool_threads()
    with pytest.warns(ResourceWarning):
        drop(pools)


def test_stuck_threads_are_replaced_and_bounded() -> None:
    """Opens that hang take their threads with them; others serve, and there are never many."""
    world = World()
    world.may_open.clear()
    pool = make(world, max_size=2, open_timeout=0.05, workers=1)
    with pytest.raises(PoolTimeoutError):
        pool.acquire(timeout=1)
    assert world.attempts >= 2
    assert len(pool_threads()) <= 1 + 2 + 2
    world.may_open.set()
    pool.release(pool.acquire(PATIENCE))
    assert pool.close(PATIENCE)
    wait_for(lambda: pool_threads() == [], "the end of the threads")


def test_a_thread_that_starts_slowly_holds_up_no_other_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opens that are asked for at once begin at once, each on its thread; close waits for the late one."""
    starting, go_on, in_time = threading.Event(), threading.Event(), []
    start = threading.Thread.start

    def start_slowly(thread: threading.Thread) -> None:
        if thread.name.startswith("tested-") and not starting.is_set():
            starting.set()
            in_time.append(go_on.wait(PATIENCE))
        start(thread)

    pool = make(World(), max_size=2, growth=0)
    with ThreadPoolExecutor(1) as other, monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", start_slowly)
        late = threading.Thread(target=lambda: pool.release(pool.acquire(PATIENCE)))
        start(late)
        assert starting.wait(PATIENCE)
        patched.setattr(threading.Thread, "start", start)
        pool.release(other.submit(pool.acquire, PATIENCE).result(PATIENCE / 2))
        go_on.set()
        late.join()
    assert in_time == [True]
    assert pool.close(PATIENCE)
    assert pool_threads() == []


def test_interrupt_while_waiting(make_for_threads: Make) -> None:
    """Ctrl-C ends the wait and leaves the queue: the resource goes to the next."""
    pool = make_for_threads(max_size=1)
    held = pool.acquire()

    def interrupt() -> None:
        wait_until(lambda: pool.stats().waiting == 1, "the main thread", timeout=PATIENCE)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        pool.acquire(PATIENCE)
    thread.join()
    assert pool.stats().waiting == 0
    figures = pool.figures()
    assert (figures["granted"], figures["timed_out"], figures["refused"]) == (1, 0, 0)
    pool.release(held)
    pool.release(pool.acquire(PATIENCE))


def in_child(function: Callable[[], object]) -> int:
    """Fork, run it in the child, and wait for its end: its exit code."""
    child = os.fork()
    if not child:
        code = 1
        try:
            function()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_fork() -> None:
    """The child starts empty, opens its own, and never closes what is the parent's; the parent notices nothing."""
    world = World()
    pool = make(world, min_size=1, max_size=2)
    pool.open(timeout=PATIENCE)
    held = pool.acquire()
    lease = pool.lease()
    lent = lease.__enter__()

    def work() -> None:
        assert pool.stats().size == 0
        pool.release(held)  # the parent's: nothing happens
        lease.close()
        pool.open(timeout=PATIENCE)
        with pool.lease(PATIENCE) as mine:
            assert mine not in (held, lent)
            assert pool.stats().leased == 1
        with pytest.raises(LeaseReleasedError):
            pool.release(mine)
        assert pool.close(PATIENCE)
        assert mine.log == ["closed"]
        assert held.log == lent.log == []

    assert in_child(work) == 0
    assert pool.stats().leased == 2
    lease.close()
    pool.release(held)
    assert world.open == [held, lent]
    pool.close(PATIENCE)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_fork_under_load() -> None:
    """At whatever moment of the other threads: the child's pool works at once."""
    world = World()
    pool = make(world, max_size=2)
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            with pool.lease(PATIENCE):
                pass

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()

    def work() -> None:
        with pool.lease(PATIENCE):
            pass
        assert pool.close(PATIENCE)

    codes = [in_child(work) for _ in range(10)]
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert codes == [0] * 10
    assert pool.close(PATIENCE)


SCRIPT = """
import os, sys, threading
from rmqpool import ResourcePool

def close(thing):
    os.write(1, b"closed\\n")  # at once, whoever else writes

hang = threading.Event()
pool = ResourcePool(object, close, min_size=2, open_timeout=60)
pool.open()
if sys.argv[1] == "held":
    thing = pool.acquire()
if sys.argv[1] == "stuck":
    stuck = ResourcePool(hang.wait, min_size=1, open_timeout=60)
    stuck.open(wait=False)
"""


@pytest.mark.parametrize("how", ["idle", "held", "stuck"])
def test_the_end_of_the_interpreter_does_not_hang(how: str) -> None:
    """What is idle is closed; what is held or hangs holds nothing up."""
    command = [sys.executable, "-W", "error", "-c", SCRIPT, how]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.split() == ["closed"] * (1 if how == "held" else 2)


def test_a_thousand_threads() -> None:
    """All are served by a handful of resources."""
    pool = make(World(), max_size=4)
    served: list[int] = []

    def work() -> None:
        with pool.lease(PATIENCE) as thing:
            served.append(thing.number)

    threads = [threading.Thread(target=work) for _ in range(1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(served) == 1000
    assert set(served) <= {1, 2, 3, 4}
    assert pool.stats().leased == 0
    pool.close(PATIENCE)
