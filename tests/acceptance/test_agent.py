"""`rmqpool agent` as a process: it starts, refuses, stops and says why, with its exit codes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_client import RawClient, publish_frames
from agent_process import AgentProcess, agent_folder, answers
from pika import spec

from rmqpool import Publisher, Queue
from rmqpool.testing.rabbitmq import RabbitMQNode
from rmqpool.testing.waiting import wait_until

PATIENCE = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    with agent_folder() as path:
        yield path


def refused(*options: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """Exit code and error of an agent that does not start."""
    done = subprocess.run(
        [sys.executable, "-m", "rmqpool", "agent", "--json", *options],
        env={**os.environ, "RMQPOOL_URL": "amqp://127.0.0.1:1/", **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, json.loads(done.stdout)["error"]


def test_a_stop_waits_for_the_brokers_answers(broker: RabbitMQNode, queue_name: str, folder: Path) -> None:
    """What was forwarded is answered, then the clients are told to come again; the socket and its lock are gone; exit code 0."""
    url = broker.amqp_url()
    with Publisher(url, declare=[Queue(queue_name)]) as publisher:
        publisher.publish(queue_name, b"declares it", timeout=PATIENCE)
    with AgentProcess(folder / "agent.sock", url).wait_ready() as agent:
        client = RawClient(agent.path).shake_hands().open(1, confirms=True)
        client.socket.sendall(publish_frames(1, queue_name, b"x" * 1000) * 2000)
        wait_until(lambda: agent.health()["messages"] > 0, "the first messages", timeout=PATIENCE)
        code: list[int] = []
        stopping = threading.Thread(target=lambda: code.append(agent.stop()))
        stopping.start()
        answered = 0
        while True:
            method = client.next_frame().method
            if isinstance(method, spec.Connection.Close):
                break
            answered = method.delivery_tag if method.multiple else answered + 1
        assert (method.reply_code, "the agent stops" in method.reply_text) == (320, True)
        client.say(0, spec.Connection.CloseOk())
        client.wait_end()
        client.socket.close()
        stopping.join(PATIENCE)
        assert code == [0]
        assert answered > 0
        assert agent.told("every publish that was forwarded is answered")
        assert sorted(folder.iterdir()) == []


def test_an_agent_that_stops_is_come_back_to(broker: RabbitMQNode, queue_name: str, folder: Path) -> None:
    """A publisher that stays needs no restart: what it publishes meanwhile waits for the next agent."""
    with (
        AgentProcess(folder / "agent.sock", broker.amqp_url()).wait_ready() as agent,
        Publisher(agent.url, declare=[Queue(queue_name)]) as publisher,
    ):
        assert publisher.publish(queue_name, b"x", timeout=PATIENCE).attempts == 1
        assert agent.stop() == 0
        future = publisher.submit(queue_name, b"meanwhile", timeout=PATIENCE)
        agent.log.clear()
        agent.start()
        assert future.result(PATIENCE).outcome == "confirmed"


def test_a_second_agent_is_refused_and_a_stale_socket_replaced(broker: RabbitMQNode, folder: Path) -> None:
    """The lock tells which is which, also after kill -9."""
    path = folder / "agent.sock"
    with AgentProcess(path, broker.amqp_url()).wait_listening() as agent:
        code, error = refused("--socket", str(path))
        assert code == 3
        assert f"another agent (process {agent.process.pid}) serves {path}" in error["message"]
        assert answers(path)
        agent.kill()
        assert path.exists()
        assert not answers(path)
        agent.start()
        agent.wait_listening()


def test_a_broker_that_is_not_there_is_waited_for_and_told(folder: Path) -> None:
    """Clients get the agent's reason, and the agent says that it is not ready."""
    with AgentProcess(folder / "agent.sock", "amqp://127.0.0.1:1/").wait_listening() as agent:
        with RawClient(agent.path) as client, pytest.raises(AssertionError, match="no connection to the broker"):
            client.shake_hands()
        wait_until(lambda: agent.told("health checks at"), "its health", timeout=PATIENCE)
        health = agent.health()
        assert (health["alive"], health["ready"], health["state"]) == (True, False, "starting")
        assert agent.stop() == 0


