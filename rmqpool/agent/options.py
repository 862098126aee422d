"""What an agent is told, and the bounds that follow from it."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass

from rmqpool.agent.fences import KNOWN_EXCHANGE_TYPES
from rmqpool.errors import ConfigurationError
from rmqpool.settings import ConnectionSettings

__all__ = ["AgentOptions", "Bounds"]

_LEAST_MEMORY = 4 * 2**20  # bytes
_APART = 2  # connections beside those for publishing: for consuming, and for leased channels


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """How an agent listens, and how much it takes. ``mode`` None: 0600, with a group 0660. Bytes and seconds.

    ``connections`` are those for publishing; one more each, for consuming and for leased channels, is opened when it is needed.
    ``users`` and ``groups`` (ids) may connect beside the agent's own user, root and the members of the socket's ``group``,
    if the file's mode lets them. ``grace`` is how long a stop waits for the broker's answers. ``exchange_types`` are those of
    plugins that clients may declare.

    Raises ConfigurationError.
    """

    socket_path: str
    mode: int | None = None
    group: int | None = None
    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()
    connections: int = 2
    max_clients: int = 1000
    memory: int = 128 * 2**20
    grace: float = 30.0
    exchange_types: frozenset[bytes] = KNOWN_EXCHANGE_TYPES

    def __post_init__(self) -> None:
        ConnectionSettings(socket_path=self.socket_path)  # the same rules as on the clients' side
        if not 1 <= self.connections <= 64:
            raise ConfigurationError(f"connections is {self.connections}; it must be from 1 to 64")
        if self.max_clients < 1:
            raise ConfigurationError(f"max_clients is {self.max_clients}; it must be at least 1")
        if self.memory < _LEAST_MEMORY * (self.connections + _APART):
            raise ConfigurationError(
                f"memory is {self.memory} bytes; each of the {self.connections} connections, and of {_APART} more for consuming "
                f"and for leased channels, needs {_LEAST_MEMORY} at least"
            )
        if self.mode is not None and self.mode & ~0o777:
            raise ConfigurationError(f"mode is {self.mode:#o}; it must be from 0 to 0777")

    @property
    def file_mode(self) -> int:
        """The permissions of the socket."""
        if self.mode is not None:
            return self.mode
        return 0o600 if self.group is None else 0o660

    def with_own_user(self) -> AgentOptions:
        """The same; the agent's own user, root and the socket's group are in ``users`` and ``groups``."""
        groups = self.groups if self.group is None else self.groups | {self.group}
        return dataclasses.replace(self, users=self.users | {0, os.geteuid()}, groups=groups)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes that one connection's clients may have waiting: they add up to its share of the memory."""

    largest_message: int  # of a client, kept until it is complete
    begun: int  # all messages that are not complete, that one aside; at most twice as much
    unwritten: int  # for the broker
    unread: int  # for one client, and for all of them

    @classmethod
    def of(cls, memory: int, connections: int) -> Bounds:
        """Equal shares for ``connections`` that publish, and those that are kept apart."""
        share = memory // (connections + _APART)
        return cls(share // 2, share // 16, share // 16, share * 5 // 16)
