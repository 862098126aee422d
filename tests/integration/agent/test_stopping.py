"""An agent ends within its time, whatever the broker does."""

import time
from pathlib import Path

import pika

from rmqpool import parse_url
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
