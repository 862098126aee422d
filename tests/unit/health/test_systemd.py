"""What a service manager hears: a real datagram socket, by path and in the abstract namespace."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from rmqpool.health.systemd import SystemdNotifier
from rmqpool.health.values import Health

STARTING = Health(alive=True, ready=False, state="starting", text="importing")
RUNNING = Health(alive=True, ready=True, state="running", text="2 of 2\nready")
AWAY = Health(alive=True, ready=False, state="running", text="the broker is away")
STOPPING = Health(alive=True, ready=False, state="stopping", text="stopping")


class Manager:
    """Listens as systemd does."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """All lines since the last call."""
        lines: list[str] = []
        while True:
            try:
                lines += self._socket.recv(65536).decode().split("\n")
            except BlockingIOError:
                return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """One of each kind."""
    listening = Manager(str(tmp_path / "n") if request.param == "path" else f"@rmqpool-{uuid.uuid4().hex}")
    yield listening
    listening.close()


def test_a_service_is_ready_once_and_stops_once(manager: Manager) -> None:
    """READY=1 at the first subscription, whatever the broker does later; the status is a line of its own."""
    notifier = SystemdNotifier(manager.address)
    notifier.show(STARTING)
    assert "READY=1" not in manager.heard()
    notifier.show(RUNNING)
    heard = manager.heard()
    assert "READY=1" in heard
    assert "STATUS=2 of 2 ready" in heard
    notifier.show(AWAY)
    notifier.show(RUNNING)
    heard = manager.heard()
    assert "READY=1" not in heard
    assert "STATUS=the broker is away" in heard
    notifier.show(STOPPING)
    notifier.show(STOPPING)
    notifier.close()
    notifier.close()
    assert manager.heard().count("STOPPING=1") == 1


def test_a_reload_is_told_with_its_moment(manager: Manager) -> None:
    """As Type=notify-reload wants it: the monotonic time in microseconds, then READY=1."""
    notifier = SystemdNotifier(manager.address)
    notifier.show(RUNNING)
    manager.heard()
    before = time.monotonic_ns() // 1000
    notifier.show(Health(alive=True, ready=True, state="reloading"))
    heard = manager.heard()
    assert heard[0] == "RELOADING=1"
    assert before <= int(heard[1].removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    notifier.show(RUNNING)
    assert "READY=1" in manager.heard()
    notifier.close()


def test_waiting_on_purpose_extends_the_managers_timeouts(manager: Manager) -> None:
    """For a broker at the start and for handlers at the end, but not while it just runs, nor if it hangs."""
    notifier = SystemdNotifier(manager.address)
    notifier.show(Health(alive=False, ready=False, state="starting"))
    assert not [line for line in manager.heard() if line.startswith("EXTEND")]
    notifier.show(STARTING)
    assert "EXTEND_TIMEOUT_USEC=30000000" in manager.heard()
    notifier.show(RUNNING)
    assert not [line for line in manager.heard() if line.startswith("EXTEND")]
    notifier.close()


def test_the_watchdog_hears_nothing_of_what_hangs(manager: Manager) -> None:
    """At half of its time, as it is recommended; only while the worker is alive."""
    notifier = SystemdNotifier.from_environment({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2"})
    assert notifier is not None
    notifier.show(Health(alive=False, ready=True, state="running"))
    assert "WATCHDOG=1" not in manager.heard()
    notifier.show(AWAY)
    assert "WATCHDOG=1" in manager.heard()
    notifier.close()


def test_the_watchdog_may_be_another_process(manager: Manager) -> None:
    """WATCHDOG_PID tells whose it is."""
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2", "WATCHDOG_PID": str(os.getpid() + 1)}
    notifier = SystemdNotifier.from_environment(environment)
    assert notifier is not None
    notifier.show(RUNNING)
    assert "WATCHDOG=1" not in manager.heard()
    notifier.close()


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}])
def test_without_a_manager_nothing_is_told(environment: dict[str, str]) -> None:
    """Nor to one that is reached in another way."""
    assert SystemdNotifier.from_environment(environment) is None


def test_a_manager_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    """The worker works on."""
    notifier = SystemdNotifier(str(tmp_path / "nobody"))
    notifier.show(RUNNING)
    notifier.close()
