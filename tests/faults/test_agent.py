"""Many processes behind one agent: the broker dies, the agent dies, and nothing that was confirmed is lost."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from agent_process import AgentProcess, agent_folder

from faults.harness import drain, figures, judge, keep_queues, until
from faults.processes import start_program
from rmqpool import NotSentError, Publisher, PublishError, Queue, Worker
from rmqpool.testing.checker import TotalQueueChecker, Verdict
from rmqpool.testing.rabbitmq_node import RabbitMQNode

PATIENCE = 120.0  # seconds: for a machine that is much slower


@pytest.fixture
def folder() -> Iterator[Path]:
    with agent_folder() as path:
        yield path


class Clients:
    """The processes of `programs.agent_clients`, and what they tell."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.told: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.told.append(json.loads(line))

    def wait_for_each(self, processes: int) -> None:
        """Until each of them has told one more outcome at least."""
        before = len(self.told)
        until(
            lambda: len({line["name"] for line in self.told[before:] if line["kind"] == "published"}) == processes,
            f"an outcome of each of {processes} processes",
            timeout=PATIENCE,
        )

    def end(self, checker: TotalQueueChecker) -> None:
        """Let them end, and record what they have told."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._reader.join(PATIENCE)
        assert self.told[-1]["kind"] == "ended", "not all processes came to their end"
        assert self.told[-1]["failed"] == 0
        for line in self.told[:-1]:
            checker.record_attempt(line["id"])
            checker.record_publish(line["id"], line["outcome"])


@contextmanager
def clients(url: str, queue: str, processes: int, pause: float) -> Iterator[Clients]:
    with start_program("agent_clients", url, queue, processes, pause) as process:
        started = Clients(process)
        yield started
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.close()
        process.stdin = None


def declare(broker_url: str, queue: str) -> None:
    with Publisher(broker_url, declare=[Queue(queue)]) as publisher:
        publisher.publish(queue, b"declares it", message_id="first")


def verdict_of(broker_url: str, queue: str, told: Clients) -> Verdict:
    checker = TotalQueueChecker()
    checker.record_attempt("first")
    checker.record_publish("first", "confirmed")
    told.end(checker)
    drain(broker_url, queue, checker, timeout=PATIENCE)
    verdict = judge(checker)
    assert verdict.confirmed == verdict.attempted, "everything was back long before the deadlines"
    attempts = max(line.get("attempts", 0) for line in told.told)
    figures("at most %s attempts for a message", attempts)
    return verdict


@pytest.mark.timeout(400)  # the start of so many interpreters alone takes minutes where other things run
def test_200_processes_share_one_agent_and_nothing_is_lost_while_the_broker_is_killed(
    private_broker: RabbitMQNode, queue_name: str, folder: Path
) -> None:
    """Kill -9 and back: every message of every process, also of batches, is confirmed and there; two connections at most."""
    url = private_broker.amqp_url()
    declare(url, queue_name)
    with (
        AgentProcess(folder / "agent.sock", url, "--connections", "2").wait_ready() as agent,
        clients(agent.url, queue_name, 200, 0.5) as told,
    ):
        told.wait_for_each(200)
        assert len(private_broker.list_connections()) <= 2
        keep_queues(private_broker)
        private_broker.kill()
        until(lambda: agent.health()["lost"] >= 2, "the loss of both connections", timeout=PATIENCE)
        private_broker.start()
        told.wait_for_each(200)
        assert len(private_broker.list_connections()) <= 2
        verdict = verdict_of(url, queue_name, told)
        assert verdict.attempted > 400
        assert agent.stop() == 0


def test_an_agent_that_is_killed_and_started_again_loses_nothing_that_was_confirmed(
    private_broker: RabbitMQNode, queue_name: str, folder: Path
) -> None:
    """Twice, under load; what comes twice has the same message id, and the socket left behind is taken over."""
    url = private_broker.amqp_url()
    declare(url, queue_name)
    with (
        AgentProcess(folder / "agent.sock", url).wait_ready() as agent,
        clients(agent.url, queue_name, 10, 0.1) as told,
    ):
        for _ in range(2):
            told.wait_for_each(10)
            agent.kill()
            agent.log.clear()
            agent.start()
            agent.wait_listening()
        told.wait_for_each(10)
        verdict_of(url, queue_name, told)


def test_a_blocked_broker_is_told_to_every_client(private_broker: RabbitMQNode, queue_name: str, folder: Path) -> None:
    """Publishes end by their deadline with the broker's reason, as without an agent, and go on when it takes messages again."""
    url = private_broker.amqp_url()
    declare(url, queue_name)
    with AgentProcess(folder / "agent.sock", url, "--connections", "1").wait_ready() as agent:  # noqa: SIM117 - in turn
        with Publisher(agent.url) as before, Publisher(agent.url) as after:
            assert before.publish(queue_name, b"x", timeout=PATIENCE)
            private_broker.raise_memory_alarm()
            try:
                with pytest.raises(PublishError) as first:
                    before.publish(queue_name, b"x", timeout=2.0)
                assert first.value.outcome == "unknown", "it was written before the broker said that it blocks"
                until(
                    lambda: before.pool.stats().publish[0].blocked is not None, "connection.blocked", timeout=PATIENCE
                )
                with pytest.raises(NotSentError, match="memory"):
                    before.publish(queue_name, b"x", timeout=2.0)
                with pytest.raises(PublishError):
                    after.publish(queue_name, b"x", timeout=2.0)
            finally:
                private_broker.clear_memory_alarm()
            for publisher in (before, after):
                assert publisher.publish(queue_name, b"x", timeout=PATIENCE).outcome == "confirmed"


def test_a_worker_behind_an_agent_goes_on_while_publishers_are_blocked(
    private_broker: RabbitMQNode, queue_name: str, folder: Path
) -> None:
    """It has an upstream connection that never publishes; one that starts meanwhile declares and consumes too."""
    url = private_broker.amqp_url()
    handled: list[bytes] = []
    go_on = threading.Event()

    def start_worker(url: str, stack: ExitStack) -> Worker:
        worker = Worker("behind an agent")

        @worker.consumer(queue_name, queue=Queue(queue_name), prefetch=5)
        def handle(body: bytes) -> None:
            handled.append(body)
            assert go_on.wait(PATIENCE)

        worker.start(pool=url)
        stack.callback(worker.stop, PATIENCE)
        return worker

    with AgentProcess(folder / "agent.sock", url).wait_ready() as agent, ExitStack() as stack:
        stack.callback(private_broker.clear_memory_alarm)
        publisher = stack.enter_context(Publisher(agent.url, declare=[Queue(queue_name)]))
        for number in range(40):
            publisher.publish(queue_name, b"%d" % number, timeout=PATIENCE)
        start_worker(agent.url, stack)
        until(lambda: handled, "the first delivery", timeout=PATIENCE)
        private_broker.raise_memory_alarm()
        with pytest.raises(PublishError):
            publisher.publish(queue_name, b"blocked", timeout=1.0)
        until(lambda: publisher.pool.stats().publish[0].blocked, "connection.blocked", timeout=PATIENCE)
        second = start_worker(agent.url, stack)
        until(lambda: second.is_ready, "the second worker", timeout=PATIENCE)
        go_on.set()
        until(lambda: len(set(handled)) == 40, "all messages", timeout=PATIENCE)
        assert publisher.pool.stats().publish[0].blocked is not None
        assert len(private_broker.list_connections()) == 4, (
            "two that publish, one that consumes, one for leased channels"
        )
        assert agent.health()["ready"]
