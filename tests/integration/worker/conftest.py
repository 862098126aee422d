"""A vhost, a publisher, and workers that are stopped when the test ends."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rmqpool import ConnectionPool, Delivery, Publisher, Worker
from rmqpool.testing.waiting import wait_until


class PatientWorker(Worker):
    """A worker that gives a busy broker time for its quorum queues."""

    def start(self, *, timeout: float = 60.0, **asked: Any) -> Worker:
        """As a worker's own."""
        return super().start(timeout=timeout, **asked)


class Bench:
    """What the tests of this folder do again and again, on one vhost."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pool = ConnectionPool(url)
        self.publisher = Publisher(self.pool)
        self._workers: list[Worker] = []

    def worker(self, name: str = "tested", **options: Any) -> Worker:
        """A worker that is stopped at the end."""
        worker = PatientWorker(name, self.url, **options)
        self._workers.append(worker)
        return worker

    def close(self) -> None:
        """Stop everything."""
        for worker in self._workers:
            worker.stop(0.0)
        self.pool.close()

    def count(self, queue: str) -> int:
        """Messages ready in a queue."""
        with self.pool.channel() as channel:
            return channel.queue_declare(queue, passive=True).message_count

    def wait_count(self, queue: str, count: int, timeout: float = 60.0) -> None:
        """Wait until that many are ready."""
        wait_until(lambda: self.count(queue) == count, f"{count} messages in {queue}", timeout=timeout)

    def take(self, queue: str, timeout: float = 60.0) -> Delivery:
        """The next message of a queue, acknowledged."""

        def get() -> Delivery | None:
            with self.pool.channel() as channel:
                delivery = channel.basic_get(queue)
                if delivery is not None:
                    channel.basic_ack(delivery.delivery_tag)
                return delivery

        found = wait_until(get, f"a message in {queue}", timeout=timeout)
        assert found is not None
        return found

    def wait(self, condition: Callable[[], Any], what: str = "the worker", timeout: float = 60.0) -> None:
        """Wait until the condition holds."""
        wait_until(condition, what, timeout=timeout)

    def wait_empty(self, worker: Worker, *queues: str) -> None:
        """Nothing ready, and nothing that the worker still holds: everything was acknowledged, or parked."""
        worker.stop()
        for queue in queues:
            self.wait_count(queue, 0)


@pytest.fixture
def bench(vhost_url: str) -> Iterator[Bench]:
    """A bench on a vhost of the test's own."""
    made = Bench(vhost_url)
    yield made
    made.close()


@pytest.fixture
def bench_on() -> Iterator[Callable[[str], Bench]]:
    """Makes benches on other URLs."""
    made: list[Bench] = []

    def make(url: str) -> Bench:
        made.append(Bench(url))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Lines:
    """The file that handlers in other processes append to, and the lines that are in it by now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.file = str(path)

    def __call__(self) -> list[str]:
        return self._path.read_text().splitlines() if self._path.exists() else []


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    """A file of the test's own."""
    return Lines(tmp_path / "lines.txt")


@pytest.fixture
def seconds() -> Callable[[], float]:
    """How long the test has been running."""
    start = time.monotonic()
    return lambda: time.monotonic() - start
