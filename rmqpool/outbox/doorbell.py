"""The doorbell: writers ring while the relay sleeps, and only then. See :mod:`rmqpool.outbox.statements` for their side."""

from __future__ import annotations

from rmqpool.outbox.relay_connection import RelayConnection
from rmqpool.outbox.relay_statements import RelayStatements

__all__ = ["Doorbell"]


class Doorbell:
    """Listens on a direct connection (not through PgBouncer). Belongs to the relay's thread.

    A relay that is awake holds a lock, and writers that find it taken do not ring. With several relays nobody takes it:
    one that is awake would keep the others asleep. Raises psycopg.Error when the connection is gone.
    """

    def __init__(self, connection: RelayConnection, statements: RelayStatements) -> None:
        self.connection = connection
        self._statements = statements
        self._rang = False
        self.is_silent = False  # the lock is held
        connection.on_notify(lambda _: self._ring())  # that came along with another answer
        connection.execute(statements.listen)

    def fileno(self) -> int:
        """The socket, to wait on."""
        return self.connection.raw.fileno()

    def silence(self) -> None:
        """The relay is awake: nobody needs to ring."""
        if not self.is_silent:
            self.is_silent = bool(self.connection.value(self._statements.stay_awake))

    def listen(self) -> None:
        """The relay is about to sleep: ring from now on. It looks once more after this call."""
        if self.is_silent:
            self.connection.value(self._statements.fall_asleep)
            self.is_silent = False

    def has_rung(self) -> bool:
        """Whether somebody rang since the last time. Never waits."""
        connection = self.connection.raw.pgconn
        connection.consume_input()
        while connection.notifies() is not None:
            self._rang = True
        rang, self._rang = self._rang, False
        return rang

    def close(self) -> None:
        """Close the connection, which frees the lock."""
        self.connection.close()

    def _ring(self) -> None:
        self._rang = True
