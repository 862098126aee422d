"""Whether a relay can publish at all: one that cannot must not keep lanes from those that can."""

from __future__ import annotations

import math
from typing import Final

from rmqpool.amqp.link_values import LinkState
from rmqpool.pool import ConnectionPool

__all__ = ["BrokerWatch"]

_PATIENCE: Final = 5.0  # seconds: a broker that is restarted is back by then, mostly


class BrokerWatch:
    """Looks at the pool's publish connections. Belongs to the relay's thread."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._seen = -math.inf

    def open(self) -> None:
        """Begin to connect; returns at once. Raises PoolClosedError."""
        self._pool.open(wait=False)

    def is_away(self, now: float) -> bool:
        """True before the first connection, and when there has been none for a while. ``now`` is monotonic."""
        if any(link.state is LinkState.READY for link in self._pool.stats().publish):
            self._seen = now
        return now - self._seen > _PATIENCE
