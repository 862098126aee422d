"""Calls that tests make beside themselves."""

import threading
from collections.abc import Callable
from typing import Any

__all__ = ["in_thread"]


def in_thread(function: Callable[[], object]) -> tuple[threading.Thread, list[Any]]:
    """Start it in a thread; its result or its error comes in the list."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(function())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results
