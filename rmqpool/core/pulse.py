"""Whether the loops that drive a worker still come round. Pure: the time is passed in.

The broker has no part in it: a loop that waits for a broker comes round, too.
"""

from __future__ import annotations

__all__ = ["Pulse"]


class Pulse:
    """Loops by name. Each loop tells when it comes round; anybody asks. Thread-safe: one assignment each."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}

    def beat(self, loop: str, now: float, limit: float) -> None:
        """``loop`` has come round at ``now``, and does so again within ``limit`` seconds."""
        self._due[loop] = now + limit

    def end(self, loop: str) -> None:
        """``loop`` has ended in good order: nothing is expected of it."""
        self._due.pop(loop, None)

    def hanging(self, now: float) -> tuple[str, ...]:
        """The loops that are late."""
        return tuple(loop for loop, due in self._due.copy().items() if due < now)
