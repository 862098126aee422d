"""What private RabbitMQ nodes share, so that they may cluster: an epmd and a cookie for each Python process.

Law: never the machine's epmd, never its cookie. The first node starts the epmd, the last one to close ends it.
"""

import os
import secrets
import shutil
import socket
import threading

from rmqpool.testing.errors import ServicesError
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.processes import GuardedProcess, PrivateFolder
from rmqpool.testing.waiting import wait_until

__all__ = ["Epmd", "program", "shared_epmd"]


def program(name: str) -> str:
    """The path of a program of Erlang. Raises `ServicesError` when Erlang is not installed."""
    found = shutil.which(name) or shutil.which(name, path="/usr/lib/erlang/bin:/usr/local/lib/erlang/bin")
    if found is None:
        raise ServicesError(f"Erlang's {name} is not installed; install it with: sudo apt-get install rabbitmq-server")
    return found


class Epmd:
    """A private Erlang port mapper daemon on loopback, with the cookie of its nodes. Thread-safe."""

    def __init__(self, user: str | None) -> None:
        self.user = user
        self.cookie = secrets.token_hex(16)
        self.owner = os.getpid()
        self._lock = threading.Lock()
        self._nodes = 0
        self._process: GuardedProcess | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that lead Erlang's programs to this epmd."""
        return {"ERL_EPMD_PORT": str(self._port.number), "ERL_EPMD_ADDRESS": "127.0.0.1"}

    def acquire(self) -> None:
        """Starts the daemon for the first node."""
        with self._lock:
            if self._nodes == 0:
                self._start()
            self._nodes += 1

    def release(self) -> None:
        """Ends the daemon after the last node."""
        with self._lock:
            self._nodes -= 1
            if self._nodes == 0:
                self._stop()

    def _start(self) -> None:
        self._port = ReservedPort()
        self._folder = PrivateFolder("epmd", self.user)
        try:
            self._process = GuardedProcess(
                [program("epmd"), "-port", str(self._port.number)],
                folder=self._folder.path,
                log=self._folder.file("epmd.log", ""),
                environment={"PATH": os.defpath, **self.environment},
                user=self.user,
            )
            wait_until(self._answers, "Erlang's port mapper (epmd) to listen", timeout=10)
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
        self._process = None
        self._folder.remove()
        self._port.release()

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port.number), timeout=1).close()
        except OSError:
            return False
        return True


_shared: dict[str | None, Epmd] = {}
_shared_lock = threading.Lock()


def shared_epmd(user: str | None) -> Epmd:
    """This process's epmd for nodes that run as `user`; a forked child gets its own. Thread-safe."""
    with _shared_lock:
        epmd = _shared.get(user)
        if epmd is None or epmd.owner != os.getpid():
            epmd = _shared[user] = Epmd(user)
        return epmd
