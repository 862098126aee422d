"""The demo: `make demo`, or `python -m workers.demo [--count N] [--rate R] [--jsonl FILE]`.

A publisher process sends orders through a private broker to two workers. In the middle the broker is killed with -9 and
started again, later a worker is killed with -9. At the end everything is counted; exit code 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from rmqpool.testing.checker import Verdict
from rmqpool.testing.services import private_rabbitmq
from workers.demo.cast import Cast, Process
from workers.demo.display import Display
from workers.demo.score import Score

TICK = 0.1  # seconds between two looks at the logs
PATIENCE = 60.0  # seconds that the workers have for the rest once everything is published


class Scene:
    """The story, step by step; each step waits until its condition is met, and fails when its time is over."""

    def __init__(self, cast: Cast, score: Score, display: Display) -> None:
        self._cast = cast
        self._score = score
        self._display = display

    def play(self, count: int, rate: float, jsonl: Path | None) -> Verdict:
        """Run the whole story; returns the account."""
        workers = {number: self._cast.worker(number) for number in (1, 2)}
        self._until(lambda: self._consumers() == 2, 30, "both workers consume", *workers.values())
        self._display.event("two workers are consuming from the queue 'orders'")
        publisher = self._cast.publisher(count, rate, jsonl)
        self._until(lambda: self._score.sent.total >= count * 0.3, 60, "a third is sent", publisher)
        self._break_broker()
        self._until(lambda: self._score.confirmed.total >= count * 0.6, 60, "more than half is confirmed", publisher)
        workers[1].kill()
        self._display.event("worker 1 was killed with -9; what it held goes to worker 2")
        self._until(lambda: not publisher.is_running, 120, "everything is published")
        self._expect_exit(publisher, publisher.exit_code)
        self._display.event("everything is published")
        self._until(lambda: self._score.missing == 0, PATIENCE, "everything is handled", workers[2], fatal=False)
        self._expect_exit(workers[2], workers[2].stop(20))
        self._display.event("worker 2 finished what it held and ended by itself")
        self._score.read()
        return self._score.verdict()

    def _break_broker(self) -> None:
        self._cast.broker.sync_queues()  # RabbitMQ 3.10 forgets a quorum queue that is younger than a few seconds
        self._cast.broker.kill()
        self._display.event("the broker was killed with -9; publishing and handling wait")
        started = time.monotonic()
        with ThreadPoolExecutor(1) as starter:
            start = starter.submit(self._cast.broker.start)
            while not start.done():
                self._refresh()
                time.sleep(TICK)
            start.result()
        self._display.event(f"the broker is back after {time.monotonic() - started:.1f} s")

    def _consumers(self) -> int:
        queues = {queue["name"]: queue["consumers"] for queue in self._cast.broker.list_queues()}
        return int(queues.get("orders", 0))

    def _until(
        self, condition: Callable[[], bool], seconds: float, what: str, *alive: Process, fatal: bool = True
    ) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            self._refresh()
            for process in alive:
                if not process.is_running and not condition():
                    self._expect_exit(process, process.exit_code)
                    if process.name.startswith("worker"):
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


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds the stack as Ctrl-C does, so that everything started is stopped."""

    def leave(_signal: int, _frame: object) -> None:
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> int:
    """Start everything, play, tell the account."""
    parser = argparse.ArgumentParser(
        prog="make demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=20_000, help="orders to send (20000)")
    parser.add_argument("--rate", type=float, default=1_500, help="orders a second (1500)")
    parser.add_argument("--jsonl", type=Path, help="send the lines of this file instead")
    arguments = parser.parse_args()
    count = arguments.count
    if arguments.jsonl is not None:
        if not arguments.jsonl.is_file():
            parser.error(f"there is no file {arguments.jsonl}")
        with arguments.jsonl.open("rb") as lines:
            count = sum(1 for _ in lines)
    console = Console()
    with ExitStack() as stack:
        stack.enter_context(_ended_by_sigterm())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rmqpool-demo-")))
        console.print("starting a private RabbitMQ …")
        broker = stack.enter_context(private_rabbitmq())
        cast = stack.enter_context(Cast(broker, folder))
        score = Score(folder / "publisher.outcomes", {number: cast.handled(number) for number in (1, 2)})
        display = stack.enter_context(Display(console, score))
        verdict = Scene(cast, score, display).play(count, arguments.rate, arguments.jsonl)
        display.end(verdict)
    if not verdict.ok:
        console.print(f"[bold red]{verdict}[/]")
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
