"""A worker as a process: signals, exit codes, and kill -9."""

import signal
import time

import pytest

from tests.integration.worker.processes import HOLDING, started


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_in_good_order(bench, tmp_path, number):
    """What runs is finished, the rest goes back, exit code 0."""
    with started(tmp_path, HOLDING, bench.url, 1.0, 20) as process:
        process.wait_for("worker process runs")
        bench.publisher.publish_many("orders", [{"id": n} for n in range(5)]).raise_for_failures()
        process.wait_for("begun 1")
        process.signal(number)
        assert process.wait() == 0
        assert process.output.count("begun") == process.output.count("ended") == 2
        assert "2 handled" in process.output
    bench.wait_count("orders", 3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_forces(bench, tmp_path, number):
    """At once, exit code 128 + signal; the messages come again."""
    with started(tmp_path, HOLDING, bench.url, 60, 60) as process:
        process.wait_for("worker process runs")
        bench.publisher.publish_many("orders", [{"id": n} for n in range(5)]).raise_for_failures()
        process.wait_for("begun 1")
        process.signal(number)
        process.wait_for("a second signal forces it")
        process.signal(number)
        assert process.wait(5) == 128 + number
        assert "ends it at once" in process.output
    bench.wait_count("orders", 5)


@pytest.mark.parametrize("queue", ["orders", "stuck"])
def test_a_stuck_thread_does_not_hang_the_exit(bench, tmp_path, queue):
    """After the grace period: neither a thread of ours nor one of asyncio.to_thread; exit code 0, as documented."""
    with started(tmp_path, HOLDING, bench.url, 60, 0.3) as process:
        process.wait_for("worker process runs")
        bench.publisher.publish(queue, {"id": 1})
        process.wait_for("begun 1")
        process.signal(signal.SIGTERM)
        start = time.monotonic()
        assert process.wait(10) == 0
        assert time.monotonic() - start < 6
        assert "1 abandoned" in process.output
    bench.wait_count(queue, 1)


def test_a_killed_worker_loses_nothing(bench, tmp_path):
    """kill -9 in the middle of handlers: everything comes again."""
    with started(tmp_path, HOLDING, bench.url, 60, 60) as process:
        process.wait_for("worker process runs")
        bench.publisher.publish_many("orders", [{"id": n} for n in range(5)]).raise_for_failures()
        process.wait_for("begun 1")
        process.signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    bench.wait_count("orders", 5)


ORDERS = """
import logging, os, sys
logging.basicConfig(level="INFO", stream=sys.stdout)
from workers.orders import worker
raise SystemExit(worker.run(pool=sys.argv[1], burst=len(sys.argv) > 2))
"""


def test_the_orders_worker_writes_each_order_before_it_is_acknowledged(bench, tmp_path, monkeypatch):
    """Killed with -9 in the middle: what is not written comes again; nothing is acknowledged and not written."""
    handled = tmp_path / "handled.txt"
    monkeypatch.setenv("ORDERS_FILE", str(handled))
    monkeypatch.setenv("ORDERS_SECONDS", "0.002")
    with started(tmp_path, ORDERS, bench.url) as process:
        process.wait_for("worker orders runs")
        report = bench.publisher.publish_many("orders", [{"id": n, "customer": "c", "more": 1} for n in range(1000)])
        report.raise_for_failures()
        bench.wait(lambda: handled.exists() and handled.read_text().count("\n") > 100)
        process.signal(signal.SIGKILL)
        process.wait()
    with started(tmp_path, ORDERS, bench.url, "burst") as process:
        assert process.wait(30) == 0
    lines = [line.split("\t") for line in handled.read_text().splitlines()]
    assert {int(number) for number, _ in lines} == set(range(1000))
    assert {message_id for _, message_id in lines} == {outcome.message_id for outcome in report}
    assert len(lines) <= 1000 + 32  # at most the prefetch twice
