"""Identifiers are UUIDs of version 7 (RFC 9562): unique without coordination, and sorted by the time they were made."""

from __future__ import annotations

from uuid_utils import uuid7

__all__ = ["new_message_id"]


def new_message_id() -> str:
    """A new message id, 36 characters. Thread-safe."""
    return str(uuid7())
