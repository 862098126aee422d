"""What keeps a relay from working, in the log: when it begins, again each minute, and when it is over."""

from __future__ import annotations

import logging
from typing import Final

__all__ = ["TroubleLog"]

_AGAIN: Final = 60.0  # seconds


class TroubleLog:
    """Belongs to the relay's thread."""

    def __init__(self, name: str, logger: logging.Logger) -> None:
        self.trouble = ""
        self._name = name
        self._logger = logger
        self._next = 0.0

    def tell(self, trouble: str, now: float) -> None:
        """``trouble`` is what there is now, empty if there is none; ``now`` seconds of a monotonic clock."""
        if trouble and (not self.trouble or now >= self._next):
            self._logger.warning("%s: %s", self._name, trouble)
            self._next = now + _AGAIN
        elif self.trouble and not trouble:
            self._logger.info("%s works again", self._name)
        self.trouble = trouble
