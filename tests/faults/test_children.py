"""Row 21 of the fault matrix: messages that kill the process which handles them, and workers killed over their children."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from faults.harness import until
from faults.parked import parked_in, remaining_in
from rmqpool import Publisher, Queue, Worker
from rmqpool import headers as names
from rmqpool.testing.rabbitmq import RabbitMQNode
from tests.integration.worker import child_handlers as handlers
from tests.integration.worker.processes import children_of, started

StartWorker = Callable[..., Worker]

SCRIPT = """
import logging, sys
from rmqpool import Worker
from tests.integration.worker.child_handlers import slow
logging.basicConfig(level="INFO", stream=sys.stdout)
worker = Worker("script", sys.argv[1])
worker.consumer("orders", executor="process", concurrency=2, hard_time_limit=float(sys.argv[2]))(slow)
code = worker.run()
print(worker.stats().handled, "handled", worker.stats().timed_out, "timed out", flush=True)
raise SystemExit(code)
"""


@pytest.fixture
def start(vhost_url: str) -> Iterator[StartWorker]:
    """Starts a worker on queue `orders`, its handler in child processes; none of them is left at the end."""
    workers: list[Worker] = []

    def begin(handler: Any, query: str = "", **options: Any) -> Worker:
        worker = Worker("children", vhost_url + query)
        worker.consumer("orders", executor="process", **options)(handler)
        workers.append(worker)
        return worker.start()

    yield begin
    for worker in workers:
        worker.stop(0.0)
    assert children_of() == []


@pytest.fixture
def publisher(vhost_url: str) -> Iterator[Publisher]:
    """A publisher that declares the queue."""
    with Publisher(vhost_url, declare=[Queue("orders")]) as made:
        yield made


@pytest.fixture
def told(tmp_path: Path) -> Callable[[], list[list[str]]]:
    """The words of each line that the handlers wrote to `lines.txt`."""
    path = tmp_path / "lines.txt"
    return lambda: [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_messages_that_kill_their_process_are_parked_and_the_innocent_are_handled(
    start, publisher, told, vhost_url, tmp_path
):
    """Segfaults, exits, an OOM killer: each has killed two children, then it is parked; one that kills once is handled."""
    file = str(tmp_path / "lines.txt")
    crimes = {"segfault": "signal 11", "exit": "exit code 3", "kill": "signal 9", "close": "signal 9"}
    worker = start(handlers.crash, concurrency=3)
    orders: list[dict[str, Any]] = [{"id": f"good-{n}", "file": file} for n in range(150)]
    for place, crime in enumerate([*crimes, "once"]):
        order = {"id": crime, "do": crime, "file": file, "mark": str(tmp_path / "mark")}
        orders.insert(30 * place, order)
    for order in orders:
        publisher.publish("orders", order, message_id=str(order["id"]))
    until(lambda: worker.stats().handled == 151 and worker.stats().parked == 4, "all to be done with", timeout=30)
    handled = Counter(words[0] for words in told())
    assert handled == Counter({str(order["id"]): 1 for order in orders if order["id"] not in crimes})
    parked = parked_in(vhost_url, "orders.dead", 4)
    assert {name: message.reason for name, message in parked.items()} == {
        crime: f"poison:{how}" for crime, how in crimes.items()
    }
    stats = worker.stats()
    assert (stats.poisoned, stats.children_died, stats.failed) == (4, 9, 4)
    assert worker.stop()
    assert remaining_in(vhost_url, "orders") == 0


def test_what_a_child_started_ends_with_it(start, publisher, told, tmp_path):
    """The programs that a crashed handler left behind are killed: they would hold its files, memory and pipe."""
    worker = start(handlers.crash, concurrency=1, poison_after=1)
    publisher.publish("orders", {"id": 1, "do": "grandchild", "file": str(tmp_path / "lines.txt")})
    until(lambda: worker.stats().parked == 1, "the message to be parked", timeout=10)
    (program,) = told()[0]
    status = Path(f"/proc/{program}/stat")
    until(lambda: not status.exists() or status.read_text().rpartition(")")[2].split()[0] in "ZX", "its end", timeout=5)


def test_a_poison_message_is_parked_whatever_on_error_says(start, publisher, vhost_url, tmp_path):
    """Otherwise it would kill one child after the other."""
    worker = start(handlers.crash, concurrency=1, on_error="requeue", poison_after=3)
    publisher.publish("orders", {"id": 1, "do": "exit"}, message_id="poison")
    until(lambda: worker.stats().parked == 1, "the message to be parked", timeout=15)
    assert worker.stats().children_died == 3
    message = parked_in(vhost_url, "orders.dead", 1)["poison"]
    assert message.reason == "poison:exit code 3"
    assert "died of exit code 3" in message.headers[names.EXCEPTION_MESSAGE]


def test_heartbeats_go_on_while_a_child_holds_its_interpreter(
    start, publisher, told, broker: RabbitMQNode, vhost, tmp_path
):
    """A regular expression without end, five heartbeats long: no connection is lost, and others are handled meanwhile."""
    file = str(tmp_path / "lines.txt")
    worker = start(handlers.slow, "?heartbeat=1", concurrency=2, hard_time_limit=5)

    def connections() -> set[int]:
        return {row["peer_port"] for row in broker.list_connections() if row["vhost"] == vhost}

    for number in range(2):  # so that both children are there
        publisher.publish("orders", {"id": number, "do": "sleep", "seconds": 0.5, "file": file})
    until(lambda: worker.stats().handled == 2, "both children", timeout=20)
    publisher.publish("orders", {"id": "stuck", "do": "gil", "file": file})
    until(lambda: sum(words[0] == "begun" for words in told()) == 3, "the stuck one to begin", timeout=10)
    before = connections()
    publisher.publish("orders", {"id": "free", "file": file})
    until(lambda: worker.stats().handled == 3, "the other one", timeout=4)
    assert worker.stats().parked == 0
    until(lambda: worker.stats().parked == 1, "the hard limit", timeout=10)
    assert before <= connections()
    assert worker.stats().timed_out == worker.stats().children_died == 1


def test_children_end_with_a_worker_that_is_killed(publisher, told, vhost_url, tmp_path):
    """kill -9: those that are idle, and those that are busy and never look at their pipe; the message comes again."""
    file = str(tmp_path / "lines.txt")
    with started(tmp_path, SCRIPT, vhost_url, 60) as process:
        process.wait_for("worker script runs")
        publisher.publish("orders", {"id": 1, "file": file})
        publisher.publish("orders", {"id": 2, "do": "gil", "file": file})
        until(lambda: sum(words[0] == "begun" for words in told()) == 2, "both to begin", timeout=15)
        children = children_of(process.popen.pid)
        assert children
        process.signal(signal.SIGKILL)
        process.wait()
        until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), "their end", timeout=5)
    until(lambda: remaining_in(vhost_url, "orders") == 1, "the message to come back", timeout=10)


def test_a_second_signal_leaves_no_child(publisher, told, vhost_url, tmp_path):
    """The worker ends at once, and its children with it."""
    with started(tmp_path, SCRIPT, vhost_url, 60) as process:
        process.wait_for("worker script runs")
        publisher.publish("orders", {"id": 1, "do": "busy", "file": str(tmp_path / "lines.txt")})
        until(lambda: len(told()) == 1, "it to begin", timeout=15)
        children = children_of(process.popen.pid)
        process.signal(signal.SIGTERM)
        process.wait_for("a second signal forces it")
        process.signal(signal.SIGTERM)
        assert process.wait(5) == 128 + signal.SIGTERM
        until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), "their end", timeout=5)


def test_a_worker_that_was_suspended_takes_what_its_children_did_meanwhile(publisher, told, vhost_url, tmp_path):
    """Over the hard limit by the clock, but in time: it is acknowledged, not killed."""
    with started(tmp_path, SCRIPT, vhost_url, 2) as process:
        process.wait_for("worker script runs")
        order = {"id": 1, "do": "sleep", "seconds": 1, "file": str(tmp_path / "lines.txt")}
        publisher.publish("orders", order)
        until(lambda: len(told()) == 1, "it to begin", timeout=15)
        suspended = time.monotonic()
        process.signal(signal.SIGSTOP)
        until(lambda: len(told()) == 2, "the child to end", timeout=15)
        until(lambda: time.monotonic() - suspended > 3, "the limit to be over", timeout=5)
        process.signal(signal.SIGCONT)
        process.signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert "1 handled 0 timed out" in process.output
