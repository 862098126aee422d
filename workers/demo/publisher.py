"""The demo's publisher process: publishes orders, and writes every attempt and outcome to a log that survives kill -9.

python -m workers.demo.publisher --log FILE --count 20000 --rate 1500 [--jsonl FILE]      (RMQPOOL_URL names the broker)
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rmqpool import ConnectionPool, Publisher, PublishFuture, Queue
from rmqpool.identifiers import new_message_id

QUEUE = "orders"
DEADLINE = 60.0  # seconds that each message has: longer than a broker takes to come back
CUSTOMERS = ("Ada", "Grace", "Edsger", "Barbara", "Donald", "Frances")


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
                raise SystemExit(f"{path}, line {number} is no JSON ({error}): nothing of it was published") from None


class OutcomeLog:
    """One line for each attempt and outcome, each written with a single write(2)."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def attempt(self, message_id: str) -> None:
        """About to be published."""
        os.write(self._file, f"attempt {message_id}\n".encode())

    def outcome(self, future: PublishFuture) -> None:
        """It ended; called on the I/O thread."""
        os.write(self._file, f"{future.outcome(0).outcome} {future.message.message_id}\n".encode())

    def close(self) -> None:
        """Nothing more will be written."""
        os.close(self._file)


def main() -> None:
    """Publish at a steady rate; what the broker's death holds up goes out when it is back."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="messages a second")
    parser.add_argument("--jsonl", type=Path)
    arguments = parser.parse_args()
    bodies = records(arguments.jsonl) if arguments.jsonl else orders(arguments.count)
    log = OutcomeLog(arguments.log)
    with ConnectionPool(os.environ["RMQPOOL_URL"], name="demo publisher") as pool:
        publisher = Publisher(pool, declare=[Queue(QUEUE)], timeout=DEADLINE)
        started = time.monotonic()
        for sent, body in enumerate(bodies):
            message_id = new_message_id()
            log.attempt(message_id)
            publisher.submit(QUEUE, body, message_id=message_id).add_done_callback(log.outcome)
            early = started + sent / arguments.rate - time.monotonic()
            if early > 0.005:
                time.sleep(early)
        publisher.flush(DEADLINE)
    log.close()


if __name__ == "__main__":
    main()
