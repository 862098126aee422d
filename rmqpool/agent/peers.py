"""Who is at the other end of a Unix socket, and whether that process may use the agent."""

from __future__ import annotations

import functools
import grp
import os
import pwd
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from rmqpool.agent.options import AgentOptions
from rmqpool.agent.violation import Violation
from rmqpool.errors import ConfigurationError

__all__ = ["Peer", "group_id", "peer_of", "refusal_of", "user_id"]

_CREDENTIALS = struct.Struct("3i")
_PEERGROUPS = getattr(socket, "SO_PEERGROUPS", 59)  # Linux 4.13; Python has no name for it


@dataclass(frozen=True, slots=True)
class Peer:
    """A process, as the kernel knows it since it connected."""

    pid: int
    user: int
    groups: frozenset[int]

    def __str__(self) -> str:
        return f"process {self.pid} of user {_name_of(self.user)}"


def peer_of(connected: socket.socket) -> Peer:
    """SO_PEERCRED of unix(7), and the process' other groups."""
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, group = _CREDENTIALS.unpack(raw)
    try:
        more = connected.getsockopt(socket.SOL_SOCKET, _PEERGROUPS, 4 * 256)
        others: Sequence[int] = struct.unpack(f"{len(more) // 4}I", more)
    except OSError:
        others = _groups_of_user(user, group)
    return Peer(pid, user, frozenset({group, *others}))


def refusal_of(peer: Peer, options: AgentOptions) -> Violation | None:
    """None if it may."""
    if peer.user in options.users or peer.groups & options.groups:
        return None
    return Violation(
        403,
        f"ACCESS_REFUSED - user {_name_of(peer.user)} is not among those that may use this agent: start it with --allow-user "
        "or --allow-group, or join its group",
    )


def user_id(name: str) -> int:
    """Of a name or a number. Raises ConfigurationError."""
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise ConfigurationError(f"there is no user {name!r} on this machine") from None


def group_id(name: str) -> int:
    """Of a name or a number. Raises ConfigurationError."""
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigurationError(f"there is no group {name!r} on this machine") from None


def _groups_of_user(user: int, group: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(user).pw_name, group)
    except KeyError:
        return []


@functools.lru_cache(maxsize=256)
def _name_of(user: int) -> str:
    """Asked once for each user: a directory service may take its time, and everybody on the I/O thread waits for it."""
    try:
        return f"{pwd.getpwuid(user).pw_name} ({user})"
    except KeyError:
        return str(user)
