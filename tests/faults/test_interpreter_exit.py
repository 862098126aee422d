"""Row 27 of the fault matrix: the interpreter ends while messages are on their way. A bounded flush, and never a hang."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from faults.harness import drain, judge
from faults.processes import Ended, record, run_program, start_program
from rmqpool.testing.checker import TotalQueueChecker
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq import RabbitMQNode

MESSAGES = 500
BOUND = 15.0  # seconds: the flush of 5 s at most, a start of the interpreter, a busy machine


def verdict_of(ended: Ended, broker: RabbitMQNode, queue: str) -> TotalQueueChecker:
    """Everything that the program told, and everything that is in the queue."""
    checker = TotalQueueChecker()
    record(ended, checker)
    drain(broker.amqp_url(), queue, checker)
    return checker


def test_publish_from_atexit_works(broker: RabbitMQNode, queue_name: str) -> None:
    """A function that the application registered with atexit can still publish: its pool is closed after it."""
    ended = run_program("exit", broker.amqp_url(), queue_name, "atexit", timeout=BOUND)

    assert (ended.code, ended.stderr) == (0, "")
    verdict = judge(verdict_of(ended, broker, queue_name))
    assert (verdict.confirmed, verdict.received) == (6, 6)


@pytest.mark.parametrize(
    ("way", "code", "stderr"),
    [
        ("return", 0, ""),
        ("sys-exit", 3, ""),
        ("thread-exit", 0, ""),
        ("exception", 1, "the application's own error"),
    ],
)
def test_messages_in_flight_are_flushed_however_the_program_ends(
    broker: RabbitMQNode, queue_name: str, way: str, code: int, stderr: str
) -> None:
    """Five hundred messages on their way at the end: all confirmed before the process is gone; its exit code is its own."""
    ended = run_program("exit", broker.amqp_url(), queue_name, way, timeout=BOUND)

    assert ended.code == code, ended.stderr
    assert stderr in ended.stderr
    assert bool(stderr) == bool(ended.stderr), ended.stderr
    verdict = judge(verdict_of(ended, broker, queue_name))
    assert (verdict.confirmed, verdict.received) == (MESSAGES + 3, MESSAGES + 3)


@pytest.mark.parametrize("fault", ["silent", "refused"])
def test_dead_broker_at_the_end_is_no_reason_to_hang(broker: RabbitMQNode, queue_name: str, fault: str) -> None:
    """The broker is gone when the program ends: the flush gives up in time, and every message has an honest outcome."""
    with FaultProxy((broker.host, broker.port)) as proxy:
        url = broker.amqp_url(port=proxy.port)
        with start_program("exit", url, queue_name, "wait") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            lines: list[dict[str, Any]] = []
            while not lines or lines[-1]["kind"] != "ready":
                lines.append(json.loads(process.stdout.readline()))
            if fault == "silent":
                proxy.blackhole()
            else:
                proxy.refuse()
                proxy.reset()
            started = time.monotonic()
            stdout, stderr = process.communicate("\n", timeout=BOUND)
            seconds = time.monotonic() - started
    ended = Ended(process.returncode, [*lines, *map(json.loads, stdout.splitlines())], stderr, seconds)

    assert ended.code == 0
    assert ended.seconds < 10.0, "the flush is bounded to 5 s"
    assert "messages were still on their way when the interpreter ended" in ended.stderr
    assert "Traceback" not in ended.stderr
    checker = verdict_of(ended, broker, queue_name)
    verdict = judge(checker)
    assert verdict.attempted == MESSAGES + 3
    assert (verdict.confirmed, verdict.not_sent + verdict.unknown) == (3, MESSAGES)
