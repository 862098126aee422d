"""When the opens that a ledger asks for begin: at once while opening works; one at a time, after a backoff, while it fails.

Pure: the clock and the chance are passed in. Not thread-safe: called under the lock of the ledger.
"""

from __future__ import annotations

import math

from rmqpool.core.backoff import Backoff

__all__ = ["OpenPlan"]


class OpenPlan:
    """The opens that were asked for, and have not begun (``pending``) or not ended (``running``).

    ``reconnect_timeout``: seconds without a success after which :meth:`failed` says so, once for each such time.
    """

    def __init__(self, backoff: Backoff, reconnect_timeout: float = math.inf) -> None:
        self._backoff = backoff
        self._reconnect_timeout = reconnect_timeout
        self._failing_since: float | None = None
        self._failures = 0
        self.pending = 0
        self.running = 0
        self.retry_at = -math.inf
        """The earliest moment at which a pending open may begin."""

    def want(self, opening: int) -> None:
        """The ledger counts so many as opening: what has not begun of them is pending."""
        self.pending = opening - self.running

    def withdraw(self, surplus: int) -> int:
        """How many pending ones are dropped, because nobody needs ``surplus`` of all; report each to the ledger."""
        dropped = max(0, min(surplus, self.pending))
        self.pending -= dropped
        return dropped

    def begin(self, now: float) -> int:
        """How many begin now. While opening fails it is one, and none before ``retry_at``: a probe."""
        count = self.pending
        if self._failures:
            count = min(count, 1) if now >= self.retry_at and not self.running else 0
        self.pending -= count
        self.running += count
        return count

    def put_back(self, count: int) -> None:
        """So many that :meth:`begin` let begin do not, for now: they are pending again."""
        self.running -= count
        self.pending += count

    def succeeded(self) -> None:
        """One that had begun is open: all others may begin."""
        self.running -= 1
        self._failures = 0
        self._failing_since = None
        self.retry_at = -math.inf

    def failed(self, began: float, now: float, random: float) -> bool:
        """One that began at ``began`` failed; ``random`` is an even draw from [0, 1). True: for ``reconnect_timeout``
        seconds nothing could be opened, and whoever waits should be told; then the time runs anew."""
        self.running -= 1
        self._failures += 1
        self.retry_at = now + self._backoff.delay(self._failures, random)
        if self._failing_since is None:
            self._failing_since = began
        if now - self._failing_since < self._reconnect_timeout:
            return False
        self._failing_since = now
        return True

    def wake_at(self) -> float:
        """When :meth:`begin` has to be called again; infinity when there is no need."""
        if not self.pending or (self._failures and self.running):
            return math.inf
        return self.retry_at
