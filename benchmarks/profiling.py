"""Where the time goes on each hot path: cProfile in rmqpool's own threads and in the caller's, by thread CPU time.

    .venv-bench/bin/python -m benchmarks.profiling [NAME …]      (NAME: see PATHS; without one, all of them)

Profiling slows Python code down several times, and builtins not: shares tell where to look, not how fast it is.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.clients.gathering import on_uvloop
from rmqpool import AsyncPublisher, ConnectionPool, Publisher, Queue, Worker
from rmqpool.amqp.io_thread import IOThread
from rmqpool.testing.services import private_rabbitmq

QUEUE = Queue("profiled", dead_letter=None)
BODY = b"x" * 256
_LARGEST = 8  # entries shown of each thread
_CALLER, _IO, _PUBLISHERS = "the caller's thread", "the I/O thread", "publishing threads"
_HANDLERS, _LOOP, _SUPERVISOR = "handler thread", "event loop", "the worker's supervisor"


class Profiles:
    """One profile a thread: those of rmqpool's that start inside ``watching``, and the calling one while ``calling``."""

    def __init__(self) -> None:
        self._profiles: dict[str, list[cProfile.Profile]] = defaultdict(list)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Threads that start in here are profiled to their end."""
        run = threading.Thread.run

        def profiled(thread: threading.Thread) -> None:
            profile = cProfile.Profile(time.thread_time)
            self._profiles[_role_of(thread)].append(profile)
            profile.runcall(run, thread)

        threading.Thread.run = profiled  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            threading.Thread.run = run  # type: ignore[method-assign]

    @contextmanager
    def calling(self) -> Iterator[None]:
        """What the calling thread does in here."""
        profile = cProfile.Profile(time.thread_time)
        self._profiles[_CALLER].append(profile)
        with profile:
            yield

    def largest(self) -> Iterator[tuple[str, str, float, int]]:
        """Thread, function, its share of the thread's own time, and its calls; the largest of each thread."""
        for thread, profiles in self._profiles.items():
            stats: Any = pstats.Stats(*profiles)
            total = stats.total_tt or 1.0
            entries = sorted(stats.stats.items(), key=lambda entry: -entry[1][2])
            for (file, line, name), (_, calls, own, _, _) in entries[:_LARGEST]:
                yield thread, _where(file, line, name), own / total, calls


def _role_of(thread: threading.Thread) -> str:
    if isinstance(getattr(getattr(thread, "_target", None), "__self__", None), IOThread):
        return _IO
    if not thread.name.startswith("rmqpool "):
        return _PUBLISHERS
    for ending, role in ((" loop", _LOOP), (" supervisor", _SUPERVISOR), (" background", _SUPERVISOR)):
        if thread.name.endswith(ending):
            return role
    return _HANDLERS


def _where(file: str, line: int, name: str) -> str:
    return f"{name} ({Path(file).parent.name}/{Path(file).name})" if line else name.replace(" objects>", ">")


def publish_many(url: str, profiles: Profiles) -> int:
    """Publisher.publish_many of 30,000."""
    with ConnectionPool(url) as pool:
        publisher = Publisher(pool)
        publisher.publish(QUEUE.name, BODY)
        with profiles.calling():
            publisher.publish_many(QUEUE.name, [BODY] * 30_000).raise_for_failures()
    return 30_000


def publish_one(url: str, profiles: Profiles) -> int:
    """Publisher.publish, one at a time."""
    with ConnectionPool(url) as pool:
        publisher = Publisher(pool)
        publisher.publish(QUEUE.name, BODY)
        with profiles.calling():
            for _ in range(2_000):
                publisher.publish(QUEUE.name, BODY)
    return 2_000


def publish_threads(url: str, profiles: Profiles) -> int:
    """Publisher.publish from 32 threads."""
    with ConnectionPool(url) as pool:
        publisher = Publisher(pool)
        publisher.publish(QUEUE.name, BODY)

        def publish() -> None:
            for _ in range(300):
                publisher.publish(QUEUE.name, BODY)

        threads = [threading.Thread(target=publish) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return 32 * 300


def publish_async(url: str, profiles: Profiles) -> int:
    """AsyncPublisher.publish, 1,000 gathered at a time."""

    async def run() -> None:
        async with AsyncPublisher(url) as publisher:
            await publisher.publish(QUEUE.name, BODY)
            with profiles.calling():
                for _ in range(20):
                    await asyncio.gather(*(publisher.publish(QUEUE.name, BODY) for _ in range(1_000)))

    on_uvloop(run())
    return 20_000


def _work(url: str, concurrency: int, handler: Callable[[threading.Event], Any]) -> int:
    count, done = 30_000, threading.Event()
    worker = Worker("profiled", url)
    worker.consumer(QUEUE, concurrency=concurrency, prefetch=500)(handler(done))
    worker.start()
    if not done.wait(60):
        raise TimeoutError("not every message was handled within 60 s")
    worker.stop(10)
    return count


def work(url: str, profiles: Profiles) -> int:
    """Worker with a def handler that does nothing."""

    def make(done: threading.Event) -> Any:
        left = iter(range(29_999, -1, -1))

        def handle(body: bytes) -> None:
            if not next(left):
                done.set()

        return handle

    return _work(url, 1, make)


def work_async(url: str, profiles: Profiles) -> int:
    """Worker with an async def handler that does nothing."""

    def make(done: threading.Event) -> Any:
        left = iter(range(29_999, -1, -1))

        async def handle(body: bytes) -> None:
            if not next(left):
                done.set()

        return handle

    return _work(url, 500, make)


_CONSUMING = (work, work_async)
PATHS = {path.__name__: path for path in (publish_many, publish_one, publish_threads, publish_async, work, work_async)}


def main(names: list[str]) -> None:
    """Profile the paths named, all if none is."""
    unknown = sorted(set(names) - set(PATHS))
    if unknown:
        raise SystemExit(f"{', '.join(unknown)}: known are {', '.join(PATHS)}")
    console = Console(width=120)
    with private_rabbitmq() as broker:
        url = broker.amqp_url()
        for name in names or list(PATHS):
            with ConnectionPool(url) as pool, pool.channel() as channel:
                channel.queue_declare(QUEUE)
                channel.queue_purge(QUEUE.name)
                if PATHS[name] in _CONSUMING:  # outside of what is profiled
                    Publisher(pool).publish_many(QUEUE.name, [BODY] * 30_000).raise_for_failures()
            profiles = Profiles()
            with profiles.watching():
                count = PATHS[name](url, profiles)
            table = Table(title=f"{name}: {PATHS[name].__doc__}", title_justify="left")
            for column in ("thread", "function", "share of its thread", "calls a message"):
                table.add_column(column, justify="left" if column in ("thread", "function") else "right")
            for thread, function, share, calls in profiles.largest():
                table.add_row(thread, function, f"{share:.0%}", f"{calls / count:.2f}")
            console.print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
