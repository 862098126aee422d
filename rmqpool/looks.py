"""What a pool was like when somebody looked before: a verdict is about what came since."""

from __future__ import annotations

import threading
import time
from typing import Generic, TypeVar

S = TypeVar("S")

__all__ = ["Looks"]

_LOOK = 30.0  # seconds: the least that a verdict looks back, once the pool is older


class Looks(Generic[S]):
    """Figures of earlier moments. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looks: list[tuple[float, S | None]] = [(time.monotonic(), None)]

    def compare(self, stats: S) -> tuple[S | None, float]:
        """An earlier look, one that is at least 30 s ago, otherwise the first (None: nothing yet); and seconds since then."""
        now = time.monotonic()
        with self._lock:
            old_enough = [look for look in self._looks if now - look[0] >= _LOOK]
            began, earlier = (old_enough or self._looks)[-1 if old_enough else 0]
            self._looks = [*old_enough[-1:], *(look for look in self._looks if now - look[0] < _LOOK)]
            if now - self._looks[-1][0] >= _LOOK / 4:
                self._looks.append((now, stats))
        return earlier, max(0.001, now - began)
