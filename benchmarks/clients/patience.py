"""How long a client waits for the last message before it gives up."""

from __future__ import annotations

from benchmarks.clients.clock import Tally

__all__ = ["PATIENCE", "wait_for"]

PATIENCE = 60.0  # seconds; the parent kills a client that takes much longer


def wait_for(tally: Tally, timeout: float = PATIENCE) -> None:
    """Return when the last delivery was counted; TimeoutError after ``timeout`` seconds."""
    if not tally.done.wait(timeout):
        raise TimeoutError(f"not every message was delivered within {timeout:g} s")
