"""The runs: a spike, acquiring and releasing without contention, and a crowd over a small pool."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from benchmarks.pools.fake import Factory
from benchmarks.pools.job import CROWD_SECONDS, OPENING, USE, PoolJob, run_of
from benchmarks.pools.tasks import POOLS as FOR_TASKS
from benchmarks.pools.tasks import TaskPool
from benchmarks.pools.threads import POOLS as FOR_THREADS
from benchmarks.pools.threads import ThreadPool
from benchmarks.report import PoolRun

__all__ = ["RUNS"]

_BATCHES = 500  # short ones, so that some of them are disturbed by nothing
_clock = time.perf_counter


def spike_of_threads(job: PoolJob) -> PoolRun:
    """All callers at once, each for one use; a new pool for each repetition."""
    waits: list[list[float]] = []
    took: list[float] = []
    opened: list[int] = []
    for _ in range(job.repeat):
        factory = Factory(OPENING)
        pool = FOR_THREADS[job.pool](factory, job.minimum, job.maximum)
        gate = threading.Barrier(job.callers)
        call = partial(_use_once, pool, gate)
        with ThreadPoolExecutor(job.callers) as callers:
            times = [future.result() for future in [callers.submit(call) for _ in range(job.callers)]]
        waits.append([got - asked for asked, got, _ in times])
        took.append(max(done for _, _, done in times) - min(asked for asked, _, _ in times))
        opened.append(factory.opened)
        pool.close()
    return run_of(waits, statistics.median(took), statistics.median(opened))


def _use_once(pool: ThreadPool, gate: threading.Barrier) -> tuple[float, float, float]:
    gate.wait()
    asked = _clock()
    resource = pool.acquire()
    got = _clock()
    time.sleep(USE)
    pool.release(resource)
    return asked, got, _clock()


def pairs_of_threads(job: PoolJob) -> PoolRun:
    """One thread; the fastest of some batches, as whatever else the machine does only adds."""
    pool = FOR_THREADS[job.pool](Factory(0.0), job.minimum, job.maximum)
    seconds: list[float] = []
    for _ in range(_BATCHES):
        began = _clock()
        pool.pairs(job.repeat)
        seconds.append(_clock() - began)
    pool.close()
    return PoolRun(job.repeat, min(seconds), job.minimum)


def crowd_of_threads(job: PoolJob) -> PoolRun:
    """Many threads, each acquires, uses and releases again and again until the time is over."""
    factory = Factory(0.0)
    pool = FOR_THREADS[job.pool](factory, job.minimum, job.maximum)
    gate, over = threading.Barrier(job.callers + 1), threading.Event()
    counts: list[int] = []
    waits: list[float] = []

    def call() -> None:
        mine: list[float] = []
        gate.wait()
        while not over.is_set():
            asked = _clock()
            resource = pool.acquire()
            mine.append(_clock() - asked)
            time.sleep(USE)
            pool.release(resource)
        counts.append(len(mine))
        waits.extend(mine)

    callers = [threading.Thread(target=call) for _ in range(job.callers)]
    for caller in callers:
        caller.start()
    gate.wait()
    began = _clock()
    over.wait(CROWD_SECONDS)
    over.set()
    for caller in callers:
        caller.join()
    seconds = _clock() - began
    pool.close()
    if len(counts) != job.callers:
        raise RuntimeError(f"{job.callers - len(counts)} callers failed")
    return run_of([waits], seconds, factory.opened, max(counts) / len(waits))


async def _spike_of_tasks(job: PoolJob) -> PoolRun:
    waits: list[list[float]] = []
    took: list[float] = []
    opened: list[int] = []
    for _ in range(job.repeat):
        factory = Factory(OPENING)
        pool = FOR_TASKS[job.pool](factory, job.minimum, job.maximum)
        await pool.open()
        began = _clock()
        waits.append(await asyncio.gather(*(_use_once_async(pool) for _ in range(job.callers))))
        took.append(_clock() - began)
        opened.append(factory.opened)
        await pool.close()
    return run_of(waits, statistics.median(took), statistics.median(opened))


async def _use_once_async(pool: TaskPool) -> float:
    asked = _clock()
    waited: list[float] = []
    await pool.use(partial(asyncio.sleep, USE), lambda: waited.append(_clock() - asked))
    return waited[0]


async def _pairs_of_tasks(job: PoolJob) -> PoolRun:
    pool = FOR_TASKS[job.pool](Factory(0.0), job.minimum, job.maximum)
    await pool.open()
    seconds: list[float] = []
    for _ in range(_BATCHES):
        began = _clock()
        await pool.pairs(job.repeat)
        seconds.append(_clock() - began)
    await pool.close()
    return PoolRun(job.repeat, min(seconds), job.minimum)


def spike_of_tasks(job: PoolJob) -> PoolRun:
    """As that of threads, with tasks of one event loop."""
    return _run(_spike_of_tasks(job))


def pairs_of_tasks(job: PoolJob) -> PoolRun:
    """As that of threads, in one task."""
    return _run(_pairs_of_tasks(job))


def _run(work: Coroutine[Any, Any, PoolRun]) -> PoolRun:
    """On uvloop, as the other asyncio clients; the page tells where it is missing."""
    try:
        import uvloop
    except ModuleNotFoundError:
        return asyncio.run(work)
    answer: PoolRun = uvloop.run(work)
    return answer


RUNS: dict[tuple[str, str], Callable[[PoolJob], PoolRun]] = {
    ("threads", "spike"): spike_of_threads,
    ("threads", "pairs"): pairs_of_threads,
    ("threads", "crowd"): crowd_of_threads,
    ("tasks", "spike"): spike_of_tasks,
    ("tasks", "pairs"): pairs_of_tasks,
}
