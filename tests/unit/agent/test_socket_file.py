"""The socket's file: made with its permissions, one agent for each, refused with a sentence when it cannot be."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_process import agent_folder, answers

from rmqpool.agent.options import AgentOptions
from rmqpool.agent.peers import group_id, user_id
from rmqpool.agent.socket_file import SocketFile
from rmqpool.errors import ConfigurationError


@pytest.fixture
def path() -> Iterator[Path]:
    with agent_folder() as folder:
        yield folder / "agent.sock"


def test_it_is_made_with_its_mode_and_taken_away(path: Path) -> None:
    """Whatever the umask is, which stays as it was."""
    before = os.umask(0o027)
    try:
        file = SocketFile(AgentOptions(str(path), mode=0o606))
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o606
    assert answers(path)
    file.remove()
    file.remove()
    assert list(path.parent.iterdir()) == []


def test_one_that_is_served_is_refused(path: Path) -> None:
    """With the process that serves it."""
    file = SocketFile(AgentOptions(str(path)))
    with pytest.raises(ConfigurationError, match=f"another agent \\(process {os.getpid()}\\) serves"):
        SocketFile(AgentOptions(str(path)))
    assert answers(path)
    file.remove()
    SocketFile(AgentOptions(str(path))).remove()


def test_one_that_was_left_behind_is_replaced(path: Path) -> None:
    """Nothing listens there, so nobody misses it."""
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    file = SocketFile(AgentOptions(str(path)))
    assert answers(path)
    file.remove()


def test_what_is_somebody_elses_stays(path: Path) -> None:
    """A file, a socket that somebody listens at, one that was put in the place of ours."""
    path.write_text("a file")
    with pytest.raises(ConfigurationError, match="no socket"):
        SocketFile(AgentOptions(str(path)))
    assert path.read_text() == "a file"
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(ConfigurationError, match="something else listens"):
            SocketFile(AgentOptions(str(path)))
        assert answers(path)
        path.unlink()
    file = SocketFile(AgentOptions(str(path)))
    path.unlink()
    path.write_text("another's")
    file.remove()
    assert path.read_text() == "another's"


def test_a_folder_that_anybody_may_write_into_is_refused(path: Path) -> None:
    """Anybody could put a socket of his own there; with the sticky bit, as in /tmp, he could not."""
    path.parent.chmod(0o777)
    with pytest.raises(ConfigurationError, match="everybody may write"):
        SocketFile(AgentOptions(str(path)))
    path.parent.chmod(0o1777)
    SocketFile(AgentOptions(str(path))).remove()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"socket_path": "relative.sock"}, "absolute path"),
        ({"socket_path": f"/{'x' * 120}"}, "at most 107"),
        ({"socket_path": "/missing/folder/agent.sock"}, "make it first"),
        ({"socket_path": "/run/agent.sock", "memory": 2**20}, "memory is"),
        ({"socket_path": "/run/agent.sock", "mode": 0o1777}, "mode is"),
        ({"socket_path": "/run/agent.sock", "connections": 0}, "connections is"),
        ({"socket_path": "/run/agent.sock", "max_clients": 0}, "max_clients is"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, object], says: str) -> None:
    """Before anything is made."""
    with pytest.raises(ConfigurationError, match=says):
        SocketFile(AgentOptions(**options))  # type: ignore[arg-type]


def test_users_and_groups_have_names_or_numbers() -> None:
    """An unknown name is told."""
    assert (user_id("root"), user_id("12345"), group_id("root")) == (0, 12345, 0)
    with pytest.raises(ConfigurationError, match="no user 'no-such-user'"):
        user_id("no-such-user")
    with pytest.raises(ConfigurationError, match="no group 'no-such-group'"):
        group_id("no-such-group")
