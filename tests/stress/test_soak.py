"""The soak: minutes of publishing and consuming while the broker is killed again and again.

Nothing confirmed may be lost, every publish ends, and threads, sockets and memory stay flat. RMQPOOL_SOAK_SECONDS sets how
long it runs (180), RMQPOOL_SOAK_KILL_EVERY how often the broker is killed (20).
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from rmqpool import ConnectionPool, Consumer, Delivery, Publisher, PublishFuture, Queue
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until

SECONDS = float(os.environ.get("RMQPOOL_SOAK_SECONDS", "180"))
KILL_EVERY = float(os.environ.get("RMQPOOL_SOAK_KILL_EVERY", "20"))
THREADS = 4
RATE = 150  # messages a second and thread
CAPACITY = int((SECONDS + 120) * RATE * 2)
PAGE = os.sysconf("SC_PAGE_SIZE")


class Account:
    """One publisher thread's messages, numbered; in arrays made beforehand, so that the account itself takes no memory."""

    def __init__(self) -> None:
        self.sent = 0
        self.outcomes: dict[str, int] = {}
        self.confirmed = bytearray(CAPACITY)
        self.received = bytearray(CAPACITY)

    def ended(self, number: int, outcome: str) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        self.confirmed[number] = outcome == "confirmed"

    def arrived(self, number: int) -> None:
        self.received[number] = min(255, self.received[number] + 1)

    def lost(self) -> int:
        return sum(1 for was, got in zip(self.confirmed, self.received, strict=True) if was and not got)

    def phantoms(self) -> int:
        return sum(1 for number, got in enumerate(self.received) if got and number >= self.sent)

    def duplicates(self) -> int:
        return sum(got - 1 for got in self.received if got)


class Soak:
    """Publisher threads and one consumer on one pool."""

    def __init__(self, pool: ConnectionPool, queue: Queue) -> None:
        self.accounts = [Account() for _ in range(THREADS)]
        self._queue = queue
        self._publisher = Publisher(pool, declare=[queue], timeout=60)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._publish, args=(index,)) for index in range(THREADS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every message come to its outcome."""
        self._stop.set()
        for thread in self._threads:
            thread.join(90)
            assert not thread.is_alive(), "a publisher thread hangs"
        assert self._publisher.flush(90), "messages without an outcome after their deadline"

    def receive(self, delivery: Delivery) -> None:
        index, _, number = delivery.body.decode().partition(":")
        self.accounts[int(index)].arrived(int(number))
        delivery.ack()

    def _publish(self, index: int) -> None:
        account = self.accounts[index]
        while not self._stop.wait(1 / RATE):
            number = account.sent
            account.sent += 1

            def ended(future: PublishFuture, number: int = number) -> None:
                account.ended(number, str(future.outcome(0).outcome))

            self._publisher.submit(self._queue.name, f"{index}:{number}".encode()).add_done_callback(ended)


class Footprint:
    """Threads, sockets and memory of this process."""

    def __init__(self) -> None:
        links = [os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
        self.threads = threading.active_count()
        self.sockets = sum(link.startswith("socket:") for link in links)
        self.memory = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 2**20

    def __repr__(self) -> str:
        return f"{self.threads} threads, {self.sockets} sockets, {self.memory:.1f} MiB"


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 300)
def test_a_broker_killed_again_and_again_loses_nothing_and_leaks_nothing(
    private_broker: RabbitMQNode, queue_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Confirmed messages all arrive; after each recovery threads, sockets and memory are where they were."""
    queue = Queue(queue_name)
    footprints: list[Footprint] = []
    with ConnectionPool(private_broker.amqp_url(), heartbeat=5) as pool:
        soak = Soak(pool, queue)
        with Consumer(pool, queue, soak.receive, prefetch=200) as consumer:
            consumer.wait_ready(20)
            soak.start()
            started = time.monotonic()
            stop = threading.Event()
            while time.monotonic() - started < SECONDS:
                stop.wait(min(KILL_EVERY, SECONDS / 4))  # the time between two faults
                private_broker.kill()
                private_broker.start()
                wait_until(
                    lambda: consumer.is_ready and pool.stats().publish[0].blocked is None, "recovery", timeout=30
                )
                wait_until(lambda: pool.stats().unconfirmed < 100, "the backlog to go out", timeout=30)
                footprints.append(Footprint())
            soak.stop()
            wait_until(
                lambda: not any(account.lost() for account in soak.accounts), "every confirmed message", timeout=60
            )
    sent = sum(account.sent for account in soak.accounts)
    outcomes = {key: sum(a.outcomes.get(key, 0) for a in soak.accounts) for a in soak.accounts for key in a.outcomes}
    duplicates = sum(account.duplicates() for account in soak.accounts)
    with capsys.disabled():
        print(f"\nsoak: {len(footprints)} kills, {sent} sent, {outcomes}, {duplicates} duplicates, lost 0")
        print(f"soak: first {footprints[0]}; last {footprints[-1]}")
    assert sum(outcomes.values()) == sent
    assert sum(account.phantoms() for account in soak.accounts) == 0
    assert footprints[-1].threads == footprints[0].threads
    assert footprints[-1].sockets <= footprints[0].sockets  # the first one may have seen an attempt under way
    assert footprints[-1].memory < footprints[0].memory + 16
