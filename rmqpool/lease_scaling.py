"""A pool's leased channels size themselves: the scaler decides, on the link's timer, and the leases follow."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from rmqpool.core.autoscale import Autoscale, Scaler
from rmqpool.leasing import ChannelLeases
from rmqpool.pool_events import PoolEventKind

__all__ = ["LeaseScaling"]

_LOGGER = logging.getLogger("rmqpool")
_LOOK: Final = 0.25  # seconds between two looks


class LeaseScaling:
    """Looks at ``leases`` and resizes them, as long as their link lives; ``tell`` hears of each change.

    While there is no connection, or the broker blocks it, everybody waits, whatever the size: then nothing is decided.
    """

    def __init__(
        self, leases: ChannelLeases, policy: Autoscale, tell: Callable[[PoolEventKind, str, str], None]
    ) -> None:
        self._leases = leases
        self._tell = tell
        self._scaler = Scaler(policy, leases.snapshot().capacity)
        leases.resize(self._scaler.size)
        leases.link.post(self._later)

    def _later(self) -> None:
        self._leases.link.call_later(_LOOK, self._look)

    def _look(self) -> None:
        link, snapshot = self._leases.link, self._leases.snapshot()
        if snapshot.closed:
            return
        self._later()
        if not link.is_ready or link.blocked is not None or snapshot.opening:
            return
        self._scaler.resized(snapshot.capacity)
        change = self._scaler.look(time.monotonic(), snapshot.leased, snapshot.waiting, snapshot.oldest_waiter)
        if change is not None:
            _LOGGER.info("connection %s, leased channels: %s", link.name, change.because)
            self._leases.resize(change.size)
            self._tell(PoolEventKind.RESIZED, link.name, f"leased channels: {change.because}")
