"""Lanes: how the outbox's rows are shared among relays. A lane belongs to one relay at a time, and a key to one lane."""

from __future__ import annotations

import zlib
from collections.abc import Collection

__all__ = ["LANES", "fair_share", "lane_of", "lanes_to_give_up"]

LANES = 64
"""How many lanes there are. Rows with their lane lie in tables: the number is settled for good."""


def lane_of(key: str) -> int:
    """The lane of a key, from 0 to 63: the same in every process, on every machine, in every version."""
    return zlib.crc32(key.encode()) % LANES


def fair_share(relays: int) -> int:
    """The most lanes that one of so many relays may keep; together they can keep all. ``relays`` counts the asker."""
    return -(-LANES // max(1, relays))


def lanes_to_give_up(owned: Collection[int], relays: int) -> list[int]:
    """The lanes that are more than the fair share: the highest ones, so that what stays is stable."""
    return sorted(owned)[fair_share(relays) :]
