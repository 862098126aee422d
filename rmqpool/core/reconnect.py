"""When to try which host next. Pure: no clock, no socket; the random number is passed in.

Within one round over the hosts the next one is tried at once; between rounds the pause grows exponentially with full jitter
up to a cap. A broker that refuses us (wrong password, missing virtual host) is tried again rarely.
"""

from __future__ import annotations

from collections.abc import Sequence

from rmqpool.core.backoff import Backoff

__all__ = ["NUDGED_DELAY", "Reconnect"]

NUDGED_DELAY = 0.5  # seconds: whoever needs the connection now waits at most this long for the next attempt


class Reconnect:
    """The plan of one connection: hosts in turn, beginning anywhere, and the pauses between attempts (seconds)."""

    def __init__(
        self,
        hosts: Sequence[tuple[str, int]],
        first_delay: float,
        longest_delay: float,
        refused_delay: float,
        start: float,
    ) -> None:
        self._hosts = tuple(hosts)
        self._next = int(start * len(self._hosts)) % len(self._hosts)
        self._within_round = first_delay
        self._backoff = Backoff(first_delay, longest_delay)
        self._refused_delay = refused_delay
        self.attempts = 0
        self.failures = 0

    def next_host(self) -> tuple[str, int]:
        """The address of the attempt that begins now."""
        self.attempts += 1
        host = self._hosts[self._next]
        self._next = (self._next + 1) % len(self._hosts)
        return host

    def succeeded(self) -> None:
        """The connection is open: the next pause is a first one again."""
        self.failures = 0

    def failed(self) -> None:
        """An attempt, or a connection in the middle of its work, failed."""
        self.failures += 1

    @property
    def worth_telling(self) -> bool:
        """True for the 1st, 2nd, 4th, 8th … failure in a row: enough for a log."""
        return self.failures & (self.failures - 1) == 0

    def pause(self, refused: bool, random: float) -> float:
        """Seconds until the next attempt; ``random`` is an even draw from [0, 1)."""
        if refused:
            return self._refused_delay * (0.5 + random / 2)
        if self.failures % len(self._hosts):
            return self._within_round * random
        return self._backoff.delay(max(1, self.failures // len(self._hosts)), random)

    @staticmethod
    def nudged_pause(remaining: float, random: float) -> float | None:
        """A shorter pause for somebody who needs the connection now; None if ``remaining`` is short enough already.

        Jittered too: a thousand clients that all need it do not come in the same moment.
        """
        return random * NUDGED_DELAY if remaining > NUDGED_DELAY else None
