"""A Postgres server of the tests' own, from the binaries on this machine.

Law: the machine's own clusters are never touched; the server's data, socket and log are in one private folder, it
listens on loopback only, and it is gone when it is closed or its process dies.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import struct
from pathlib import Path

from rmqpool.testing.errors import ServicesError
from rmqpool.testing.passwords import new_password
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.postgres_server import PostgresServer, StopMode
from rmqpool.testing.processes import GuardedProcess, PrivateFolder, run_command, service_user
from rmqpool.testing.waiting import wait_until

__all__ = ["LocalPostgres", "PostgresServer", "StopMode"]

_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_PROTOCOL = 3 << 16  # version 3.0
_MISSING = "Postgres is not installed; install it with: sudo apt-get install postgresql (or start a Docker engine)"
# Durable enough to survive SIGKILL of the server, which loses no page cache; nobody pulls the plug of a test.
_SETTINGS = """
listen_addresses = '127.0.0.1'
fsync = off
full_page_writes = off
shared_buffers = 32MB
max_connections = 100
password_encryption = 'scram-sha-256'
"""


class LocalPostgres(PostgresServer):
    """A private server: `with LocalPostgres() as server: psycopg.connect(server.url)`.

    `settings` are lines of postgresql.conf. Raises `ServicesError` when Postgres is not installed.
    """

    def __init__(self, settings: str = "") -> None:
        self._binaries = find_postgres()
        self._user = service_user("postgres")
        self.password = new_password()
        self._process: GuardedProcess | None = None
        self._closed = False
        self._settings = settings
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self._folder = PrivateFolder("postgres", self._user)
        self._environment = {"PATH": f"{self._binaries}:{os.defpath}", "LANG": "C.UTF-8", "PGPASSWORD": self.password}

    @property
    def folder(self) -> Path:
        """The private folder with all that the server has."""
        return self._folder.path

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    def start(self, timeout: float = 60) -> None:
        if self._closed:
            raise ServicesError(f"{self!r} is closed; make a new one.")
        if not (self.folder / "data").exists():
            self._make_cluster()
        if not self.is_running:
            (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)  # of a killed server
            self._process = GuardedProcess(
                [str(self._binaries / "postgres"), "-D", str(self.folder / "data")],
                folder=self.folder,
                log=self.folder / "output.log",
                environment=self._environment,
                user=self._user,
            )
        self.wait_ready(timeout)

    def wait_ready(self, timeout: float = 30) -> None:
        """Waits until the server takes connections."""
        try:
            wait_until(self._is_ready, f"{self!r} to take connections", timeout=timeout, interval=0.05)
        except ServicesError as error:
            raise ServicesError(f"{error} It wrote:\n{self.log()[-3000:]}") from None

    def stop(self, mode: StopMode = "fast", timeout: float = 30) -> None:
        if self._process is not None and self._process.is_running:
            self._process.send_all(signal.SIGCONT)
            self._process.send(_SIGNALS[mode])
            if not self._process.wait(timeout):
                self.kill()
                raise ServicesError(f"{self!r} did not stop within {timeout:g} s, and was killed.")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def pause(self) -> None:
        if self._process is None or not self._process.is_running:
            raise ServicesError(f"{self!r} does not run; call start() first.")
        self._process.pause_all()

    def resume(self) -> None:
        if self._process is not None:
            self._process.send_all(signal.SIGCONT)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.kill()
            self._folder.remove()
            self._reserved.release()

    def psql(self, sql: str, database: str | None = None, timeout: float = 30) -> str:
        # Without the password, which comes from the environment: command lines are public.
        database_url = f"postgresql://{self.user}@{self.host}:{self.port}/{database or self.database}"
        return run_command(
            [str(self._binaries / "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", database_url],
            environment=self._environment, timeout=timeout, stdin=sql, cwd=self.folder,
        ).rstrip("\n")  # fmt: skip

    def log(self) -> str:
        """What the server wrote."""
        path = self.folder / "output.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _is_ready(self) -> bool:
        if not self.is_running:
            raise ServicesError(f"{self!r} ended while it started.")
        return _takes_sessions((self.host, self.port), self.user, self.database)

    def _make_cluster(self) -> None:
        data, password = self.folder / "data", self._folder.file("password", self.password)
        options = ["--auth=scram-sha-256", f"--username={self.user}", f"--pwfile={password}", "--encoding=UTF8"]
        run_command(
            [str(self._binaries / "initdb"), "-D", str(data), "--no-sync", "--locale=C.UTF-8", *options],
            environment=self._environment, timeout=60, user=self._user, cwd=self.folder,
        )  # fmt: skip
        password.unlink()
        with open(data / "postgresql.conf", "a") as file:
            file.write(f"{_SETTINGS}port = {self.port}\nunix_socket_directories = '{self.folder}'\n{self._settings}\n")


def _takes_sessions(address: tuple[str, int], user: str, database: str) -> bool:
    """Whether a session could begin: the server asks who we are, instead of telling that it starts or ends (57P03).

    Every test asks: psql would be a process, a login and a query each time (www.postgresql.org/docs/current/protocol-flow.html).
    """
    wanted = b"".join(text.encode() + b"\0" for text in ("user", user, "database", database, ""))
    try:
        with socket.create_connection(address, timeout=5) as sock:
            sock.sendall(struct.pack(">II", len(wanted) + 8, _PROTOCOL) + wanted)
            return sock.recv(1024).startswith(b"R")
    except OSError:
        return False


def find_postgres() -> Path:
    """The folder with initdb, postgres and psql: the newest under /usr/lib/postgresql, else the one on PATH.

    Raises `ServicesError` that says what to install.
    """
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    if initdb is None:
        raise ServicesError(_MISSING)
    return Path(initdb).resolve().parent


def _version(initdb: Path) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", initdb.parent.parent.name)))
