"""The demo: `make demo`, or `python -m workers.demo [--count N] [--rate R] [--jsonl FILE]`.

A service writes orders, and a message for each, into a private Postgres, in one transaction; one in ten is rolled back. A
relay publishes what was committed through a private broker to two workers, which write what they handled into a table.
Meanwhile the broker, the relay and a worker are killed with -9. At the end everything is counted; exit code 1 if an order
was lost, handled twice, or handled although it was rolled back.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from rmqpool.testing.services import private_postgres, private_rabbitmq
from workers.demo.cast import Cast, Process
from workers.demo.display import Display
from workers.demo.score import Account, Score
from workers.demo.tables import create_tables

TICK = 0.1  # seconds between two looks at the logs
PATIENCE = 60.0  # seconds that relay and workers have for the rest once every order is written


class Scene:
    """The story, step by step; each step waits until its condition is met, and fails when its time is over."""

    def __init__(self, cast: Cast, score: Score, display: Display, ending: Ending) -> None:
        self._cast = cast
        self._score = score
        self._display = display
        self._ending = ending

    def play(self, count: int, rate: float, jsonl: Path | None) -> Account:
        """Run the whole story; returns the account."""
        workers = {number: self._cast.worker(number) for number in (1, 2)}
        self._until(lambda: self._consumers() == 2, 30, "both workers consume", *workers.values())
        relay = self._cast.relay(1)
        self._display.event("two workers consume from the queue 'orders', and a relay looks into the outbox")
        service = self._cast.service(count, rate, jsonl)
        some = count * 0.9  # that many are committed
        self._until(lambda: self._score.published.total >= some * 0.2, 60, "a fifth is published", service, relay)
        self._break_broker(service, relay)
        self._until(lambda: self._score.published.total >= some * 0.4, 60, "two fifths are published", relay)
        relay = self._replace(relay)
        self._until(lambda: self._score.handled_in_all >= some * 0.6, 60, "three fifths are handled", relay)
        workers[1].kill()
        self._display.event("worker 1 was killed with -9; what it held goes to worker 2")
        self._until(lambda: not service.is_running, 60 + count / rate, "every order is written", relay, workers[2])
        self._expect_exit(service, service.exit_code)
        self._display.event("every order is written")
        complete = "everything is published and handled"
        self._until(lambda: self._score.is_complete, PATIENCE, complete, relay, workers[2], fatal=False)
        # A story that is over within a second is over before the new relay works, and it would not hear a SIGTERM yet.
        self._until(lambda: self._score.has_relay(relay.name), 20, "the new relay works", relay)
        for process in (relay, workers[2]):
            self._expect_exit(process, process.stop(20))
            self._display.event(f"{process.name} finished what it held and ended by itself")
        return self._score.account()

    def _break_broker(self, *alive: Process) -> None:
        self._cast.broker.sync_queues()  # RabbitMQ 3.10 forgets a quorum queue that is younger than a few seconds
        self._cast.broker.kill()
        self._display.event("the broker was killed with -9; the service goes on, and its messages wait in the outbox")
        started = time.monotonic()
        with ThreadPoolExecutor(1) as starter:
            start = starter.submit(self._cast.broker.start)
            self._until(start.done, 120, "the broker is back", *alive)
            start.result()
        self._display.event(f"the broker is back after {time.monotonic() - started:.1f} s")

    def _replace(self, relay: Process) -> Process:
        relay.kill()
        self._display.event("the relay was killed with -9; a new one takes its place")
        return self._cast.relay(2)

    def _consumers(self) -> int:
        queues = {queue["name"]: queue["consumers"] for queue in self._cast.broker.list_queues()}
        return int(queues.get("orders", 0))

    def _until(
        self, condition: Callable[[], bool], seconds: float, what: str, *alive: Process, fatal: bool = True
    ) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            self._ending.check()
            self._refresh()
            for process in alive:
                if not process.is_running and not condition():
                    self._expect_exit(process, process.exit_code)
                    if process.name != "service":
                        raise SystemExit(f"{process.name} ended too early:\n{process.last_words()}")
            if time.monotonic() > deadline:
                if fatal:
                    raise SystemExit(f"the demo waited {seconds:g} s in vain until {what}")
                self._display.event(f"after {seconds:g} s it was still not true that {what}")
                return
            time.sleep(TICK)
        self._refresh()

    def _expect_exit(self, process: Process, code: int | None) -> None:
        if code not in (0, None):
            raise SystemExit(f"{process.name} ended with exit code {code}:\n{process.last_words()}")

    def _refresh(self) -> None:
        self._score.read()
        self._display.refresh()


class Ending:
    """Ctrl-C and SIGTERM unwind the stack, so that everything started is stopped. A context manager.

    Python drops what a handler raises while the process forks; so the signal is kept, and looked at again.
    """

    def __init__(self) -> None:
        self._code: int | None = None
        self._before: dict[int, Any] = {}

    def check(self) -> None:
        """Raise SystemExit if a signal came."""
        if self._code is not None:
            raise SystemExit(self._code)

    def _leave(self, number: int, _frame: object) -> None:
        self._code = 128 + number
        raise SystemExit(self._code)

    def __enter__(self) -> Ending:
        self._before = {one: signal.signal(one, self._leave) for one in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)


def main() -> int:
    """Start everything, play, tell the account."""
    parser = argparse.ArgumentParser(
        prog="make demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=8_000, help="orders to take (8000)")
    parser.add_argument("--rate", type=float, default=500, help="orders a second (500)")
    parser.add_argument("--jsonl", type=Path, help="take the lines of this file as orders instead")
    arguments = parser.parse_args()
    count = arguments.count
    if arguments.jsonl is not None:
        if not arguments.jsonl.is_file():
            parser.error(f"there is no file {arguments.jsonl}")
        with arguments.jsonl.open("rb") as lines:
            count = sum(1 for _ in lines)
    console = Console()
    with ExitStack() as stack:
        ending = stack.enter_context(Ending())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rmqpool-demo-")))
        console.print("starting a private RabbitMQ and a private Postgres …")
        broker = private_rabbitmq()
        stack.callback(broker.close)
        postgres = private_postgres()
        stack.callback(postgres.close)
        with ThreadPoolExecutor(2) as starters:
            for started in [starters.submit(server.start) for server in (broker, postgres)]:
                started.result()
        database = postgres.create_database("shop")
        create_tables(database)
        cast = stack.enter_context(Cast(broker, database, folder))
        score = stack.enter_context(Score(database, cast.rollbacks, (1, 2)))
        display = stack.enter_context(Display(console, score))
        account = Scene(cast, score, display, ending).play(count, arguments.rate, arguments.jsonl)
        display.end(account)
    if not account.ok:
        console.print(f"[bold red]{account}[/]")
    return 0 if account.ok else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before anything was started
        sys.exit(130)
