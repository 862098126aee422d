"""What a relay is told, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from rmqpool.core.backoff import Backoff
from rmqpool.outbox.adapters.long_loan import LongLender
from rmqpool.outbox.tables import Tables

__all__ = ["Counters", "Order", "RelayOptions", "RelayStats"]

Order = Literal["key", "strict"]


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """The relay's settings; times are seconds. See :class:`rmqpool.outbox.Relay`."""

    database: str | LongLender
    name: str
    tables: Tables = field(default_factory=Tables)
    order: Order = "key"
    batch_size: int = 1000
    batches_in_flight: int = 4
    max_bytes: int = 64 * 2**20
    key_window: int | None = None
    doorbell: bool = True
    pgbouncer: bool = False
    max_attempts: int = 1000
    publish_timeout: float = 30.0
    shortest_poll: float = 0.001
    longest_poll: float = 0.2
    awake_for: float = 0.05
    sweep_every: float = 1.0
    stall_backoff: Backoff = field(default_factory=lambda: Backoff(0.5, 60.0))
    reconnect_backoff: Backoff = field(default_factory=lambda: Backoff(0.1, 5.0))


@dataclass(slots=True)
class Counters:
    """Rows, counted since the relay was made. Written by the relay's thread only."""

    read: int = 0
    confirmed: int = 0
    failed: int = 0
    sent_again: int = 0
    removed: int = 0
    buried: int = 0
    swept: int = 0
    fetches: int = 0


@dataclass(frozen=True, slots=True)
class RelayStats:
    """A relay at one moment. Counts are since it was made, and of rows unless said otherwise.

    ``sent_again`` counts outcomes that were unknown or not sent; ``swept`` rows that lay where nobody but a hand can
    have put them; ``in_hand`` what was read and is not removed yet, ``bytes_in_hand`` the bytes of their bodies.
    ``fetches`` are readings, ``statements`` all that Postgres was asked on the connections that are open. ``trouble`` is
    what keeps it from working now, or empty.
    """

    state: Literal["new", "running", "stopping", "stopped"]
    lanes: int = 0
    relays: int = 0
    in_hand: int = 0
    bytes_in_hand: int = 0
    stalled_keys: int = 0
    read: int = 0
    confirmed: int = 0
    failed: int = 0
    sent_again: int = 0
    removed: int = 0
    buried: int = 0
    swept: int = 0
    fetches: int = 0
    statements: int = 0
    trouble: str = ""
