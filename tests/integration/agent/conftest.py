"""An agent in front of the broker that the tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_process import LocalAgent, agent_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short one: a socket's path has 107 bytes at most."""
    with agent_folder() as path:
        yield path


@pytest.fixture(scope="session")
def shared_agent(broker_url: str) -> Iterator[LocalAgent]:
    """One that many tests share and none may break."""
    with agent_folder() as folder, LocalAgent(folder / "agent.sock", broker_url) as agent:
        yield agent.wait_ready()
