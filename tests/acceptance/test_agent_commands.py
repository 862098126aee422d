"""Commands that look at a broker look at it through an agent as well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from agent_process import AgentProcess, agent_folder

from rmqpool.testing.rabbitmq import RabbitMQNode
from tests.acceptance.conftest import Run


@pytest.fixture(scope="module")
def agent(broker: RabbitMQNode) -> Iterator[AgentProcess]:
    """In front of the broker that the tests share."""
    with agent_folder() as folder, AgentProcess(folder / "agent.sock", broker.amqp_url()) as agent:
        yield agent.wait_ready()


def test_doctor_finds_nothing_wrong_through_an_agent(inline: Run, broker: RabbitMQNode, agent: AgentProcess) -> None:
    """Its throw-away queue needs no connection of its own, and is gone; no user is named who is not the agent's."""
    ended = inline("doctor", "--url", agent.url, "--json")
    assert ended.code == 0, ended.text
    told = {finding["stage"]: finding for finding in ended.json["findings"]}
    assert [told[stage]["state"] for stage in ("declare", "write", "read")] == ["ok"] * 3
    assert "the agent's user" in told["declare"]["text"]
    assert not any(queue["name"].startswith("rmqpool.doctor") for queue in broker.list_queues("/"))


def test_the_size_of_a_pool_needs_no_management_api_behind_an_agent(inline: Run, agent: AgentProcess) -> None:
    """Its address is not known there, and that is a note."""
    ended = inline("pool", "size", "--threads", "4", "--json", "--url", agent.url)
    assert (ended.code, ended.json["size"]) == (0, 4)
    assert "--management-url" in ended.json["notes"][0]
