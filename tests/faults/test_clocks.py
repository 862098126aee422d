"""Row 28 of the fault matrix: the clock of the machine jumps, and a process stands still for longer than its connections live."""

from __future__ import annotations

import datetime
import json
import signal
import time
from collections.abc import Callable
from typing import IO

import pytest

from faults.harness import Collector, Events, Load, drain, figures, judge, open_pool, until
from faults.processes import Ended, record, start_program
from rmqpool import Publisher, Queue, Worker
from rmqpool.amqp.link import LinkEvent
from rmqpool.core.retry import RetryPolicy
from rmqpool.testing.checker import TotalQueueChecker
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.rabbitmq_node import RabbitMQNode

HEARTBEAT = 1  # second
AFTER = 20  # messages that come through once the process goes on


def test_a_process_that_was_suspended_reconnects_once_and_goes_on(
    broker: RabbitMQNode, vhost: str, queue_name: str
) -> None:
    """The broker gave its connections up meanwhile: each is opened once more, no more, and nothing is lost."""
    with FaultProxy((broker.host, broker.port)) as proxy:
        url = broker.amqp_url(port=proxy.port, vhost=vhost)
        with start_program("suspended", url, queue_name, HEARTBEAT) as process:
            assert process.stdout is not None
            lines = _lines(process.stdout, lambda lines: len(lines) >= 60)
            opened = proxy.accepted
            process.send_signal(signal.SIGSTOP)
            until(lambda: _connections(broker, vhost) == 0, "the broker to give its connections up", timeout=20)
            process.send_signal(signal.SIGCONT)
            lines += _lines(process.stdout, lambda lines: sum(map(_is_confirmed, lines)) >= AFTER)
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None  # communicate() would write to it
            assert process.stderr is not None
            out, err = process.stdout.read(), process.stderr.read()  # communicate() misses what was read ahead
            process.wait(20)
        accepted = proxy.accepted
    ended = Ended(process.returncode, [json.loads(line) for line in [*lines, *out.splitlines()]], err, 0.0)
    assert ended.code == 0, err
    lost = [line["link"] for line in ended.of("event") if line["event"] == LinkEvent.CONNECTION_LOST]
    figures("%d connections, %d after the process went on; lost: %s", opened, accepted - opened, lost)
    assert opened >= 2
    assert accepted == 2 * opened, "one reconnect each, no burst"
    assert sorted(lost) == sorted(set(lost))
    assert len(lost) == opened
    checker = TotalQueueChecker()
    record(ended, checker)
    for line in ended.of("received"):
        checker.record_delivery(line["id"], line["redelivered"])
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    verdict = judge(checker)
    assert verdict.confirmed == verdict.attempted


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0], ids=["a day ahead", "a day back"])
def test_a_clock_that_jumps_changes_nothing(
    broker: RabbitMQNode, vhost: str, queue_name: str, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """Heartbeats, deadlines and reconnects count by monotonic clocks: no connection is lost, no publish ends early or late."""
    checker, events = TotalQueueChecker(), Events()
    queue = Queue(queue_name)
    with open_pool(broker.amqp_url(vhost=vhost), heartbeat=HEARTBEAT, on_event=events) as pool:
        publisher = Publisher(pool, declare=[queue])
        with Collector(pool, queue, checker), Load(publisher, queue_name, checker, threads=2) as load:
            load.wait_for_confirmed(50)
            began = time.monotonic()
            _jump(monkeypatch, jump)
            until(lambda: time.monotonic() - began > 2.5 * HEARTBEAT, "longer than silence is borne", timeout=10)
            load.wait_for_confirmed(50)
            load.stop()
        assert events.of(LinkEvent.CONNECTION_LOST) == []
    drain(broker.amqp_url(vhost=vhost), queue_name, checker)
    verdict = judge(checker)
    assert (verdict.confirmed, verdict.duplicates) == (verdict.attempted, 0)


@pytest.mark.parametrize("jump", [86_400.0, -86_400.0], ids=["a day ahead", "a day back"])
def test_a_retry_keeps_its_delay_when_the_clock_jumps(
    vhost_url: str, queue_name: str, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """What is waited in the worker is waited by a monotonic clock."""
    called: list[float] = []
    worker = Worker("clocks", vhost_url)

    @worker.consumer(queue_name, retry=RetryPolicy(backoff=0.5, jitter=0))
    def handle(body: str) -> None:
        called.append(time.monotonic())
        if len(called) == 1:
            _jump(monkeypatch, jump)
            raise ValueError("not yet")

    with worker, Publisher(vhost_url) as publisher:
        publisher.publish(queue_name, "once")
        until(lambda: worker.stats().handled == 1, "the second attempt", timeout=10)
        assert 0.4 < called[1] - called[0] < 3


def _jump(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The clock on the wall, as far as Python code looks at it; those of the machine are everybody's."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + seconds)
    real_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(seconds * 1e9))

    class Moved(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Moved:
            return super().now(tz) + datetime.timedelta(seconds=seconds)

    for module in ("rmqpool.worker.retrying", "rmqpool.worker.parking"):
        monkeypatch.setattr(f"{module}.datetime", Moved)


def _lines(stdout: IO[str], enough: Callable[[list[str]], bool]) -> list[str]:
    """What the program tells until that is enough; AssertionError if it ends before."""
    lines: list[str] = []
    while not enough(lines):
        line = stdout.readline()
        assert line, f"the program ended: {lines[-3:]}"
        lines.append(line)
    return lines


def _connections(broker: RabbitMQNode, vhost: str) -> int:
    return sum(row["vhost"] == vhost for row in broker.list_connections())


def _is_confirmed(line: str) -> bool:
    told = json.loads(line)
    return told["kind"] == "published" and told["outcome"] == "confirmed"
