"""Who may use an agent: the file's mode, and what the kernel says of who connects."""

import grp
import os
import pwd
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_process import LocalAgent
from another_user import told_by_nobody

from rmqpool import Publisher
from rmqpool.errors import AuthenticationError, RmqpoolError
from rmqpool.testing.waiting import wait_until

PATIENCE = 60.0
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def outcome_as_nobody(url: str, groups: list[int], timeout: float = PATIENCE) -> str:
    """What a publish ends with in a child that is another user: the error's class, or ``confirmed``."""
    with Publisher("agent:///nowhere.sock") as warm, pytest.raises(RmqpoolError):
        warm.publish("orders", b"so that everything is imported", timeout=0.1)

    def publish() -> str:
        with Publisher(url) as publisher:
            publisher.publish_to("", "nowhere", b"x", mandatory=False, timeout=timeout)
        return "confirmed"

    return told_by_nobody(publish, groups)


@pytest.fixture
def agent_of(folder: Path, broker_url: str) -> Callable[..., LocalAgent]:
    """Starts one with options."""
    return lambda **options: LocalAgent(folder / "agent.sock", broker_url, **options)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@as_root
def test_the_socket_is_its_owners_only(agent_of: Callable[..., LocalAgent]) -> None:
    """0600, whatever the umask; another user is told what to do."""
    before = os.umask(0)
    try:
        agent = agent_of()
    finally:
        os.umask(before)
    with agent.wait_ready():
        assert mode_of(agent.path) == 0o600
        told = outcome_as_nobody(agent.url, [], timeout=1.0)
        assert "permission denied: join the group" in told


@as_root
def test_a_user_that_the_mode_lets_in_is_still_asked_who_it_is(agent_of: Callable[..., LocalAgent]) -> None:
    """An AuthenticationError, with what to do; the agent's log tells it too, and it serves on."""
    with agent_of(mode=0o666).wait_ready() as agent:
        told = outcome_as_nobody(agent.url, [])
        assert AuthenticationError.__name__ in told
        assert "--allow-user" in told
        wait_until(lambda: agent.told("was not let in"), "its line in the log", timeout=PATIENCE)
        with Publisher(agent.url) as publisher:
            publisher.publish_to("", "nowhere", b"x", mandatory=False, timeout=PATIENCE)
        wait_until(lambda: agent.figures()["refused"] >= 1, "the refusal in the figures", timeout=PATIENCE)


@as_root
def test_an_allowed_user_publishes(agent_of: Callable[..., LocalAgent]) -> None:
    """With the mode that lets it in."""
    with agent_of(mode=0o666, users=frozenset({pwd.getpwnam("nobody").pw_uid})).wait_ready() as agent:
        assert outcome_as_nobody(agent.url, []) == "confirmed"


@as_root
def test_members_of_the_sockets_group_publish(agent_of: Callable[..., LocalAgent]) -> None:
    """0660 with --group; a further group of the process counts as its first one does."""
    group = grp.getgrnam("daemon")
    with agent_of(group=group.gr_gid).wait_ready() as agent:
        assert mode_of(agent.path) == 0o660
        assert agent.path.stat().st_gid == group.gr_gid
        assert outcome_as_nobody(agent.url, [group.gr_gid]) == "confirmed"
        assert outcome_as_nobody(agent.url, [], timeout=1.0) != "confirmed"
