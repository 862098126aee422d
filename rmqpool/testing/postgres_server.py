"""What a test may do to a Postgres server, wherever the server comes from.

Law: what happens to the server as a process is declared here and left to the class that owns the process; everything
else is SQL, run by `psql`, which needs no driver.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, Self

__all__ = ["PostgresServer", "StopMode"]

StopMode = Literal["fast", "immediate"]


class PostgresServer(ABC):
    """A Postgres server that belongs to the tests. Every method ends within a deadline or raises `ServicesError`.

    Not thread-safe, what only runs SQL excepted.
    """

    host: str = "127.0.0.1"
    port: int
    user: str = "tests"
    password: str
    database: str = "postgres"

    @abstractmethod
    def start(self, timeout: float = 60) -> None:
        """Starts the server (making its cluster the first time) and waits until it takes connections."""

    @abstractmethod
    def stop(self, mode: StopMode = "fast", timeout: float = 30) -> None:
        """Stops the server: "fast" ends its sessions properly, "immediate" aborts, and the next start recovers."""

    @abstractmethod
    def kill(self) -> None:
        """Ends all the server's processes with SIGKILL; its data stay."""

    @abstractmethod
    def pause(self) -> None:
        """Stops the server's processes with SIGSTOP: its sockets stay open and nothing answers."""

    @abstractmethod
    def resume(self) -> None:
        """Lets a paused server go on; nothing happens when it is not paused."""

    @abstractmethod
    def close(self) -> None:
        """Ends the server and removes all that it had; may be called twice."""

    @property
    @abstractmethod
    def is_running(self) -> bool:
        """Whether the server's processes are there; true for a paused one."""

    @abstractmethod
    def psql(self, sql: str, database: str | None = None, timeout: float = 30) -> str:
        """Runs SQL and returns the rows, unaligned, one a line. Raises `ServicesError` with the server's message."""

    @property
    def url(self) -> str:
        """The URL of the server's first database."""
        return self.database_url(self.database)

    def database_url(self, name: str) -> str:
        """The URL of a database of this server."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{name}"

    def restart(self, mode: StopMode = "fast", timeout: float = 30) -> None:
        """Stops the server in `mode` and starts it again."""
        self.stop(mode, timeout)
        self.start(timeout)

    def heal(self) -> None:
        """Undoes what tests do to servers: resumed and running. The databases stay."""
        self.resume()
        self.start()

    def create_database(self, name: str) -> str:
        """Creates a database and returns its URL."""
        quoted = name.replace('"', '""')
        self.psql(f'CREATE DATABASE "{quoted}"')
        return self.database_url(name)

    def terminate_backends(self) -> int:
        """Ends every other session (57P01, admin_shutdown); how many there were."""
        where = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
        return int(self.psql(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {where}"))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}>"
