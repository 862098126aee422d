"""What a connection of a pool is for, as it tells the other side in its client properties: an agent keeps them apart."""

from __future__ import annotations

import enum

__all__ = ["PURPOSE_PROPERTY", "Purpose"]

PURPOSE_PROPERTY = "purpose"
"""The name among the client properties of connection.start-ok. Its values are those of :class:`Purpose`."""


class Purpose(enum.StrEnum):
    """The kinds of connection that a pool has."""

    PUBLISH = "publish"
    CONSUME = "consume"  # nothing is ever published on it
    LEASE = "lease"  # channels that are lent, and declarations
