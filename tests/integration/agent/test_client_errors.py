"""A client whose agent cannot be reached is told what to do, within its time."""

import os
import socket
from pathlib import Path

import pytest
from another_user import told_by_nobody

from rmqpool import ConnectionPool, NotSentError, Publisher
from rmqpool.errors import PoolTimeoutError


def why(path: Path) -> str:
    """What a pool says of an agent that it cannot reach."""
    pool = ConnectionPool(f"agent://{path}?reconnect_max_delay=0.1&amqp_timeout=0.3&tcp_timeout=0.3")
    try:
        with pytest.raises(PoolTimeoutError) as error:
            pool.open(timeout=1.0)
        return f"{error.value} {error.value.__cause__}"
    finally:
        pool.close(timeout=5.0)


def test_a_missing_socket_says_how_to_start_the_agent(folder: Path):
    """With the path."""
    told = why(folder / "missing.sock")
    assert f"rmqpool agent --socket {folder}/missing.sock" in told


def test_a_stale_socket_says_that_nothing_listens(folder: Path):
    """An agent that was killed leaves it."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "stale.sock"))
    assert "nothing listens there any more" in why(folder / "stale.sock")


def test_a_listener_that_says_nothing_is_given_up(folder: Path):
    """The handshake has a deadline of its own."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "mute.sock"))
        listener.listen()
        assert "did not finish the handshake within 0.3 s" in why(folder / "mute.sock")


def test_a_full_queue_of_connections_is_waited_for(folder: Path):
    """A Unix socket says EAGAIN instead of waiting."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "full.sock"))
        listener.listen(0)
        waiting = []
        for _ in range(3):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(str(folder / "full.sock"))
        assert "accepts no connection within 0.3 s" in why(folder / "full.sock")
        for one in waiting:
            one.close()


def test_a_forbidden_socket_names_the_group(folder: Path):
    """What the file's permissions say; root may connect to every socket, so that somebody else has to try."""
    path = folder / "closed.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        os.chmod(path, 0)
        if os.geteuid() == 0:
            why(folder / "missing.sock")  # so that everything is imported
        told = told_by_nobody(lambda: why(path)) if os.geteuid() == 0 else why(path)
        assert "permission denied: join the group" in told


def test_a_publish_ends_by_its_deadline_without_an_agent(folder: Path):
    """Nothing was written: NotSentError, as without a broker."""
    with Publisher(f"agent://{folder}/missing.sock") as publisher, pytest.raises(NotSentError):
        publisher.publish("orders", {"id": 1}, timeout=0.5)
