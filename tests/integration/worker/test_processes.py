"""A worker as a process: signals, exit codes, and kill -9."""

import signal
import time

import psycopg
import pytest

from tests.integration.worker.processes import HOLDING, started
from workers.demo.tables import create_tables


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


def test_the_orders_worker_ships_each_order_once(bench, tmp_path, monkeypatch, postgres_url):
    """Killed with -9 in the middle: what it was at comes again, and what was shipped already is not shipped twice."""
    create_tables(postgres_url)
    monkeypatch.setenv("RMQPOOL_POSTGRES_URL", postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as connection:

        def shipped():
            return [row[0] for row in connection.execute("SELECT message_id FROM shipments")]

        with started(tmp_path, ORDERS, bench.url) as process:
            process.wait_for("worker orders runs")
            report = bench.publisher.publish_many("orders", [{"id": n, "customer": "c"} for n in range(1000)])
            report.raise_for_failures()
            bench.wait(lambda: len(shipped()) > 100)
            process.signal(signal.SIGKILL)
            process.wait()
        assert len(shipped()) < 1000
        with started(tmp_path, ORDERS, bench.url, "burst") as process:
            assert process.wait(30) == 0
        assert sorted(shipped()) == sorted(outcome.message_id for outcome in report)