def test_a_second_signal_ends_it_at_once(folder: Path, broker: RabbitMQNode) -> None:
    """A client that does not answer holds up the first one for two seconds."""
    with (
        AgentProcess(folder / "agent.sock", broker.amqp_url()).wait_ready() as agent,
        RawClient(agent.path).shake_hands(),
    ):
        agent.process.terminate()
        wait_until(lambda: agent.told("the agent stops"), "the stop", timeout=PATIENCE)
        agent.process.terminate()
        assert agent.process.wait(PATIENCE) in (-15, 0)


def test_what_cannot_work_is_refused_with_a_sentence(folder: Path) -> None:
    """Exit code 3 for a configuration, 2 for the command line."""
    code, error = refused("--socket", str(folder / "agent.sock"), "--url", "agent:///other.sock")
    assert (code, "give it an amqp" in error["message"]) == (3, True)
    assert refused("--socket", str(folder / "agent.sock"), "--mode", "abc")[0] == 2
    code, error = refused("--socket", str(folder / "agent.sock"), RMQPOOL_WIRE="pika")
    assert (code, "RMQPOOL_WIRE=pika asks for it" in error["message"]) == (3, True)


def test_doctor_and_publish_go_through_an_agent(broker: RabbitMQNode, queue_name: str, folder: Path) -> None:
    """The same commands, with another URL."""
    with AgentProcess(folder / "agent.sock", broker.amqp_url()).wait_ready() as agent:
        with Publisher(agent.url, declare=[Queue(queue_name)]) as publisher:
            publisher.publish(queue_name, b"declares it", timeout=PATIENCE)
        for command in (["doctor", "--json"], ["publish", queue_name, "hello", "--json"]):
            done = subprocess.run(
                [sys.executable, "-m", "rmqpool", *command, "--url", agent.url],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_health_address_is_found_before_anybody_can_come(broker: RabbitMQNode, folder: Path) -> None:
    """Exit code 3; the socket was never there, or its clients would be sent away again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "{}:{}".format(*taken.getsockname())
        options = ["--socket", str(folder / "agent.sock"), "--url", broker.amqp_url(), "--health", address]
        code, error = refused(*options)
        assert (code, f"cannot listen on {address}" in error["message"]) == (3, True)
    assert sorted(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "kind"),
    [({"password": "not-this-one"}, "AuthenticationError"), ({"vhost": "nowhere"}, "VirtualHostNotFoundError")],
)
def test_a_broker_that_refuses_the_first_connections_ends_the_agent(
    broker: RabbitMQNode, folder: Path, change: dict[str, str], kind: str
) -> None:
    """Exit code 4, and the broker's reason: waiting does not mend it, and whoever starts the agent is to see it."""
    code, error = refused("--socket", str(folder / "agent.sock"), RMQPOOL_URL=broker.amqp_url(**change))
    assert (code, error["type"]) == (4, kind)
    assert "not-this-one" not in str(error)
    assert sorted(folder.iterdir()) == []


def test_a_later_refusal_is_waited_for_and_told(broker: RabbitMQNode, queue_name: str, folder: Path) -> None:
    """A password that was changed: the agent stays, says so in its log and at /ready, and works on when it may again."""
    user = f"agent-{queue_name}"
    broker.add_user(user, "first")
    try:
        url = f"{broker.amqp_url(user=user, password='first')}?refused_delay=1"
        with AgentProcess(folder / "agent.sock", url).wait_ready() as agent:
            broker.change_password(user, "second")
            for connection in broker.list_connections():
                if connection["user"] == user:
                    broker.close_connection(connection["name"])
            wait_until(lambda: "refused user" in agent.health()["text"], "the refusal at /ready", timeout=PATIENCE)
            assert not agent.health()["ready"]
            assert any("refused user" in line for line in agent.told("failed"))
            with RawClient(agent.path) as client, pytest.raises(AssertionError, match="refused user"):
                client.shake_hands()
            broker.change_password(user, "first")
            wait_until(lambda: agent.health()["ready"], "the way back", timeout=PATIENCE)
            assert agent.stop() == 0
    finally:
        broker.delete_user(user)
