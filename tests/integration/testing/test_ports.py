"""A reserved port is nobody else's."""

import socket
import subprocess
import sys

from rmqpool.testing.ports import ReservedPort

TAKE_ALL = """
from rmqpool.testing import ports
ports._RANGE = range({port}, {port} + 1)
ports._ATTEMPTS = 1
ports.ReservedPort()
"""


def test_a_reserved_port_can_be_listened_on() -> None:
    """The port is free on loopback."""
    port = ReservedPort()
    with socket.create_server(("127.0.0.1", port.number)) as server:
        assert server.getsockname()[1] == port.number
    port.release()


def test_another_process_does_not_get_it() -> None:
    """Another process that wants this very port is refused until it is released."""
    port = ReservedPort()
    command = [sys.executable, "-c", TAKE_ALL.format(port=port.number)]
    assert b"No free TCP port" in subprocess.run(command, stderr=subprocess.PIPE, timeout=20, check=False).stderr
    port.release()
    assert subprocess.run(command, stderr=subprocess.PIPE, timeout=20, check=False).returncode == 0
