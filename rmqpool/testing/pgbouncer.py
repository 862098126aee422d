"""A PgBouncer of the tests' own, in front of a Postgres server of theirs, from the binary on this machine.

Law: it listens on loopback only, all its files (the passwords, too) are in one private folder, and it is gone when it is
closed or its process dies. The machine's own PgBouncer is never touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from rmqpool.testing.errors import ServicesError
from rmqpool.testing.ports import ReservedPort
from rmqpool.testing.postgres_server import PostgresServer
from rmqpool.testing.processes import GuardedProcess, PrivateFolder, service_user
from rmqpool.testing.waiting import wait_until

__all__ = ["PgBouncer", "find_pgbouncer"]

_MISSING = "PgBouncer is not installed; install it with: sudo apt-get install pgbouncer"
# pgbouncer.org/config.html. A few server connections only: transactions of several clients do share them.
_SETTINGS = {
    "listen_addr": "127.0.0.1",
    "unix_socket_dir": "",
    "auth_type": "scram-sha-256",
    "pool_mode": "transaction",
    "default_pool_size": "3",
    "max_client_conn": "200",
    "server_login_retry": "0.2",  # seconds after a failed login: Postgres comes back during a test
}


class PgBouncer:
    """A private PgBouncer in transaction mode: `with PgBouncer(server) as bouncer: psycopg.connect(bouncer.url)`.

    Every database of ``server`` can be reached through it, with the server's user and password. ``settings`` are those of
    its section [pgbouncer]. Every method ends within a deadline or raises `ServicesError`. Not thread-safe.
    """

    host = "127.0.0.1"

    def __init__(self, server: PostgresServer, settings: Mapping[str, str] | None = None) -> None:
        self._binary = find_pgbouncer()
        self._server = server
        self._settings = dict(settings or {})
        self._user = service_user("postgres")
        self._process: GuardedProcess | None = None
        self._closed = False
        self._reserved = ReservedPort()
        self.port = self._reserved.number
        self._folder = PrivateFolder("pgbouncer", self._user)

    @property
    def folder(self) -> Path:
        """The private folder with all that it has."""
        return self._folder.path

    @property
    def url(self) -> str:
        """The server's first database, through PgBouncer."""
        return self.database_url(self._server.database)

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.is_running

    def database_url(self, name: str) -> str:
        """The URL of a database of the server, through PgBouncer."""
        return f"postgresql://{self._server.user}:{self._server.password}@{self.host}:{self.port}/{name}"

    def start(self, timeout: float = 10) -> None:
        """Starts it, unless it runs, and waits until it listens."""
        if self._closed:
            raise ServicesError(f"{self!r} is closed; make a new one.")
        if not self.is_running:
            self._process = GuardedProcess(
                [str(self._binary), str(self._write_files())],
                folder=self.folder,
                log=self.folder / "output.log",
                environment={"PATH": os.defpath, "LANG": "C.UTF-8"},
                user=self._user,
            )
        try:
            wait_until(self._listens, f"{self!r} to listen", timeout=timeout)
        except ServicesError as error:
            raise ServicesError(f"{error} It wrote:\n{self.log()[-3000:]}") from None

    def stop(self, timeout: float = 10) -> None:
        """Ends it at once, and all its connections."""
        if self._process is not None and self._process.is_running:
            self._process.send(signal.SIGTERM)
            if not self._process.wait(timeout):
                self.kill()
                raise ServicesError(f"{self!r} did not stop within {timeout:g} s, and was killed.")

    def kill(self) -> None:
        """Ends it with SIGKILL."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Ends it and removes all that it had; may be called twice."""
        if not self._closed:
            self._closed = True
            self.kill()
            self._folder.remove()
            self._reserved.release()

    def log(self) -> str:
        """What it wrote."""
        path = self.folder / "output.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<PgBouncer {self.host}:{self.port} in front of {self._server!r}>"

    def _write_files(self) -> Path:
        user, password = self._server.user, self._server.password
        users = self._folder.file("users.txt", f'"{user}" "{password}"\n')
        settings = {
            **_SETTINGS,
            "listen_port": str(self.port),
            "auth_file": str(users),
            "admin_users": user,
            **self._settings,
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        databases = f"* = host={self._server.host} port={self._server.port}"
        return self._folder.file("pgbouncer.ini", "\n".join(["[databases]", databases, "[pgbouncer]", *lines, ""]))

    def _listens(self) -> bool:
        if not self.is_running:
            raise ServicesError(f"{self!r} ended while it started.")
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((self.host, self.port)) == 0


def find_pgbouncer() -> Path:
    """The program: Debian's place, else the one on PATH. Raises `ServicesError` that says what to install."""
    place = Path("/usr/sbin/pgbouncer")
    found = str(place) if place.exists() else shutil.which("pgbouncer")
    if found is None:
        raise ServicesError(_MISSING)
    return Path(found)
