"""An agent ends within its time, whatever the broker does."""

import threading
import time
from pathlib import Path

import pika
import pytest

from rmqpool import Publisher, PublishError, UnroutableError, parse_url
from rmqpool.agent.agent import Agent
from rmqpool.agent.options import AgentOptions
from rmqpool.testing.proxy import FaultProxy
from rmqpool.testing.waiting import wait_until

PATIENCE = 60.0


def test_a_broker_that_does_not_answer_takes_the_time_of_one_connection(folder: Path, broker_url: str) -> None:
    """However many there are: closed one after the other, 32 took 80 seconds, unless heartbeats told before that it is gone."""
    upstream = pika.URLParameters(broker_url)
    with FaultProxy((upstream.host, upstream.port)) as proxy:
        url = broker_url.replace(f"{upstream.host}:{upstream.port}", proxy.url_host_port)
        settings = parse_url(url, heartbeat=600)
        options = AgentOptions(str(folder / "agent.sock"), connections=32, memory=34 * 4 * 2**20)
        with Agent(settings, options) as agent:
            wait_until(lambda: agent.is_ready, "all connections", timeout=PATIENCE)
            proxy.blackhole()
            began = time.monotonic()
            agent.stop(timeout=0.1)
            assert time.monotonic() - began < 30.0
    assert not (folder / "agent.sock").exists()


def test_publishes_whose_connection_is_lost_during_the_stop_have_no_answer(folder: Path, broker_url: str) -> None:
    """Neither does the agent say that all were answered, nor is their publisher told so."""
    upstream = pika.URLParameters(broker_url)
    with FaultProxy((upstream.host, upstream.port)) as proxy:
        settings = parse_url(broker_url.replace(f"{upstream.host}:{upstream.port}", proxy.url_host_port), heartbeat=600)
        socket = folder / "agent.sock"
        with (
            Agent(settings, AgentOptions(str(socket), connections=1)) as agent,
            Publisher(f"agent://{socket}") as publisher,
        ):
            with pytest.raises(UnroutableError):  # its channel is there from here on
                publisher.publish("nobody listens", b"x", timeout=PATIENCE)
            proxy.blackhole()
            future = publisher.submit("orders", b"x", timeout=PATIENCE)
            wait_until(lambda: agent.stats().unanswered == 1, "the publish to be passed on", timeout=PATIENCE)
            answered: list[bool] = []
            stopping = threading.Thread(target=lambda: answered.append(agent.stop(timeout=PATIENCE)))
            stopping.start()
            wait_until(lambda: agent._hubs.publishing[0].gate.is_closed, "the stop to begin", timeout=PATIENCE)
            proxy.reset()
            stopping.join(PATIENCE)
            publisher.close(timeout=0.1)
            with pytest.raises(PublishError):
                future.result(timeout=PATIENCE)
    assert answered == [False]
