"""What a subscription needs of an executor, and which one a consumer gets."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

__all__ = ["Executor", "InFront", "MakeExecutor"]

Item = TypeVar("Item")


class Executor(Protocol[Item]):
    """Runs handlers on items: deliveries, or batches of them."""

    @property
    def cancelling(self) -> bool:
        """True while running handlers are being cancelled."""
        ...

    @property
    def in_progress(self) -> int:
        """Handlers running now."""
        ...

    @property
    def waiting(self) -> int:
        """Items that were not begun yet."""
        ...

    def submit_many(self, items: Sequence[Item], /) -> None:
        """Hand over; never blocks."""
        ...

    def submit_again(self, item: Item, /) -> None:
        """Hand over one that was handled before."""
        ...

    def stop(self) -> list[Item]:
        """Begin nothing more; returns what was not begun."""
        ...

    def finish(self) -> None:
        """Handle what has arrived, then end."""
        ...

    def join(self, deadline: float) -> int:
        """Wait for running handlers until ``deadline`` (monotonic); returns how many still ran then."""
        ...


class InFront(Generic[Item]):
    """What stands in front of another executor, and lets it run the handlers."""

    _inner: Executor[Item]

    @property
    def cancelling(self) -> bool:
        """True while running handlers are being cancelled."""
        return self._inner.cancelling

    @property
    def in_progress(self) -> int:
        """Handlers running now."""
        return self._inner.in_progress


# Makes an executor that calls the first function on threads, or the second one on the event loop.
MakeExecutor: TypeAlias = Callable[
    [Callable[[Item], None], Callable[[Item], Coroutine[Any, Any, None]]], Executor[Item]
]
