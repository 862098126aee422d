"""The demo's order service: writes each order and its message in one transaction; one in ten is rolled back.

python -m workers.demo.service --log FILE --count 8000 --rate 500 [--jsonl FILE]    (RMQPOOL_POSTGRES_URL: the database)

It knows no broker. What was rolled back is written to the log, a message id a line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rmqpool.outbox import OutboxPool

QUEUE = "orders"
THREADS = 4
ROLLED_BACK = 0.1
CUSTOMERS = ("Ada", "Grace", "Edsger", "Barbara", "Donald", "Frances")


class ChangedTheirMindError(Exception):
    """The customer did, at the last moment."""


def orders(count: int) -> Iterator[dict[str, Any]]:
    """Made-up orders, the same in each run."""
    chance = random.Random(7)
    for number in range(1, count + 1):
        yield {
            "id": number,
            "customer": chance.choice(CUSTOMERS),
            "amount": f"{chance.randrange(100, 50_000) / 100:.2f}",
            "lines": chance.randrange(1, 9),
        }


def records(path: Path) -> Iterator[Any]:
    """The JSON value of each line of a file."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise SystemExit(f"{path}, line {number} is no JSON ({error}): nothing of it was written") from None


class Service:
    """Places orders at a steady rate (orders a second), from several threads."""

    def __init__(self, pool: OutboxPool, log: int, bodies: Iterator[Any], rate: float) -> None:
        self._pool = pool
        self._log = log
        self._bodies = enumerate(bodies)
        self._rate = rate
        self._lock = threading.Lock()
        self._chance = random.Random(11)

    def run(self) -> None:
        """Place all of them. Raises what the first thread that failed died of."""
        started = time.monotonic()
        with ThreadPoolExecutor(THREADS) as threads:
            for thread in [threads.submit(self._work, started) for _ in range(THREADS)]:
                thread.result()

    def _work(self, started: float) -> None:
        while (found := self._next()) is not None:
            number, body, change = found
            early = started + number / self._rate - time.monotonic()
            if early > 0:
                time.sleep(early)
            self._place(body, change)

    def _next(self) -> tuple[int, Any, bool] | None:
        with self._lock:
            for number, body in self._bodies:
                return number, body, self._chance.random() < ROLLED_BACK
        return None

    def _place(self, body: Any, change: bool) -> None:
        key = str(body["customer"]) if isinstance(body, dict) and "customer" in body else None
        message_id = ""
        try:
            with self._pool.transaction() as transaction:
                message_id = transaction.publish(QUEUE, body, key=key)
                row = [message_id, json.dumps(body)]
                transaction.execute("INSERT INTO orders (message_id, content) VALUES (%s, %s)", row)
                if change:
                    raise ChangedTheirMindError
        except ChangedTheirMindError:
            os.write(self._log, f"{message_id}\n".encode())


def main() -> None:
    """Place orders; the broker's death holds nothing of it up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="orders a second")
    parser.add_argument("--jsonl", type=Path)
    arguments = parser.parse_args()
    bodies = records(arguments.jsonl) if arguments.jsonl else orders(arguments.count)
    log = os.open(arguments.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    with OutboxPool(os.environ["RMQPOOL_POSTGRES_URL"], max_size=THREADS, name="demo service") as pool:
        Service(pool, log, bodies, arguments.rate).run()
    os.close(log)


if __name__ == "__main__":
    main()
