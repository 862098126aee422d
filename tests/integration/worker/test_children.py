"""Handlers in child processes: they end as handlers in threads do, and the worker starts, stops and logs as ever."""

import logging
import signal
import sys
import time

import pytest

from rmqpool import Queue, RetryPolicy
from rmqpool import headers as names
from rmqpool.errors import ConfigurationError
from tests.integration.worker import child_handlers as handlers
from tests.integration.worker.processes import children_of, started


def test_a_handler_in_a_child_gets_what_a_handler_gets(bench, lines):
    """Body by annotation, headers, queue, id; the message is acknowledged when it returned."""
    worker = bench.worker()
    worker.consumer("orders", executor="process", concurrency=2)(handlers.typed)
    worker.start()
    order = {"id": 7, "file": lines.file}
    sent = bench.publisher.publish("orders", order, headers={"source": "shop"})
    bench.wait(lambda: worker.stats().handled == 1)
    (line,) = lines()
    assert line.startswith(f"Order 7 {sent.message_id} ")
    assert "'source': 'shop'" in line
    assert line.endswith(" orders")
    bench.wait_empty(worker, "orders", "orders.dead")
    assert children_of() == []


def test_each_way_to_end_is_the_same_as_in_a_thread(bench, lines):
    """Reject, Retry, exceptions (also those that cannot be shown), a settlement that is not possible here."""
    worker = bench.worker()
    worker.consumer("orders", executor="process", concurrency=1)(handlers.verdict)
    worker.start()
    ways = ["reject", "raise", "unspeakable", "exit", "settle"]
    orders = [{"id": way, "do": way} for way in ways] + [{"id": "r", "do": "retry", "file": lines.file}]
    bench.publisher.publish_many("orders", orders).raise_for_failures()
    bench.wait(lambda: worker.stats().parked == 5 and worker.stats().handled == 1)
    assert (worker.stats().rejected, worker.stats().failed, worker.stats().retried) == (1, 4, 1)
    assert len(lines()) == 1
    parked = [bench.take("orders.dead") for _ in ways]
    reasons = {delivery.headers[names.REASON] for delivery in parked}
    assert reasons == {"rejected:wrong price", "exception"}
    types = {delivery.headers.get(names.EXCEPTION_TYPE, "").rpartition(".")[2] for delivery in parked}
    assert types == {"", "UnknownPriceError", "Unspeakable", "SystemExit", "ConfigurationError"}
    (priced,) = [one for one in parked if one.headers.get(names.EXCEPTION_TYPE, "").endswith("UnknownPriceError")]
    assert priced.headers[names.EXCEPTION_MESSAGE] == "a wrong price"
    assert 'raise UnknownPriceError("a wrong price")' in priced.headers[names.EXCEPTION_TRACEBACK]
    assert worker.stats().children_died == 0
    bench.wait_empty(worker, "orders")


def test_a_body_that_cannot_be_decoded_is_parked_by_a_child_too(bench):
    """With the reason of the codec, or of the type."""
    worker = bench.worker()
    worker.consumer("orders", executor="process", concurrency=1)(handlers.typed)
    worker.start()
    bench.publisher.publish("orders", b"{", content_type="application/json")
    bench.publisher.publish("orders", {"id": "seven"})
    bench.wait(lambda: worker.stats().parked == 2)
    assert worker.stats().undecodable == 2
    reasons = {bench.take("orders.dead").headers[names.REASON] for _ in range(2)}
    assert reasons == {"decode:corrupt", "decode:validation"}


def test_on_error_requeue_holds_in_a_child(bench):
    """The message goes back, until the broker's delivery limit dead-letters it."""
    worker = bench.worker()
    queue = Queue("orders", delivery_limit=2)
    worker.consumer(queue, executor="process", concurrency=1, on_error="requeue")(handlers.verdict)
    worker.start()
    bench.publisher.publish("orders", {"id": 1, "do": "raise"})
    bench.wait_count("orders.dead", 1)
    assert worker.stats().failed == 3


def test_a_retry_policy_looks_at_what_was_raised_in_the_child(bench):
    """By its class, as for any handler: one is tried again, the other is parked at once."""
    worker = bench.worker()
    policy = RetryPolicy(max_attempts=3, backoff=0.1, on=handlers.UnknownPriceError)
    worker.consumer("orders", executor="process", concurrency=1, retry=policy)(handlers.verdict)
    worker.start()
    bench.publisher.publish("orders", {"id": 1, "do": "raise"})
    bench.publisher.publish("orders", {"id": 2, "do": "unspeakable"})
    bench.wait(lambda: worker.stats().parked == 2)
    assert worker.stats().failed == 4


def test_a_coroutine_function_runs_in_a_child(bench, lines):
    """On a loop of the child's own, one message at a time; its time limit cancels it."""
    worker = bench.worker()
    worker.consumer("orders", executor="process", concurrency=1, time_limit=0.5)(handlers.later)
    worker.start()
    bench.publisher.publish("orders", {"id": 1, "file": lines.file})
    bench.publisher.publish("orders", {"id": 2, "file": lines.file, "seconds": 30})
    bench.wait(lambda: worker.stats().parked == 1)
    assert lines() == ["begun 1", "ended 1", "begun 2"]
    assert bench.take("orders.dead").headers[names.REASON] == "time-limit"
    assert worker.stats().timed_out == 1


