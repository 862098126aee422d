"""How large a pool should be, from who waits and what lies idle. Pure: the time and the figures are passed in.

Three rules:

1. Whoever has waited for longer than ``patience`` makes the pool grow: by as many as wait, at least by half and at most to
   twice its size, and by nothing more while what was asked for is still being opened (``settle``).
2. When the most that was in use, with ``spare`` on top, was clearly less than the pool for ``quiet`` seconds without a
   break, it shrinks to that; clearly less is by the share ``spare``, too.
3. It never leaves its bounds.

It grows within a second and shrinks after minutes, and only to what the last minutes would have needed: that is the
hysteresis, and why a load that swings faster than ``quiet`` changes nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from rmqpool.errors import ConfigurationError

__all__ = ["Autoscale", "Change", "Scaler"]


@dataclass(frozen=True, slots=True)
class Autoscale:
    """The bounds and times of a pool that sizes itself. Immutable, thread-safe.

    ``minimum`` and ``maximum``: the bounds. ``patience``: seconds that a caller may wait before the pool grows. ``settle``:
    seconds after a growth before the next. ``quiet``: seconds of less use before it shrinks. ``spare``: the share on top of
    what was in use that is kept (0 to 1). Raises ConfigurationError.
    """

    minimum: int = 1
    maximum: int = 32
    patience: float = 0.1
    settle: float = 0.5
    quiet: float = 120.0
    spare: float = 0.25

    def __post_init__(self) -> None:
        for name in ("minimum", "maximum"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"autoscale: {name} is {value!r}; give a whole number of at least 1")
        if self.maximum < self.minimum:
            raise ConfigurationError(
                f"autoscale: maximum is {self.maximum}, minimum {self.minimum}; the maximum is the larger one"
            )
        for name in ("patience", "settle", "quiet", "spare"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ConfigurationError(f"autoscale: {name} is {value!r}; give a number, 0 or more")
        if self.quiet <= self.settle:
            raise ConfigurationError(
                f"autoscale: quiet is {self.quiet:g} s, settle {self.settle:g} s; a pool that shrinks as fast as it grows flaps"
            )
        if self.spare > 1:
            raise ConfigurationError(f"autoscale: spare is {self.spare!r}; give a share from 0 to 1")


@dataclass(frozen=True, slots=True)
class Change:
    """The new size, and why, as a sentence."""

    size: int
    because: str


class Scaler:
    """Decides for one pool. Not thread-safe. ``now`` is seconds of a monotonic clock.

    ``size`` is the size of the moment; it begins at the minimum unless it is given, within the bounds.
    """

    def __init__(self, policy: Autoscale, size: int | None = None) -> None:
        self.policy = policy
        self.size = min(policy.maximum, max(policy.minimum, policy.minimum if size is None else size))
        self.grown = 0
        self.shrunk = 0
        self._grew_at = -math.inf
        self._calm_since: float | None = None
        self._peak = 0

    def look(self, now: float, in_use: int, waiting: int, oldest_wait: float) -> Change | None:
        """What is to change, if anything; call it a few times a second, and at least once in a ``quiet``.

        ``in_use``: leased at this moment, or the most since the last look; ``waiting``: callers that wait now, of whom
        ``oldest_wait`` is the longest time (seconds).
        """
        policy = self.policy
        if not policy.minimum <= self.size <= policy.maximum:
            return self._return()
        if waiting and oldest_wait >= policy.patience:
            self._calm_since = None
            if self.size < policy.maximum and now - self._grew_at >= policy.settle:
                return self._grow(now, waiting, oldest_wait)
            return None
        wanted = max(policy.minimum, math.ceil((in_use + waiting) * (1 + policy.spare)))
        if wanted >= self.size or wanted * (1 + policy.spare) > self.size:
            self._calm_since = None
            return None
        if self._calm_since is None:
            self._calm_since, self._peak = now, 0
        self._peak = max(self._peak, in_use + waiting)
        if now - self._calm_since >= policy.quiet:
            return self._shrink()
        return None

    def resized(self, size: int) -> None:
        """Somebody else has changed the size; what is out of the bounds comes back into them with the next look."""
        if size != self.size:
            self.size = size
            self._calm_since = None

    def _grow(self, now: float, waiting: int, oldest_wait: float) -> Change:
        before = self.size
        more = min(max(waiting, math.ceil(before / 2)), before)
        self.size = min(self.policy.maximum, before + more)
        self._grew_at = now
        self.grown += 1
        callers = f"{waiting} callers wait" if waiting != 1 else "1 caller waits"
        most = ", the most that is allowed" if self.size == self.policy.maximum else ""
        return Change(self.size, f"{callers}, the longest for {oldest_wait:.2g} s: from {before} to {self.size}{most}")

    def _return(self) -> Change:
        before, self.size = self.size, min(self.policy.maximum, max(self.policy.minimum, self.size))
        return Change(self.size, f"{before} is out of the bounds: from {before} to {self.size}")

    def _shrink(self) -> Change:
        before = self.size
        self.size = max(self.policy.minimum, math.ceil(self._peak * (1 + self.policy.spare)))
        self._calm_since = None
        self.shrunk += 1
        return Change(
            self.size,
            f"for {self.policy.quiet:g} s at most {self._peak} of {before} were in use: from {before} to {self.size}",
        )

    def __repr__(self) -> str:
        bounds = f"{self.policy.minimum} to {self.policy.maximum}"
        return f"<Scaler {self.size} of {bounds}, grew {self.grown} times, shrank {self.shrunk} times>"