def test_a_child_logs_through_the_workers_logging(bench, lines, caplog):
    """Its levels, its handlers, its format: one configuration for all of it."""
    caplog.set_level(logging.INFO)
    worker = bench.worker()
    worker.consumer("orders", executor="process", concurrency=1)(handlers.logs)
    worker.start()
    bench.publisher.publish("orders", {"id": 7})
    bench.wait(lambda: worker.stats().handled == 1)
    odd, wrong = (record for record in caplog.records if record.name == "tests.child")
    assert (odd.getMessage(), odd.levelname, odd.order) == ("order 7 looks odd", "WARNING", 7)
    assert odd.process == wrong.process != handlers.os.getpid()
    assert 'raise ValueError("inner")' in wrong.exc_text


def test_a_handler_that_cannot_be_imported_prevents_the_start(bench, tmp_path, monkeypatch):
    """With the error of the import, instead of children that die one after the other."""
    (tmp_path / "brittle.py").write_text("def handle(order: dict) -> None: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    import brittle

    (tmp_path / "brittle.py").write_text("raise RuntimeError('no licence')\n")
    worker = bench.worker()
    worker.consumer("orders", executor="process")(brittle.handle)
    del sys.modules["brittle"]
    with pytest.raises(ConfigurationError, match=r"brittle\.handle: RuntimeError: no licence"):
        worker.start()
    assert children_of() == []


def test_a_module_that_breaks_while_the_worker_runs_ends_it(bench, lines, tmp_path, monkeypatch):
    """It does not go round in circles; the message is in its queue, and nothing is counted against it."""
    source = "import os\ndef handle(order: dict) -> None: os._exit(3)\n"
    (tmp_path / "breaking.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    import breaking

    worker = bench.worker()
    worker.consumer("orders", executor="process", concurrency=1)(breaking.handle)
    worker.start()
    (tmp_path / "breaking.py").write_text("import nowhere_to_be_found\n" + source)
    bench.publisher.publish("orders", {"id": 1})
    assert worker.wait(15)
    with pytest.raises(ConfigurationError, match="nowhere_to_be_found"):
        raise worker._runner.error
    bench.wait_count("orders", 1)
    bench.wait_count("orders.dead", 0)
    assert children_of() == []


def test_a_stop_lets_children_finish(bench, lines):
    """Within the grace period: what runs is acknowledged, what was not begun is back, no child is left."""
    worker = bench.worker()
    worker.consumer("orders", executor="process", concurrency=1, prefetch=3)(handlers.slow)
    worker.start()
    orders = [{"id": n, "file": lines.file, "do": "sleep", "seconds": 1} for n in range(3)]
    bench.publisher.publish_many("orders", orders).raise_for_failures()
    bench.wait(lambda: len(lines()) == 1)
    assert worker.stop(20)
    assert len(lines()) == 2
    assert (worker.stats().handled, worker.stats().abandoned) == (1, 0)
    assert children_of() == []
    bench.wait_count("orders", 2)


def test_after_the_grace_period_children_are_killed(bench, lines):
    """Their messages are back at once, counted as abandoned, and no child is left to handle them twice."""
    worker = bench.worker()
    worker.consumer("orders", executor="process", concurrency=2)(handlers.slow)
    worker.start()
    orders = [{"id": n, "file": lines.file, "do": "busy"} for n in range(2)]
    bench.publisher.publish_many("orders", orders).raise_for_failures()
    bench.wait(lambda: len(lines()) == 2)
    assert len(children_of()) == 2
    start = time.monotonic()
    assert not worker.stop(0.3)
    assert time.monotonic() - start < 5
    assert (worker.stats().abandoned, worker.stats().children_died, worker.stats().poisoned) == (2, 0, 0)
    assert children_of() == []
    bench.wait_count("orders", 2)


SCRIPT = """
import logging, os, sys, time
from rmqpool import Worker
logging.basicConfig(level="INFO", stream=sys.stdout)
worker = Worker("script", sys.argv[1])

@worker.consumer("orders", executor="process", concurrency=2)
def handle(order: dict) -> None:
    logging.getLogger("script").info("begun %s in %s", order["id"], os.getpid())
    time.sleep(float(sys.argv[2]))
    logging.getLogger("script").info("ended %s", order["id"])
"""
GUARDED = (
    SCRIPT
    + """
if __name__ == "__main__":
    raise SystemExit(worker.run(grace=20))
"""
)
BARE = (
    SCRIPT
    + """
raise SystemExit(worker.run())
"""
)


def test_a_script_may_hold_its_handler_and_signals_reach_the_worker_only(bench, tmp_path):
    """A SIGTERM and a SIGINT to the children do nothing; one to the worker stops it in good order."""
    (tmp_path / "script.py").write_text(GUARDED)
    with started(tmp_path, tmp_path / "script.py", bench.url, 1.0) as process:
        process.wait_for("worker script runs")
        bench.publisher.publish("orders", {"id": 1})
        process.wait_for("begun 1")
        (child,) = children_of(process.popen.pid)
        for number in (signal.SIGINT, signal.SIGTERM):
            handlers.os.kill(child, number)
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
        assert "ended 1" in process.output
        assert "1 handled" in process.output
        assert children_of(child) == []


def test_a_script_that_runs_its_worker_when_imported_is_told(bench, tmp_path):
    """Otherwise each child would start a worker with children."""
    (tmp_path / "script.py").write_text(BARE)
    with started(tmp_path, tmp_path / "script.py", bench.url, 1.0) as process:
        assert process.wait() == 1
        assert 'run it under if __name__ == "__main__"' in process.output
